"""`opportune run`: the demo passes, shows what differs, and cleans up after itself and after killed runs."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from opportune.demo.scenario.play import play
from opportune.events.send import Busy, Endpoint
from tests.support.command_line import program
from tests.support.whole_system import System


def opportune(*arguments: str, cwd: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the command line in *cwd*; return its output and exit code."""
    return subprocess.run(
        [program(), *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=100, **options
    )


def test_the_demo_passes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """The exit code is 0, every outcome is as expected, and no process, lock or data is left."""
    done = opportune("run", "--once", cwd=tmp_path, env={**os.environ, "COLUMNS": "160"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 13 as expected" in done.stdout
    assert done.stdout.count("✓") == 13
    assert {path.name for path in (tmp_path / ".opportune").iterdir()} == {"logs"}


def test_a_killed_run_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    """After kill -9, the next run reports what it removed, and passes."""
    run = subprocess.Popen(
        [sys.executable, "-m", "opportune", "run"], cwd=tmp_path, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert run.stdout is not None
    for line in run.stdout:
        if "function decider" in line and "ready" in line:
            break
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    done = opportune("run", "--once", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cleaned up" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_busy_port_is_a_clear_message(tmp_path: Path) -> None:
    """The error names the port, nothing starts, and the exit code is 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = opportune("run", "--once", "--port", str(port), cwd=tmp_path)
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_serving_ends_cleanly_on_interrupt(tmp_path: Path) -> None:
    """Without --once it serves the demo site until Ctrl-C, then stops everything."""
    run = subprocess.Popen(
        [sys.executable, "-m", "opportune", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "160"},
    )
    assert run.stdout is not None
    url = ""
    for line in run.stdout:
        url = (re.findall(r"demo site\s+(http\S+)", line) or [url])[0]
        if "Ctrl-C" in line:
            break
    assert url
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    rest = run.stdout.read()
    run.stdout.close()
    assert run.wait(timeout=20) == 0
    assert "Traceback" not in rest
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0])), timeout=1)


class BlindObserver:
    """An observer that sees no matches and too many messages."""

    speed = 1.0

    def matches(self, user: str, campaign: str) -> list[dict[str, Any]]:
        """Return no matches."""
        return [] if user and campaign else [{}]

    def arrived(self, channel: str, to: str) -> int:
        """Return too many messages."""
        return 2 if channel and to else 0

    def settle(self) -> None:
        """Do not wait."""


def test_the_demo_fails_if_an_outcome_differs(system: System) -> None:
    """The users are unknown and the observer is wrong, so every case that expects something fails."""
    results = list(play(system.browser, system.server, BlindObserver(), "strangers"))
    assert [result.passed for result in results] == [False, *[True] * 3, *[False] * 9]


def test_an_endpoint_that_is_away_is_an_error(system: System) -> None:
    """The error names a wrong address."""
    away = Endpoint("http://127.0.0.1:1", "key")
    with pytest.raises(Exception, match="cannot be reached"):
        list(play(away, system.server, BlindObserver(), "x", retry_busy=False))


class BusyEndpoint(Endpoint):
    """An endpoint that responds with 503 to the first request."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key)
        self.asked: list[str] = []

    def post(self, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """Record the message; accept it the second time."""
        self.asked.append(body["messageId"])
        if len(self.asked) == 1:
            raise Busy("503")
        return super().post(path, body)


def test_the_demo_retries_a_busy_endpoint(system: System) -> None:
    """On a busy machine a function may start too slowly for the first event. The demo retries it, as trackers do."""
    endpoint = BusyEndpoint(system.stack.http_url, "wk_demo_public")
    first = next(play(endpoint, system.server, BlindObserver(), "busy"))
    assert first.actual == "nothing"
    assert len(endpoint.asked) == 4
    assert len(set(endpoint.asked)) == 3
