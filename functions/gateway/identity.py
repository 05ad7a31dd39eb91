"""Verify proofs of user ids. A public write key proves nothing about a person, so its requests may carry a proof.

    context.identity_token   a JWT that the site's server has signed: `sub` is the user id, `aud` the write key,
                             `exp` at most 24 h ahead, `kid` the id of the key; `traits` are attributes it vouches for
    context.user_hash        HMAC-SHA256 of the user id in hexadecimal; it never expires

The key determines the algorithm, not the token, so a token cannot turn a public key into a shared secret. Shared
secrets are derived from one secret of the deployment and are in no file, database or log.
"""

import base64
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.body import MAX_DEPTH, check, parse
from shared.errors import InvalidRequest
from shared.identities import Identity, IdentityKey
from shared.signing import identity_key, user_hash

MAX_TOKEN_LENGTH = 4096
MAX_LIFETIME_S = 24 * 3600
LEEWAY_S = 60  # clocks differ
USER_HASH, TOKEN = "user_hash", "identity_token"
_PROOF = re.compile(rf"[A-Za-z0-9._=-]{{1,{MAX_TOKEN_LENGTH}}}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
SHARED = frozenset({"HS256", USER_HASH})


class Verified(NamedTuple):
    """A valid proof. ``traits``: the attributes that the token vouches for."""

    traits: Mapping[str, Any]


class Unverified(NamedTuple):
    """A missing or invalid proof. ``reason``: a code that does not depend on whether the user exists."""

    reason: str


Proof = Verified | Unverified


class Verifier:
    """Verifies the proofs of one request and remembers the results.

    key: the write key as it was sent.
    now: ms.
    secret: returns ``OPPORTUNE_IDENTITY_SECRET``. It is called only for algorithms with a shared secret, and may raise
    `Unavailable` or `InvalidSettings`.
    """

    def __init__(self, site: str, identity: Identity, key: str, now: int, secret: Callable[[], str]) -> None:
        self._site = site
        self._keys = identity.keys
        self._audience = key
        self._now_s = now / 1000
        self._secret = secret
        self._results: dict[tuple[str, Any, Any], Proof] = {}

    def verify(self, user: str, context: Any) -> Proof:
        """Return whether *context* proves that *user* sent it."""
        fields = context if isinstance(context, Mapping) else {}
        token, digest = fields.get(TOKEN), fields.get(USER_HASH)
        if not isinstance(token, str) or not token:
            token = None
        if not isinstance(digest, str) or not digest:
            digest = None
        claim = (user, token, digest)
        if claim not in self._results:
            self._results[claim] = self._verify(user, token, digest)
        return self._results[claim]

    def verify_text(self, user: str, proof: str) -> Proof:
        """Return whether *proof*, a token or a hash, proves that *user* sent it."""
        if not _PROOF.fullmatch(proof):
            return Unverified("malformed")
        return self.verify(user, {USER_HASH if _HASH.fullmatch(proof) else TOKEN: proof})

    def _verify(self, user: str, token: str | None, digest: str | None) -> Proof:
        if token is not None:
            return self._verify_token(user, token)
        if digest is not None:
            return self._verify_hash(user, digest)
        return Unverified("missing")

    def _verify_hash(self, user: str, digest: str) -> Proof:
        found = False
        for key in self._keys:
            if key.algorithm == USER_HASH:
                found |= hmac.compare_digest(user_hash(self._load_key(key), user).encode(), digest.encode())
        return Verified({}) if found else Unverified("invalid")

    def _verify_token(self, user: str, token: str) -> Proof:
        if len(token) > MAX_TOKEN_LENGTH:
            return Unverified("malformed")
        # The import takes 60 ms, so only an environment that sees a token pays for it.
        import jwt  # noqa: PLC0415

        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, RecursionError):
            return Unverified("malformed")
        keys = list(_find_candidates(self._keys, header))
        if not keys:
            return Unverified("unknown_key")
        reason = "invalid"
        for key in keys:
            try:
                jwt.decode(
                    token,
                    self._load_key(key),
                    algorithms=[key.algorithm],
                    audience=self._audience,
                    # `_check_claims` compares times with the clock that the rest of the Gateway uses.
                    options={
                        "require": ["sub", "aud", "exp"],
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidAudienceError:
                reason = "other_audience"
                continue
            except (jwt.PyJWTError, ValueError, RecursionError):
                continue
            return self._check_claims(user, token)
        return Unverified(reason)

    def _check_claims(self, user: str, token: str) -> Proof:
        try:
            claims, traits = _read_claims(token)
        except InvalidRequest:
            return Unverified("malformed")
        expires, begins = claims["exp"], claims.get("nbf", 0)
        if not _is_time(expires) or not _is_time(begins):
            return Unverified("malformed")
        if expires <= self._now_s - LEEWAY_S:
            return Unverified("expired")
        if begins > self._now_s + LEEWAY_S:
            return Unverified("not_yet_valid")
        if expires > self._now_s + MAX_LIFETIME_S + LEEWAY_S:
            return Unverified("lives_too_long")
        if claims["sub"] != user:
            return Unverified("other_user")
        return Verified(traits)

    def _load_key(self, key: IdentityKey) -> str:
        return identity_key(self._secret(), self._site, key.id) if key.algorithm in SHARED else key.public_key


def _find_candidates(keys: Sequence[IdentityKey], header: Mapping[str, Any]) -> Iterator[IdentityKey]:
    """Yield the keys that may have signed the token: the one it names, or all of its algorithm."""
    named = header.get("kid")
    for key in keys:
        if key.algorithm != USER_HASH and key.algorithm == header.get("alg") and named in (None, key.id):
            yield key


def _read_claims(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the claims of a verified *token*, and its traits, read by the rules for bodies.

    JSON libraries accept more than can be stored: half a surrogate pair, U+0000, NaN, one key twice. Raises
    `InvalidRequest` for all of them.
    """
    payload = token.split(".")[1]
    body = parse(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    traits = body.value.get("traits")
    if not isinstance(traits, dict):
        traits = {}
    check(traits, "the token's traits", MAX_DEPTH, may_have_nul=body.may_have_nul)
    return body.value, traits


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
