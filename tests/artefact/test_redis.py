"""The built functions on a Redis that a customer runs: a single node with TLS, and a password in a secret."""

import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from opportune.demo.scenario.model import TrackingClient, wait_for
from opportune.events.send import Busy
from tests.artefact.conftest import Artefacts, failed_cases, running
from tests.conftest import Aws
from tests.support.emulator import Runtime
from tests.support.native import USER, NativeRedis, native_redis
from tests.support.tls import certificate

# With characters that a URL must escape.
PASSWORD = f"{secrets.token_hex(8)}:/?#@%&é"
OTHER_PASSWORD = secrets.token_hex(8)


@pytest.fixture(name="store", scope="module")
def _store(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeRedis]:
    with native_redis(redis_server, tmp_path_factory.mktemp("redis"), PASSWORD) as store:
        yield store


@pytest.fixture(name="system", scope="module")
def _system(
    store: NativeRedis, runtime: Runtime, aws_server: Aws, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Artefacts]:
    """Yield the system on built functions. The Decider gets the ARN of a secret that holds the store's URL."""
    secret = aws_server.client("secretsmanager").create_secret(Name=uuid.uuid4().hex, SecretString=store.url)
    extra = {"OPPORTUNE_REDIS_URL": secret["ARN"], "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws_server.url}
    with running(tmp_path_factory.mktemp("own"), runtime.start, redis_url=store.url, extra_env=extra) as system:
        yield system


@pytest.mark.timeout(600)  # includes the build
def test_the_demo_passes(system: Artefacts, store: NativeRedis) -> None:
    """Every case of the demo scenario passes, and only the template's user connects to the store."""
    assert failed_cases(system) == []
    assert store.users() == {USER}


def test_a_password_that_has_changed_loses_no_event(system: Artefacts, store: NativeRedis) -> None:
    """The third win gets 503 until the password is right again, then its popup. No log contains a password."""
    wins = Wins(system, "you")
    assert [wins.send(1), wins.send(2)] == [[], []]
    store.set_password(OTHER_PASSWORD)
    with pytest.raises(Busy, match="503"):
        wins.send(3)
    assert wait_for(lambda: _has_logged(system, "user or password was rejected"))
    store.set_password(PASSWORD)
    assert wins.send(3) == ["three-wins"]
    logged = _logs(system)
    assert not [each for each in (OTHER_PASSWORD, PASSWORD.partition(":")[0]) if each in logged]


def test_a_certificate_that_is_not_trusted_is_refused(system: Artefacts, store: NativeRedis, tmp_path: Path) -> None:
    """A server with another certificate gets no event. The event is decided when the right server is back."""
    wins = Wins(system, f"grace-{system.token}")
    assert [wins.send(1), wins.send(2)] == [[], []]
    store.show(*certificate(tmp_path))
    with pytest.raises(Busy, match="503"):
        wins.send(3)
    assert wait_for(lambda: _has_logged(system, "its certificate is not trusted: self-signed certificate"))
    store.show(*store.pair)
    assert wins.send(3) == ["three-wins"]


class Wins:
    """The wins of one user, each with its own message id."""

    def __init__(self, system: Artefacts, user: str) -> None:
        self._client = TrackingClient(system.browser, system.server)
        self._user = user

    def send(self, number: int) -> list[str]:
        """Send win *number*, or send it again; return the campaigns of the popups in the response."""
        message_id = f"{self._user}-win-{number}"
        popups = self._client.track(self._user, "game_result", message_id=message_id, outcome="win")
        return [popup["campaign"] for popup in popups]


def _has_logged(system: Artefacts, reason: str) -> bool:
    """Return whether the Decider has logged *reason* with the code of an unavailable state store."""
    lines = _logs(system, "decider-").splitlines()
    return any(f'"reason":"state store: {reason}"' in each and '"code":"state_unavailable"' in each for each in lines)


def _logs(system: Artefacts, of: str = "") -> str:
    logs = sorted(system.stack.logs_dir.glob(f"{of}*.log"))
    return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)
