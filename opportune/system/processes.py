"""Identify processes by pid and start time, because the system reuses pids.

Import only the standard library here: the watchdog must start within milliseconds.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

SUBPROCESSES_FILE = "subprocesses.jsonl"
OWNER_FILE = "owner.json"
_POLL_S = 0.01


def start_time(pid: int) -> str | None:
    """Return when process *pid* started, in the system's own notation, or None if it is not running."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        # The second field is the command, which may contain spaces and parentheses.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(shown) < 2 or shown[0].startswith("Z") else shown[1].strip()


@dataclass(frozen=True)
class Process:
    """A process, as recorded while it was running."""

    pid: int
    started: str
    name: str

    @classmethod
    def running(cls, pid: int, name: str) -> "Process":
        """Return the identity of process *pid*. The start time is empty if it has ended."""
        return cls(pid=pid, started=start_time(pid) or "", name=name)

    def alive(self) -> bool:
        """Return whether this process still runs, and not a later one with the same pid."""
        return bool(self.started) and start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def kill(processes: Iterable[Process], patience_s: float = 5.0) -> list[Process]:
    """Kill *processes*, wait up to *patience_s* seconds for their end, and return those that were running."""
    killed = [process for process in processes if process.alive()]
    for process in killed:
        process.send(signal.SIGKILL)
    deadline = time.monotonic() + patience_s
    while any(process.alive() for process in killed) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return killed


def record(run_dir: Path, process: Process) -> None:
    """Record *process* as a subprocess of the run in *run_dir*."""
    line = json.dumps(asdict(process)) + "\n"
    with (run_dir / SUBPROCESSES_FILE).open("a", encoding="utf-8") as file:
        file.write(line)


def recorded(run_dir: Path) -> list[Process]:
    """Return the subprocesses recorded in *run_dir*, without a line that a kill cut off."""
    try:
        lines = (run_dir / SUBPROCESSES_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            found.append(Process(**json.loads(line)))
    return found


def claim(run_dir: Path) -> None:
    """Create *run_dir* and record this process as its owner."""
    run_dir.mkdir(parents=True, exist_ok=True)
    owner = Process.running(os.getpid(), "owner")
    (run_dir / OWNER_FILE).write_text(json.dumps(asdict(owner)), encoding="utf-8")


def owner_alive(run_dir: Path) -> bool:
    """Return whether the owner of *run_dir* still runs."""
    try:
        owner = Process(**json.loads((run_dir / OWNER_FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return False
    return owner.alive()


def sweep(run_dir: Path) -> list[Process]:
    """Kill the processes that the run in *run_dir* left, remove the folder, and return what was killed.

    The data of the run is deleted too, so no process needs an orderly shutdown.
    """
    ended = kill(process for process in recorded(run_dir) if process.pid != os.getpid())
    shutil.rmtree(run_dir, ignore_errors=True)
    return ended
