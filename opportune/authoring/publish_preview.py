"""What a publish would change, before it does: field by field, and whose progress it costs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from pymongo.database import Database
from rich.console import Console
from rich.table import Table
from rich.text import Text

from definitions.publishing import versions
from definitions.publishing.changes import Change, changes
from opportune.authoring import publishing
from opportune.system.functions import ask
from shared.contracts import CountInProgress, InProgress
from shared.errors import OpportuneError
from shared.invoke import Invoke
from shared.mongodb import Document

LONGEST = 60  # characters of a value that are shown
_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


class Difference(msgspec.Struct):
    """What a folder changes of version ``live`` of ``site`` (0: never published), and what it costs."""

    site: str
    live: int
    changes: tuple[Change, ...]
    progress: dict[str, int] | None = None


class Cost(NamedTuple):
    """How many users lose their progress, by campaign. ``users`` is ``None`` where nobody could say; then ``reason``.

    Waiting absences are progress, too.
    """

    users: dict[str, int] | None
    reason: str = ""


def difference(database: Database[Document], folder: Path, env: Mapping[str, str]) -> Difference:
    """Compare the definitions in *folder* with what is live; nothing is written."""
    bundle = publishing.compile_folder(folder, env)
    site = bundle.ruleset.site
    live = versions.live(database, site)
    now = versions.read(database, site, live) if live else None
    return Difference(site, live, changes(now, bundle))


def cost(found: Sequence[Change], site: str, decider: Callable[[], Invoke]) -> Cost:
    """Return whose progress *found* costs, as the state store has it now; without a change of a trigger, no call.

    Also true just after a publish: progress under an old trigger goes with the next event of its user.
    """
    lost = {each.id: each.dropped for each in found if each.dropped}
    if not lost:
        return Cost({})
    try:
        users = msgspec.convert(ask(decider(), CountInProgress(site)), InProgress).users
    except OpportuneError as error:
        return Cost(None, error.message)
    return Cost({campaign: users.get(key, 0) for campaign, key in lost.items()})


def about(campaign: str, lost: Cost) -> str:
    """Return what the change of *campaign* costs, in a sentence."""
    if lost.users is None:
        return "progress under the old trigger is dropped; of how many users could not be counted"
    count = lost.users.get(campaign, 0)
    return f"progress of {count:,} user{'' if count == 1 else 's'} is dropped"


def summary(found: Sequence[Change]) -> str:
    """Return how many definitions of each kind are new, other ones or gone, in a sentence."""
    counted = Counter((each.kind, each.what) for each in found)
    said = [f"{count} {kind}{'s' if count > 1 else ''} {what}" for (kind, what), count in sorted(counted.items())]
    return ", ".join(said) or "nothing changed"


def show(found: Sequence[Change], lost: Cost, console: Console) -> None:
    """Print one line a definition, and one a field of it."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in found:
        sign, style = _SIGNS[each.what]
        lines = [Text(each.what)] if each.what != "changed" else []
        for field in each.fields:
            line = Text(f"{field.field}: ", style="bold")
            line.append(f"{_shown(field.was)} → {_shown(field.now)}", style="not bold")
            lines.append(line)
        if each.dropped:
            lines.append(Text(about(each.id, lost), style="yellow"))
        table.add_row(Text(sign, style=style), Text(f"{each.kind} {each.id}"), Text("\n").join(lines))
    console.print(table)
    if lost.reason:
        console.print(lost.reason, markup=False, highlight=False, soft_wrap=True)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
