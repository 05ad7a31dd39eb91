"""The commands about targets: refresh, rollback."""

# A command loads only what it needs.
# ruff: noqa: PLC0415

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from opportune.cli.output import Json, MongoUrl, command, err, out, print_json, progress_bar

if TYPE_CHECKING:
    from opportune.audiences.targets import Asked, Result

app = typer.Typer(help="The daily targets: who is in which target group.", no_args_is_help=True)

SiteArgument = Annotated[str | None, typer.Argument(help="Id of the site; default: the only one.")]


@command(app, "refresh")
def refresh(
    site: Annotated[str | None, typer.Option(help="Id of the site; default: all.")] = None,
    campaign: Annotated[
        str | None, typer.Option(help="Look for the users of this campaign's groups only; the rest stays as it is.")
    ] = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only groups that were changed since the last refresh.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Where another refresh is under way, wait until all is done.")
    ] = False,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Look for the users of all target groups, write a new generation of targets and switch to it.

    Example: opportune targets refresh --site demo
    """
    from opportune.audiences import targets
    from opportune.system import connection, sites
    from shared import mongodb

    database = connection.database(mongodb_url)
    named = [sites.resolve(database, site)] if site or campaign else sorted(mongodb.pointers(database))
    results: dict[str, Result] = {}
    for name in named:

        def work(asked: "Asked", name: str = name) -> "Result":
            if campaign:
                return targets.refresh_campaign(database, name, campaign, asked)
            return (targets.refresh_changed if changed else targets.refresh_all)(database, name, asked)

        results[name] = with_progress(work, name, wait=wait)
    if as_json:
        print_json({name: result._asdict() for name, result in results.items()})
    for name, result in {} if as_json else results.items():
        say(name, result)


@command(app, "rollback")
def rollback(site: SiteArgument = None, mongodb_url: MongoUrl = None, as_json: Json = False) -> None:
    """Bring the generation of targets before back, until the next refresh.

    Example: opportune targets rollback demo
    """
    from opportune.audiences import targets
    from opportune.system import connection, sites

    database = connection.database(mongodb_url)
    name = sites.resolve(database, site)
    result = with_progress(lambda asked: targets.go_back(database, name, asked), name, wait=False)
    if as_json:
        print_json({name: result._asdict()})
    else:
        out.print(
            f"[green]brought back[/green] {name}: generation {result.generation} has the {result.users} user(s) of "
            "the one before"
        )


def with_progress(work: Callable[["Asked"], "Result"], name: str, *, wait: bool) -> "Result":
    """Do *work* under a bar that shows how far it is."""
    from opportune.audiences.targets import Asked
    from opportune.system import functions

    with progress_bar() as bar:
        task = bar.add_task(f"targets of {name}", total=None)
        return work(
            Asked(functions.system_clock(), wait, lambda done, of: bar.update(task, completed=done, total=of or None))
        )


def say(name: str, result: "Result") -> None:
    """Say what a refresh came to."""
    from refresher.refresh import End

    if result.end is End.ELSEWHERE:
        err.print(
            f"another refresh of {name} is under way; it sees to this too, and --wait waits for it", highlight=False
        )
    elif result.is_unchanged:
        out.print(f"unchanged: {name} generation {result.generation}, {result.users} user(s)", highlight=False)
    else:
        kept = f"; taken over as they were: {', '.join(result.kept)}" if result.kept else ""
        out.print(
            f"[green]refreshed[/green] {name}: generation {result.generation}, {result.users} user(s){kept}",
            highlight=False,
        )
