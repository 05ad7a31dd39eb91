"""``stack.json``: the state file in which a running local stack tells other commands where it is."""

import json
import os
from pathlib import Path
from typing import Any

from opportune.system.errors import LocalStackError
from opportune.system.processes import Process

NAME = "stack.json"


class StackUrls:
    """The URLs of a running stack. The state file holds them under these names."""

    http_url: str
    lambda_url: str
    aws_url: str
    redis_url: str
    mongodb_url: str
    queue_url: str
    dead_letter_url: str
    doorbells_url: str
    dead_doorbells_url: str
    dead_schedules_url: str

    def urls(self) -> dict[str, str]:
        """Return the URLs by name."""
        return {name: getattr(self, name) for name in StackUrls.__annotations__}


def running_stack(state_dir: Path) -> dict[str, Any] | None:
    """Return the state of the stack that runs in *state_dir*, or None if none is ready.

    pid, started: identify the process
    the URLs: see `StackUrls`
    run_dir, logs_dir: folders of the run
    keys: write keys by the variable that definitions name
    identity_secret, signing_secret: the secrets of this run
    clock: of the functions, as in OPPORTUNE_CLOCK
    """
    state = _read(state_dir / NAME)
    return state if state and "http_url" in state and _alive(state) else None


def claim(state_dir: Path) -> str | None:
    """Reserve *state_dir* for this process; return a line about a dead stack that was removed, or None.

    Raise `LocalStackError` if a stack already runs there.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    path, removed = state_dir / NAME, None
    draft = _draft(path, {})
    try:
        while True:
            try:
                # Unlike a rename, a link never replaces a file that another process just created.
                os.link(draft, path)
            except FileExistsError:
                state = _read(path)
                if state and _alive(state):
                    raise LocalStackError(
                        f"a local stack already runs in {state_dir} "
                        f"(process {state['pid']}, {state.get('http_url', 'still starting')}): "
                        "stop it, or use another folder"
                    ) from None
                path.unlink(missing_ok=True)
                removed = f"removed {NAME} of process {(state or {}).get('pid', '?')}, which no longer runs"
            else:
                return removed
    finally:
        draft.unlink()


def publish(state_dir: Path, state: dict[str, Any]) -> None:
    """Write *state*: the stack of this process is ready."""
    _draft(state_dir / NAME, state).replace(state_dir / NAME)


def release(state_dir: Path) -> None:
    """Remove the state file if it is this process's."""
    state = _read(state_dir / NAME)
    if state and state.get("pid") == os.getpid():
        (state_dir / NAME).unlink(missing_ok=True)


def _draft(path: Path, state: dict[str, Any]) -> Path:
    me = Process.running(os.getpid(), "stack")
    draft = path.with_suffix(f".{me.pid}")
    draft.touch(mode=0o600)  # the file holds write keys and secrets
    draft.write_text(json.dumps({"pid": me.pid, "started": me.started, **state}, indent=2), encoding="utf-8")
    return draft


def _read(path: Path) -> dict[str, Any] | None:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def _alive(state: dict[str, Any]) -> bool:
    return Process(int(state.get("pid", 0)), str(state.get("started", "")), "stack").alive()
