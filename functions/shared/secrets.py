"""Secrets: a setting may hold the ARN of a secret, so that the secret itself is in no environment."""

import re
from collections.abc import Callable
from typing import Any

from shared.errors import InvalidSettings, Unavailable

_ARN = re.compile(r"arn:[^:]+:secretsmanager:(?P<region>[^:]+):\d+:secret:.+")


def resolve(value: str, read: Callable[[str, str], str] | None = None) -> str:
    """Return *value*, or the text of the secret if it is the ARN of one.

    *read* takes ARN and region; the default asks Secrets Manager and raises `InvalidSettings` for a
    secret without text, `Unavailable` where it cannot be read. No message quotes a secret.
    """
    arn = _ARN.fullmatch(value)
    return (read or read_secret)(value, arn["region"]) if arn else value


def read_secret(arn: str, region: str, **options: Any) -> str:
    """Return the text of the secret *arn*; *options* go to boto3."""
    # Half a second of cold start that only a function with a secret pays.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    # Reading has no effect, so it may be repeated; all tries together fit into Lambda's ten seconds of start.
    config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 3})
    client = boto3.session.Session().client("secretsmanager", region_name=region, config=config, **options)
    try:
        answer = client.get_secret_value(SecretId=arn)
    except (BotoCoreError, ClientError) as error:
        reason = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        raise Unavailable(f"the secret {arn} cannot be read: {reason}", code="secret_unavailable") from error
    if "SecretString" not in answer:
        raise InvalidSettings(f"the secret {arn} holds no text")
    text: str = answer["SecretString"]
    return text
