"""A stand-in for AWS STS: identify the signer of a GetCallerIdentity request.

It follows the specification of Signature Version 4, independently of the library that signs.
https://github.com/mongodb/specifications/blob/master/source/auth/auth.md#mongodb-aws
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import os
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pymongo_auth_aws import auth

HOST = "sts.eu-central-1.amazonaws.com"
BODY = "Action=GetCallerIdentity&Version=2011-06-15"
LATEST = timedelta(minutes=5)
SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)")


class Key(NamedTuple):
    """AWS credentials; those of a role have a session token."""

    id: str
    secret: str
    token: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that Lambda sets for a function."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return dict(zip(names, self, strict=True))


def new_key() -> Key:
    """Return credentials of a role."""
    return Key(f"ASIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30), secrets.token_urlsafe(90))


NOWHERE = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def computer(**variables: str) -> Iterator[Callable[[Mapping[str, str]], None]]:
    """Replace the AWS part of this process's environment by *variables*; yield a function that adds to them.

    The driver caches some of what it reads, so the cache is emptied before and after.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    _know({**NOWHERE, **variables})
    try:
        yield os.environ.update
    finally:
        _know(before)


def _know(variables: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(variables)
    auth.set_cached_credentials(None)


class Unidentified(Exception):
    """The request was not signed with a known key."""


class Sts:
    """The known keys, with the ARN of each."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[Key, str]] = {}

    def issue(self, arn: str) -> Key:
        """Return a new key for *arn*."""
        key = new_key()
        self._keys[key.id] = (key, arn)
        return key

    def expire(self, key: Key) -> None:
        """Revoke *key*."""
        del self._keys[key.id]

    def identify(self, proof: Mapping[str, str], nonce: bytes) -> str:
        """Return the ARN of the signer of a request that contains MongoDB's *nonce*; raise `Unidentified`."""
        found = SIGNED.fullmatch(proof["a"])
        if not found:
            raise Unidentified("no header of Signature Version 4")
        key, arn = self._keys.get(found[1], (None, ""))
        if key is None:
            raise Unidentified("an access key that is not known")
        if abs(datetime.strptime(proof["d"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - datetime.now(UTC)) > LATEST:
            raise Unidentified("signed too long ago")
        headers = {
            "content-length": str(len(BODY)),
            "content-type": "application/x-www-form-urlencoded",
            "host": HOST,
            "x-amz-date": proof["d"],
            **({"x-amz-security-token": key.token} if key.token else {}),
            "x-mongodb-gs2-cb-flag": "n",
            "x-mongodb-server-nonce": b64encode(nonce).decode(),
        }
        if found[3] != ";".join(headers):
            raise Unidentified(f"other headers are signed: {found[3]}")
        if not hmac.compare_digest(found[4], _signature(key.secret, found[2], headers)):
            raise Unidentified("signed with another secret key, or with another session token")
        return arn


def _signature(secret: str, scope: str, headers: Mapping[str, str]) -> str:
    lines = [f"{name}:{value}" for name, value in headers.items()]
    request = "\n".join(["POST", "/", "", *lines, "", ";".join(headers), hashlib.sha256(BODY.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):  # date, region, service, aws4_request
        key = hmac.digest(key, part.encode(), "sha256")
    hashed = hashlib.sha256(request.encode()).hexdigest()
    return hmac.digest(
        key, "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashed]).encode(), "sha256"
    ).hex()
