"""``stack.json``: which local stack runs for a state folder, so that other commands find it."""

import json
import os
from pathlib import Path
from typing import Any

from opportune.system.errors import LocalStackError
from opportune.system.processes import Process

NAME = "stack.json"


def running_stack(state_dir: Path) -> dict[str, Any] | None:
    """Return what the running stack of *state_dir* wrote down, or None if none is up.

    Keys: pid, started, http_url, lambda_url, aws_url, redis_url, mongodb_url, queue_url, dead_letter_url,
    doorbells_url, dead_doorbells_url, dead_schedules_url, run_dir, logs_dir, keys (write keys by variable),
    identity_secret, signing_secret, clock (of the functions, as in OPPORTUNE_CLOCK).
    """
    told = _read(state_dir / NAME)
    return told if told and "http_url" in told and _alive(told) else None


def claim(state_dir: Path) -> str | None:
    """Take *state_dir* for this process; return a line about a dead stack that was removed, if any.

    Raises `LocalStackError` if a stack runs there.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    path, removed = state_dir / NAME, None
    draft = _draft(path, {})
    try:
        while True:
            try:
                # Unlike a rename, a link never replaces what another process put there meanwhile.
                os.link(draft, path)
            except FileExistsError:
                told = _read(path)
                if told and _alive(told):
                    raise LocalStackError(
                        f"a local stack runs already in {state_dir} "
                        f"(process {told['pid']}, {told.get('http_url', 'still starting')}): "
                        "stop it, or use another state folder"
                    ) from None
                path.unlink(missing_ok=True)
                removed = f"removed {NAME} of process {(told or {}).get('pid', '?')}, which no longer runs"
            else:
                return removed
    finally:
        draft.unlink()


def publish(state_dir: Path, told: dict[str, Any]) -> None:
    """Write down that this process's stack is up, and where: *told*."""
    _draft(state_dir / NAME, told).replace(state_dir / NAME)


def release(state_dir: Path) -> None:
    """Remove what this process wrote down."""
    told = _read(state_dir / NAME)
    if told and told.get("pid") == os.getpid():
        (state_dir / NAME).unlink(missing_ok=True)


def _draft(path: Path, told: dict[str, Any]) -> Path:
    me = Process.running(os.getpid(), "stack")
    draft = path.with_suffix(f".{me.pid}")
    draft.touch(mode=0o600)  # it holds write keys and secrets
    draft.write_text(json.dumps({"pid": me.pid, "started": me.started, **told}, indent=2), encoding="utf-8")
    return draft


def _read(path: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _alive(told: dict[str, Any]) -> bool:
    return Process(int(told.get("pid", 0)), str(told.get("started", "")), "stack").alive()
