"""Authentication with IAM at MongoDB: with the current credentials, or an error that says why it failed."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pymongo_auth_aws import auth

from opportune.system.ports import HOST
from opportune.system.subprocesses import Subprocesses
from refresher import wiring
from shared import mongodb
from shared.errors import Unavailable
from shared.settings import DECIDER, ENGAGER, PREFERENCES, REFRESHER, Settings
from tests.support.atlas import Atlas
from tests.support.caller_identity import Key, Sts, computer, new_key
from tests.support.secured_mongod import SecuredMongod, role_arn

Know = Callable[[Mapping[str, str]], None]


@pytest.fixture(name="cluster", scope="module")
def _cluster(servers: Subprocesses) -> Iterator[SecuredMongod]:
    with SecuredMongod(servers) as cluster:
        yield cluster


@pytest.fixture(name="sts")
def _sts() -> Sts:
    return Sts()


@pytest.fixture(name="atlas")
def _atlas(cluster: SecuredMongod, sts: Sts) -> Iterator[Atlas]:
    with Atlas(cluster, sts) as atlas:
        yield atlas


@pytest.fixture(name="know", autouse=True)
def _know() -> Iterator[Callable[[Mapping[str, str]], None]]:
    """Return a function that sets variables in an environment without credentials."""
    with computer() as know:
        yield know


def look(url: str) -> Any:
    """Read with a function's client over a new connection; raise `Unavailable`."""
    database = mongodb.database(url, "opportune")
    with closing(database.client), mongodb.translate_errors():
        return database.control.find_one({"_id": "demo"})


@pytest.mark.parametrize("function", [DECIDER, ENGAGER, REFRESHER, PREFERENCES])
def test_a_function_enters_as_its_role(function: str, atlas: Atlas, sts: Sts, know: Know) -> None:
    """The credentials in the environment sign the request, including the session token. No password is used."""
    know(sts.issue(role_arn(function)).environment)
    look(atlas.url)
    assert atlas.entered == [role_arn(function)]


def test_the_refreshers_own_client_enters_too(atlas: Atlas, sts: Sts, know: Know) -> None:
    """Its client has longer timeouts and is created elsewhere."""
    know(sts.issue(role_arn(REFRESHER)).environment)
    database = wiring.build(Settings(REFRESHER, mongodb_url=atlas.url, mongodb_database="opportune")).database
    with closing(database.client):
        assert database.control.find_one() is None
    assert atlas.entered == [role_arn(REFRESHER)]


def spoilt(key: Key, what: str) -> Key:
    """Return *key* with an error in it."""
    other = new_key()
    return {
        "secret": key._replace(secret=other.secret),
        "token": key._replace(token=other.token),
        "no token": key._replace(token=""),
        "unknown": other,
    }.get(what, key)


@pytest.mark.parametrize("what", ["secret", "token", "no token", "unknown", "expired", "no user"])
def test_who_is_not_let_in_learns_so_and_nothing_else(what: str, atlas: Atlas, sts: Sts, know: Know) -> None:
    """The error has its own code and does not quote the credentials."""
    key = sts.issue("arn:aws:iam::123456789012:role/stranger" if what == "no user" else role_arn(DECIDER))
    if what == "expired":
        sts.expire(key)
    given = spoilt(key, what)
    know(given.environment)
    with pytest.raises(Unavailable) as caught:
        look(atlas.url)
    assert caught.value.code == "database_refused"
    assert "check that the role is a database user" in caught.value.message
    assert not any(secret in str(caught.value) + str(caught.value.__cause__) for secret in (*given, *key) if secret)
    assert (len(atlas.refused), atlas.entered) == (1, [])


def test_without_credentials_the_error_says_that(atlas: Atlas) -> None:
    """Nothing is signed or sent."""
    with pytest.raises(Unavailable, match="no AWS credentials") as caught:
        look(atlas.url)
    assert caught.value.code == "no_credentials"
    assert (atlas.refused, atlas.entered) == ([], [])


def test_why_there_are_none_is_said_where_it_is_known(atlas: Atlas, know: Know) -> None:
    """The error names a missing profile, which the operator can fix."""
    know({"AWS_PROFILE": "nobody"})
    with pytest.raises(Unavailable, match="no AWS credentials: ProfileNotFound"):
        look(atlas.url)


def test_a_right_that_is_lacking_is_named(atlas: Atlas, sts: Sts, know: Know) -> None:
    """The error has the action and the collection, without personal data."""
    know(sts.issue(role_arn(PREFERENCES)).environment)
    database = mongodb.database(atlas.url, "opportune")
    with closing(database.client), pytest.raises(Unavailable) as caught, mongodb.translate_errors():
        database.customers.find_one({"_id": "demo:anna"})
    assert (caught.value.code, caught.value.message) == (
        "database_refused",
        "MongoDB: the user lacks a right: find customers",
    )


def test_a_warm_environment_enters_anew_with_new_credentials(atlas: Atlas, sts: Sts, know: Know) -> None:
    """Open connections remain when the credentials change. New connections are signed with the new ones."""
    first, second = sts.issue(role_arn(DECIDER)), sts.issue(role_arn(DECIDER))
    know(first.environment)
    database = mongodb.database(atlas.url, "opportune")
    with closing(database.client), mongodb.translate_errors():
        database.control.find_one()
        sts.expire(first)
        know(second.environment)
        database.control.find_one()
        assert len(atlas.entered) == 1
        atlas.hang_up()
        database.control.find_one()
    assert (len(atlas.entered), atlas.refused) == (2, [])


class Container:
    """The endpoint from which functions started from a snapshot get credentials, with their expiry."""

    def __init__(self) -> None:
        self.key, self.good_for, self.asked = new_key(), timedelta(hours=1), 0
        container = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                container.asked += 1
                key, until = container.key, datetime.now(UTC) + container.good_for
                answer = {"AccessKeyId": key.id, "SecretAccessKey": key.secret, "Token": key.token}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({**answer, "Expiration": until.isoformat()}).encode())

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = HTTPServer((HOST, 0), Answer)
        self.url = f"http://{HOST}:{self._server.server_port}/credentials"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(name="container")
def _container(know: Know) -> Iterator[Container]:
    with closing(Container()) as container:
        know({"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url})
        yield container


def test_credentials_with_an_end_are_used_until_shortly_before_it(atlas: Atlas, sts: Sts, container: Container) -> None:
    """They are fetched once for many connections, and again in their last minute."""
    container.key = sts.issue(role_arn(ENGAGER))
    for _ in range(2):
        look(atlas.url)
    assert container.asked == 1
    auth.set_cached_credentials(None)
    container.good_for = timedelta(seconds=30)
    look(atlas.url)
    container.key = sts.issue(role_arn(PREFERENCES))
    look(atlas.url)
    assert atlas.entered == [*[role_arn(ENGAGER)] * 3, role_arn(PREFERENCES)]


def test_credentials_that_were_refused_are_not_used_again(atlas: Atlas, sts: Sts, container: Container) -> None:
    """AWS may revoke them before they expire; the next connection then fetches new ones."""
    container.key = sts.issue(role_arn(ENGAGER))
    look(atlas.url)
    sts.expire(container.key)
    container.key = sts.issue(role_arn(ENGAGER))
    with pytest.raises(Unavailable):
        look(atlas.url)
    look(atlas.url)
    assert (container.asked, len(atlas.entered), len(atlas.refused)) == (2, 2, 1)
