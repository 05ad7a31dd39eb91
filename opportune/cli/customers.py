"""The commands about customers: import, show, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opportune.cli.options import Json, MongoUrl, Site, User
from opportune.cli.output import bytes_bar, command, err, out, print_json, progress_bar

if TYPE_CHECKING:
    from opportune.audiences.customers.import_file import ImportReport

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
    locale: Annotated[
        str, typer.Option(help="How a CSV writes dates, numbers and booleans, such as de or en-US. Default: as JSON.")
    ] = "",
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Import customers. Rejected rows go to a file that you can correct and import again.

    Exit code 1: some rows were rejected.

    Example: opportune customers import players.csv --site demo
    """
    from opportune.audiences.customers.import_file import ImportRequest, import_file
    from opportune.system import connection

    request = ImportRequest(
        path, id_column, rejects, origin=origin, endpoint_ids=endpoint_ids, users=users, locale=locale
    )
    with connection.opened(mongodb_url) as database, bytes_bar(path.name) as on_progress:
        report = import_file(request, database, site, on_progress)
    if as_json:
        print_json(report.as_json())
    else:
        _print_report(report)
    raise typer.Exit(1 if report.result.rejected else 0)


@command(app, "show")
def show(user: User, site: Site = None, mongodb_url: MongoUrl = None, as_json: Json = False) -> None:
    """Show the attributes and opt-outs of a customer.

    Example: opportune customers show anna
    """
    from rich.table import Table

    from opportune.audiences.customers.profiles import find_customer, format_value
    from opportune.audiences.customers.values import type_of
    from opportune.system import connection, sites

    with connection.opened(mongodb_url) as database:
        found = find_customer(database, sites.resolve(database, site), user)
    if as_json:
        print_json(found._asdict())
        return
    table = Table("attribute", "value", "type")
    for name, value in sorted(found.attributes.items()):
        table.add_row(name, format_value(value), type_of(value))
    out.print(table if found.attributes else f"{user}: no attributes")
    for channel, opt_out in sorted(found.opted_out.items()):
        out.print(f"opted out of {channel}: {format_value(opt_out['at'])}, {opt_out['reason']}", highlight=False)


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
    from opportune.audiences.customers.profiles import all_customers, count_customers, open_output
    from opportune.system import connection, sites

    with connection.opened(mongodb_url) as database, open_output(path) as file, progress_bar() as bar:
        name = sites.resolve(database, site)
        task = bar.add_task("customers", total=count_customers(database, name))
        written = 0
        for written, each in enumerate(all_customers(database, name), start=1):
            file.write(each.to_line())
            if written % 1000 == 0:
                bar.update(task, completed=written)
    err.print(f"{written} customer(s) exported", highlight=False)


def _print_report(report: "ImportReport") -> None:
    from rich.table import Table

    result = report.result
    if not report.published:
        note = f"note: site {report.site!r} was never published; importing its customers anyway{report.suggestion}"
        err.print(note, markup=False)
    for line in report.reject_lines():
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    if result.rejected > len(report.first_rejects):
        err.print(f"and {result.rejected - len(report.first_rejects)} more")
    if result.learned:
        out.print("new attributes; later imports must use the same types:")
        table = Table("attribute", "type")
        for name, type_ in result.learned.items():
            table.add_row(name, type_)
        out.print(table)
    rows = f"{result.accepted} imported, {result.rejected} rejected"
    out.print(f"{rows}; customers: {result.new} new, {result.changed} changed", highlight=False)
    for note in result.notes():
        out.print(note, markup=False, highlight=False, soft_wrap=True)
    if result.opted_out:
        out.print(f"{result.opted_out} customer(s) opted out of a channel", highlight=False)
    for what, number in report.left_out.items():
        out.print(f"left out: {number} {what}; --endpoint-ids imports them", highlight=False)
    if result.rejected:
        out.print(f"rejects: {report.rejects} (correct and import this file)", highlight=False, soft_wrap=True)
