"""Reading a secret, as the functions do at start."""

from typing import Any

import pytest

from shared import secrets
from shared.errors import InvalidSettings, Unavailable
from tests.conftest import Aws

REGION = "eu-central-1"
NOWHERE = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gone-AbCdEf"


def local(aws: Aws) -> dict[str, Any]:
    """Return the options that lead boto3 to the stand-in."""
    return {"endpoint_url": aws.url, "aws_access_key_id": "local", "aws_secret_access_key": "local"}


def test_the_text_of_a_secret_is_read(aws: Aws) -> None:
    """What was stored comes back."""
    stored = aws.client("secretsmanager").create_secret(Name="mongodb", SecretString="mongodb://u:p@host/")
    assert secrets.read_secret(stored["ARN"], REGION, **local(aws)) == "mongodb://u:p@host/"


def test_a_missing_secret_is_named(aws: Aws) -> None:
    """The error has the ARN and the reason."""
    with pytest.raises(Unavailable, match=f"{NOWHERE}.*ResourceNotFound") as caught:
        secrets.read_secret(NOWHERE, REGION, **local(aws))
    assert caught.value.code == "secret_unavailable"


def test_a_secret_of_bytes_is_refused(aws: Aws) -> None:
    """An address is text."""
    stored = aws.client("secretsmanager").create_secret(Name="bytes", SecretBinary=b"\x00")
    with pytest.raises(InvalidSettings, match="no text"):
        secrets.read_secret(stored["ARN"], REGION, **local(aws))
