"""Print explanations as tables."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from opportune.replay.explain.model import Entry, Explained
from opportune.replay.explain.words import day, duration, stamp


def print_explanations(user: str, explanations: Sequence[Explained], console: Console) -> None:
    """Print one table per campaign, with its outcome below."""
    for explained in explanations:
        heading = Text(explained.campaign, style="bold cyan")
        heading.append(f"  {explained.name}", style="not bold default")
        heading.append(f"\n{explained.trigger}", style="not bold default dim")
        console.print(heading)
        console.print(_table(explained.events))
        verdict = Text(f"{user}: ", style="bold")
        verdict.append(explained.verdict, style="green" if explained.matches else "yellow")
        console.print(verdict)
        console.print()


def _table(entries: Sequence[Entry]) -> Table:
    table = Table()
    table.add_column("UTC", no_wrap=True)
    table.add_column("event and role")
    table.add_column("effect")
    today = ""
    for is_quiet, group in groupby(entries, key=lambda entry: entry.status == "irrelevant" and not entry.why_not):
        rows = list(group)
        if day(rows[0].at) != today:
            today = day(rows[0].at)
            table.add_row(Text(today, style="bold"))
        if is_quiet:
            names = ", ".join(dict.fromkeys(entry.event or "" for entry in rows))
            what = f"{len(rows)} × {names}" if len(rows) > 1 else names
            meaning = Text("not used by this campaign", style="dim")
            table.add_row(_clock(rows[0]), Text(what, style="dim"), meaning)
            today = day(rows[-1].at)
            continue
        for entry in rows:
            if day(entry.at) != today:
                today = day(entry.at)
                table.add_row(Text(today, style="bold"))
            table.add_row(_clock(entry), _event(entry), _effects(entry))
    return table


def _clock(entry: Entry) -> str:
    return stamp(entry.at, near=entry.at)


def _event(entry: Entry) -> Text:
    text = Text(entry.shown, style="italic" if entry.status == "deadline" else "")
    if entry.roles:
        text.append(f"\n{', '.join(entry.roles)}", style="dim")
    return text


def _effects(entry: Entry) -> Text:
    lines: list[tuple[str, str]] = []
    if entry.progress is not None:
        complete = entry.progress.reached == entry.progress.of
        lines.append((entry.progress.text, "green" if complete else ""))
    lines += [(effect, "magenta" if entry.status == "duplicate" else "") for effect in entry.effects]
    if entry.fired is not None:
        took = duration(entry.fired.at - entry.fired.since)
        after = f", {took} after its first event" if entry.fired.at > entry.fired.since else ""
        lines.append((f"FIRES ({entry.fired.reason}){after}", "bold green"))
        if entry.fired.gate is not None:
            lines.append((f"live, the gate {entry.fired.gate} would stop it", "yellow"))
    if entry.why_not is not None:
        lines.append((entry.why_not, "dim" if entry.status == "irrelevant" else "yellow"))
    text = Text()
    for number, (line, style) in enumerate(lines):
        text.append("\n" * bool(number) + line, style=style)
    return text
