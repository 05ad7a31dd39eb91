"""Preview a publish: what it would change, field by field, and how many users it would cost their progress."""

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

MAX_VALUE_LENGTH = 60
_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


class Preview(msgspec.Struct):
    """What publishing a folder would change.

    ``live``: the live version of ``site``; 0 if nothing was ever published.
    ``progress``: per campaign, how many users lose their progress; ``None`` if that could not be counted.
    """

    site: str
    live: int
    changes: tuple[Change, ...]
    progress: dict[str, int] | None = None


class Cost(NamedTuple):
    """How many users lose their progress, per campaign; waiting absences count as progress.

    ``users``: ``None`` if they could not be counted.
    ``reason``: why not.
    """

    users: dict[str, int] | None
    reason: str = ""


def preview(database: Database[Document], folder: Path, env: Mapping[str, str]) -> Preview:
    """Compare the definitions in *folder* with the live version. It writes nothing."""
    bundle = publishing.compile_folder(folder, env)
    site = bundle.ruleset.site
    version = versions.live(database, site)
    live = versions.read(database, site, version) if version else None
    return Preview(site, version, changes(live, bundle))


def cost(found: Sequence[Change], site: str, decider: Callable[[], Invoke]) -> Cost:
    """Return how many users lose their progress to the changes *found*; calls the *decider* only if a trigger changes.

    It may also be called just after the publish: the state store drops a user's old progress at their next event.
    """
    dropped = {each.id: each.dropped for each in found if each.dropped}
    if not dropped:
        return Cost({})
    try:
        users = msgspec.convert(ask(decider(), CountInProgress(site)), InProgress).users
    except OpportuneError as error:
        return Cost(None, error.message)
    return Cost({campaign: users.get(key, 0) for campaign, key in dropped.items()})


def cost_sentence(campaign: str, lost: Cost) -> str:
    """Return in a sentence what the change of *campaign* costs."""
    if lost.users is None:
        return "progress under the old trigger is dropped; how many users lose theirs could not be counted"
    count = lost.users.get(campaign, 0)
    return f"progress of {count:,} user{'' if count == 1 else 's'} is dropped"


def summary(found: Sequence[Change]) -> str:
    """Return in a sentence how many definitions of each kind are added, changed or removed."""
    counted = Counter((each.kind, each.what) for each in found)
    parts = [f"{count} {kind}{'s' if count > 1 else ''} {what}" for (kind, what), count in sorted(counted.items())]
    return ", ".join(parts) or "nothing changed"


def show(found: Sequence[Change], lost: Cost, console: Console) -> None:
    """Print a row per definition, with a line per field."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in found:
        sign, style = _SIGNS[each.what]
        lines = [Text(each.what)] if each.what != "changed" else []
        for field in each.fields:
            line = Text(f"{field.field}: ", style="bold")
            line.append(f"{_shortened(field.was)} → {_shortened(field.now)}", style="not bold")
            lines.append(line)
        if each.dropped:
            lines.append(Text(cost_sentence(each.id, lost), style="yellow"))
        table.add_row(Text(sign, style=style), Text(f"{each.kind} {each.id}"), Text("\n").join(lines))
    console.print(table)
    if lost.reason:
        console.print(lost.reason, markup=False, highlight=False, soft_wrap=True)


def _shortened(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = " ".join(text.split())
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"
