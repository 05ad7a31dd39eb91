"""Decide what a user id without a proof is worth.

    mode      an event without a proof counts for                 traits are stored          visitor becomes user
    off       the user it names                                   never                      yes
    log       the user it names; the id is counted in a metric    with a proof               yes
    enforce   the visitor who sent it; without one it is refused  with a proof               with a proof

Only servers have a secret key, so everything that comes with one is trusted. Nothing here depends on whether the user
exists: without a proof, neither the response nor its timing reveals that.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.identity import Unverified, Verified, Verifier
from gateway.write_keys import SiteAccess
from shared.contracts import ANONYMOUS_PREFIX, Alias, Event, Group, Identify, Message
from shared.errors import InvalidRequest, OpportuneError, Unavailable

OFF, LOG, ENFORCE = "off", "log", "enforce"
UNREADABLE = "secret_unavailable"


class IdentityPolicy:
    """Applies the identity mode of a write key to the messages of one request.

    secret: see `Verifier`.
    on_unverified: called for each user id without a valid proof, with the reason and how often the request had it.
    """

    def __init__(
        self, access: SiteAccess, now: int, secret: Callable[[], str], on_unverified: Callable[[str, int], None]
    ) -> None:
        self._trusted = access.trusted
        self._mode = access.key.identity
        self._traits = access.catalogue.identity.traits
        self._verifier = Verifier(access.site, access.catalogue.identity, access.sent_key, now, secret)
        self._on_unverified = on_unverified
        self._reasons: Counter[str] = Counter()

    def apply(self, message: Message, visitor: str, context: Mapping[str, Any]) -> Message:
        """Return *message* with the user it counts for.

        visitor: the message's anonymous id, prefixed; empty if it has none.

        Raises `InvalidRequest` (``unverified_identity``) if the message must be refused, and `Unavailable` if the
        proof cannot be checked now.
        """
        if self._trusted:
            return message
        if message.user.startswith(ANONYMOUS_PREFIX):
            return self._restrict_visitor(message)
        proof = None if self._mode == OFF else self._verify(message.user, context)
        if isinstance(proof, Unverified):
            self._reasons[proof.reason] += 1
            self._on_unverified(proof.reason, self._reasons[proof.reason])
            if self._mode == ENFORCE:
                return self._reassign(message, visitor)
        if isinstance(message, Identify):
            return msgspec.structs.replace(message, traits=self._select_traits(message.traits, proof))
        return message

    def _verify(self, user: str, context: Mapping[str, Any]) -> Verified | Unverified:
        try:
            return self._verifier.verify(user, context)
        except OpportuneError as error:
            if self._mode == LOG:
                return Unverified(UNREADABLE)
            raise Unavailable(
                "user ids cannot be verified now: the secret cannot be read; retry", code="identity_unavailable"
            ) from error

    def _restrict_visitor(self, message: Message) -> Message:
        """Return a visitor's message. With `enforce`, its event never counts for the user the visitor became."""
        if isinstance(message, Event) and self._mode == ENFORCE:
            return msgspec.structs.replace(message, verified=False)
        return message

    def _reassign(self, message: Message, visitor: str) -> Message:
        """Return an unproven event as the visitor's; refuse everything else."""
        if isinstance(message, Identify | Alias | Group) or not visitor:
            raise InvalidRequest(
                "the user id is not proven: send 'identity_token' or 'user_hash' in 'context'",
                code="unverified_identity",
            )
        return msgspec.structs.replace(message, user=visitor, verified=False)

    def _select_traits(self, traits: Mapping[str, Any], proof: Verified | Unverified | None) -> dict[str, Any]:
        """Return the traits that may be stored: with a proof, those the site allows and those the token vouches for."""
        if not isinstance(proof, Verified):
            return {}
        return {**{name: traits[name] for name in self._traits if name in traits}, **proof.traits}
