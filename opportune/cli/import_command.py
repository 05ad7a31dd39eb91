"""`opportune customers import`: what is read, where rejects go, and what is said in the end."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo.database import Database
from rich.console import Console
from rich.table import Table

from definitions.model.field_errors import suggestion
from opportune.audiences.customers import pinpoint
from opportune.audiences.customers.endpoints import open_export
from opportune.audiences.customers.importing import Imported, import_customers
from opportune.audiences.customers.rejects import RejectsFile, beside
from opportune.audiences.customers.rows import Reject, Row, open_rows
from opportune.system import sites
from shared import mongodb
from shared.errors import InvalidRequest
from shared.mongodb import Document

SITE_ID = r"[a-z0-9-]{1,32}"
SHOWN = 10  # rejects that are printed; all of them are in the file


@dataclass(frozen=True)
class Request:
    """What to import, as it is typed. ``users``: where the user ids of an export go."""

    path: Path
    id_column: str = "user_id"
    rejects: Path | None = None
    origin: str | None = None
    endpoint_ids: bool = False
    users: Path | None = None


@dataclass
class Done:
    """What an import came to. ``meant``: a question, where the site is unknown and sounds like another one."""

    request: Request
    site: str
    published: bool
    imported: Imported
    rejects: Path
    first: list[Reject] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    meant: str = ""


def run(request: Request, database: Database[Document], site: str | None, progress: Callable[[int, int], None]) -> Done:
    """Import; raises `InvalidRequest` and `Unavailable`. *progress* gets bytes done, and bytes in all."""
    known = mongodb.read_pointers(database)
    published = site in known
    if site and not published and not re.fullmatch(SITE_ID, site):
        raise InvalidRequest(f"--site {site}: the id of a site has 1 to 32 letters a-z, digits and '-'")
    named = site or sites.resolve(database, None)
    path = request.path
    size = sum(part.stat().st_size for part in pinpoint.parts(path))
    exported = _is_export(request)
    rejects = request.rejects or beside(path)
    if rejects.resolve() == path.resolve():
        raise InvalidRequest(f"{rejects}: rejects cannot go where the rows come from")
    first: list[Reject] = []
    with ExitStack() as open_:

        def advance(done: int) -> None:
            progress(done, size)

        if exported:
            rows = open_.enter_context(open_export(path, endpoint_ids=request.endpoint_ids, progress=advance))
        else:
            rows = open_.enter_context(open_rows(path, request.id_column))
        if request.users is not None:
            rows = rows._replace(found=_listed(rows.found, open_.enter_context(_written(request.users))))
        file = open_.enter_context(RejectsFile(rejects, rows.header))

        def refuse(reject: Reject) -> None:
            file.add(reject)
            if len(first) < SHOWN:
                first.append(reject)

        imported = import_customers(rows, database, named, rejected=refuse, progress=advance)
        return Done(
            request,
            named,
            published or site is None,
            imported,
            rejects,
            first,
            dict(rows.left_out),
            suggestion(named, known),
        )


def _is_export(request: Request) -> bool:
    if request.origin not in (None, "pinpoint"):
        raise InvalidRequest(f"--from {request.origin}: only 'pinpoint' is known; leave it out for any other file")
    if not request.path.exists():
        raise InvalidRequest(f"{request.path.name}: there is no such file or folder")
    exported = request.origin == "pinpoint" or request.path.is_dir() or pinpoint.is_export(request.path)
    for option, given in (("--list", request.users is not None), ("--endpoint-ids", request.endpoint_ids)):
        if given and not exported:
            raise InvalidRequest(f"{option} is for exports of Pinpoint's, and {request.path.name} is none")
    return exported


def _written(path: Path) -> Any:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}; name another file with --list") from error


def _listed(found: Iterator[Row | Reject], file: Any) -> Iterator[Row | Reject]:
    """Yield what is found, and write the user ids to *file*, one a line."""
    for each in found:
        if isinstance(each, Row):
            file.write(f"{each.user}\n")
        yield each


def told(done: Done) -> dict[str, Any]:
    """Return it for programs."""
    imported = done.imported
    return {
        "site": done.site,
        "accepted": imported.accepted,
        "new": imported.new,
        "changed": imported.changed,
        "opted_out": imported.opted_out,
        "rejected": imported.rejected,
        "rejects": str(done.rejects) if imported.rejected else None,
        "first_rejects": [{"line": _place(reject), "reason": reject.reason} for reject in done.first],
        "left_out": done.left_out,
        "types": imported.learned,
    }


def show(done: Done, *, out: Console, err: Console) -> None:
    """Print it for people."""
    imported, path = done.imported, done.request.path
    if not done.published:
        err.print(
            f"note: site {done.site!r} was never published; its customers are imported all the same{done.meant}",
            markup=False,
        )
    for reject in done.first:
        place = f"{path / _place(reject)}" if path.is_dir() else f"{path}:{_place(reject)}"
        err.print(f"{place}: {reject.reason}", markup=False, highlight=False, soft_wrap=True)
    if imported.rejected > len(done.first):
        err.print(f"and {imported.rejected - len(done.first)} more")
    if imported.learned:
        out.print("new attributes, with the types that later imports obey:")
        out.print(_types(imported))
    summary = f"{imported.accepted} imported, {imported.rejected} rejected"
    out.print(f"{summary}: {imported.new} new, {imported.changed} changed", highlight=False)
    if imported.opted_out:
        out.print(f"{imported.opted_out} have opted out of a channel", highlight=False)
    for what, count in done.left_out.items():
        out.print(f"left out: {count} {what}; --endpoint-ids imports them", highlight=False)
    if imported.rejected:
        out.print(f"rejects: {done.rejects} (mend it, and import it)", highlight=False, soft_wrap=True)


def _place(reject: Reject) -> str:
    return reject.records[-1].place


def _types(imported: Imported) -> Table:
    table = Table("attribute", "type")
    for name, type_ in imported.learned.items():
        table.add_row(name, type_)
    return table
