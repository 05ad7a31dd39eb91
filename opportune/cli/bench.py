"""The command `bench`."""

from pathlib import Path
from typing import Annotated

import typer

from opportune.cli.output import command, out

app = typer.Typer()


@command(app, "bench")
def bench(
    events: Annotated[int, typer.Option(min=1000, help="Events that the replay reads.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=10, help="Repetitions of each request.")] = 2000,
    customers: Annotated[int, typer.Option(min=1000, help="Customers that are imported.")] = 100_000,
    targeted: Annotated[
        int, typer.Option("--targets", min=1000, help="Customers whose targets are refreshed.")
    ] = 300_000,
    results: Annotated[Path, typer.Option(help="File for the figures, as JSON.")] = Path("benchmarks/results.json"),
) -> None:
    """Measure throughput and latency, each figure beside a floor from the same run.

    Example: opportune bench --events 100000
    """
    from opportune.dev import bench as measure

    measure.write(measure.run(out, events=events, rounds=rounds, customers=customers, targets=targeted), results)
    out.print(f"written to {results}")
