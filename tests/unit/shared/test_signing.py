"""Signatures: tokens that cannot be forged, and keys for one purpose each."""

import base64
import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidSettings
from shared.signing import (
    MAX_TOKEN_LENGTH,
    Subscription,
    check_secret,
    read_token,
    unsubscribe_token,
    webhook_key,
    webhook_signature,
)

SECRET = "a secret of thirty-two letters.."
OTHER = "another one of thirty-two letters"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=256)
IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=32)


@given(IDS, TEXT, st.sampled_from(["email", "sms", "push"]))
def test_a_token_is_read_as_what_it_was_made_of(site: str, user: str, channel: str) -> None:
    """Any user id can be read back, including separators and non-ASCII letters. The token fits into a path."""
    token = unsubscribe_token(SECRET, site, user, channel)
    assert read_token(SECRET, token) == Subscription(site, user, channel)
    assert token.replace("-", "").replace("_", "").isalnum()
    assert token.isascii()
    assert len(token) <= MAX_TOKEN_LENGTH


def test_no_changed_token_is_taken() -> None:
    """A change of any character makes a token invalid."""
    token = unsubscribe_token(SECRET, "shop", "ada", "email")
    for place, letter in enumerate(token):
        for other in "AZ09-_b":
            if other != letter:
                assert read_token(SECRET, token[:place] + other + token[place + 1 :]) is None


@pytest.mark.parametrize("token", ["", "A", "AAAAA", "=", "a b", "a/b", "ü", "\0", "A" * 24, "A" * 5000, "AAAA\n"])
def test_what_is_no_token_is_none(token: str) -> None:
    """Invalid input of any kind is refused without an exception."""
    assert read_token(SECRET, token) is None


def test_a_token_of_another_secret_or_site_is_none() -> None:
    """A new secret makes all old tokens invalid, and a token is valid for one site only."""
    assert read_token(OTHER, unsubscribe_token(SECRET, "shop", "ada", "email")) is None
    ours, theirs = (unsubscribe_token(SECRET, site, "ada", "email") for site in ("shop", "blog"))
    assert ours[:20] != theirs[:20]


def test_one_subscription_has_one_token() -> None:
    """A token has no random or dated part, so a repeated e-mail has the same link."""
    assert unsubscribe_token(SECRET, "shop", "ada", "email") == unsubscribe_token(SECRET, "shop", "ada", "email")


def test_a_webhook_key_is_the_sites_own() -> None:
    """Each site has its own keys, and webhooks and tokens have different ones."""
    key = webhook_key(SECRET, "shop")
    assert len(key) == 64
    assert int(key, 16)
    assert key not in (webhook_key(SECRET, "blog"), webhook_key(OTHER, "shop"))
    payload = b"shop\0email\0ada"
    for guess in (key.encode(), bytes.fromhex(key), SECRET.encode()):
        forged = base64.urlsafe_b64encode(hmac.digest(guess, payload, "sha256")[:16] + payload)
        assert read_token(SECRET, forged.decode().rstrip("=")) is None


def test_a_signature_is_what_the_documentation_says() -> None:
    """A receiver can verify it with the key as text and a standard HMAC."""
    key = webhook_key(SECRET, "shop")
    expected = hmac.new(key.encode(), b'1790000000.{"a":1}', hashlib.sha256).hexdigest()
    assert webhook_signature(key, 1_790_000_000, b'{"a":1}') == f"t=1790000000,v1={expected}"


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_a_short_secret_is_refused_and_not_quoted(secret: str) -> None:
    """A short secret is refused, and the error does not quote it."""
    uses: list[Callable[[], str]] = [
        lambda: check_secret(secret),
        lambda: unsubscribe_token(secret, "s", "u", "c"),
        lambda: webhook_key(secret, "s"),
    ]
    for use in uses:
        with pytest.raises(InvalidSettings, match="OPPORTUNE_SIGNING_SECRET") as refused:
            use()
        assert not secret or secret not in str(refused.value)
    assert check_secret("x" * 32) == "x" * 32
