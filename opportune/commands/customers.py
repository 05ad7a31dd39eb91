"""The commands about customers: import, show, export."""

# A command loads only what it needs.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from opportune.commands.frame import Json, MongoUrl, bytes_bar, command, err, out, print_json

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
    from opportune import connection
    from opportune.customers import command as imports

    request = imports.Request(path, id_column, rejects, origin=origin, endpoint_ids=endpoint_ids, users=users)
    database = connection.database(mongodb_url)
    with bytes_bar(path.name) as progress:
        done = imports.run(request, database, site, progress)
    if as_json:
        print_json(imports.told(done))
    else:
        imports.show(done, out=out, err=err)
    raise typer.Exit(1 if done.imported.rejected else 0)
