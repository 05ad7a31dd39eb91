"""The command `replay`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opportune.cli.events import choose_format
from opportune.cli.options import EVENTS_FILE, Format, Json, Map
from opportune.cli.output import command, err, events_bar, out, print_json

if TYPE_CHECKING:
    from opportune.replay.engine import Match

app = typer.Typer()


@command(app, "replay")
def replay(
    campaigns: Annotated[
        list[Path], typer.Option("--campaign", help="Campaign file, or folder of definitions. Repeatable.")
    ],
    events: Annotated[Path, typer.Option(help=EVENTS_FILE)],
    mapping: Map = "",
    file_format: Format = "",
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
    from opportune.replay import backtest, summary
    from opportune.replay.explain.table import print_explanations
    from opportune.replay.recording import InvalidReplay, Recording

    if html is not None and user is not None:
        raise InvalidReplay("--explain is for one user and --html for all of them: choose one")
    if html is not None:
        backtest.check_report_path(html)
    loaded = backtest.load_campaigns(campaigns)
    chosen = choose_format(events, file_format)
    with events_bar(shown=not (as_json and out.is_terminal)) as progress:
        recording = Recording(
            events, mapping=mapping, until=until, in_order=in_order, progress=progress, file_format=chosen
        )
        if user is None:
            result = backtest.run_backtest(loaded, recording, _print_match if as_json else lambda *_: None)
        else:
            explained = backtest.explain_user(loaded, recording, user)
    if user is None:
        if not as_json:
            summary.print_summary(result, out)
        if html is not None:
            backtest.write_report(html, result)
            if not as_json:
                out.print(f"report: {html}", markup=False, highlight=False)
    elif not explained.events:
        err.print(backtest.describe_unknown_user(recording, user), markup=False, highlight=False)
        raise typer.Exit(1)
    elif as_json:
        print_json(explained)
    else:
        print_explanations(user, explained.campaigns, out)


def _print_match(match: "Match", gate: str | None) -> None:
    sys.stdout.write(match.as_json(gate) + "\n")
