"""Who says so? Proofs of user ids that come with a public write key, which itself proves nothing about a person.

    context.identity_token   a JWT that the site's own server has signed: `sub` the user id, `aud` the write key,
                             `exp` at most 24 h ahead, `kid` the id of the key; `traits`: attributes it vouches for
    context.user_hash        HMAC-SHA256 of the user id, hexadecimal: never ends, for an easy start

The algorithm is the key's, never the token's choice: a token cannot turn a public key into a shared secret. Shared
secrets are derived from one secret of the deployment, so they lie in no file, database or log.
"""

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.body import MAX_DEPTH, shape_of
from shared.identities import Identity, IdentityKey
from shared.signing import identity_key, user_hash

LONGEST_TOKEN = 4096
LONGEST_LIFE_S = 24 * 3600
LEEWAY_S = 60  # clocks differ
USER_HASH = "user_hash"
SHARED = frozenset({"HS256", USER_HASH})


class Verified(NamedTuple):
    """The user is who he says he is. ``traits``: the attributes that the token vouches for."""

    traits: Mapping[str, Any]


class Unverified(NamedTuple):
    """Nobody knows who it is. ``reason``: a code, the same whether there is such a user or not."""

    reason: str


Proof = Verified | Unverified


class Verifier:
    """Checks the proofs of one request; the same proof is checked once.

    *key*: the write key as it was presented. *secret* returns ``OPPORTUNE_IDENTITY_SECRET``; asked only where a
    shared secret is needed, it raises `Unavailable` or `InvalidSettings`. *now*: ms.
    """

    def __init__(self, site: str, identity: Identity, key: str, now: int, secret: Callable[[], str]) -> None:
        self._site = site
        self._keys = identity.keys
        self._audience = key
        self._now_s = now / 1000
        self._secret = secret
        self._known: dict[tuple[str, Any, Any], Proof] = {}

    def check(self, user: str, context: Any) -> Proof:
        """Return whether *context* proves that it comes from *user*."""
        given = context if isinstance(context, Mapping) else {}
        token, hashed = given.get("identity_token"), given.get("user_hash")
        if not isinstance(token, str) or not token:
            token = None
        if not isinstance(hashed, str) or not hashed:
            hashed = None
        asked = (user, token, hashed)
        if asked not in self._known:
            self._known[asked] = self._check(user, token, hashed)
        return self._known[asked]

    def _check(self, user: str, token: str | None, hashed: str | None) -> Proof:
        if token is not None:
            return self._check_token(user, token)
        if hashed is not None:
            return self._check_hash(user, hashed)
        return Unverified("missing")

    def _check_hash(self, user: str, hashed: str) -> Proof:
        found = False
        for key in self._keys:
            if key.algorithm == USER_HASH:
                found |= hmac.compare_digest(user_hash(self._key(key), user).encode(), hashed.encode())
        return Verified({}) if found else Unverified("invalid")

    def _check_token(self, user: str, token: str) -> Proof:
        if len(token) > LONGEST_TOKEN:
            return Unverified("malformed")
        # 60 ms at the first token that an environment sees: what asks for no identity does not pay for it.
        import jwt  # noqa: PLC0415

        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            return Unverified("malformed")
        keys = list(_candidates(self._keys, header))
        if not keys:
            return Unverified("unknown_key")
        reason = "invalid"
        for key in keys:
            try:
                claims = jwt.decode(
                    token,
                    self._key(key),
                    algorithms=[key.algorithm],
                    audience=self._audience,
                    # Times are compared with the clock that everything else here goes by.
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
            except (jwt.PyJWTError, ValueError):
                continue
            return self._judge(user, claims)
        return Unverified(reason)

    def _judge(self, user: str, claims: Mapping[str, Any]) -> Proof:
        ends, begins = claims["exp"], claims.get("nbf", 0)
        if not _is_time(ends) or not _is_time(begins):
            return Unverified("malformed")
        if ends <= self._now_s - LEEWAY_S:
            return Unverified("expired")
        if begins > self._now_s + LEEWAY_S:
            return Unverified("not_yet_valid")
        if ends > self._now_s + LONGEST_LIFE_S + LEEWAY_S:
            return Unverified("lives_too_long")
        if claims["sub"] != user:
            return Unverified("other_user")
        traits = claims.get("traits")
        if not isinstance(traits, dict):
            return Verified({})
        # What stands in a token, nobody has looked over with the body.
        return Verified(traits) if shape_of(traits).depth <= MAX_DEPTH else Unverified("malformed")

    def _key(self, key: IdentityKey) -> str:
        return identity_key(self._secret(), self._site, key.id) if key.algorithm in SHARED else key.public_key


def _candidates(keys: Sequence[IdentityKey], header: Mapping[str, Any]) -> Iterator[IdentityKey]:
    """Yield the keys that may have signed: the one that the token names, else all of its algorithm."""
    named = header.get("kid")
    for key in keys:
        if key.algorithm != USER_HASH and key.algorithm == header.get("alg") and named in (None, key.id):
            yield key


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
