"""Subprocesses of a run: ready or reported, stopped, and never left behind by a killed parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from opportune.system import processes
from opportune.system.errors import LocalStackError
from opportune.system.processes import Process
from opportune.system.subprocesses import Subprocesses, sweep_dead_runs

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
PARENT = """
import os, sys, time
from pathlib import Path
from opportune.system.subprocesses import Subprocesses
state = Path(sys.argv[1])
subprocesses = Subprocesses(state / f"run-{os.getpid()}", state / "logs", os.environ)
subprocesses.start("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])
print("up", flush=True)
time.sleep(600)
"""


def _until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def _killed_run(state_dir: Path, *, watchdog_too: bool) -> tuple[Path, list[Process]]:
    """Start a parent with one subprocess and kill the parent; return its run folder and its processes."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(state_dir)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"up\n"
    run_dir = state_dir / f"run-{parent.pid}"
    watchdog, sleeper = processes.recorded(run_dir)
    if watchdog_too:
        watchdog.send(signal.SIGKILL)
        assert _until(lambda: not watchdog.alive())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    return run_dir, [watchdog, sleeper]


def test_the_watchdog_cleans_up_after_a_killed_parent(tmp_path: Path) -> None:
    """When the parent is killed, its subprocesses end and its run folder is deleted, without another start."""
    run_dir, left = _killed_run(tmp_path, watchdog_too=False)
    assert _until(lambda: not any(process.alive() for process in left))
    assert _until(lambda: not run_dir.exists())


def test_the_next_start_cleans_up_if_the_watchdog_was_killed_too(tmp_path: Path) -> None:
    """What outlived parent and watchdog is found by pid and start time, stopped and reported."""
    run_dir, left = _killed_run(tmp_path, watchdog_too=True)
    assert left[1].alive()
    (line,) = sweep_dead_runs(tmp_path)
    assert run_dir.name in line
    assert "sleeper" in line
    assert not left[1].alive()
    assert not run_dir.exists()


def test_a_live_run_is_left_alone(tmp_path: Path) -> None:
    """The sweep leaves a run alone while its owner lives."""
    with Subprocesses(tmp_path / "run-1", tmp_path / "logs", os.environ) as subprocesses:
        child = subprocesses.start("sleeper", SLEEP)
        assert sweep_dead_runs(tmp_path) == []
        assert child.alive()


def test_a_reused_pid_is_not_touched(tmp_path: Path) -> None:
    """The sweep leaves a process alone that has a recorded pid but another start time."""
    with subprocess.Popen(SLEEP) as bystander:
        run_dir = tmp_path / "run-2"
        run_dir.mkdir()
        processes.record(run_dir, Process(bystander.pid, "another time", "sleeper"))
        sweep_dead_runs(tmp_path)
        assert bystander.poll() is None
        bystander.kill()


def test_stop_kills_a_subprocess_that_ignores_sigterm(tmp_path: Path) -> None:
    """SIGKILL follows SIGTERM after the grace period."""
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    )
    subprocesses = Subprocesses(tmp_path / "run", tmp_path / "logs", os.environ)
    child = subprocesses.start("stubborn", [sys.executable, "-c", stubborn], piped=True)
    assert child.stdout.readline() == b"1\n"
    subprocesses.stop(grace_s=0.2)
    assert child.process.returncode == -signal.SIGKILL
    with pytest.raises(LocalStackError, match="stopping"):
        subprocesses.start("late", SLEEP)


def test_a_subprocess_that_ends_while_starting_is_reported_with_its_log(tmp_path: Path) -> None:
    """The error has the exit code and the last lines of the log."""
    with Subprocesses(tmp_path / "run", tmp_path / "logs", os.environ) as subprocesses:
        child = subprocesses.start("broken", [sys.executable, "-c", "raise SystemExit('no luck')"])
        with pytest.raises(LocalStackError, match=r"(?s)exit code 1.*no luck"):
            child.wait_ready(lambda: False, 10)


def test_a_subprocess_that_is_never_ready_is_reported(tmp_path: Path) -> None:
    """The wait times out."""
    with Subprocesses(tmp_path / "run", tmp_path / "logs", os.environ) as subprocesses:
        child = subprocesses.start("slow", SLEEP)
        with pytest.raises(LocalStackError, match=r"not ready after 0\.1 s"):
            child.wait_ready(lambda: False, 0.1)


def test_subprocesses_see_neither_aws_profile_nor_proxy(tmp_path: Path) -> None:
    """Subprocesses get only a few named variables of the caller's environment."""
    environ = {**os.environ, "AWS_PROFILE": "work", "HTTP_PROXY": "http://proxy", "OPPORTUNE_REDIS_URL": "x"}
    with Subprocesses(tmp_path / "run", tmp_path / "logs", environ) as subprocesses:
        shown = "import os; print(' '.join(os.environ))"
        child = subprocesses.start("shower", [sys.executable, "-c", shown], env={"MINE": "1"}, piped=True)
        names = set(child.stdout.readline().decode().split())
    assert "MINE" in names
    assert not names & {"AWS_PROFILE", "HTTP_PROXY", "OPPORTUNE_REDIS_URL"}
