"""The setting with MongoDB's address: IAM or a secret, and never a password."""

from functools import partial

import pytest

from shared import mongodb_address
from shared.errors import InvalidSettings
from shared.settings import PREFERENCES, Settings
from tests.unit.shared.test_settings import COMPLETE

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mongodb-AbCdEf"
PASSWORD = "correct-horse"
BY_IAM = (
    "mongodb+srv://cluster0.abcde.mongodb.net/?authMechanism=MONGODB-AWS",
    "mongodb+srv://cluster0.abcde.mongodb.net/?authSource=%24external&authMechanism=MONGODB-AWS",
    "mongodb://a.example,b.example:27018/?tls=true&authMechanism=MONGODB-AWS&replicaSet=rs0",
)
WITH_CREDENTIALS = (
    f"mongodb+srv://user:{PASSWORD}@cluster0.abcde.mongodb.net/",
    f"mongodb+srv://user:{PASSWORD}@cluster0.abcde.mongodb.net/?authMechanism=MONGODB-AWS",
    f"mongodb+srv://AKIA0123:{PASSWORD}@cluster0.abcde.mongodb.net/?authSource=%24external&authMechanism=MONGODB-AWS",
    f"mongodb+srv://user:/?{PASSWORD}@cluster0.abcde.mongodb.net/?authMechanism=MONGODB-AWS",
    "mongodb+srv://user@cluster0.abcde.mongodb.net/?authMechanism=MONGODB-AWS",
)
WITHOUT_ANY = (
    "mongodb+srv://cluster0.abcde.mongodb.net",
    "mongodb+srv://cluster0.abcde.mongodb.net/?retryWrites=true",
    "mongodb://10.0.0.5:27017/?tls=true",
    "mongodb://127.0.0.1,10.0.0.5/?tls=true",
    "mongodb+srv://cluster0.abcde.mongodb.net/?authMechanism=MONGODB-X509",
)


@pytest.mark.parametrize("address", [*BY_IAM, "mongodb://127.0.0.1:27017/?replicaSet=opportune", "mongodb://[::1]/"])
def test_an_address_that_needs_no_secret_stays_as_it_is(address: str) -> None:
    """Addresses for IAM and addresses on this machine are accepted."""
    assert mongodb_address.resolve(address) == address


def test_the_local_one_may_have_a_password() -> None:
    """No one else can view the local system's functions."""
    address = f"mongodb://user:{PASSWORD}@localhost:27017/"
    assert mongodb_address.resolve(address) == address


def test_what_a_secret_holds_is_nobodys_business() -> None:
    """A secret may hold any address: with a password, for IAM, or for a server without access control."""
    for address in (*WITH_CREDENTIALS, *BY_IAM, *WITHOUT_ANY):
        assert mongodb_address.resolve(ARN, partial(_held, address)) == address


def _held(address: str, _arn: str, _region: str) -> str:
    return address


@pytest.mark.parametrize(
    ("addresses", "says"),
    [
        (WITH_CREDENTIALS, "contains credentials"),
        ([f"{BY_IAM[0]}&authMechanismProperties=AWS_SESSION_TOKEN:{PASSWORD}"], "contains credentials"),
        (WITHOUT_ANY, "does not say how to authenticate"),
        (["mongodb://a.example/?authMechanism=MONGODB-AWS", "mongodb://a.example/?AUTHMECHANISM=MONGODB-AWS"], "TLS"),
        (["postgres://a.example/", PASSWORD, "arn:aws:ssm:eu-central-1:123456789012:parameter/m"], "neither"),
    ],
    ids=["password", "session token", "no way in", "no TLS", "no address"],
)
def test_any_other_is_refused_without_being_quoted(addresses: list[str], says: str) -> None:
    """The error names the setting and says what to do, without quoting the address."""
    for address in addresses:
        with pytest.raises(InvalidSettings) as caught:
            Settings.from_env({**COMPLETE, "OPPORTUNE_MONGODB_URL": address}, PREFERENCES)
        message = caught.value.message
        assert message.startswith("OPPORTUNE_MONGODB_URL: "), message
        assert says in message, message
        assert PASSWORD not in message
        assert "abcde" not in message


def test_what_else_is_wrong_is_said_as_well() -> None:
    """One error names all settings that are wrong."""
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_env({"OPPORTUNE_MONGODB_URL": WITH_CREDENTIALS[0]}, PREFERENCES)
    assert "OPPORTUNE_MONGODB_URL: contains credentials" in caught.value.message
    assert "OPPORTUNE_SIGNING_SECRET is missing" in caught.value.message
