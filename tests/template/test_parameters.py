"""Parameters that CloudFormation refuses before it creates anything."""

import pytest

from shared import mongodb_address
from shared.errors import InvalidSettings
from tests.support.stacks import AUTHENTICATION, Stack, allows, required
from tests.template.conftest import Template
from tests.unit.shared.test_mongodb_address import BY_IAM, WITH_CREDENTIALS, WITHOUT_ANY


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (AUTHENTICATION["by secret"], []),
        (AUTHENTICATION["by IAM"], []),
        ({}, ["Set MongoDbSecretArn to authenticate with a password, or MongoDbAddress to authenticate with IAM."]),
        (
            {**AUTHENTICATION["by secret"], **AUTHENTICATION["by IAM"]},
            ["Set MongoDbSecretArn or MongoDbAddress, not both - the functions use a password or IAM."],
        ),
    ],
    ids=["secret", "IAM", "neither", "both"],
)
def test_mongodb_has_one_authentication(template: Template, given: dict[str, str], refused: list[str]) -> None:
    """A password or IAM: neither and both are refused, each with a message that says what to do."""
    neither = {"MongoDbSecretArn": "", "MongoDbAddress": ""}
    assert Stack(template, {**required(template), **neither, **given}).broken_rules() == refused


@pytest.mark.parametrize("address", [*BY_IAM, "", *WITH_CREDENTIALS, *WITHOUT_ANY])
def test_an_address_with_a_password_is_refused(template: Template, address: str) -> None:
    """Parameters are readable in the stack, so the pattern refuses every address that the functions would refuse."""
    allowed = allows(template, "MongoDbAddress", address)
    assert allowed == (address in (*BY_IAM, ""))
    if allowed and address:
        assert mongodb_address.resolve(address) == address
    elif address:
        with pytest.raises(InvalidSettings):
            mongodb_address.resolve(address)
