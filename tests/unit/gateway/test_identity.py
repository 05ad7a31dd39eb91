"""Proofs of user ids: what is accepted, and every way in which a proof can fail."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.identity import MAX_TOKEN_LENGTH, Unverified, Verified, Verifier
from shared.errors import InvalidSettings, Unavailable
from shared.identities import Identity, IdentityKey
from shared.signing import identity_key, user_hash, webhook_key

NOW = 1_790_000_000_000
NOW_S = NOW // 1000
HOUR_S = 3600
SECRET = "0123456789abcdef0123456789abcdef"
WRITE_KEY = "wk_shop_public"
SHARED_KEY = identity_key(SECRET, "shop", "spring")


def _private(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _public(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
SPRING = IdentityKey("spring", "HS256")
AUTUMN = IdentityKey("autumn", "HS256")
LOGIN = IdentityKey("login", "RS256", _public(RSA_KEY))
CURVE = IdentityKey("curve", "ES256", _public(EC_KEY))
HASH = IdentityKey("hash", "user_hash")
ALL = (SPRING, LOGIN, CURVE, HASH)


def verifier(*keys: IdentityKey, secret: Callable[[], str] = lambda: SECRET) -> Verifier:
    """Return a verifier for a site with *keys*."""
    return Verifier("shop", Identity(list(keys or ALL)), WRITE_KEY, NOW, secret)


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token; a change to ``None`` leaves the claim out."""
    good = {"sub": "anna", "aud": WRITE_KEY, "exp": NOW_S + HOUR_S, **changes}
    return {name: value for name, value in good.items() if value is not None}


def token(key: str = SHARED_KEY, algorithm: str = "HS256", *, kid: str | None = None, **changes: Any) -> str:
    """Return a token."""
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def check(proof: str, *keys: IdentityKey, user: str = "anna") -> Verified | Unverified:
    """Return the result for a token."""
    return verifier(*keys).verify(user, {"identity_token": proof})


SIGNED: dict[str, Callable[..., str]] = {
    "HS256": token,
    "RS256": lambda **changes: token(_private(RSA_KEY), "RS256", **changes),
    "ES256": lambda **changes: token(_private(EC_KEY), "ES256", **changes),
}


@pytest.mark.parametrize("algorithm", SIGNED)
def test_a_good_token_proves_its_user_and_nobody_else(algorithm: str) -> None:
    """This holds for each algorithm. For another user the same token proves nothing."""
    good = SIGNED[algorithm]()
    assert check(good) == Verified({})
    assert check(good, user="berta") == Unverified("other_user")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW_S - 61}, "expired"),
        ({"exp": NOW_S + 24 * HOUR_S + 61}, "lives_too_long"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": 10**400}, "malformed"),
        ({"exp": None}, "invalid"),
        ({"sub": None}, "invalid"),
        ({"sub": 7}, "invalid"),
        ({"aud": None}, "invalid"),
        ({"aud": "wk_other_site"}, "other_audience"),
        ({"nbf": NOW_S + 61}, "not_yet_valid"),
    ],
)
def test_a_claim_that_does_not_hold_proves_nothing(changes: dict[str, Any], reason: str) -> None:
    """The signature is valid, but the claims are not."""
    assert check(token(**changes)) == Unverified(reason)


def test_clocks_may_differ_by_a_minute() -> None:
    """Tokens at the limits are accepted: just expired, just too long, just not valid yet."""
    edges: list[dict[str, Any]] = [{"exp": NOW_S - 59}, {"exp": NOW_S + 24 * HOUR_S + 60}, {"nbf": NOW_S + 60}]
    for changes in edges:
        assert check(token(**changes)) == Verified({}), changes
    assert check(token(aud=["another", WRITE_KEY])) == Verified({})


def test_the_algorithm_is_the_keys_choice_never_the_tokens() -> None:
    """A token cannot choose `none`, a public key as a shared secret, or another hash."""
    assert check(jwt.encode(claims(), "", algorithm="none")) == Unverified("unknown_key")
    assert check(token(algorithm="HS512"), SPRING) == Unverified("unknown_key")
    # The classic: signed with the public key, which everybody knows, as if it were the shared secret.
    signing = b".".join(
        jwt.utils.base64url_encode(part) for part in (b'{"alg":"HS256","typ":"JWT","kid":"login"}', _json(claims()))
    )
    mac = hmac.digest(LOGIN.public_key.encode(), signing, "sha256")
    forged = (signing + b"." + jwt.utils.base64url_encode(mac)).decode()
    assert check(forged, LOGIN) == Unverified("unknown_key")
    assert check(forged) == Unverified("unknown_key")
    assert check(forged.replace("a", "b"), LOGIN).__class__ is Unverified


def _json(value: Any) -> bytes:
    import json  # noqa: PLC0415

    return json.dumps(value).encode()


def test_keys_rotate_without_a_gap() -> None:
    """While both keys exist, tokens of both are valid, with or without `kid`. Afterwards only new ones are."""
    old, new = token(), token(identity_key(SECRET, "shop", "autumn"))
    for each in (old, new):
        assert check(each, SPRING, AUTUMN) == Verified({})
    assert check(token(kid="spring"), SPRING, AUTUMN) == Verified({})
    assert check(token(kid="autumn"), SPRING, AUTUMN) == Unverified("invalid")
    assert check(old, AUTUMN) == Unverified("invalid")
    assert check(token(kid="spring"), AUTUMN) == Unverified("unknown_key")


def test_every_site_and_every_key_has_a_secret_of_its_own() -> None:
    """No key is used for two purposes, and none reveals another."""
    keys = {identity_key(SECRET, site, key) for site in ("shop", "other") for key in ("spring", "autumn")}
    assert len(keys) == 4
    assert webhook_key(SECRET, "shop") not in keys
    other = token(identity_key(SECRET, "other", "spring"))
    assert check(other) == Unverified("invalid")


def test_a_hash_of_the_user_id_proves_it() -> None:
    """It is a plain HMAC, which the site's servers can compute in any language."""
    key = identity_key(SECRET, "shop", "hash")
    right = hmac.new(key.encode(), b"anna", hashlib.sha256).hexdigest()
    assert user_hash(key, "anna") == right
    assert verifier().verify("anna", {"user_hash": right}) == Verified({})
    for user, given in (("berta", right), ("anna", right[:-1]), ("anna", right.upper()), ("anna", "ü")):
        assert verifier().verify(user, {"user_hash": given}) == Unverified("invalid")
    assert verifier(SPRING).verify("anna", {"user_hash": right}) == Unverified("invalid")


@pytest.mark.parametrize("context", [None, [], "text", {}, {"identity_token": None}, {"identity_token": 7}])
def test_without_a_proof_nothing_is_proven(context: Any) -> None:
    """Invalid values count as no proof."""
    assert verifier().verify("anna", context) == Unverified("missing")


@pytest.mark.parametrize(
    "text", ["x", "a.b.c", "..", "é.é.é", "x" * (MAX_TOKEN_LENGTH + 1), token()[:-4], token() + "."]
)
def test_odd_tokens_are_no_proof_and_no_error(text: str) -> None:
    """All invalid tokens are handled in the same way."""
    assert check(text).__class__ is Unverified


def test_a_token_may_vouch_for_traits() -> None:
    """Only a map of attributes is accepted."""
    assert check(token(traits={"tier": "vip"})) == Verified({"tier": "vip"})
    assert check(token(traits="vip")) == Verified({})


def test_traits_of_a_token_are_no_deeper_than_those_of_a_call() -> None:
    """The limit is eight levels. A deeper value could not be stored and would be retried forever."""
    deep: Any = "x"
    for _ in range(7):
        deep = {"a": deep}
    assert check(token(traits={"a": deep})) == Verified({"a": deep})
    assert check(token(traits={"a": {"a": deep}})) == Unverified("malformed")
    for _ in range(400):
        deep = [deep]
    assert check(token(traits={"a": deep})) == Unverified("malformed")


def jose(header: Any, claims: Any, key: str) -> str:
    """Return a token with any header and claims, signed with HMAC-SHA256."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, claims)]
    signed = ".".join(base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in parts)
    mac = hmac.digest(key.encode(), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


CLAIMS = {"sub": "anna", "aud": "wk_shop_public", "exp": NOW // 1000 + 60}


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS256", "crit": ["exp"], "exp": 1},
        {"alg": "HS256", "crit": ["b64"], "b64": False},
        {"alg": ["HS256"]},
        {"alg": "user_hash", "kid": "hash"},
        {"alg": "none"},
        {"alg": "hs256"},
        {"kid": "spring"},
        {"alg": "HS256", "kid": "../spring"},
        {"alg": "HS256", "kid": ["spring"]},
        {"alg": "HS256", "kid": {}},
        {"alg": "HS256", "kid": None},
        {"alg": "HS256", "cty": "JWT", "kid": 7},
        b"[" * 2000,
        b'{"alg": "HS256", "x": ' + b"[" * 1400 + b"]" * 1400 + b"}",
        b"\xff\xfe",
        [1],
        7,
    ],
    ids=lambda header: str(header)[:40],
)
def test_a_header_that_means_something_else_is_no_proof_and_no_error(header: Any) -> None:
    """With the right key: unknown critical headers, other algorithms, invalid ids and deep nesting."""
    assert check(jose({"alg": "HS256", "kid": "spring"}, CLAIMS, SHARED_KEY)) == Verified({})
    assert check(jose(header, CLAIMS, SHARED_KEY)).__class__ is Unverified


@pytest.mark.parametrize(
    "claims",
    [
        b'{"sub": "anna", "aud": "wk_shop_public", "exp": NaN}',
        b'{"sub": "anna", "aud": "wk_shop_public", "exp": Infinity}',
        b'{"sub": "anna", "aud": "wk_shop_public", "exp": 1e999}',
        b'{"sub": "anna", "aud": "wk_shop_public", "exp": ' + b"9" * 2000 + b"}",
        b'{"sub": "anna", "aud": "wk_shop_public", "exp": true}',
        {**CLAIMS, "aud": None},
        {**CLAIMS, "aud": {"wk_shop_public": 1}},
        {**CLAIMS, "aud": ["wk_other"]},
        {**CLAIMS, "sub": ["anna"]},
        {**CLAIMS, "sub": "ann\u0430"},
        {**CLAIMS, "nbf": "soon"},
        [CLAIMS],
        b"[" * 2000,
        jose({"alg": "HS256"}, CLAIMS, "k").encode(),
    ],
    ids=lambda claims: str(claims)[:60],
)
def test_claims_that_only_look_right_prove_nothing(claims: Any) -> None:
    """Impossible times, invalid audiences and subjects, look-alike letters, a token in a token."""
    assert check(jose({"alg": "HS256", "kid": "spring"}, claims, SHARED_KEY)).__class__ is Unverified


HALF, NUL = "\\ud800", "\\u0000"


@pytest.mark.parametrize(
    "traits",
    [
        f'{{"name": "{HALF}"}}',
        '{"name": "a\\udc00b"}',
        f'{{"name": "\\udc00{HALF}"}}',
        f'{{"{HALF}": 1}}',
        f'{{"a": [{{"b": "{HALF}"}}]}}',
        f'{{"name": "{NUL}"}}',
        f'{{"a{NUL}b": 1}}',
        f'{{"a": ["x", {{"b": "x{NUL}"}}]}}',
        '{"n": NaN}',
        '{"n": -Infinity}',
        '{"n": 1e999}',
        '{"n": 9223372036854775808}',
        '{"n": [[-9223372036854775809]]}',
        '{"n": 1, "n": 2}',
        '{"a": {"n": 1, "n": 2}}',
    ],
)
@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_a_token_follows_the_text_rules_of_bodies(traits: str, algorithm: str) -> None:
    """A JSON library reads each of these, but no store takes it: the request would fail on every retry.

    The class: values of a signed token that the rules for bodies refuse. The same rules read both.
    """
    payload = f'{{"sub": "anna", "aud": "{WRITE_KEY}", "exp": {NOW_S + HOUR_S}, "traits": {traits}}}'
    key = SHARED_KEY if algorithm == "HS256" else _private(EC_KEY)
    signed = jwt.PyJWS().encode(payload.encode(), key, algorithm=algorithm)
    assert check(signed) == Unverified("malformed")


def test_text_that_only_looks_odd_is_a_trait() -> None:
    """A whole surrogate pair is one character, and an escaped backslash is not U+0000."""
    traits = r'{"a": "\ud83d\ude00\\u0000"}'
    payload = f'{{"sub": "anna", "aud": "{WRITE_KEY}", "exp": {NOW_S + HOUR_S}, "traits": {traits}}}'
    signed = jwt.PyJWS().encode(payload.encode(), SHARED_KEY, algorithm="HS256")
    assert check(signed) == Verified({"a": "\U0001f600\\u0000"})


@pytest.mark.parametrize("claim", ["iss", "jti", "sub", "extra"])
def test_half_a_surrogate_outside_the_traits_is_no_proof_and_no_error(claim: str) -> None:
    """Every claim of a token is text, used or not."""
    others = "" if claim == "sub" else '"sub": "anna", '
    payload = f'{{{others}"{claim}": "{HALF}", "aud": "{WRITE_KEY}", "exp": {NOW_S + HOUR_S}}}'
    signed = jwt.PyJWS().encode(payload.encode(), SHARED_KEY, algorithm="HS256")
    assert check(signed).__class__ is Unverified


def test_names_that_look_the_same_are_two() -> None:
    """é as one character and as two are different ids, because ids are not normalised."""
    one, two = "ren\u00e9", "rene\u0301"
    assert verifier().verify(one, {"identity_token": token(sub=one)}) == Verified({})
    assert verifier().verify(two, {"identity_token": token(sub=one)}) == Unverified("other_user")


def test_the_secret_is_read_when_it_is_needed_and_not_before() -> None:
    """Public keys do not need it. If it cannot be read, no proof is accepted, and the caller gets the error."""

    def missing() -> str:
        raise Unavailable("away")

    away = verifier(*ALL, secret=missing)
    assert away.verify("anna", {}) == Unverified("missing")
    assert away.verify("anna", {"identity_token": SIGNED["RS256"]()}) == Verified({})
    with pytest.raises(Unavailable):
        away.verify("anna", {"identity_token": token()})
    with pytest.raises(InvalidSettings, match="OPPORTUNE_IDENTITY_SECRET") as short:
        verifier(secret=lambda: "short").verify("anna", {"identity_token": token()})
    assert "short" not in str(short.value)


def test_the_same_proof_is_checked_once_in_a_request() -> None:
    """A batch of one user's events needs one verification."""
    asked = []

    def counted() -> str:
        asked.append(1)
        return SECRET

    checks = verifier(SPRING, secret=counted)
    for _ in range(100):
        assert checks.verify("anna", {"identity_token": token(kid="spring")}) == Verified({})
    assert len(asked) == 1
