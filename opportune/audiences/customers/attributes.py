"""The types of a site's attributes: declared in its definitions, or inferred by the first import and stored.

    first rows of a file ─▶ type of each new attribute ─▶ customer_attributes, insert if absent ─▶ read back

Each attribute has its own row. If two imports run at the same time, the first insert decides the type for both.
A type is stored before the first value that has it. An import that dies in between changes nothing that the next
import would not infer in the same way.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database

from definitions.publishing import declared_types, versions
from opportune.audiences.customers.lines import InvalidRecord
from opportune.audiences.customers.rows import Row
from opportune.audiences.customers.values import TYPES, Type, convert, parse_date, parse_scalar, type_of
from shared.mongodb import Document, translate_errors

MAX_ATTRIBUTES = 1000  # of a site


class AttributeTypes:
    """The types of the attributes of *site*. ``learned`` has the attributes that this import saw first."""

    def __init__(self, database: Database[Document], site: str) -> None:
        self._collection = database.customer_attributes
        self._site = site
        self.learned: dict[str, Type] = {}
        version = versions.live(database, site)
        if version:
            declared_types.declare(database, site, versions.read(database, site, version).source)
        with translate_errors():
            self._types = self._stored()

    def get(self, name: str) -> Type | None:
        """Return the type of an attribute; ``None`` if it has none yet."""
        return self._types.get(name)

    def learn(self, rows: Iterable[Row], *, untyped: bool) -> None:
        """Infer and store the types of all attributes that are new in *rows*."""
        values = defaultdict[str, list[Any]](list)
        for row in rows:
            if new := row.attributes.keys() - self._types.keys():
                for name, value in row.attributes.items():
                    if name in new:
                        values[name].append(value)
        room = MAX_ATTRIBUTES - len(self._types)
        inferred = {name: infer_type(values[name], untyped=untyped) for name in list(values)[: max(room, 0)]}
        if not inferred:
            return
        with translate_errors():
            self._collection.bulk_write([self._insert(name, type_) for name, type_ in inferred.items()], ordered=False)
            self._types = self._stored()
        self.learned |= {name: self._types[name] for name in inferred}

    def convert(self, row: Row) -> dict[str, Any]:
        """Return the row's attributes, converted to their types.

        Raise `InvalidRecord` that names every attribute of another type.
        """
        types = self._types
        converted: dict[str, Any] = {}
        problems: list[str] = []
        for name, value in row.attributes.items():
            if type(value) is str and types.get(name) == "text":
                converted[name] = value
                continue
            try:
                converted[name] = self._convert(name, value)
            except InvalidRecord as error:
                problems.append(str(error))
        if problems:
            raise InvalidRecord("; ".join(problems))
        return converted

    def _convert(self, name: str, value: Any) -> Any:
        wanted = self._types.get(name)
        if wanted is None:
            raise InvalidRecord(
                f"{name}: the site already has {MAX_ATTRIBUTES} attributes: remove this one, "
                "or declare it in customer_attributes"
            )
        try:
            return convert(value, wanted)
        except InvalidRecord as error:
            raise InvalidRecord(f"{name}: {error}") from None

    def _stored(self) -> dict[str, Type]:
        types = {row["attribute"]: row["type"] for row in self._collection.find({"site": self._site})}
        return {name: type_ for name, type_ in types.items() if type_ in TYPES}

    def _insert(self, name: str, type_: Type) -> UpdateOne:
        row = {"site": self._site, "attribute": name, "type": type_}
        return UpdateOne({"_id": f"{self._site}:{name}"}, {"$setOnInsert": row}, upsert=True)


def infer_type(values: list[Any], *, untyped: bool) -> Type:
    """Return the type that *values* share. *untyped*: text may stand for a number, a boolean or a date.

    If texts have different types, the type is text. If other values do, the most common type wins.
    """
    parse: Callable[[str], Any] = parse_scalar if untyped else lambda text: parse_date(text) or text
    types = Counter(type_of(parse(each) if isinstance(each, str) else each) for each in values)
    if len(types) > 1 and all(isinstance(each, str) for each in values):
        return "text"
    return types.most_common(1)[0][0]
