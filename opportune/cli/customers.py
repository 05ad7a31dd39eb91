"""The commands about customers: import, show, export."""

from pathlib import Path
from typing import Annotated

import typer

from opportune.cli.options import Json, MongoUrl, Site, User
from opportune.cli.output import bytes_bar, command, err, out, print_json, progress_bar

app = typer.Typer(help="The customers in MongoDB.", no_args_is_help=True)


@command(app, "import")
def import_(
    path: Annotated[
        Path, typer.Argument(help="CSV or NDJSON, may be gzipped. Or an Amazon Pinpoint export, file or folder.")
    ],
    site: Site = None,
    id_column: Annotated[str, typer.Option(help="Column or field that holds the user id.")] = "user_id",
    rejects: Annotated[
        Path | None, typer.Option(help="File for rejected rows. Default: FILE.rejects.csv or .ndjson.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option("--from", help="`pinpoint` for an Amazon Pinpoint export. Default: detected.")
    ] = None,
    endpoint_ids: Annotated[
        bool, typer.Option("--endpoint-ids", help="Pinpoint: use the endpoint id where there is no user id.")
    ] = False,
    users: Annotated[
        Path | None, typer.Option("--list", help="Pinpoint: write the user ids to this file, for a target group.")
    ] = None,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Import customers. Rejected rows go to a file that you can correct and import again.

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
def show(user: User, site: Site = None, mongodb_url: MongoUrl = None, as_json: Json = False) -> None:
    """Show the attributes and opt-outs of a customer.

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
    for channel, opt_out in sorted(found.opted_out.items()):
        out.print(f"opted out of {channel}: {stored.shown(opt_out['at'])}, {opt_out['reason']}", highlight=False)


@command(app, "export")
def export(
    path: Annotated[
        Path | None, typer.Argument(help="File to write; gzipped if it ends in .gz. Default: standard output.")
    ] = None,
    site: Site = None,
    mongodb_url: MongoUrl = None,
) -> None:
    """Write all customers with their opt-outs as NDJSON, which `customers import` reads.

    Example: opportune customers export customers.ndjson.gz --site shop
    """
    from opportune.audiences.customers import stored
    from opportune.system import connection, sites

    with connection.opened(mongodb_url) as database, stored.target(path) as file, progress_bar() as bar:
        name = sites.resolve(database, site)
        task = bar.add_task("customers", total=stored.count(database, name))
        written = 0
        for written, each in enumerate(stored.customers(database, name), start=1):
            file.write(each.line())
            if written % 1000 == 0:
                bar.update(task, completed=written)
    err.print(f"{written} customer(s) exported", highlight=False)
