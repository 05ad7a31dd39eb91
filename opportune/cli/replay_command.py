"""`opportune replay`: campaigns over recorded events, for people, for programs and as a report."""

import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from definitions.checks.check import check
from definitions.compiler import delivery
from definitions.compiler.ruleset import compile_campaign
from definitions.loading import folder
from definitions.model.campaign import Campaign
from definitions.model.site import Site
from gateway.times import parse_ms
from opportune.events import streams
from opportune.events.streams import Recorded
from opportune.replay import report, summary
from opportune.replay.engine import Match, Replay
from opportune.replay.explain import explanation, table
from opportune.replay.explain.words import count as number_of
from opportune.replay.explain.words import stamp
from opportune.replay.gates import Gates, LiveCampaign, judge
from opportune.replay.result import Backtest, Span
from opportune.replay.tally import Tally
from shared.errors import InvalidDefinition, OpportuneError

SAMPLE_BYTES = 1 << 20
TICK = 1 << 13  # events between two movements of the progress bar


class InvalidReplay(OpportuneError):
    """A replay that cannot be run as it was asked for."""

    code = "invalid_replay"


@dataclass(frozen=True)
class Request:
    """What to replay, as it is typed; ``mapping`` and ``until`` are still text, ``user``: whom to explain."""

    campaigns: Sequence[Path]
    events: Path
    mapping: str = ""
    until: str | None = None
    in_order: bool = False
    user: str | None = None
    html: Path | None = None
    as_json: bool = False


def load(paths: Sequence[Path], env: Mapping[str, str]) -> list[tuple[Campaign, Site]]:
    """Return the campaigns of files and folders, by id, with their sites; the same one may be in several of them."""
    found: dict[str, tuple[Campaign, Site]] = {}
    for path in paths:
        definitions = check(folder.load(path), env)
        for campaign in definitions.campaigns:
            if found.setdefault(campaign.id, (campaign, definitions.site))[0] != campaign:
                raise InvalidDefinition(f"{path}: another campaign has the id '{campaign.id}' too, and it differs")
    if not found:
        raise InvalidDefinition(f"there is no campaign in {', '.join(str(path) for path in paths)}")
    return [found[name] for name in sorted(found)]


def run(request: Request, *, out: Console, err: Console) -> int:
    """Replay and print what is wanted; return the exit code: 1 for a user who has no events."""
    _check(request)
    loaded = load(request.campaigns, {})
    with _progress_bar(err, shown=not (request.as_json and out.is_terminal)) as progress:
        recording = _Recording(request, progress)
        if request.user is None:
            backtest = _replay(loaded, recording, as_json=request.as_json)
        else:
            seen = explanation.gather(recording.events(), request.user, in_order=request.in_order)
    if request.user is not None:
        return _explain(request, recording, loaded, seen, out=out, err=err)
    if not request.as_json:
        summary.print_summary(backtest, out)
    if request.html is not None:
        _write(request.html, report.render(backtest))
        if not request.as_json:
            out.print(f"report: {request.html}", markup=False, highlight=False)
    return 0


class _Recording:
    """The recorded events: what is noted while they are read once."""

    def __init__(self, request: Request, progress: Progress) -> None:
        self.path = request.events
        self.span = Span()
        self._mapping = streams.parse_map(request.mapping)
        self._until = None if request.until is None else _time(request.until)
        self._in_order = request.in_order
        self._progress = progress

    @property
    def until(self) -> int:
        """To when (ms) the clock runs: known when all events are read."""
        return max(self.span.last, self._until or 0)

    def events(self) -> Iterator[Recorded]:
        """Yield the events as they stand in the file, noting span and users and moving the progress bar."""
        progress, span, until = self._progress, self.span, self._until
        task = progress.add_task(f"reading {self.path.name}", total=_estimate(self.path))
        users = span.users
        last = passed = 0
        for event in streams.read_events(self.path, self._mapping):
            at = event.at
            if at > last:
                span.last = last = at
                if until is not None and at > until:
                    raise InvalidReplay(
                        f"{event.where}: this event ({stamp(at)}) is later than --until ({stamp(until)}), "
                        "which is for letting the clock run on after the last event"
                    )
            if span.first is None or at < span.first:
                span.first = at
            users.add(event.user)
            passed += 1
            if not passed % TICK:
                progress.update(task, completed=passed)
            yield event
        progress.update(task, completed=passed, total=passed)

    def in_order(self) -> Iterable[Recorded]:
        """Return the events in the order in which they are to be replayed."""
        if not self._in_order:
            return self.events()
        events = sorted(self.events(), key=lambda event: event.at)
        return self._progress.track(events, description="in order of time")


def _replay(loaded: Sequence[tuple[Campaign, Site]], recording: _Recording, *, as_json: bool) -> Backtest:
    """Replay, adding up and (*as_json*) printing the matches as they happen."""
    live = _live(loaded)
    replay, gates = Replay([each.campaign for each in live]), Gates(live)
    tallies = {each.campaign.id: Tally() for each in live}

    def count(matches: Iterable[Match]) -> None:
        for match, gate in gates.judge(matches):
            tallies[match.campaign].add(match, gate)
            if as_json:
                sys.stdout.write(match.as_json(gate) + "\n")

    count(replay.run(recording.in_order()))
    count(replay.finish(recording.until))
    return Backtest(
        name=recording.path.name,
        campaigns=[campaign for campaign, _ in loaded],
        tallies=tallies,
        span=recording.span,
        until=recording.until,
        events=replay.events,
        relevant=replay.relevant,
        duplicates=replay.duplicates,
    )


def _live(loaded: Sequence[tuple[Campaign, Site]]) -> list[LiveCampaign]:
    return [LiveCampaign(compile_campaign(campaign, site), site.id, delivery.caps(site)) for campaign, site in loaded]


def _explain(
    request: Request,
    recording: _Recording,
    loaded: Sequence[tuple[Campaign, Site]],
    seen: Sequence[explanation.TimedEvent],
    *,
    out: Console,
    err: Console,
) -> int:
    user = request.user or ""
    if not seen:
        err.print(_unknown(user, request.events.name, recording.span.users), markup=False, highlight=False)
        return 1
    stories = explanation.explain([campaign for campaign, _ in loaded], seen, recording.until)
    judge(user, stories, _live(loaded))
    if request.as_json:
        told = {"user": user, "events": len(seen), "until": recording.until, "campaigns": stories}
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    else:
        table.print_stories(user, stories, out)
    return 0


def _time(text: str) -> int:
    at = parse_ms(text)
    if at is None:
        raise InvalidReplay(f"--until: {text!r} is no ISO-8601 time and no milliseconds: write 2026-01-31T12:00:00Z")
    return at


def _progress_bar(console: Console, *, shown: bool) -> Progress:
    """Return a bar over the events, gone when it is done; in files and pipes there is none."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} events"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )


def _estimate(path: Path) -> float | None:
    """Return about how many lines a file has, judged by its first megabyte; ``None`` where it cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
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


def _check(request: Request) -> None:
    """Refuse before the work what could not be done after it."""
    path = request.html
    if path is None:
        return
    if request.user is not None:
        raise InvalidReplay("--explain is about one user and --html about all of them: choose one")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InvalidReplay(f"--html: {path} is no file in an existing folder")


def _unknown(user: str, name: str, users: set[str]) -> str:
    wanted = user.strip().lower()
    like = sorted(each for each in users if wanted and wanted in each.lower())[:3]
    hint = f", such as {', '.join(repr(each) for each in like)}" if like else ""
    return f"{name} has no event of user {user!r}; it has events of {number_of(len(users), 'user')}{hint}"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidReplay(f"--html: {path} cannot be written: {error.strerror}") from error
