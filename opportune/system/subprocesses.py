"""Start, await and stop the subprocesses of a run, and never leave one behind.

Each subprocess gets its own session, so Ctrl-C reaches only the parent, which then stops the
subprocesses in order. The run folder records each one with its start time. If the parent is killed,
the watchdog or the next start stops what is left.
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

# Subprocesses inherit only these variables. An AWS profile, a proxy or a setting of another
# installation must not change what runs locally.
INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "USER", "VIRTUAL_ENV")
_TAIL_BYTES = 8192


class Subprocess:
    """A subprocess and its log file. A *disposable* one needs no orderly shutdown."""

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
        """The standard output of a subprocess that was started with ``piped=True``."""
        if self.process.stdout is None:
            raise LocalStackError(f"{self.name} was started without a pipe")
        return self.process.stdout

    def alive(self) -> bool:
        """Return whether the process still runs."""
        return self.process.poll() is None

    def last_lines(self, count: int = 12) -> str:
        """Return the last *count* lines of the log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-count:])

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until *ready* returns true. If the process ends first or time runs out, raise `LocalStackError`."""
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
        """Wait for the process to end; return whether it did within *timeout_s* seconds."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        self.process.kill()
        self.process.wait()


class Subprocesses:
    """The subprocesses of one run. Use it as a context manager, or call `stop`; both may be repeated."""

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
        """Start *command* and append its output to ``logs/<log or name>.log``.

        env: variables in addition to the inherited ones
        piped: keep standard output out of the log, for `Subprocess.stdout`
        pass_fds: file descriptors to inherit, under the same numbers
        disposable: kill the subprocess on stop, because it has nothing to put in order

        Raise `LocalStackError` if the command cannot be started or the run is already stopping.
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
        """Send SIGTERM to all subprocesses, and SIGKILL after *grace_s* seconds."""
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
    """Stop and remove what killed runs left in *state_dir*; return one line per run."""
    swept = []
    for run_dir in sorted(state_dir.glob("run-*")):
        if not processes.owner_alive(run_dir):
            stopped = ", ".join(process.name for process in processes.sweep(run_dir)) or "nothing"
            swept.append(f"removed {run_dir.name} of a killed run (still running: {stopped})")
    return swept
