"""The command line."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from opportune.cli import customers, definitions, groups, keys, tags, targets, users, webhooks
from opportune.cli.output import Json, command, err, out, print_json, progress_bar

app = typer.Typer(
    help="Answer a customer at the opportune moment.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
events_app = typer.Typer(help="Recorded events.", no_args_is_help=True)
app.add_typer(customers.app, name="customers")
app.add_typer(groups.app, name="groups")
app.add_typer(targets.app, name="targets")
app.add_typer(events_app, name="events")
app.add_typer(definitions.app)
app.add_typer(tags.app)
app.add_typer(users.app)
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app)

Map = Annotated[str, typer.Option("--map", help="Columns of a CSV: user_id=COLUMN,event=COLUMN,timestamp=COLUMN.")]


@command(app, "run")
def run(
    once: Annotated[
        bool, typer.Option("--once", help="Stop after the demo story; exit 0 only if all came right.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the public endpoint; default: one that is free.")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=1, max=3600, help="How many times as fast as yours the system's clock runs.")
    ] = 1.0,
) -> None:
    """Start the whole system on this machine and play the demo story.

    Example: opportune run --once
    """
    from opportune.demo import run as demo

    raise typer.Exit(demo.run(once=once, port=port, speed=speed, console=out))


@command(app, "outbox")
def outbox(
    url: Annotated[str | None, typer.Option(help="Endpoint; default: the running local stack's.")] = None,
    as_json: Json = False,
) -> None:
    """List what the local system has sent: e-mails, texts, pushes, webhooks. None of it leaves this machine.

    Example: opportune outbox
    """
    from opportune.operations import outbox as messages
    from opportune.system import connection

    endpoint = connection.endpoint(url)
    sent = messages.fetch(endpoint)
    if as_json:
        print_json(sent)
    else:
        out.print(messages.table(sent) if sent else "nothing was sent yet")
        out.print(f"in full: {endpoint}/outbox", highlight=False)


@command(events_app, "send")
def events_send(
    path: Annotated[Path, typer.Argument(help="NDJSON of tracking messages, or CSV with --map; .gz too.")],
    key: Annotated[str, typer.Option(help="Write key; history needs a secret one.", envvar="OPPORTUNE_KEY")],
    mapping: Map = "",
    history: Annotated[bool, typer.Option(help="The events' own times count; nothing is delivered.")] = False,
    url: Annotated[str | None, typer.Option(help="Endpoint; default: the running local stack's.")] = None,
    rate: Annotated[float | None, typer.Option(help="Events a second; default: as fast as it goes.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")] = 4,
    as_json: Json = False,
) -> None:
    """Post recorded events to a running endpoint.

    Example: opportune events send shop.csv.gz --key KEY --map user_id=id,event=type,timestamp=ts_ms --history
    """
    from opportune.events import send, streams
    from opportune.system import connection

    endpoint = send.Endpoint(connection.endpoint(url), key)
    events = streams.read(path, streams.parse_map(mapping))
    with progress_bar() as bar:
        task = bar.add_task("events", total=None)
        sent = send.send(
            events,
            endpoint,
            history=history,
            concurrency=concurrency,
            rate=rate,
            progress=lambda n: bar.advance(task, n),
        )
    summary = {
        "events": sent.events,
        "requests": sent.requests,
        "messages": sent.messages,
        "rejected": dict(sent.rejected),
        "seconds": round(sent.seconds, 3),
        "p50_ms": round(sent.percentile(0.5), 2),
        "p99_ms": round(sent.percentile(0.99), 2),
    }
    if as_json:
        print_json(summary)
    else:
        table = Table(title=f"{path.name} → {connection.endpoint(url)}")
        for name in summary:
            table.add_column(name, justify="right")
        table.add_row(*(str(value) for value in {**summary, "rejected": sent.rejected.total()}.values()))
        out.print(table)
        for code, count in sent.rejected.most_common():
            err.print(f"{count} rejected: {code}", markup=False, highlight=False)
    raise typer.Exit(1 if sent.rejected else 0)


@command(app, "replay")
def replay(
    campaigns: Annotated[
        list[Path], typer.Option("--campaign", help="Campaign file or folder of definitions; repeatable.")
    ],
    events: Annotated[Path, typer.Option(help="NDJSON of tracking messages, or CSV with --map; .gz too.")],
    mapping: Map = "",
    until: Annotated[
        str | None,
        typer.Option(help="Let the clock run on to this time (ISO-8601 or ms) after the last event: absences fire."),
    ] = None,
    in_order: Annotated[bool, typer.Option("--sort", help="Read all events and sort them by time first.")] = False,
    user: Annotated[
        str | None, typer.Option("--explain", help="Tell what each event of this user did, and why no more.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report that a browser shows and prints.")] = None,
    as_json: Json = False,
) -> None:
    """Run campaigns over recorded events, with the code that runs live.

    Exit code 1: --explain is about a user who has no events there.

    Example: opportune replay --campaign campaigns/demo --events yesterday.ndjson --html report.html
    """
    from opportune.cli import replay_command as backtest

    request = backtest.Request(
        campaigns, events, mapping, until=until, in_order=in_order, user=user, html=html, as_json=as_json
    )
    raise typer.Exit(backtest.run(request, out=out, err=err))


@command(app, "bench")
def bench(
    events: Annotated[int, typer.Option(min=1000, help="Events of the replay.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=10, help="Rounds of each round trip.")] = 2000,
    customers: Annotated[int, typer.Option(min=1000, help="Customers that are imported.")] = 100_000,
    targeted: Annotated[
        int, typer.Option("--targets", min=1000, help="Customers whose targets are refreshed.")
    ] = 300_000,
    results: Annotated[Path, typer.Option(help="Where to write the figures as JSON.")] = Path(
        "benchmarks/results.json"
    ),
) -> None:
    """Measure, each figure beside its floor.

    Example: opportune bench --events 100000
    """
    from opportune.dev import bench as measure

    measure.write(measure.run(out, events=events, rounds=rounds, customers=customers, targets=targeted), results)
    out.print(f"written to {results}")


def main() -> None:
    """Run the command line."""
    app()
