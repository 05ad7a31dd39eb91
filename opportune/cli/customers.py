"""The commands about customers: import, show, export."""

# A command loads only what it needs.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from opportune.cli.output import Json, MongoUrl, bytes_bar, command, err, out, print_json, progress_bar

app = typer.Typer(help="The customers in MongoDB.", no_args_is_help=True)


@command(app, "import")
def import_(
    path: Annotated[Path, typer.Argument(help="CSV or NDJSON, .gz too; or an export of Pinpoint's, file or folder.")],
    site: Annotated[str | None, typer.Option(help="Id of the site; default: the only one.")] = None,
    id_column: Annotated[str, typer.Option(help="Column or field of the user id.")] = "user_id",
    rejects: Annotated[
        Path | None, typer.Option(help="Where rows that are not imported go; default: FILE.rejects.csv or .ndjson.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option("--from", help="`pinpoint`: endpoints of Amazon Pinpoint; default: recognised.")
    ] = None,
    endpoint_ids: Annotated[
        bool, typer.Option("--endpoint-ids", help="Pinpoint: endpoints without a user id go under their own.")
    ] = False,
    users: Annotated[
        Path | None, typer.Option("--list", help="Pinpoint: write the user ids here: a list for a target group.")
    ] = None,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Import customers: the good rows go in, the others into a file that can be mended and imported.

    Exit code 1: some rows were rejected.

    Example: opportune customers import players.csv --site demo
    """
    from opportune.cli import import_command as imports
    from opportune.system import connection

    request = imports.Request(path, id_column, rejects, origin=origin, endpoint_ids=endpoint_ids, users=users)
    with connection.opened(mongodb_url) as database, bytes_bar(path.name) as progress:
        done = imports.run(request, database, site, progress)
    if as_json:
        print_json(imports.told(done))
    else:
        imports.show(done, out=out, err=err)
    raise typer.Exit(1 if done.imported.rejected else 0)


@command(app, "show")
def show(
    user: Annotated[str, typer.Argument(help="User id, as the site knows it.")],
    site: Annotated[str | None, typer.Option(help="Id of the site; default: the only one.")] = None,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Show what is stored of a customer: attributes, and what he has opted out of.

    Example: opportune customers show anna
    """
    from rich.table import Table

    from opportune.audiences.customers import stored
    from opportune.audiences.customers.values import type_of
    from opportune.system import connection, sites

    with connection.opened(mongodb_url) as database:
        found = stored.customer(database, sites.resolve(database, site), user)
    if as_json:
        print_json(found._asdict())
        return
    table = Table("attribute", "value", "type")
    for name, value in sorted(found.attributes.items()):
        table.add_row(name, stored.shown(value), type_of(value))
    out.print(table if found.attributes else f"{user}: no attributes")
    for channel, why in sorted(found.opted_out.items()):
        out.print(f"opted out of {channel}: {stored.shown(why['at'])}, {why['reason']}", highlight=False)


@command(app, "export")
def export(
    path: Annotated[Path | None, typer.Argument(help="Where to; .gz is packed. Default: standard output.")] = None,
    site: Annotated[str | None, typer.Option(help="Id of the site; default: the only one.")] = None,
    mongodb_url: MongoUrl = None,
) -> None:
    """Write all customers with their opt-outs as NDJSON, which `customers import` reads.

    Example: opportune customers export customers.ndjson.gz --site shop
    """
    from opportune.audiences.customers import stored
    from opportune.system import connection, sites

    with connection.opened(mongodb_url) as database, stored.target(path) as file, progress_bar() as bar:
        named = sites.resolve(database, site)
        task = bar.add_task("customers", total=stored.count(database, named))
        written = 0
        for written, each in enumerate(stored.customers(database, named), start=1):
            file.write(each.line())
            if written % 1000 == 0:
                bar.update(task, completed=written)
    err.print(f"{written} customer(s) exported", highlight=False)
