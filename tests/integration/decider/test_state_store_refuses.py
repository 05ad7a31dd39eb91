"""A state store that cannot be used: the reason in the log, for a real server and for a client of a cluster."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from decider.user_state import UserStateStore
from decider.wiring import redis_client as connect
from opportune.system.ports import HOST, free_port
from shared.errors import Unavailable
from tests.support.builders import WINS, call_for
from tests.support.tls import TlsFront, certificate

PASSWORD = "a-password-nobody-may-read"
IN_CLUSTER = pytest.mark.parametrize("clustered", [False, True], ids=["alone", "cluster"])


@pytest.fixture(name="user")
def _user(valkey_url: str) -> Iterator[str]:
    """Yield the address with a user that may connect, but do nothing else."""
    with Redis.from_url(valkey_url) as admin:
        commands = ["-@all", "+@connection", "+cluster", "+command"]
        admin.acl_setuser("opportune", enabled=True, reset=True, passwords=[f"+{PASSWORD}"], commands=commands)
        yield valkey_url.replace("redis://", f"redis://opportune:{PASSWORD}@")
        admin.acl_deluser("opportune")


@pytest.fixture(name="front")
def _front(valkey_url: str, tmp_path: Path) -> Iterator[TlsFront]:
    """Yield TLS in front of Valkey, with an untrusted certificate."""
    front = TlsFront(port_of(valkey_url), *certificate(tmp_path))
    yield front
    front.stop()


def port_of(url: str) -> int:
    """Return the port in a URL."""
    return int(url.rpartition(":")[2].partition("/")[0])


def refusal(url: str, *, clustered: bool) -> str:
    """Return the error of the first event that is not decided."""
    rows = UserStateStore(lambda: connect(url, cluster=clustered))
    calls = [call_for(WINS, f"user-{n}", "1", at=1) for n in range(20)]
    with pytest.raises(Unavailable) as caught:
        list(map(rows.apply, calls))
    assert caught.value.code == "state_unavailable"
    assert PASSWORD not in str(caught.value)
    return caught.value.message.removeprefix("state store: ")


@IN_CLUSTER
def test_a_wrong_password(user: str, clustered: bool) -> None:
    """Neither the right password nor the wrong one is quoted."""
    assert refusal(user.replace(PASSWORD, "wrong"), clustered=clustered) == "user or password was rejected"


def test_a_user_who_may_not_run_scripts(user: str) -> None:
    """The error concerns every row, not a single unreadable one."""
    assert refusal(user, clustered=False) == "the user lacks the permission"


@IN_CLUSTER
def test_an_untrusted_certificate(front: TlsFront, clustered: bool) -> None:
    """The client never falls back to TLS without verification."""
    said = refusal(f"rediss://{HOST}:{front.port}/0", clustered=clustered)
    assert said == "its certificate is not trusted: self-signed certificate"


def test_a_certificate_for_another_host(front: TlsFront, tmp_path: Path) -> None:
    """A trusted certificate is valid for its own host only."""
    url = f"rediss://localhost:{front.port}/0?ssl_ca_certs={tmp_path / 'certificate.pem'}"
    assert "not valid for 'localhost'" in refusal(url, clustered=False)


@IN_CLUSTER
def test_a_certificate_that_is_not_there(front: TlsFront, tmp_path: Path, clustered: bool) -> None:
    """The CA file was not deployed."""
    url = f"rediss://{HOST}:{front.port}/0?ssl_ca_certs={tmp_path / 'missing.pem'}"
    assert refusal(url, clustered=clustered) == "a file that its address names does not exist"


def test_a_setting_that_says_nothing_of_cluster_mode(cluster_url: str) -> None:
    """Most rows are on other nodes: the setting is wrong, not a row."""
    said = refusal(cluster_url, clustered=False)
    assert said == "it is in cluster mode, but OPPORTUNE_REDIS_CLUSTER is not true"


def test_a_setting_that_says_cluster_mode_in_vain(valkey_url: str) -> None:
    """A single server has no slots."""
    assert refusal(valkey_url, clustered=True) == "it is not in cluster mode, but OPPORTUNE_REDIS_CLUSTER is true"


@IN_CLUSTER
def test_no_server_is_there(clustered: bool) -> None:
    """The reason is the operating system's message."""
    assert refusal(f"redis://{HOST}:{free_port()}/0", clustered=clustered) == "no connection: Connection refused"


@IN_CLUSTER
def test_no_server_responds(clustered: bool) -> None:
    """The server accepts the connection, and never responds."""
    with socket.create_server((HOST, 0)) as silent:
        url = f"redis://{HOST}:{silent.getsockname()[1]}/0"
        assert refusal(url, clustered=clustered) == "timed out"
