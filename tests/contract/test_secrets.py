"""Reading secrets from Secrets Manager."""

from typing import Any

import pytest

from shared import secrets
from shared.errors import InvalidSettings, Unavailable
from tests.conftest import Aws

REGION = "eu-central-1"
NOWHERE = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gone-AbCdEf"


def local(aws: Aws) -> dict[str, Any]:
    """Return the options that connect botocore to the local stand-in."""
    return {"endpoint_url": aws.url, "aws_access_key_id": "local", "aws_secret_access_key": "local"}


def test_the_text_of_a_secret_is_read(aws: Aws) -> None:
    """The stored text is returned."""
    stored = aws.client("secretsmanager").create_secret(Name="mongodb", SecretString="mongodb://u:p@host/")
    assert secrets.read_secret(stored["ARN"], REGION, **local(aws)) == "mongodb://u:p@host/"


def test_a_missing_secret_is_named(aws: Aws) -> None:
    """The error has the ARN and the reason."""
    with pytest.raises(Unavailable, match=f"{NOWHERE}.*ResourceNotFound") as caught:
        secrets.read_secret(NOWHERE, REGION, **local(aws))
    assert caught.value.code == "secret_unavailable"


def test_a_secret_of_bytes_is_refused(aws: Aws) -> None:
    """Only text secrets are accepted."""
    stored = aws.client("secretsmanager").create_secret(Name="bytes", SecretBinary=b"\x00")
    with pytest.raises(InvalidSettings, match="no text"):
        secrets.read_secret(stored["ARN"], REGION, **local(aws))


def test_a_secret_has_one_version_until_it_is_rotated(aws: Aws) -> None:
    """After a rotation there are two, the newest first. Saving the same text twice ends the old one."""
    client = aws.client("secretsmanager")
    arn = client.create_secret(Name="origin", SecretString="first")["ARN"]
    assert secrets.read_versions(arn, REGION, **local(aws)) == ["first"]
    client.put_secret_value(SecretId=arn, SecretString="second")
    assert secrets.read_versions(arn, REGION, **local(aws)) == ["second", "first"]
    client.put_secret_value(SecretId=arn, SecretString="second")
    assert secrets.read_versions(arn, REGION, **local(aws)) == ["second", "second"]


def test_without_the_secret_there_are_no_versions(aws: Aws) -> None:
    """A missing previous version is normal; a missing secret is an error."""
    with pytest.raises(Unavailable, match=f"{NOWHERE}.*ResourceNotFound"):
        secrets.read_versions(NOWHERE, REGION, **local(aws))
