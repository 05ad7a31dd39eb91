"""The commands about definitions: init, check, schema, diff, publish, versions, rollback."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer
from rich.table import Table

from opportune.cli.options import Json, MongoUrl, SiteArgument
from opportune.cli.output import command, err, marked, out, print_json
from opportune.cli.targets import print_refresh, with_progress

if TYPE_CHECKING:
    from pymongo.database import Database

    from definitions.publishing.publish import Published
    from opportune.authoring.publish_preview import Cost

app = typer.Typer()

Refresh = Annotated[
    bool,
    typer.Option("--refresh/--no-refresh", help="Refresh changed target groups now, or with the daily refresh."),
]


@command(app, "init")
def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder. Its name becomes the site's id.")],
    gaming: Annotated[
        bool, typer.Option("--gaming/--shop", help="Definitions for a gaming site or for a shop.")
    ] = False,
) -> None:
    """Write a commented folder to start from: a site, events, a target group and two campaigns.

    Example: opportune init --gaming my-games
    """
    from opportune.authoring import starter

    for path in starter.write("gaming" if gaming else "shop", folder):
        out.print(f"  {folder / path}", highlight=False, soft_wrap=True)
    out.print(
        f"next: read the files, then run `opportune check {shlex.quote(str(folder))}`",
        highlight=False,
        soft_wrap=True,
    )


@command(app, "check")
def check(
    path: Annotated[Path, typer.Argument(help="A folder of definitions, or one campaign file.")],
    as_json: Json = False,
) -> None:
    """Check definitions. Each problem names file, line, column and field.

    Exit code 1: there are errors. Warnings do not stop a publish, but are probably mistakes.

    Example: opportune check campaigns/demo
    """
    from datetime import UTC, datetime

    from definitions.checks.check import examine
    from definitions.checks.text_messages import describe
    from definitions.loading.folder import load
    from opportune.system import connection

    examined = examine(load(path), connection.environment(), datetime.now(UTC))
    errors = sum(problem.level == "error" for problem in examined.problems)
    warnings = len(examined.problems) - errors
    if as_json:
        print_json([msgspec.to_builtins(problem) for problem in examined.problems])
    else:
        for problem in examined.problems:
            out.print(str(problem), markup=False, highlight=False, soft_wrap=True)
        if errors:
            err.print(marked(f"{errors} problem(s)", "red"))
    definitions = examined.definitions
    if definitions is None:
        raise typer.Exit(1)
    if not as_json:
        counts = {
            "campaign(s)": len(definitions.campaigns),
            "target group(s)": len(definitions.groups),
            "event(s)": len(definitions.events),
            "warning(s)": warnings,
        }
        listed = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "campaign(s)")
        out.print(marked("ok", "green", f" {listed}"))
        for line in describe(definitions.campaigns):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


@command(app, "schema")
def schema(
    kind: Annotated[
        Literal["campaign", "event", "group", "site"],
        typer.Argument(help="The kind of file that the schema describes."),
    ] = "campaign",
) -> None:
    """Print a JSON Schema, so that your editor completes and checks the files.

    Example: opportune schema campaign > campaign.schema.json
    """
    from opportune.authoring import schema as schemas

    sys.stdout.write(schemas.text(kind))


@command(app, "diff")
def diff(
    folder: Annotated[Path, typer.Argument(help="A folder of definitions.")],
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if anything would change.")] = False,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Show what publishing would change, field by field, and how many users would lose progress. Writes nothing.

    Example: opportune diff campaigns/demo
    """
    from opportune.authoring import publish_preview
    from opportune.system import connection, functions
    from shared.settings import DECIDER

    found = publish_preview.preview(connection.database(mongodb_url), folder, connection.environment())
    lost = publish_preview.cost(found.changes, found.site, lambda: functions.function(DECIDER))
    found.progress = lost.users
    if as_json:
        print_json(found)
    elif not found.changes:
        out.print(f"nothing would change: {found.site} version {found.live} is live and the same", highlight=False)
    else:
        live = f"version {found.live} is live" if found.live else "nothing is live yet"
        out.print(f"{found.site}: {live}; publishing would change", highlight=False)
        publish_preview.show(found.changes, lost, out)
    raise typer.Exit(1 if exit_code and found.changes else 0)


@command(app, "publish")
def publish(
    folder: Annotated[Path, typer.Argument(help="A folder of definitions.")],
    refresh: Refresh = True,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Check definitions and make them live, then refresh the target groups that changed.

    Example: opportune publish campaigns/demo
    """
    from opportune.authoring import publishing
    from opportune.system import connection

    database = connection.database(mongodb_url)
    published = publishing.publish_folder(database, folder, connection.environment())
    _finish(database, published, refresh=refresh, as_json=as_json)


@command(app, "versions")
def versions(
    site: SiteArgument = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many to list.")] = 20,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """List the versions that were live, newest first.

    Example: opportune versions shop
    """
    from definitions.publishing import versions as published
    from opportune.system import connection, sites

    database = connection.database(mongodb_url)
    named = sites.resolve(database, site)
    past = published.history(database, named)[:limit]
    if as_json:
        print_json([{**each._asdict(), "live": number == 0} for number, each in enumerate(past)])
        return
    table = Table("version", "live since (UTC)", "campaigns", "")
    for number, each in enumerate(past):
        restored = f"restores version {each.of}" if each.of else ""
        note = marked("live", "green", restored and f", {restored}") if number == 0 else restored
        table.add_row(str(each.version), f"{each.at:%Y-%m-%d %H:%M:%S}", str(each.campaigns), note)
    out.print(table)


@command(app, "rollback")
def rollback(
    site: SiteArgument = None,
    version: Annotated[
        int | None, typer.Argument(min=1, help="The version to restore. Default: the one before.")
    ] = None,
    refresh: Refresh = True,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Make an older version live again, as a new version. Write keys stay as they are.

    Example: opportune rollback shop 12
    """
    from definitions.publishing.publish import roll_back
    from opportune.system import connection, sites

    database = connection.database(mongodb_url)
    published = roll_back(database, sites.resolve(database, site), version)
    _finish(database, published, refresh=refresh, as_json=as_json)


def _finish(database: "Database[Any]", published: "Published", *, refresh: bool, as_json: bool) -> None:
    """Print what is live, and refresh the target groups that changed."""
    from opportune.audiences import targets
    from opportune.authoring import publish_preview
    from opportune.system import functions
    from shared.settings import DECIDER

    site = published.site
    lost = publish_preview.cost(published.changes, site, lambda: functions.function(DECIDER))
    if not as_json:
        _print_published(published, lost)
    made = None
    if refresh:
        made = with_progress(lambda options: targets.refresh_changed(database, site, options), site, wait=True)
    if as_json:
        print_json({**published._asdict(), "progress": lost.users, "targets": made._asdict() if made else None})
    elif made and not made.is_unchanged:
        print_refresh(site, made)


def _print_published(published: "Published", lost: "Cost") -> None:
    from opportune.authoring import publish_preview

    version = f"{published.site} version {published.version}"
    if not published.changed:
        out.print(f"unchanged: {version} is live and the same", highlight=False)
        return
    restored = f", which restores version {published.of}" if published.of else ""
    out.print(marked("live", "green", f" {version}{restored}: {published.campaigns} campaign(s)"))
    out.print(publish_preview.summary(published.changes), highlight=False)
    for each in published.changes:
        if each.dropped:
            out.print(f"{each.id}: {publish_preview.cost_sentence(each.id, lost)}", highlight=False)
    if lost.reason:
        err.print(lost.reason, markup=False, highlight=False)
