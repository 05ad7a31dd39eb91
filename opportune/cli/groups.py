"""The commands about target groups: list, explain, upload."""

# A command loads only what it needs.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from opportune.cli.output import Json, MongoUrl, command, out, print_json
from opportune.cli.targets import say, with_progress

if TYPE_CHECKING:
    from opportune.audiences.groups import Explained

app = typer.Typer(help="The target groups of what is live.", no_args_is_help=True)

Site = Annotated[str | None, typer.Option(help="Id of the site; default: the only one.")]
GroupArgument = Annotated[str, typer.Argument(help="Id of the target group.")]


@command(app, "list")
def list_(site: Site = None, mongodb_url: MongoUrl = None, as_json: Json = False) -> None:
    """List the target groups, with how many users the targets in use have of each.

    Example: opportune groups list --site demo
    """
    from opportune.audiences import groups
    from opportune.system import connection, sites

    with connection.opened(mongodb_url) as database:
        lines = groups.listed(database, sites.resolve(database, site))
    if as_json:
        print_json([line._asdict() for line in lines])
        return
    table = Table("group", "is a", "users", "campaigns")
    table.columns[2].justify = "right"
    for line in lines:
        users = "not looked for yet" if line.users is None else f"{line.users:,}"
        table.add_row(line.group, line.kind, users, ", ".join(line.campaigns) or "none")
    out.print(table if lines else "no target groups are defined")


@command(app, "explain")
def explain(group: GroupArgument, site: Site = None, mongodb_url: MongoUrl = None, as_json: Json = False) -> None:
    """Say who is in a target group now, and how MongoDB finds them.

    Example: opportune groups explain vip-players
    """
    from opportune.audiences import groups
    from opportune.system import connection, functions, sites

    with connection.opened(mongodb_url) as database:
        found = groups.explain(database, sites.resolve(database, site), group, functions.system_clock())
    if as_json:
        print_json({**found._asdict(), "plan": found.plan and found.plan._asdict()})
    else:
        out.print(_table(found))


@command(app, "upload")
def upload(
    group: GroupArgument,
    file: Annotated[Path, typer.Argument(help="One user id a line.")],
    site: Site = None,
    refresh: Annotated[
        bool, typer.Option("--refresh/--no-refresh", help="Refresh the targets of this group; else the daily one does.")
    ] = True,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Replace the users of a group that is defined with `list: uploaded`.

    Example: opportune groups upload newsletter-readers readers.txt
    """
    from opportune.audiences import groups, targets
    from opportune.system import connection, sites

    with connection.opened(mongodb_url) as database:
        named = sites.resolve(database, site)
        done = groups.upload(database, named, group, file)
        result = None
        if refresh:
            result = with_progress(lambda asked: targets.refresh_changed(database, named, asked), named, wait=False)
    if as_json:
        print_json({**done._asdict(), "refresh": result and result._asdict()})
        return
    changed = "" if done.changed else ", as before"
    out.print(f"[green]uploaded[/green] {group}: {done.users:,} user(s){changed}", highlight=False)
    if result is not None:
        say(named, result)


def _table(found: "Explained") -> Table:
    table = Table(title=found.group, show_header=False)
    table.add_row("is a", found.kind)
    if found.made:
        for field in ("any_of", "all_of", "none_of"):
            if found.made.get(field):
                table.add_row(field.replace("_", " "), ", ".join(found.made[field]))
        if found.made.get("own"):
            table.add_row("and", "a rule or list of its own")
    source = f"in generation {found.generation} of the targets" if found.generation else "looked for just now"
    table.add_row("users", f"{found.users:,}, {source}")
    table.add_row("some of them", ", ".join(found.sample) or "nobody")
    table.add_row("campaigns", ", ".join(found.campaigns) or "none")
    if found.plan:
        table.add_row("index", found.plan.by)
        table.add_row("read", f"{found.plan.keys:,} keys, {found.plan.documents:,} documents")
    return table
