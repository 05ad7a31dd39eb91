"""The types of a site's attributes: declared in its definitions, or found with the first import and kept.

    the file's first rows ─▶ a type per new attribute ─▶ customer_attributes, insert if absent ─▶ read back

An attribute is a row of its own, so of two imports at once the first to insert it decides, and the other obeys. A
type is kept before the first value that has it is written: an import that dies in between has changed nothing that
the next one would not find out in the same way.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database

from definitions.publishing import declared_types, versions
from opportune.audiences.customers.lines import Broken
from opportune.audiences.customers.rows import Row
from opportune.audiences.customers.values import TYPES, Type, convert, parse_date, read, type_of
from shared.mongodb import Document, translate_errors

MOST = 1000  # attributes of a site


class Attributes:
    """The types of the attributes of *site*. ``learned``: those that this import has found."""

    def __init__(self, database: Database[Document], site: str) -> None:
        self._rows = database.customer_attributes
        self._site = site
        self.learned: dict[str, Type] = {}
        version = versions.live(database, site)
        if version:
            declared_types.declare(database, site, versions.read(database, site, version).source)
        with translate_errors():
            self._types = self._kept()

    def type(self, name: str) -> Type | None:
        """Return the type of an attribute, ``None`` for one that nobody has seen."""
        return self._types.get(name)

    def learn(self, rows: Iterable[Row], *, untyped: bool) -> None:
        """Find out the types of all attributes that are new in *rows*, and keep them."""
        values = defaultdict[str, list[Any]](list)
        for row in rows:
            if new := row.attributes.keys() - self._types.keys():
                for name, value in row.attributes.items():
                    if name in new:
                        values[name].append(value)
        room = MOST - len(self._types)
        found = {name: infer(values[name], untyped=untyped) for name in list(values)[: max(room, 0)]}
        if not found:
            return
        with translate_errors():
            self._rows.bulk_write([self._insert(name, type_) for name, type_ in found.items()], ordered=False)
            self._types = self._kept()
        self.learned |= {name: self._types[name] for name in found}

    def typed(self, row: Row) -> dict[str, Any]:
        """Return the row's attributes, each as a value of its type; raises `Broken`, naming all that are none."""
        types = self._types
        typed: dict[str, Any] = {}
        wrong: list[str] = []
        for name, value in row.attributes.items():
            if type(value) is str and types.get(name) == "text":
                typed[name] = value
                continue
            try:
                typed[name] = self._value(name, value)
            except Broken as error:
                wrong.append(str(error))
        if wrong:
            raise Broken("; ".join(wrong))
        return typed

    def _value(self, name: str, value: Any) -> Any:
        wanted = self._types.get(name)
        if wanted is None:
            raise Broken(f"{name}: the site has {MOST} attributes already; declare it, or leave it out")
        try:
            return convert(value, wanted)
        except Broken as error:
            raise Broken(f"{name}: {error}") from None

    def _kept(self) -> dict[str, Type]:
        kept = {row["attribute"]: row["type"] for row in self._rows.find({"site": self._site})}
        return {name: type_ for name, type_ in kept.items() if type_ in TYPES}

    def _insert(self, name: str, type_: Type) -> UpdateOne:
        row = {"site": self._site, "attribute": name, "type": type_}
        return UpdateOne({"_id": f"{self._site}:{name}"}, {"$setOnInsert": row}, upsert=True)


def infer(values: list[Any], *, untyped: bool) -> Type:
    """Return the type of an attribute with these values: the one that they share.

    Text that does not agree on what it reads like is text; other values that do not agree have the type of most.
    """
    reads: Callable[[str], Any] = read if untyped else lambda text: parse_date(text) or text
    found = Counter(type_of(reads(each) if isinstance(each, str) else each) for each in values)
    if len(found) > 1 and all(isinstance(each, str) for each in values):
        return "text"
    return found.most_common(1)[0][0]
