"""Find the system for a command: from its options, else from the environment, else the running local system."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo.database import Database

from opportune.system.state_file import running_stack
from shared import mongodb, secrets
from shared.errors import OpportuneError
from shared.mongodb import Document
from shared.signing import check_secret

STATE_DIR = Path(".opportune")
ANSWER_MS = 130_000  # for commands only: refreshing or counting all customers takes long
SIGNING_SECRET = "OPPORTUNE_SIGNING_SECRET"  # the variable's name


class NotConnected(OpportuneError):
    """No option, variable or running local system says where the system is."""

    code = "not_connected"


def database(url: str | None = None) -> Database[Document]:
    """Return the system's database; *url* is the value of --mongodb-url."""
    return mongodb.database(
        _find(url, "OPPORTUNE_MONGODB_URL", "mongodb_url", "--mongodb-url"),
        os.environ.get("OPPORTUNE_MONGODB_DATABASE", "opportune"),
        answer_ms=ANSWER_MS,
    )


@contextmanager
def opened(url: str | None = None) -> Iterator[Database[Document]]:
    """Yield the system's database, and close its client afterwards."""
    found = database(url)
    try:
        yield found
    finally:
        found.client.close()


def endpoint(url: str | None = None) -> str:
    """Return the URL of the public endpoint; *url* is the value of --url."""
    return _find(url, "OPPORTUNE_URL", "http_url", "--url")


def signing_secret() -> str:
    """Return the secret that signs links and webhooks. If the variable holds an ARN, look up the secret."""
    stack = running_stack(STATE_DIR) or {}
    secret = secrets.resolve(os.environ.get(SIGNING_SECRET, "")) or stack.get("signing_secret")
    if not secret:
        raise NotConnected(
            f"no running system: start one with `opportune run`, or set {SIGNING_SECRET} to the secret or its ARN"
        )
    return check_secret(str(secret))


def environment() -> dict[str, str]:
    """Return the environment variables, and the write keys of the running local system."""
    stack = running_stack(STATE_DIR)
    return {**(stack.get("keys", {}) if stack else {}), **os.environ}


def _find(given: str | None, variable: str, entry: str, option: str) -> str:
    stack: dict[str, Any] | None = running_stack(STATE_DIR)
    found = given or os.environ.get(variable) or (stack or {}).get(entry)
    if not found:
        raise NotConnected(
            f"no system runs in {Path.cwd()}: start one with `opportune run`, change to the folder of a running "
            f"one, or give {option} (or set {variable})"
        )
    return str(found)
