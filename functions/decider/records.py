"""What the Decider writes of people to MongoDB: traits of customers, and what the tag reports of popups.

Both may come again and change nothing then, and come in any order: ``said`` of a customer has the time at which each
trait was said, and the newest stays. Types hold as for imports: an attribute's first value says what it is (collection
``customer_attributes``), and what is of another type is not stored.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from shared.attribute_types import PARSERS, parse_date
from shared.identities import Identification, PopupEvent
from shared.mongodb import Document, translate_errors
from shared.mongodb_errors import is_too_large

MOST_ATTRIBUTES = 1000  # of a site
WIDEST = 2**63
_BY_CLASS = {str: "text", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}


class Records(Protocol):
    """Where it goes. Both raise `Unavailable`."""

    def write_traits(self, site: str, introductions: Sequence[Identification]) -> list[str]:
        """Store the traits of known users; return the names of those that could not be: mostly none of their type."""

    def note(self, site: str, reports: Sequence[PopupEvent]) -> None:
        """Note in the ledger when popups were seen, clicked and dismissed: the first time stays."""


class Unfit(Exception):
    """A value that is none of its attribute's type, or that cannot be stored."""


class Said(NamedTuple):
    """What was said of an attribute, and when (ms); ``None``: it is removed."""

    at: int
    value: Any


Change = dict[str, Said]  # what becomes of one customer, by attribute


class MongoRecords:
    """`Records` in MongoDB."""

    def __init__(self, database: Database[Document]) -> None:
        self._customers = database.customers
        self._types = database.customer_attributes
        self._ledger = database.activations

    def write_traits(self, site: str, introductions: Sequence[Identification]) -> list[str]:
        """Two calls for all of them; two more where an attribute is new."""
        said = [each for each in introductions if each.traits]
        if not said:
            return []
        with translate_errors():
            types = self._types_of(site, said)
            unfit: list[str] = []
            changes: dict[str, Change] = {}
            for each in said:
                unfit += _add(changes.setdefault(each.user, {}), each, types)
            written = [(user, change) for user, change in changes.items() if change]
            if written:
                try:
                    self._customers.bulk_write([_update(site, *each) for each in written], ordered=False)
                except BulkWriteError as error:
                    if not is_too_large(error):
                        raise
                    unfit += [name for each in error.details["writeErrors"] for name in written[each["index"]][1]]
        return list(dict.fromkeys(unfit))

    def note(self, site: str, reports: Sequence[PopupEvent]) -> None:
        """One call for all of them."""
        if reports:
            with translate_errors():
                self._ledger.bulk_write([update for each in reports for update in _marks(site, each)])

    def _types_of(self, site: str, said: Iterable[Identification]) -> dict[str, str]:
        """Return the types of all attributes; those of new ones are found out and kept, the first to do it decides."""
        values: dict[str, Any] = {}
        for each in said:
            for name, value in each.traits.items():
                if value is not None and _is_name(name):
                    values.setdefault(name, value)
        ids = {"_id": {"$in": [f"{site}:{name}" for name in values]}}
        kept = {row["attribute"]: row["type"] for row in self._types.find(ids)}
        found = {name: _type_of(value) for name, value in values.items() if name not in kept}
        if not found:
            return kept
        room = MOST_ATTRIBUTES - self._types.count_documents({"site": site}, limit=MOST_ATTRIBUTES)
        new = [
            UpdateOne(
                {"_id": f"{site}:{name}"},
                {"$setOnInsert": {"site": site, "attribute": name, "type": type_}},
                upsert=True,
            )
            for name, type_ in list(found.items())[: max(room, 0)]
        ]
        if new:
            self._types.bulk_write(new, ordered=False)
        return {row["attribute"]: row["type"] for row in self._types.find(ids)}


def _add(change: Change, said: Identification, types: Mapping[str, str]) -> list[str]:
    """Add the traits that were *said* to *change*, the newer ones win; return the names of those that do not fit."""
    at = said.said_at
    unfit = []
    for name, value in said.traits.items():
        if name in change and change[name].at > at:
            continue
        try:
            if not _is_name(name):
                raise Unfit
            change[name] = Said(at, _fit(value, types.get(name)))
        except Unfit:
            unfit.append(name)
    return unfit


def _update(site: str, user: str, change: Change) -> UpdateOne:
    row: Document = {"site": {"$literal": site}, "user": {"$literal": user}}
    for name, (at, value) in change.items():
        new = "$$REMOVE" if value is None else {"$literal": value}
        row[f"attributes.{name}"] = {"$cond": [{"$gt": [f"$said.{name}", at]}, f"$attributes.{name}", new]}
        row[f"said.{name}"] = {"$max": [f"$said.{name}", at]}
    return UpdateOne({"_id": f"{site}:{user}"}, [{"$set": row}], upsert=True)


def _fit(value: Any, wanted: str | None) -> Any:
    """Return *value* as *wanted*; text may stand for any scalar, and ``None`` for all."""
    if value is None:
        return None
    if isinstance(value, str):
        parse = PARSERS.get(wanted or "")
        fitting = value if wanted == "text" else parse(value.strip()) if parse else None
    else:
        fitting = _storable(value) if _type_of(value) == wanted else None
    if fitting is None:
        raise Unfit
    return fitting


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        if not all(map(_is_name, value)):
            raise Unfit
        return {name: _storable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_storable(each) for each in value]
    if isinstance(value, str):
        return parse_date(value) or value
    if isinstance(value, int) and not -WIDEST <= value < WIDEST:
        raise Unfit
    return value


def _type_of(value: Any) -> str:
    if isinstance(value, str) and parse_date(value) is not None:
        return "date"
    return _BY_CLASS[type(value)]


def _is_name(name: str) -> bool:
    return bool(name) and not any(character in name for character in ".$\0")


def _marks(site: str, report: PopupEvent) -> list[UpdateOne]:
    """Return the updates of the ledger's row; who clicks or dismisses a popup has seen it."""
    row: Document = {"_id": report.activation, "site": site, "channel": "popup"}
    at = datetime.fromtimestamp(report.at / 1000, UTC)
    times = {report.what: at}
    if report.what != "failed":
        times["seen"] = at
    if report.action:
        times[f"actions.{report.action}"] = at
    marks = [UpdateOne(row, {"$min": times})]
    if report.reason:
        field = f"{report.what}_reason"
        marks.append(UpdateOne({**row, field: {"$exists": False}}, {"$set": {field: report.reason}}))
    return marks
