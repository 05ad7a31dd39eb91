"""Tokens for ElastiCache: what they sign, for which user, and for how long."""

from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest

from decider.iam import REUSED_MS, TOKEN_S, IamCredentials, read_arn
from shared.errors import InvalidSettings

SERVERLESS = "arn:aws:elasticache:eu-central-1:123456789012:serverlesscache:opportune-1"
GROUP = "arn:aws:elasticache:eu-west-1:123456789012:replicationgroup:opportune-2"


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.ms = 1

    def __call__(self) -> int:
        return self.ms


def session() -> botocore.session.Session:
    """Return a session with the temporary credentials of a role."""
    made = botocore.session.Session()
    made.set_credentials("AKID", "secret", "session-token")
    return made


def asked(arn: str) -> tuple[str, dict[str, list[str]]]:
    """Return user and query of a token for the cache *arn*."""
    user, token = IamCredentials("opportune", read_arn(arn), Time(), session).get_credentials()
    assert token.startswith(f"{read_arn(arn).name}/?")
    return user, parse_qs(urlsplit(f"https://{token}").query)


def test_a_token_asks_to_connect() -> None:
    """It names the user and the kind of cache, is signed for ElastiCache in the cache's Region, and expires."""
    user, query = asked(SERVERLESS)
    assert user == "opportune"
    assert (query["Action"], query["User"]) == (["connect"], ["opportune"])
    assert query["ResourceType"] == ["ServerlessCache"]
    assert query["X-Amz-Expires"] == [str(TOKEN_S)]
    assert query["X-Amz-Credential"][0].endswith("/eu-central-1/elasticache/aws4_request")
    assert query["X-Amz-Security-Token"] == ["session-token"]
    assert query["X-Amz-Signature"]


def test_a_replication_group_is_no_serverless_cache() -> None:
    """Its tokens name no kind, but its Region."""
    _, query = asked(GROUP)
    assert "ResourceType" not in query
    assert "/eu-west-1/" in query["X-Amz-Credential"][0]


def test_a_token_is_used_again_while_it_has_time_left() -> None:
    """For ten minutes all connections get the same token; then a new one is made."""
    clock, made = Time(), []

    def counted() -> botocore.session.Session:
        made.append(clock.ms)
        return session()

    provider = IamCredentials("opportune", read_arn(SERVERLESS), clock, counted)
    first = provider.get_credentials()
    clock.ms += REUSED_MS - 1
    assert provider.get_credentials() == first
    clock.ms += 1
    provider.get_credentials()
    assert made == [1, 1 + REUSED_MS]
    assert REUSED_MS / 1000 < TOKEN_S - 60


@pytest.mark.parametrize("arn", ["opportune", "arn:aws:elasticache:eu-central-1:123456789012:cluster:x", ""])
def test_another_arn_is_refused(arn: str) -> None:
    """The error names an ARN that is not a cache's."""
    with pytest.raises(InvalidSettings, match="serverless cache"):
        read_arn(arn)


def test_a_token_of_the_future_is_not_used_again() -> None:
    """The clock was ahead when the token was made, so ElastiCache rejects it."""
    clock, made = Time(), []

    def counted() -> botocore.session.Session:
        made.append(clock.ms)
        return session()

    provider = IamCredentials("opportune", read_arn(SERVERLESS), clock, counted)
    for clock.ms in (3_600_000, 1, 2):
        provider.get_credentials()
    assert made == [3_600_000, 1]
