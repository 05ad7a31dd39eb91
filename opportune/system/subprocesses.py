"""Child processes of a run: started, waited for, stopped, and never left behind.

Each child gets a session of its own, so that Ctrl-C reaches only the parent, which then stops
its subprocesses in order. Each is recorded in the run folder with its start time; the watchdog, or
the next start, stops what a killed parent left.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from opportune.system import processes
from opportune.system.errors import LocalStackError
from opportune.system.processes import Process

# What a child sees of the caller's environment. No AWS profile, no proxy, no setting of another
# installation may change what runs locally.
INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "USER", "VIRTUAL_ENV")
_TAIL_BYTES = 8192


class Subprocess:
    """A started process and its log file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.disposable = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe of a child that was started with ``piped=True``."""
        if self.process.stdout is None:
            raise LocalStackError(f"{self.name} was started without a pipe")
        return self.process.stdout

    def alive(self) -> bool:
        """Say whether the process still runs."""
        return self.process.poll() is None

    def last_lines(self, count: int = 12) -> str:
        """Return the last *count* lines of the log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-count:])

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until *ready* returns true; raise `LocalStackError` with the log's end otherwise."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.alive():
                raise self.failure(f"ended with exit code {self.process.returncode} while starting")
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready after {timeout_s:g} s")
            time.sleep(0.02)

    def failure(self, what: str) -> LocalStackError:
        """Return an error that says *what* happened, with the end of the log."""
        return LocalStackError(f"{self.name} {what}; the end of {self.log}:\n{self.last_lines()}")

    def wait(self, timeout_s: float) -> bool:
        """Wait for the process to end by itself; say whether it did."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()


class Subprocesses:
    """The subprocesses of one run. Use as a context manager, or call `stop`; both are idempotent."""

    def __init__(self, run_dir: Path, logs_dir: Path, environ: Mapping[str, str]) -> None:
        self.run_dir = run_dir
        self._logs_dir = logs_dir
        self._environ = {name: environ[name] for name in INHERITED if name in environ}
        self._subprocesses: list[Subprocess] = []
        self._lock = threading.Lock()
        self._stopped = False
        processes.claim(run_dir)
        logs_dir.mkdir(parents=True, exist_ok=True)
        self._watchdog = self._spawn(
            "watchdog",
            [sys.executable, "-m", "opportune.system.watchdog", str(run_dir)],
            stdin=subprocess.PIPE,
        )

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: str | None = None,
        cwd: Path | None = None,
        piped: bool = False,
        pass_fds: Sequence[int] = (),
        disposable: bool = False,
    ) -> Subprocess:
        """Start *command*; its output is appended to ``logs/<log or name>.log``.

        *env* is added to the inherited part of the environment. ``piped`` keeps standard output
        back for `Subprocess.stdout`. *pass_fds* are inherited under the same numbers. A *disposable*
        child has nothing to put in order and is killed at once. Raises `LocalStackError` if it
        cannot be started or the run is already being stopped.
        """
        with self._lock:
            if self._stopped:
                raise LocalStackError(f"{name} was not started: the local stack is stopping")
            child = self._spawn(
                name,
                command,
                env=env,
                log=log,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else None,
                pass_fds=pass_fds,
            )
            child.disposable = disposable
            self._subprocesses = [other for other in self._subprocesses if other.alive()]
            self._subprocesses.append(child)
        return child

    def stop(self, grace_s: float = 3.0) -> None:
        """Stop all subprocesses at once: SIGTERM, after *grace_s* seconds SIGKILL."""
        with self._lock:
            self._stopped = True
            subprocesses, self._subprocesses = self._subprocesses, []
        for child in subprocesses:
            if child.disposable:
                child.process.kill()
            else:
                child.process.terminate()
        deadline = time.monotonic() + grace_s
        for child in subprocesses:
            if not child.wait(max(0.0, deadline - time.monotonic())):
                child.kill()
            if child.process.stdout is not None:
                child.process.stdout.close()
        if self._watchdog.process.stdin is not None:
            self._watchdog.process.stdin.close()
        self._watchdog.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: str | None = None,
        cwd: Path | None = None,
        stdin: int,
        stdout: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Subprocess:
        path = self._logs_dir / f"{log or name}.log"
        with path.open("ab") as file:
            try:
                process = subprocess.Popen(
                    command,
                    env=self._environ | dict(env or {}),
                    cwd=cwd,
                    stdin=stdin,
                    stdout=file if stdout is None else stdout,
                    stderr=file,
                    start_new_session=True,
                    pass_fds=pass_fds,
                )
            except OSError as error:
                raise LocalStackError(f"{name} cannot be started: {error}") from error
        processes.record(self.run_dir, Process.running(process.pid, name))
        return Subprocess(name, process, path)


def sweep_dead_runs(state_dir: Path) -> list[str]:
    """Stop and remove what killed runs left in *state_dir*; return one line per run that was swept."""
    swept = []
    for run_dir in sorted(state_dir.glob("run-*")):
        if not processes.owner_alive(run_dir):
            stopped = ", ".join(process.name for process in processes.sweep(run_dir)) or "nothing"
            swept.append(f"removed {run_dir.name} of a killed run (still running: {stopped})")
    return swept
