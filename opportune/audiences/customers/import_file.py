"""Import a file of customers or a Pinpoint export, and write its rejects file and its list of user ids."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pydantic import TypeAdapter, ValidationError
from pymongo.database import Database

from definitions.model.field_errors import problems, suggestion
from definitions.model.fields import ShortIdentifier
from opportune.audiences.customers.importing import ImportResult, import_customers
from opportune.audiences.customers.local_formats import check_locale
from opportune.audiences.customers.pinpoint.endpoints import is_export, list_parts
from opportune.audiences.customers.pinpoint.export import open_export
from opportune.audiences.customers.rejects import RejectsFile, default_path
from opportune.audiences.customers.rows import Reject, Row, open_rows
from opportune.system import sites
from shared import mongodb
from shared.errors import InvalidRequest
from shared.mongodb import Document

MAX_SHOWN = 10  # rejects in a report; all of them are in the rejects file


@dataclass(frozen=True)
class ImportRequest:
    """What to import.

    path: a file, or a folder with the parts of a Pinpoint export.
    id_column: the column or field with the user id.
    rejects: the rejects file; by default beside *path*.
    origin: ``pinpoint`` for a Pinpoint export; by default detected.
    endpoint_ids: import endpoints without a user id under their own id.
    users: the file for the user ids of a Pinpoint export, if wanted.
    locale: in which a CSV writes dates, numbers and booleans; by default as JSON does.
    """

    path: Path
    id_column: str = "user_id"
    rejects: Path | None = None
    origin: str | None = None
    endpoint_ids: bool = False
    users: Path | None = None
    locale: str = ""


@dataclass
class ImportReport:
    """The result of importing a file.

    published: whether the site has been published.
    suggestion: ``, did you mean 'x'?`` if it has not and its id resembles that of another site.
    first_rejects: the first `MAX_SHOWN` rejects.
    left_out: how many records were left out, by reason.
    """

    path: Path
    site: str
    published: bool
    suggestion: str
    result: ImportResult
    rejects: Path
    first_rejects: list[Reject] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        result = self.result
        return {
            "site": self.site,
            "accepted": result.accepted,
            "new": result.new,
            "changed": result.changed,
            "opted_out": result.opted_out,
            "rejected": result.rejected,
            "rejects": str(self.rejects) if result.rejected else None,
            "first_rejects": [
                {"line": reject.records[-1].place, "reason": reject.reason} for reject in self.first_rejects
            ],
            "left_out": self.left_out,
            "types": result.learned,
            "widened": result.widened,
            "unreachable": result.unreachable,
            "renamed": result.renamed,
            "warnings": result.doubts,
        }

    def reject_lines(self) -> Iterator[str]:
        """Yield the first rejects as ``file:line: reason``."""
        for reject in self.first_rejects:
            place = reject.records[-1].place
            location = self.path / place if self.path.is_dir() else f"{self.path}:{place}"
            yield f"{location}: {reject.reason}"


def import_file(
    request: ImportRequest,
    database: Database[Document],
    site: str | None,
    on_progress: Callable[[int, int], None],
) -> ImportReport:
    """Import a file to *site*, by default the only published one; raise `InvalidRequest` or `Unavailable`.

    *on_progress* is called with the bytes done and the size of the file.
    """
    locale = check_locale(request.locale) if request.locale else ""
    published_sites = mongodb.read_pointers(database)
    if site and site not in published_sites:
        _check_site_id(site)
    name = site or sites.resolve(database, None)
    path = request.path
    of_pinpoint = _is_pinpoint(request)
    rejects = request.rejects or default_path(path)
    if rejects.resolve() == path.resolve():
        raise InvalidRequest(f"{rejects}: this is the file to import; name another file with --rejects")
    size = sum(part.stat().st_size for part in list_parts(path))
    first_rejects: list[Reject] = []
    with ExitStack() as open_files:

        def advance(done: int) -> None:
            on_progress(done, size)

        if of_pinpoint:
            source = open_files.enter_context(open_export(path, endpoint_ids=request.endpoint_ids, progress=advance))
        else:
            source = open_files.enter_context(open_rows(path, request.id_column))
        if request.users is not None:
            users = open_files.enter_context(_create(request.users))
            source = source._replace(rows=_write_users(source.rows, users))
        file = open_files.enter_context(RejectsFile(rejects, source.header))

        def on_reject(reject: Reject) -> None:
            file.add(reject)
            if len(first_rejects) < MAX_SHOWN:
                first_rejects.append(reject)

        result = import_customers(source, database, name, on_reject=on_reject, progress=advance, locale=locale)
        return ImportReport(
            path,
            name,
            name in published_sites,
            suggestion(name, published_sites),
            result,
            rejects,
            first_rejects,
            dict(source.left_out),
        )


def _check_site_id(site: str) -> None:
    try:
        TypeAdapter(ShortIdentifier).validate_python(site)
    except ValidationError as error:
        raise InvalidRequest(f"--site {site}: {problems(error)[0].message}") from None


def _is_pinpoint(request: ImportRequest) -> bool:
    if request.origin not in (None, "pinpoint"):
        raise InvalidRequest(f"--from {request.origin}: only 'pinpoint' is supported; omit --from for other files")
    if not request.path.exists():
        raise InvalidRequest(f"{request.path}: no such file or folder")
    of_pinpoint = request.origin == "pinpoint" or request.path.is_dir() or is_export(request.path)
    for option, is_given in (("--list", request.users is not None), ("--endpoint-ids", request.endpoint_ids)):
        if is_given and not of_pinpoint:
            raise InvalidRequest(f"{option} is for exports of Amazon Pinpoint, and {request.path.name} is not one")
    return of_pinpoint


def _create(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}; name another file with --list") from error


def _write_users(rows: Iterator[Row | Reject], file: TextIO) -> Iterator[Row | Reject]:
    """Yield *rows*, and write their user ids to *file*, one a line."""
    for row in rows:
        if isinstance(row, Row):
            file.write(f"{row.user}\n")
        yield row
