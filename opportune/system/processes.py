"""Processes known by pid *and* start time, so that a reused pid is never mistaken for ours.

Only the standard library is imported here: the watchdog must be up within milliseconds.
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

CHILDREN_FILE = "children.jsonl"
OWNER_FILE = "owner.json"
_POLL_S = 0.01


def start_time(pid: int) -> str | None:
    """Return when process *pid* started, in the system's own notation; None if it does not run."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        # The second field, the command, may itself hold spaces and brackets.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(shown) < 2 or shown[0].startswith("Z") else shown[1].strip()


@dataclass(frozen=True)
class Process:
    """A process that was running when it was written down."""

    pid: int
    started: str
    name: str

    @classmethod
    def running(cls, pid: int, name: str) -> "Process":
        """Return the identity of the running process *pid* (an ended one gets an empty start time)."""
        return cls(pid=pid, started=start_time(pid) or "", name=name)

    def alive(self) -> bool:
        """Say whether this very process, not a later one with its pid, still runs."""
        return bool(self.started) and start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal if the process still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def kill(processes: Iterable[Process], patience_s: float = 5.0) -> list[Process]:
    """End *processes* with SIGKILL and wait until they are gone; return those that ran."""
    killed = [process for process in processes if process.alive()]
    for process in killed:
        process.send(signal.SIGKILL)
    deadline = time.monotonic() + patience_s
    while any(process.alive() for process in killed) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return killed


def record(run_dir: Path, process: Process) -> None:
    """Append *process* to the children of the run in *run_dir*."""
    line = json.dumps(asdict(process)) + "\n"
    with (run_dir / CHILDREN_FILE).open("a", encoding="utf-8") as file:
        file.write(line)


def recorded(run_dir: Path) -> list[Process]:
    """Return the children recorded in *run_dir*; a line cut off by a kill is left out."""
    try:
        lines = (run_dir / CHILDREN_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    children = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            children.append(Process(**json.loads(line)))
    return children


def claim(run_dir: Path) -> None:
    """Create *run_dir* and write down this process as its owner."""
    run_dir.mkdir(parents=True, exist_ok=True)
    owner = Process.running(os.getpid(), "owner")
    (run_dir / OWNER_FILE).write_text(json.dumps(asdict(owner)), encoding="utf-8")


def owner_alive(run_dir: Path) -> bool:
    """Say whether the process that claimed *run_dir* still runs."""
    try:
        owner = Process(**json.loads((run_dir / OWNER_FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return False
    return owner.alive()


def sweep(run_dir: Path) -> list[Process]:
    """End what the run in *run_dir* left running, remove the folder, return what was ended.

    Its data goes with it, so nothing needs a clean end.
    """
    ended = kill(process for process in recorded(run_dir) if process.pid != os.getpid())
    shutil.rmtree(run_dir, ignore_errors=True)
    return ended
