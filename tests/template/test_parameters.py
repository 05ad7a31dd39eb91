"""What is refused before anything is made."""

import pytest

from shared import mongodb_address
from shared.errors import InvalidSettings
from tests.support.stacks import ENTERED, Stack, allows, required
from tests.template.conftest import Template
from tests.unit.shared.test_mongodb_address import BY_IAM, WITH_CREDENTIALS, WITHOUT_ANY


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (ENTERED["by secret"], []),
        (ENTERED["by IAM"], []),
        ({}, ["Give MongoDbSecretArn, to enter MongoDB with a password, or MongoDbAddress, to enter it by IAM."]),
        (
            {**ENTERED["by secret"], **ENTERED["by IAM"]},
            ["Give MongoDbSecretArn or MongoDbAddress, not both - MongoDB is entered with a password or by IAM."],
        ),
    ],
    ids=["secret", "IAM", "neither", "both"],
)
def test_mongodb_is_entered_one_way(template: Template, given: dict[str, str], refused: list[str]) -> None:
    """With a password or by IAM: neither and both are refused, each with a message that says what to do."""
    neither = {"MongoDbSecretArn": "", "MongoDbAddress": ""}
    assert Stack(template, {**required(template), **neither, **given}).broken_rules() == refused


@pytest.mark.parametrize("address", [*BY_IAM, "", *WITH_CREDENTIALS, *WITHOUT_ANY])
def test_no_password_is_taken_for_an_address(template: Template, address: str) -> None:
    """A parameter is shown to whoever looks at the stack: what the functions would refuse, it refuses first."""
    taken = allows(template, "MongoDbAddress", address)
    assert taken == (address in (*BY_IAM, ""))
    if taken and address:
        assert mongodb_address.resolve(address) == address
    elif address:
        with pytest.raises(InvalidSettings):
            mongodb_address.resolve(address)
