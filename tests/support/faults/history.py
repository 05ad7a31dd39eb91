"""The records of a trial: the checker reads nothing else."""

import json
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Expected:
    """The workload knows that this message completes a match of *campaign*."""

    message_id: str
    user: str
    campaign: str


@dataclass(frozen=True)
class Posted:
    """A request with one event and its *status* (0: no response) after *elapsed_s*; ``popups``: activations.

    ``at``: the second of the response.
    """

    message_id: str
    user: str
    status: int
    code: str
    elapsed_s: float
    popups: tuple[str, ...] = ()
    at: float = 0.0


@dataclass(frozen=True)
class Called:
    """A provider was called. ``began``, ``at``: when the request came in and when it was accepted, in seconds.

    ``key``: the idempotency key that a receiver may deduplicate by, where the channel has one.
    """

    provider: str
    activation: str
    mode: str
    accepted: bool
    began: float
    at: float
    key: str = ""


@dataclass(frozen=True)
class Revoked:
    """From second *at* on, *user* must get nothing more: of *activation*, of *message_id*, on *channel*, or at all.

    ``pseudonym``: of a forgotten user, in the ledger.
    """

    what: str
    user: str
    at: float
    channel: str = ""
    activation: str = ""
    message_id: str = ""
    pseudonym: str = ""


@dataclass(frozen=True)
class Lost:
    """The state store went back, at second *ended*, to what it had at second *began*."""

    began: float
    ended: float


@dataclass(frozen=True)
class Remains:
    """A store has something of a forgotten *user* at the end."""

    user: str
    where: str


@dataclass(frozen=True)
class Row:
    """A row of the ledger at the end; ``at``: ms of the match."""

    activation: str
    user: str
    campaign: str
    channel: str
    message_id: str
    state: str
    reason: str
    at: int


@dataclass(frozen=True)
class Dead:
    """A message in a dead-letter queue; its ids are empty if it cannot be read."""

    queue: str
    activation: str = ""
    message_id: str = ""
    campaign: str = ""


@dataclass(frozen=True)
class Killed:
    """A function was killed: ``point`` is where, or "anywhere"."""

    function: str
    point: str


@dataclass(frozen=True)
class Backlog:
    """The work that was left when the stated time after the last fault had passed."""

    timers: int
    unacknowledged: int
    queued: int
    held: int
    unsettled: int


@dataclass(frozen=True)
class Limit:
    """At most *most* activations within any *per_ms* of one user: of *campaign*, on *channel*, or of all."""

    most: int
    per_ms: int
    campaign: str = ""
    channel: str = ""


Record = Expected | Posted | Called | Revoked | Lost | Remains | Row | Dead | Killed | Backlog | Limit


@dataclass
class History:
    """All records of a trial, in memory and as NDJSON in *path*. Any thread may write."""

    path: Path
    records: list[Record] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: Record) -> None:
        """Append one record."""
        line = json.dumps({"kind": type(record).__name__, **asdict(record)})
        with self.lock:
            self.records.append(record)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def of(self, kind: type[R]) -> list[R]:
        """Return the records of one kind, in order."""
        with self.lock:
            return [record for record in self.records if isinstance(record, kind)]
