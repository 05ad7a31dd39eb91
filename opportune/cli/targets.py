"""The commands about targets: refresh, rollback."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from opportune.cli.options import Json, MongoUrl, SiteArgument
from opportune.cli.output import command, err, marked, out, print_json, progress_bar

if TYPE_CHECKING:
    from opportune.audiences.targets import RefreshSummary, RunOptions

app = typer.Typer(help="The daily targets: which users are in which target group.", no_args_is_help=True)


@command(app, "refresh")
def refresh(
    site: Annotated[str | None, typer.Option(help="Id of the site. Default: all sites.")] = None,
    campaign: Annotated[
        str | None, typer.Option(help="Refresh only the target groups of this campaign; keep the others.")
    ] = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Refresh only groups that changed since the last refresh.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="If another refresh is running, wait until everything is refreshed.")
    ] = False,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Find the users of all target groups, write a new generation of targets and switch to it.

    Example: opportune targets refresh --site demo
    """
    from opportune.audiences import targets
    from opportune.system import connection, sites
    from shared import mongodb

    database = connection.database(mongodb_url)
    names = [sites.resolve(database, site)] if site or campaign else sorted(mongodb.read_pointers(database))
    results: dict[str, RefreshSummary] = {}
    for name in names:

        def work(options: "RunOptions", name: str = name) -> "RefreshSummary":
            if campaign:
                return targets.refresh_campaign(database, name, campaign, options)
            return (targets.refresh_changed if changed else targets.refresh_all)(database, name, options)

        results[name] = with_progress(work, name, wait=wait)
    if as_json:
        print_json({name: result._asdict() for name, result in results.items()})
        return
    for name, result in results.items():
        print_refresh(name, result)


@command(app, "rollback")
def rollback(site: SiteArgument = None, mongodb_url: MongoUrl = None, as_json: Json = False) -> None:
    """Switch back to the previous generation of targets, until the next refresh.

    Example: opportune targets rollback demo
    """
    from opportune.audiences import targets
    from opportune.system import connection, sites

    database = connection.database(mongodb_url)
    name = sites.resolve(database, site)
    result = with_progress(lambda options: targets.roll_back(database, name, options), name, wait=False)
    if as_json:
        print_json({name: result._asdict()})
    else:
        has = f" {name}: generation {result.generation} has the {result.users} user(s) of the previous one"
        out.print(marked("rolled back", "green", has))


def with_progress(work: Callable[["RunOptions"], "RefreshSummary"], name: str, *, wait: bool) -> "RefreshSummary":
    """Do *work* on the targets of site *name* while a bar shows its progress; return its result."""
    from opportune.audiences.targets import RunOptions
    from opportune.system import functions

    with progress_bar() as bar:
        task = bar.add_task(f"targets of {name}", total=None)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        return work(RunOptions(functions.system_clock(), wait, on_progress))


def print_refresh(name: str, result: "RefreshSummary") -> None:
    """Print the result of a refresh of site *name*."""
    from refresher.refresh import End

    if result.end is End.ELSEWHERE:
        err.print(f"another refresh of {name} is running and includes this one; --wait waits for it", highlight=False)
    elif result.is_unchanged:
        out.print(f"unchanged: {name} generation {result.generation}, {result.users} user(s)", highlight=False)
    else:
        kept = f"; not refreshed: {', '.join(result.kept)}" if result.kept else ""
        has = f" {name}: generation {result.generation}, {result.users} user(s){kept}"
        out.print(marked("refreshed", "green", has))
