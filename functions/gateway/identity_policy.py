"""Decide what an id without a proof is worth.

    mode      an event without a proof counts for                 traits are stored          visitor becomes user
    off       the user it names                                   never                      yes
    log       the user it names; the id is counted in a metric    with a proof               yes
    enforce   the visitor who sent it; without one it is refused  with a proof               with a proof

If the site names a cookie for proofs of anonymous ids, `log` counts visitors without a proof, and `enforce` refuses
what would count for one or link one to a user.

Only servers have a secret key, so everything that comes with one is trusted. Nothing here depends on whether the user
exists: without a proof, neither the response nor its timing reveals that.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.identity import Proof, Unverified, Verified, Verifier
from gateway.visitor_proof import FIELD, find_proof
from gateway.write_keys import SiteAccess
from shared.contracts import ANONYMOUS_PREFIX, Alias, Event, Group, Identify, Message
from shared.errors import InvalidRequest, OpportuneError, Unavailable

OFF, LOG, ENFORCE = "off", "log", "enforce"
UNREADABLE = "secret_unavailable"


class IdentityPolicy:
    """Applies the identity mode of a write key to the messages of one request.

    cookies: of the request.
    secret: see `Verifier`.
    on_unverified: called for each id without a valid proof, with the reason and how often the request had it.
    """

    def __init__(
        self,
        access: SiteAccess,
        now: int,
        secret: Callable[[], str],
        on_unverified: Callable[[str, int], None],
        cookies: Sequence[str] = (),
    ) -> None:
        self._trusted = access.trusted
        self._mode = access.key.identity
        self._traits = access.catalogue.identity.traits
        self._cookie = "" if self._mode == OFF else access.catalogue.identity.visitor_cookie
        self._cookies = cookies
        self._verifier = Verifier(access.site, access.catalogue.identity, access.sent_key, now, secret)
        self._on_unverified = on_unverified
        self._reasons: Counter[str] = Counter()

    def apply(self, message: Message, visitor: str, context: Mapping[str, Any]) -> Message:
        """Return *message* with the user it counts for.

        visitor: the message's anonymous id, prefixed; empty if it has none.

        Raises `InvalidRequest` (``unverified_identity``, ``unverified_visitor``) if the message must be refused, and
        `Unavailable` if the proof cannot be checked now.
        """
        if self._trusted:
            return message
        if message.user.startswith(ANONYMOUS_PREFIX):
            self._check_visitor(message.user, context)
            return self._restrict_visitor(message)
        proof = None if self._mode == OFF else self._verify(lambda: self._verifier.verify(message.user, context))
        if isinstance(proof, Unverified) and self._mode == ENFORCE:
            reassigned = self._reassign(message, visitor)
            self._check_visitor(visitor, context)
            return reassigned
        self._check_visitor(_linked_visitor(message), context)
        if isinstance(message, Identify):
            return msgspec.structs.replace(message, traits=self._select_traits(message.traits, proof))
        return message

    def _verify(self, verify: Callable[[], Proof]) -> Proof:
        """Return what *verify* returns; count a missing or invalid proof."""
        try:
            proof = verify()
        except OpportuneError as error:
            if self._mode != LOG:
                raise Unavailable(
                    "ids cannot be verified now: the secret cannot be read; retry", code="identity_unavailable"
                ) from error
            proof = Unverified(UNREADABLE)
        if isinstance(proof, Unverified):
            self._reasons[proof.reason] += 1
            self._on_unverified(proof.reason, self._reasons[proof.reason])
        return proof

    def _check_visitor(self, visitor: str, context: Mapping[str, Any]) -> None:
        """Raise `InvalidRequest` if the site wants a proof of *visitor*, and the request has none."""
        if not self._cookie or not visitor:
            return
        found = find_proof(context, self._cookies, self._cookie)
        proof = self._verify(lambda: self._verifier.verify_text(visitor, found) if isinstance(found, str) else found)
        if isinstance(proof, Unverified) and self._mode == ENFORCE:
            raise InvalidRequest(
                f"the anonymous id is not proven: send the site's cookie, or '{FIELD}' in 'context'",
                code="unverified_visitor",
            )

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


def _linked_visitor(message: Message) -> str:
    """Return the visitor, prefixed, that *message* makes a user; empty if there is none."""
    if isinstance(message, Alias):
        return ANONYMOUS_PREFIX + message.previous
    return message.anonymous if isinstance(message, Identify) else ""
