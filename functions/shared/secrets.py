"""Read secrets. A setting may contain the ARN of a secret, which keeps the secret out of the environment."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from shared.clock import Clock
from shared.errors import InvalidSettings, OpportuneError, Unavailable

_NOT_FOUND = "ResourceNotFoundException"
_ARN = re.compile(r"arn:[^:]+:secretsmanager:(?P<region>[^:]+):\d+:secret:.+")


def resolve(value: str, read: Callable[[str, str], str] | None = None) -> str:
    """Return *value*, or the text of the secret if it is the ARN of one.

    read: takes ARN and region; the default reads from Secrets Manager.

    Raises `InvalidSettings` for a secret without text, and `Unavailable` if it cannot be read. No message quotes a
    secret.
    """
    arn = _ARN.fullmatch(value)
    return (read or read_secret)(value, arn["region"]) if arn else value


def resolve_versions(value: str, read: Callable[[str, str], list[str]] | None = None) -> list[str]:
    """Return the current text of the secret *value* and, after a rotation, the previous one; *value* if not an ARN."""
    arn = _ARN.fullmatch(value)
    return (read or read_versions)(value, arn["region"]) if arn else [value]


class LazySecret:
    """A secret that is read at its first use and then cached.

    After a failure it is not read again for *pause_ms*, so many requests that need it do not become many slow calls.
    """

    def __init__(self, value: str, clock: Clock, read: Callable[[str], str] = resolve, pause_ms: int = 10_000) -> None:
        self._value = value
        self._clock = clock
        self._read = read
        self._pause_ms = pause_ms
        self._found: str | None = None
        self._failure: OpportuneError | None = None
        self._failed_at = 0

    def __call__(self) -> str:
        """Return the secret; raise the error of *read*, or its last error during the pause."""
        if self._found is None:
            if self._failure is not None and 0 <= self._clock() - self._failed_at < self._pause_ms:
                raise self._failure
            try:
                self._found = self._read(self._value)
            except OpportuneError as error:
                self._failure, self._failed_at = error, self._clock()
                raise
        return self._found


def read_secret(arn: str, region: str, **options: Any) -> str:
    """Return the text of the secret *arn*; *options* go to botocore."""
    text = _read(arn, region, "AWSCURRENT", **options)
    if text is None:
        raise Unavailable(f"the secret {arn} cannot be read: {_NOT_FOUND}", code="secret_unavailable")
    return text


def read_versions(arn: str, region: str, **options: Any) -> list[str]:
    """Return the text of the secret *arn*, and its previous one if there is one."""
    # In this order, a rotation between the two reads misses only the new version, which is not in use yet.
    text = read_secret(arn, region, **options)
    before = _read(arn, region, "AWSPREVIOUS", **options)
    return [text] if before is None else [text, before]


def _read(arn: str, region: str, stage: str, **options: Any) -> str | None:
    """Return the text of the version at *stage*; ``None`` if there is none."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only a function with a secret needs it

    try:
        response = _client(region, **options).get_secret_value(SecretId=arn, VersionStage=stage)
    except (BotoCoreError, ClientError) as error:
        reason = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        if reason == _NOT_FOUND:
            return None
        raise Unavailable(f"the secret {arn} cannot be read: {reason}", code="secret_unavailable") from error
    if "SecretString" not in response:
        raise InvalidSettings(f"the secret {arn} contains no text")
    text: str = response["SecretString"]
    return text


@cache
def _client(region: str, **options: Any) -> Any:
    """Return the cached client for *region*. It needs botocore only, which loads faster than boto3."""
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    # Reads are safe to retry. All attempts together fit into the ten seconds that Lambda allows for a start.
    config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 3})
    return botocore.session.get_session().create_client("secretsmanager", region_name=region, config=config, **options)
