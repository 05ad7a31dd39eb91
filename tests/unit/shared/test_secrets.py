"""Settings that contain the ARN of a secret."""

import pytest

from shared import secrets

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mongodb-AbCdEf"


def unread(arn: str, region: str) -> str:
    """Fail, because the secret must not be read."""
    raise AssertionError((arn, region))


@pytest.mark.parametrize("value", ["mongodb://127.0.0.1/", "mongodb+srv://u:p@host/", "", "arn:aws:sqs:eu:1:q"])
def test_a_value_stays_what_it_is(value: str) -> None:
    """A value that is not the ARN of a secret is returned without a read."""
    assert secrets.resolve(value, unread) == value


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_the_arn_of_a_secret_is_replaced_by_its_text(partition: str) -> None:
    """The secret is read by its ARN, in its own region."""
    arn = ARN.replace(":aws:", f":{partition}:")
    asked = []

    def read(*question: str) -> str:
        asked.append(question)
        return "mongodb://secret"

    assert secrets.resolve(arn, read) == "mongodb://secret"
    assert asked == [(arn, "eu-central-1")]


def test_a_value_that_is_no_arn_is_its_only_version() -> None:
    """Nothing is read, so a secret in the environment cannot be rotated."""

    def none(arn: str, region: str) -> list[str]:
        raise AssertionError((arn, region))

    assert secrets.resolve_versions("x" * 32, none) == ["x" * 32]
    assert secrets.resolve_versions(ARN, lambda *question: list(question)) == [ARN, "eu-central-1"]
