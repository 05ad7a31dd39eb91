"""Definitions of identity and of limits per user: what is valid, and the messages about everything else."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from definitions.compiler.ruleset import compile_ruleset
from definitions.model.definitions import Definitions
from definitions.model.field_errors import validate
from definitions.model.site import Site
from opportune.authoring.publishing import write_keys
from shared.identities import Identity, IdentityKey
from shared.ruleset import Quota
from tests.unit.definitions.test_definitions import SITE, errors_in

CURVE = ec.generate_private_key(ec.SECP256R1())
PEM = CURVE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PRIVATE = CURVE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SHORT_RSA = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - that is the mistake
SHORT_PEM = SHORT_RSA.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
SPRING = {"id": "spring", "algorithm": "HS256"}
LOGIN = {"id": "login", "algorithm": "RS256"}
PUBLIC = {"kind": "public", "key": "wk_public_1"}


def keys(*entries: dict[str, Any]) -> dict[str, Any]:
    """Return a change of the site: its identity keys."""
    return {"identity": {"keys": list(entries)}}


def visitor_cookie(name: Any, mode: str = "enforce") -> dict[str, Any]:
    """Return a change of the site: the name of its cookie with the proof of anonymous ids."""
    return {"keys": [PUBLIC | {"identity": mode}], "identity": {"keys": [SPRING], "visitor_cookie": name}}


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"limits": {}}, "limits.events_per_user", "is missing"),
        ({"limits": {"events_per_user": {"max": 9, "per": "1m"}, "max": 3}}, "limits.max", "into 'caps'"),
        ({"limits": {"events_per_user": {"max": 0, "per": "1m"}}}, "limits.events_per_user.max", "1 or more"),
        ({"limits": {"events_per_user": {"max": 1001, "per": "1m"}}}, "limits.events_per_user.max", "more than 1000"),
        ({"limits": {"events_per_user": {"max": 9, "per": "2d"}}}, "limits.events_per_user.per", "more than 24h"),
        (keys(), "identity.keys", "at least 1 entry"),
        ({"identity": {"keys": [SPRING], "traits": ["a.b"]}}, "identity.traits[0]", "without '.'"),
        (keys(SPRING, SPRING), "identity.keys[1].id", "another key has the id"),
        (keys(SPRING | {"secret": "x"}), "identity.keys[0].secret", "must not be in a file"),
        (keys(SPRING | {"algorithm": "none"}), "identity.keys[0].algorithm", "HS256, RS256, ES256"),
        (keys(SPRING | {"public_key": "x"}), "identity.keys[0].public_key", "is not used by HS256"),
        (keys(LOGIN), "identity.keys[0].public_key", "is missing"),
        (keys(LOGIN | {"public_key": "x"}), "identity.keys[0].public_key", "not a public key in PEM"),
        (keys(LOGIN | {"public_key": PEM}), "identity.keys[0].public_key", "an RSA key of 2048"),
        (keys(LOGIN | {"public_key": SHORT_PEM}), "identity.keys[0].public_key", "an RSA key of 2048"),
        (keys(LOGIN | {"public_key": PRIVATE}), "identity.keys[0].public_key", "is a private key"),
        (
            keys({"id": "x", "algorithm": "ES256", "public_key": SHORT_PEM}),
            "identity.keys[0].public_key",
            "the curve P-256",
        ),
        ({"keys": [PUBLIC | {"identity": "log"}]}, "keys[0].identity", "a key that user ids can be proven with"),
        ({"keys": [{"kind": "secret", "sha256": "0" * 64, "identity": "log"}]}, "keys[0].identity", "always trusted"),
        (visitor_cookie("shop visitor"), "identity.visitor_cookie", "is not the name of a cookie"),
        (visitor_cookie(""), "identity.visitor_cookie", "is not the name of a cookie"),
        (visitor_cookie("a=b"), "identity.visitor_cookie", "is not the name of a cookie"),
        (visitor_cookie("a;b"), "identity.visitor_cookie", "is not the name of a cookie"),
        (visitor_cookie("naïve"), "identity.visitor_cookie", "is not the name of a cookie"),
        (visitor_cookie("visitor\n"), "identity.visitor_cookie", "is not the name of a cookie"),
        (visitor_cookie("a" * 65), "identity.visitor_cookie", "1 to 64"),
        (visitor_cookie(7), "identity.visitor_cookie", ""),
        (visitor_cookie("visitor", "off"), "identity.visitor_cookie", "has no effect"),
        ({"keys": [PUBLIC | {"identity": "on"}]}, "keys[0].identity", "off, log or enforce"),
    ],
    # The new keys of each run must not be in the names of the tests.
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_mistakes_about_identity(changes: dict[str, Any], field: str, message: str) -> None:
    """One mistake is one error, at its field. No message quotes a private key."""
    ((found, said),) = errors_in(Site, SITE | changes)
    assert found == field
    assert message in said
    assert "BEGIN PRIVATE" not in said


def test_what_is_written_reaches_the_functions() -> None:
    """The ruleset has the write keys with their modes, the identity keys with their algorithms, and the limit."""
    written = SITE | {
        "keys": [PUBLIC | {"identity": "enforce"}, {"kind": "secret", "sha256": "0" * 64}],
        "identity": {
            "keys": [SPRING, {"id": "curve", "algorithm": "ES256", "public_key": PEM}],
            "traits": ["first_name"],
            "visitor_cookie": "shop_visitor",
        },
        "limits": {"events_per_user": {"max": 120, "per": "1m"}},
    }
    definitions = Definitions(site=validate(Site, written), groups=(), campaigns=())
    ruleset = compile_ruleset(definitions, version=1, keys=write_keys(definitions, {}))
    assert [(key.secret, key.identity) for key in ruleset.keys] == [(False, "enforce"), (True, "off")]
    assert ruleset.identity == Identity(
        [IdentityKey("spring", "HS256"), IdentityKey("curve", "ES256", PEM)], ["first_name"], "shop_visitor"
    )
    assert ruleset.events_per_user == Quota(120, 60_000)
