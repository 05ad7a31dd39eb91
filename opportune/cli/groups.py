"""The commands about target groups: list, explain, upload."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from opportune.cli.options import Json, MongoUrl, Site
from opportune.cli.output import command, marked, out, print_json
from opportune.cli.targets import print_refresh, with_progress

if TYPE_CHECKING:
    from opportune.audiences.groups import GroupExplanation

app = typer.Typer(help="The live target groups.", no_args_is_help=True)

GroupArgument = Annotated[str, typer.Argument(help="Id of the target group.")]


@command(app, "list")
def list_(site: Site = None, mongodb_url: MongoUrl = None, as_json: Json = False) -> None:
    """List the target groups with their sizes.

    Example: opportune groups list --site demo
    """
    from opportune.audiences import groups
    from opportune.system import connection, sites

    with connection.opened(mongodb_url) as database:
        listed = groups.list_groups(database, sites.resolve(database, site))
    if as_json:
        print_json([group._asdict() for group in listed])
        return
    table = Table("group", "kind", "users", "campaigns")
    table.columns[2].justify = "right"
    for group in listed:
        users = "not refreshed yet" if group.users is None else f"{group.users:,}"
        table.add_row(group.group, group.kind, users, ", ".join(group.campaigns) or "none")
    out.print(table if listed else "no target groups are defined")


@command(app, "explain")
def explain(group: GroupArgument, site: Site = None, mongodb_url: MongoUrl = None, as_json: Json = False) -> None:
    """Show which users are in a target group now, and how MongoDB finds them.

    Example: opportune groups explain vip-players
    """
    from opportune.audiences import groups
    from opportune.system import connection, functions, sites

    with connection.opened(mongodb_url) as database:
        found = groups.explain_group(database, sites.resolve(database, site), group, functions.system_clock())
    if as_json:
        print_json({**found._asdict(), "plan": found.plan and found.plan._asdict()})
    else:
        out.print(_explanation(found))


@command(app, "upload")
def upload(
    group: GroupArgument,
    file: Annotated[Path, typer.Argument(help="Text file with one user id per line.")],
    site: Site = None,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh/--no-refresh", help="Refresh the targets of this group now, or with the daily refresh."
        ),
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
        name = sites.resolve(database, site)
        uploaded = groups.upload_list(database, name, group, file)
        result = None
        if refresh:
            result = with_progress(lambda options: targets.refresh_changed(database, name, options), name, wait=False)
    if as_json:
        print_json({**uploaded._asdict(), "refresh": result and result._asdict()})
        return
    changed = "" if uploaded.changed else ", unchanged"
    out.print(marked("uploaded", "green", f" {group}: {uploaded.users:,} user(s){changed}"))
    if result is not None:
        print_refresh(name, result)


def _explanation(found: "GroupExplanation") -> Table:
    table = Table(title=found.group, show_header=False)
    table.add_row("kind", found.kind)
    if found.made:
        for field in ("any_of", "all_of", "none_of"):
            if found.made.get(field):
                table.add_row(field.replace("_", " "), ", ".join(found.made[field]))
        if found.made.get("own"):
            table.add_row("and", "its own rule or list")
    source = f"in generation {found.generation} of the targets" if found.generation else "found just now"
    table.add_row("users", f"{found.users:,}, {source}")
    table.add_row("for example", ", ".join(found.sample) or "none")
    table.add_row("campaigns", ", ".join(found.campaigns) or "none")
    if found.plan:
        table.add_row("index", found.plan.by)
        table.add_row("read", f"{found.plan.keys:,} keys, {found.plan.documents:,} documents")
    return table
