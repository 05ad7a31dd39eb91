"""Contracts about people: how a user proves who he is, what is known of him, what he made of a popup."""

from typing import Any

import msgspec


class IdentityKey(msgspec.Struct, omit_defaults=True):
    """What proves a user id: signed tokens of ``algorithm`` (HS256, RS256, ES256), or ``user_hash``.

    ``public_key``: in PEM, of RS256 and ES256. The others have a secret, which is nowhere: it is derived.
    """

    id: str
    algorithm: str
    public_key: str = ""


class Identity(msgspec.Struct, omit_defaults=True):
    """How a site's users prove who they are, and the ``traits`` that they may write themselves."""

    keys: list[IdentityKey] = []
    traits: list[str] = []


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


# What the tag reports of a popup: event name → what it is to the activation.
POPUP_EVENTS = {
    "Opportune Impression": "seen",
    "Opportune Click": "clicked",
    "Opportune Dismiss": "dismissed",
    "Opportune Error": "failed",
}


class PopupEvent(msgspec.Struct, tag="popup", tag_field="type", omit_defaults=True):
    """What became of the popup ``activation``, at ``at``: ``what`` is one of the values of ``POPUP_EVENTS``.

    ``action``: which button was clicked, ``0``, or link of its HTML, ``html0``; ``reason``: why it was dismissed, or
    not shown.
    """

    user: str
    activation: str
    what: str
    at: int
    action: str = ""
    reason: str = ""
