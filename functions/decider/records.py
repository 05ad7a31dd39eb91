"""Write traits of customers and events of popups to MongoDB.

Both can be repeated without effect, and may come in any order. The field ``said`` of a customer holds the time of each
trait, and the newest value stays. Types work as in imports: the first value of an attribute sets its type (collection
``customer_attributes``), and values of another type are not stored.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from shared.attribute_types import PARSERS, parse_date, read_date
from shared.clock import MAX_AHEAD_MS
from shared.identities import Identification, PopupEvent
from shared.mongodb import Document, translate_errors
from shared.mongodb_errors import is_too_large

MAX_ATTRIBUTES = 1000  # of a site
MAX_INT = 2**63
_BY_CLASS = {str: "text", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}


class Unfit(Exception):
    """The value does not have its attribute's type, or cannot be stored."""


class Said(NamedTuple):
    """A value of an attribute, and when it was set (ms). ``None`` removes the attribute.

    ``now``: when it was received; a stored time that is further ahead is of a clock that was wrong.
    """

    at: int
    value: Any
    now: int


Change = dict[str, Said]  # the changes of one customer, by attribute


class MongoRecords:
    """`Records` in MongoDB."""

    def __init__(self, database: Database[Document]) -> None:
        self._customers = database.customers
        self._types = database.customer_attributes
        self._ledger = database.activations

    def write_traits(self, site: str, identifications: Sequence[Identification]) -> list[str]:
        """Store the traits of known users; return the names of those that could not be stored.

        Takes two calls of MongoDB, and up to three more if an attribute is new.
        """
        said = [each for each in identifications if each.traits]
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

    def record_popup_events(self, site: str, popup_events: Sequence[PopupEvent]) -> None:
        """Record in the ledger when popups were seen, clicked and dismissed: the first time stays. One call."""
        if popup_events:
            with translate_errors():
                self._ledger.bulk_write([update for each in popup_events for update in _ledger_updates(site, each)])

    def _types_of(self, site: str, said: Iterable[Identification]) -> dict[str, str]:
        """Return the types of all attributes. New ones get the type of their first value; the first writer decides."""
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
        room = MAX_ATTRIBUTES - self._types.count_documents({"site": site}, limit=MAX_ATTRIBUTES)
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
    """Add the traits in *said* to *change*, unless it has newer ones; return the names of those that do not fit."""
    at = said.said_at
    unfit = []
    for name, value in said.traits.items():
        if name in change and change[name].at > at:
            continue
        try:
            if not _is_name(name):
                raise Unfit
            change[name] = Said(at, _fit(value, types.get(name)), said.received)
        except Unfit:
            unfit.append(name)
    return unfit


def _update(site: str, user: str, change: Change) -> UpdateOne:
    row: Document = {"site": {"$literal": site}, "user": {"$literal": user}}
    for name, (at, value, now) in change.items():
        said = f"$said.{name}"
        is_newer = {"$and": [{"$gt": [said, at]}, {"$lte": [said, now + MAX_AHEAD_MS]}]}
        new = "$$REMOVE" if value is None else {"$literal": value}
        row[f"attributes.{name}"] = {"$cond": [is_newer, f"$attributes.{name}", new]}
        row[f"said.{name}"] = {"$cond": [is_newer, said, at]}
    return UpdateOne({"_id": f"{site}:{user}"}, [{"$set": row}], upsert=True)


def _fit(value: Any, wanted: str | None) -> Any:
    """Return *value* as type *wanted*. Text may represent any scalar; ``None`` fits every type."""
    if value is None:
        return None
    if isinstance(value, str):
        parse = PARSERS.get(wanted or "")
        fitting = value if wanted == "text" else parse(value.strip()) if parse else None
    elif wanted == "date":
        fitting = read_date(value) if _type_of(value) == "number" else None
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
    if isinstance(value, int) and not -MAX_INT <= value < MAX_INT:
        raise Unfit
    return value


def _type_of(value: Any) -> str:
    if isinstance(value, str) and parse_date(value) is not None:
        return "date"
    return _BY_CLASS[type(value)]


def _is_name(name: str) -> bool:
    return bool(name) and not any(character in name for character in ".$\0")


def _ledger_updates(site: str, popup_event: PopupEvent) -> list[UpdateOne]:
    """Return the updates of the ledger's row. A popup that was clicked or dismissed was seen."""
    row: Document = {"_id": popup_event.activation, "site": site, "channel": "popup"}
    at = datetime.fromtimestamp(popup_event.at / 1000, UTC)
    times = {popup_event.what: at}
    if popup_event.what != "failed":
        times["seen"] = at
    if popup_event.action:
        times[f"actions.{popup_event.action}"] = at
    updates = [UpdateOne(row, {"$min": times})]
    if popup_event.reason:
        field = f"{popup_event.what}_reason"
        updates.append(UpdateOne({**row, field: {"$exists": False}}, {"$set": {field: popup_event.reason}}))
    return updates
