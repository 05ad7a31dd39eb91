"""Contracts about users: proofs of identity, traits, and what happened to a popup."""

from typing import Any

import msgspec


class IdentityKey(msgspec.Struct, omit_defaults=True):
    """A key that proves user ids: by tokens signed with ``algorithm`` (HS256, RS256, ES256), or by ``user_hash``.

    ``public_key``: in PEM, for RS256 and ES256. The secret of the others is derived, never stored.
    """

    id: str
    algorithm: str
    public_key: str = ""


class Identity(msgspec.Struct, omit_defaults=True):
    """How a site's users prove their identity, and the ``traits`` that they may write themselves.

    ``visitor_cookie``: the cookie with the proof of an anonymous id. If it is empty, anonymous ids need no proof.
    """

    keys: list[IdentityKey] = []
    traits: list[str] = []
    visitor_cookie: str = ""


class Identification(msgspec.Struct, tag="identification", tag_field="type", omit_defaults=True):
    """The ``traits`` of a user, and the ``visitor`` (``anon:…``) that the user was; either may be empty.

    ``at``: when the site said so; 0 stands for the time of receipt.
    """

    user: str
    received: int
    traits: dict[str, Any] = {}
    visitor: str = ""
    at: int = 0

    @property
    def said_at(self) -> int:
        """``at``, or the time of receipt where that is 0; ms."""
        return self.at or self.received


# The events of the tag about a popup: name → what happened to the activation.
POPUP_EVENTS = {
    "Opportune Impression": "seen",
    "Opportune Click": "clicked",
    "Opportune Dismiss": "dismissed",
    "Opportune Error": "failed",
}


class PopupEvent(msgspec.Struct, tag="popup", tag_field="type", omit_defaults=True):
    """Something happened to the popup of ``activation``: ``what`` is a value of ``POPUP_EVENTS``.

    ``action``: the button that was clicked, ``0``, or the link in its HTML, ``html0``.
    ``reason``: why it was dismissed or not shown.
    """

    user: str
    activation: str
    what: str
    at: int
    action: str = ""
    reason: str = ""
