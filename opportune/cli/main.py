"""Assemble the commands of `opportune`."""

import typer

from opportune.cli import (
    bench,
    customers,
    definitions,
    events,
    groups,
    keys,
    local,
    operations,
    replay,
    tags,
    targets,
    webhooks,
)

app = typer.Typer(
    help="Answer a customer at the opportune moment.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(customers.app, name="customers")
app.add_typer(groups.app, name="groups")
app.add_typer(targets.app, name="targets")
app.add_typer(events.app, name="events")
app.add_typer(keys.app, name="keys")
for part in (local, definitions, tags, operations, webhooks, replay, bench):
    app.add_typer(part.app)


def main() -> None:
    """Run the command line."""
    app()
