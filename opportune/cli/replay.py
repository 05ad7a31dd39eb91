"""The command `replay`."""

from pathlib import Path
from typing import Annotated

import typer

from opportune.cli.options import EVENTS_FILE, Json, Map
from opportune.cli.output import command, err, out

app = typer.Typer()


@command(app, "replay")
def replay(
    campaigns: Annotated[
        list[Path], typer.Option("--campaign", help="Campaign file, or folder of definitions. Repeatable.")
    ],
    events: Annotated[Path, typer.Option(help=EVENTS_FILE)],
    mapping: Map = "",
    until: Annotated[
        str | None,
        typer.Option(
            help="Run the clock to this time (ISO 8601, or ms) after the last event, so that pending absences fire."
        ),
    ] = None,
    in_order: Annotated[bool, typer.Option("--sort", help="Sort the events by time first. Reads all of them.")] = False,
    user: Annotated[
        str | None, typer.Option("--explain", help="Explain what each event of this user did, and why not more.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page to open or print.")] = None,
    as_json: Json = False,
) -> None:
    """Run campaigns over recorded events, with the code that runs live.

    Exit code 1: the user of --explain has no events in the file.

    Example: opportune replay --campaign campaigns/demo --events yesterday.ndjson --html report.html
    """
    from opportune.cli import replay_command as backtest

    request = backtest.Request(
        campaigns, events, mapping, until=until, in_order=in_order, user=user, html=html, as_json=as_json
    )
    raise typer.Exit(backtest.run(request, out=out, err=err))
