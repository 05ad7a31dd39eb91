"""`opportune replay`: campaigns over recorded events, printed for people or for programs."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from console.compile import compile_campaign
from opportune import files, streams
from opportune.replay import Fire, Replay
from shared.ruleset import Campaign

HOUR_MS = 3_600_000
BAR = 40


def load_campaigns(paths: Sequence[Path], env: Mapping[str, str]) -> list[Campaign]:
    """Return the compiled campaigns of files and folders, by id."""
    found: dict[str, Campaign] = {}
    for path in paths:
        for campaign in files.load(path, env).campaigns:
            found[campaign.id] = compile_campaign(campaign)
    return [found[name] for name in sorted(found)]


def run(
    paths: Sequence[Path], events: Path, mapping: str, *, as_json: bool, console: Console, progress: Progress
) -> None:
    """Replay *events* and print one line per fire (*as_json*), or a summary."""
    replay = Replay(load_campaigns(paths, {}))
    stream = streams.read(events, streams.parse_map(mapping))
    if as_json:
        for fire in replay.run(stream):
            sys.stdout.write(fire.as_json() + "\n")
        return
    with progress:
        task = progress.add_task("replaying", total=None)
        fires: list[Fire] = []
        for fire in replay.run(stream):
            fires.append(fire)
            progress.update(task, completed=replay.events)
        progress.update(task, completed=replay.events, total=replay.events)
    summarise(replay, fires, console)


def summarise(replay: Replay, fires: Sequence[Fire], console: Console) -> None:
    """Print a table of campaigns and a chart of matches per hour."""
    table = Table(title=f"{replay.events} events, {replay.relevant} relevant, {replay.duplicates} duplicates")
    for column in ("campaign", "matches", "users"):
        table.add_column(column, justify="left" if column == "campaign" else "right")
    for name in replay.campaigns:
        mine = [fire for fire in fires if fire.campaign == name]
        table.add_row(name, str(len(mine)), str(len({fire.user for fire in mine})))
    console.print(table)
    hours = Counter(fire.at // HOUR_MS for fire in fires)
    most = max(hours.values(), default=0)
    for hour in range(min(hours, default=0), max(hours, default=-1) + 1):
        stamp = datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC).strftime("%Y-%m-%d %H:00")
        console.print(f"{stamp} {'█' * round(BAR * hours[hour] / most)} {hours[hour]}", highlight=False)
