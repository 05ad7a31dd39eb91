"""The commands about recorded events: send."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.cli.options import EVENTS_FILE, Format, Json, Map, Url
from opportune.cli.output import command, err, out, print_json, progress_bar

if TYPE_CHECKING:
    from opportune.events.send import SendReport

app = typer.Typer(help="Recorded events.", no_args_is_help=True)


@command(app, "send")
def send(
    path: Annotated[Path, typer.Argument(help=EVENTS_FILE)],
    key: Annotated[str, typer.Option(help="Write key. --history needs a secret one.", envvar="OPPORTUNE_KEY")],
    mapping: Map = "",
    file_format: Format = "",
    history: Annotated[
        bool, typer.Option(help="Keep the times of the events; record matches without delivering them.")
    ] = False,
    url: Url = None,
    rate: Annotated[float | None, typer.Option(help="Events per second. Default: as fast as possible.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="How many requests run at the same time.")] = 4,
    as_json: Json = False,
) -> None:
    """Post recorded events to a running endpoint, in order for each user.

    Exit code 1: some events were rejected.

    Example: opportune events send shop.csv.gz --key KEY --map user_id=id,event=type,timestamp=ts_ms --history
    """
    from opportune.events import send as sending
    from opportune.events import streams
    from opportune.system import connection

    endpoint = connection.endpoint(url)
    calls = streams.read_calls(path, streams.parse_map(mapping), file_format=choose_format(path, file_format))
    with progress_bar() as bar:
        task = bar.add_task("events", total=None)
        sent = sending.send(
            calls,
            sending.Endpoint(endpoint, key),
            history=history,
            concurrency=concurrency,
            rate=rate,
            progress=lambda count: bar.advance(task, count),
        )
    if as_json:
        print_json(_summary(sent))
    else:
        _print_summary(f"{path.name} → {endpoint}", sent)
    raise typer.Exit(1 if sent.rejected else 0)


def choose_format(path: Path, wanted: str) -> str:
    """Return the format of the file; say so if it was guessed."""
    from opportune.events import streams

    chosen = streams.choose_format(path, wanted)
    if not wanted and chosen != "segment":
        err.print(f"{path.name}: read as an export of {chosen}; --format chooses another", highlight=False)
    return chosen


def _summary(sent: "SendReport") -> dict[str, Any]:
    return {
        "events": sent.events,
        "requests": sent.requests,
        "messages": sent.messages,
        "rejected": dict(sent.rejected),
        "warnings": [
            {"code": code, "message": message, "events": count}
            for (code, message), count in sent.warnings.most_common()
        ],
        "seconds": round(sent.seconds, 3),
        "p50_ms": round(sent.percentile(0.5), 2),
        "p99_ms": round(sent.percentile(0.99), 2),
    }


def _print_summary(title: str, sent: "SendReport") -> None:
    from rich.table import Table

    summary = _summary(sent) | {"rejected": sent.rejected.total(), "warnings": sent.warnings.total()}
    table = Table(title=title)
    for name in summary:
        table.add_column(name, justify="right")
    table.add_row(*map(str, summary.values()))
    out.print(table)
    for code, count in sent.rejected.most_common():
        err.print(f"{count} rejected: {code}", markup=False, highlight=False)
    for (code, message), count in sent.warnings.most_common():
        err.print(f"{count} accepted with a warning: {code}: {message}", markup=False, highlight=False)
