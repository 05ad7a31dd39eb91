"""Authenticate with ElastiCache by IAM: short-lived tokens instead of a password, signed locally.

A token is a signed request that is never sent: its URL without the scheme is the password of a connection. ElastiCache
accepts it for fifteen minutes, and closes the connection twelve hours later.
https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from botocore.model import ServiceId
from botocore.signers import RequestSigner
from redis.credentials import CredentialProvider

from shared.clock import Clock
from shared.errors import InvalidSettings, Unavailable

TOKEN_S = 900  # the maximum of ElastiCache
REUSED_MS = 600_000  # leaves a token five minutes when a connection is opened with it


class Cache(NamedTuple):
    """A cache that accepts tokens. ``serverless``: if not, it is a replication group."""

    region: str
    name: str
    serverless: bool


def read_arn(arn: str) -> Cache:
    """Return the cache that *arn* names; raises `InvalidSettings` if it is not an ARN of ElastiCache."""
    found = re.fullmatch(r"arn:[^:]+:elasticache:([^:]+):\d+:(serverlesscache|replicationgroup):([^:]+)", arn)
    if not found:
        raise InvalidSettings(f"not the ARN of a serverless cache or of a replication group: {arn!r}")
    return Cache(region=found[1], name=found[3], serverless=found[2] == "serverlesscache")


class IamCredentials(CredentialProvider):
    """User name and token for each new connection; a token is reused for ten minutes.

    *session*: makes the botocore session with the credentials that sign, at the first use.
    """

    def __init__(self, user: str, cache: Cache, clock: Clock, session: Callable[[], Any]) -> None:
        self._user = user
        self._cache = cache
        self._clock = clock
        self._session = session
        self._token = ""
        self._made = 0

    def get_credentials(self) -> tuple[str, str]:
        """Return user name and token for a new connection; raises `Unavailable` if there are no AWS credentials."""
        now = self._clock()
        if not self._token or not 0 <= now - self._made < REUSED_MS:
            self._token, self._made = self._sign(), now
        return self._user, self._token

    def _sign(self) -> str:
        session = self._session()
        credentials = session.get_credentials()
        if credentials is None:
            raise Unavailable("no AWS credentials to sign a token for the state store with", code="no_credentials")
        signer = RequestSigner(
            ServiceId("elasticache"),
            self._cache.region,
            "elasticache",
            "v4",
            credentials,
            session.get_component("event_emitter"),
        )
        kind = "&ResourceType=ServerlessCache" if self._cache.serverless else ""
        address = f"https://{self._cache.name}/?Action=connect&User={self._user}{kind}"
        request = {"method": "GET", "url": address, "body": {}, "headers": {}, "context": {}}
        signed: str = signer.generate_presigned_url(request, "connect", expires_in=TOKEN_S)
        return signed.removeprefix("https://")
