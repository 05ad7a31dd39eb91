"""Read a file of recorded events once, and note its time span and its users on the way."""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.progress import Progress

from opportune.events import streams
from opportune.events.streams import Recorded
from opportune.replay.explain.words import stamp
from opportune.replay.result import Span
from shared.errors import OpportuneError
from shared.files import open_regular
from shared.times import parse_ms

SAMPLE_BYTES = 1 << 20
TICK = 1 << 13  # events between two updates of the progress bar


class InvalidReplay(OpportuneError):
    """A replay cannot be run with these options."""

    code = "invalid_replay"


class Recording:
    """The events of a file.

    mapping: the columns of a CSV, as given to `--map`.
    until: the time to which the clock runs after the last event, if any: ISO 8601 or ms.
    file_format: of NDJSON, one of `formats.NAMES`.
    in_order: whether to sort the events by time.
    span: the time span and the users, complete when all events have been read.
    """

    def __init__(
        self,
        path: Path,
        *,
        mapping: str,
        until: str | None,
        in_order: bool,
        progress: Progress,
        file_format: str = "segment",
    ) -> None:
        self._format = file_format
        self.path = path
        self.in_order = in_order
        self.span = Span()
        self._mapping = streams.parse_map(mapping)
        self._until = None if until is None else _parse_until(until)
        self._progress = progress

    @property
    def until(self) -> int:
        """The time (ms) to which the clock runs, known when all events have been read."""
        return max(self.span.last, self._until or 0)

    def __iter__(self) -> Iterator[Recorded]:
        """Yield the events like `read`."""
        return self.read()

    def read(self) -> Iterator[Recorded]:
        """Yield the events in the order of the file.

        Raise `InvalidReplay` for an event after ``until``, and `InvalidStream` if the file cannot be read.
        """
        progress, span, until = self._progress, self.span, self._until
        task = progress.add_task(f"reading {self.path.name}", total=_estimate_lines(self.path))
        users = span.users
        last = done = 0
        for event in streams.read_events(self.path, self._mapping, file_format=self._format):
            at = event.at
            if at > last:
                span.last = last = at
                if until is not None and at > until:
                    raise InvalidReplay(
                        f"{event.where}: this event ({stamp(at)}) is later than --until ({stamp(until)}): "
                        "choose a time after the last event"
                    )
            if span.first is None or at < span.first:
                span.first = at
            users.add(event.user)
            if event.visitor:
                users.discard(event.visitor)
            done += 1
            if not done % TICK:
                progress.update(task, completed=done)
            yield event
        progress.update(task, completed=done, total=done)

    def read_in_order(self) -> Iterable[Recorded]:
        """Return the events in the order in which to replay them."""
        if not self.in_order:
            return self.read()
        events = sorted(self.read(), key=lambda event: event.at)
        for event in events:  # as if each had arrived when it happened
            event.received = 0
        return self._progress.track(events, description="replaying")


def _parse_until(text: str) -> int:
    at = parse_ms(text)
    if at is None:
        raise InvalidReplay(f"--until: expected an ISO 8601 time such as 2026-01-31T12:00:00Z, or ms, got {text!r}")
    return at


def _estimate_lines(path: Path) -> float | None:
    """Return the approximate number of lines, judged by the first megabyte; ``None`` if it cannot be read."""
    try:
        size = path.stat().st_size
        with open_regular(path) as file:
            sample = file.read(SAMPLE_BYTES)
    except OSError:
        return None
    share = len(sample) / size if size else 1.0
    if path.suffix == ".gz":
        try:
            sample = zlib.decompressobj(wbits=31).decompress(sample)
        except zlib.error:
            return None
    return sample.count(b"\n") / share or None
