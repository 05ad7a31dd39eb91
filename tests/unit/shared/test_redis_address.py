"""The setting with the state store's address: without a password, or in a secret."""

from functools import partial

import pytest

from shared import redis_address
from shared.errors import InvalidSettings
from shared.settings import DECIDER, Settings
from tests.unit.shared.test_settings import COMPLETE

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:redis-AbCdEf"
PASSWORD = "correct-horse"
OPEN = ("rediss://cache.example:6379", "redis://10.0.0.5", "rediss://[2001:db8::1]:6380/0?ssl_ca_certs=/opt/ca.pem")
WITH_CREDENTIALS = (
    f"rediss://user:{PASSWORD}@cache.example:6379/0",
    f"rediss://:{PASSWORD}@cache.example",
    "rediss://user@cache.example",
    f"rediss://cache.example:6379/0?password={PASSWORD}",
    "rediss://cache.example:6379/0?username=user",
)
NONE_AT_ALL = (
    f"rediss://user:/{PASSWORD}@cache.example",
    f"rediss://user:#{PASSWORD}@cache.example",
    f"rediss://user:?{PASSWORD}@cache.example",
    f"rediss://user:6379/{PASSWORD}@cache.example",
    f"rediss://user:[{PASSWORD}@cache.example",
    f"https://user:{PASSWORD}@cache.example",
    f"user:{PASSWORD}@cache.example:6379",
    "cache.example:6379",
    "rediss://cache.example:port",
    "rediss://cache.example:0",
    "rediss://",
)


def _held(address: str, _arn: str, _region: str) -> str:
    return address


@pytest.mark.parametrize("address", [*OPEN, f"redis://user:{PASSWORD}@127.0.0.1:6379/0"])
def test_an_address_without_a_password_stays_as_it_is(address: str) -> None:
    """An address on this machine may contain a password, because no one else can view the local functions."""
    assert redis_address.resolve(address) == address


@pytest.mark.parametrize("address", [*OPEN, *WITH_CREDENTIALS])
def test_a_secret_may_hold_any_address(address: str) -> None:
    """The address in a secret may contain a password."""
    assert redis_address.resolve(ARN, partial(_held, address)) == address


@pytest.mark.parametrize("address", WITH_CREDENTIALS)
def test_a_password_in_clear_is_refused(address: str) -> None:
    """The function does not start. The error says where to put the address, without quoting the password."""
    with pytest.raises(InvalidSettings, match=r"OPPORTUNE_REDIS_URL: contains credentials.*secret") as caught:
        Settings.from_env({**COMPLETE, "OPPORTUNE_REDIS_URL": address}, DECIDER)
    assert PASSWORD not in caught.value.message


@pytest.mark.parametrize("address", NONE_AT_ALL)
def test_what_is_no_address_is_refused_without_being_quoted(address: str) -> None:
    """An unescaped password may be the cause, so neither the error nor its cause quotes it."""
    for value, read in ((address, None), (ARN, partial(_held, address))):
        with pytest.raises(InvalidSettings, match="neither a Redis address") as caught:
            redis_address.resolve(value, read)
        assert PASSWORD not in caught.value.message
        assert caught.value.__context__ is None
