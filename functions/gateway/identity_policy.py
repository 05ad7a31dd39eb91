"""Whose a message is: what becomes of a user id that comes with a public write key.

    mode      user id not proven                                  traits are stored          visitor becomes user
    off       is believed                                         never                      yes
    log       is believed, and counted                            with a proof               yes
    enforce   counts for the visitor who sent it, or is refused   with a proof               with a proof

A secret key is a server's: whatever it says is believed. Nothing here depends on whether there is such a user: who
has no proof cannot learn that from any answer, nor from how long it takes.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.identity import Unverified, Verified, Verifier
from gateway.write_keys import Access
from shared.contracts import ANONYMOUS_PREFIX, Alias, Event, Group, Identify, Message
from shared.errors import InvalidRequest, OpportuneError, Unavailable

OFF, LOG, ENFORCE = "off", "log", "enforce"
UNREADABLE = "secret_unavailable"


class IdentityPolicy:
    """What the messages of one request claim.

    *secret*: see `Verifier`. *tell* hears of each user id that was not proven: why, and how often so in this request.
    """

    def __init__(self, access: Access, now: int, secret: Callable[[], str], tell: Callable[[str, int], None]) -> None:
        self._trusted = access.secret
        self._mode = access.key.identity
        self._traits = access.catalogue.identity.traits
        self._verifier = Verifier(access.site, access.catalogue.identity, access.presented, now, secret)
        self._tell = tell
        self._unverified: Counter[str] = Counter()

    def settle(self, message: Message, visitor: str, context: Mapping[str, Any]) -> Message:
        """Return *message* as it counts; *visitor*: the anonymous id that came with it, prefixed, or empty.

        Raises `InvalidRequest` (``unverified_identity``) where it counts for nobody, `Unavailable` where nobody
        can be asked: then it may come again.
        """
        if self._trusted:
            return message
        if message.user.startswith(ANONYMOUS_PREFIX):
            return self._anonymous(message)
        proof = None if self._mode == OFF else self._check(message.user, context)
        if isinstance(proof, Unverified):
            self._unverified[proof.reason] += 1
            self._tell(proof.reason, self._unverified[proof.reason])
            if self._mode == ENFORCE:
                return self._demoted(message, visitor)
        if isinstance(message, Identify):
            return msgspec.structs.replace(message, traits=self._writable(message.traits, proof))
        return message

    def _check(self, user: str, context: Mapping[str, Any]) -> Verified | Unverified:
        try:
            return self._verifier.check(user, context)
        except OpportuneError as error:
            if self._mode == LOG:
                return Unverified(UNREADABLE)
            raise Unavailable("identities cannot be verified now", code="identity_unavailable") from error

    def _anonymous(self, message: Message) -> Message:
        """Return a visitor's own message: it never reaches who he was later known as, while nobody proves that."""
        if isinstance(message, Event) and self._mode == ENFORCE:
            return msgspec.structs.replace(message, verified=False)
        return message

    def _demoted(self, message: Message, visitor: str) -> Message:
        if isinstance(message, Identify | Alias | Group) or not visitor:
            raise InvalidRequest(
                "nothing proves this user id: send 'identity_token' or 'user_hash' in 'context'",
                code="unverified_identity",
            )
        return msgspec.structs.replace(message, user=visitor, verified=False)

    def _writable(self, traits: Mapping[str, Any], proof: Verified | Unverified | None) -> dict[str, Any]:
        """Return what may be stored: with a proof, the user's own traits of those offered, and those vouched for."""
        if not isinstance(proof, Verified):
            return {}
        return {**{name: traits[name] for name in self._traits if name in traits}, **proof.traits}
