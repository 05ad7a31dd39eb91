"""The types of a site's attributes: declared in its definitions, or inferred by the first import and stored.

    first rows of a file ─▶ type of each new attribute ─▶ customer_attributes, insert if absent ─▶ read back

Each attribute has its own row. If two imports run at the same time, the first insert decides the type for both.
A type is stored before the first value that has it. An import that dies in between changes nothing that the next
import would not infer in the same way.

A number that was inferred becomes text when a code such as ``01067`` arrives, together with the values that are stored,
unless the rule of a live target group needs the number.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database

from definitions.publishing import declared_types, versions
from opportune.audiences.customers.contacts import CONTACTS, TEXTS, check_contact, is_code
from opportune.audiences.customers.lines import InvalidRecord
from opportune.audiences.customers.local_formats import doubts, to_standard
from opportune.audiences.customers.rows import Row
from opportune.audiences.customers.values import TYPES, Type, convert, parse_date, parse_scalar, type_of
from shared.attribute_types import PARSERS, parse_number
from shared.conditions.parsing import parse_condition
from shared.conditions.tree import find_attributes
from shared.mongodb import Document, translate_errors
from shared.ruleset import TargetGroup

MAX_ATTRIBUTES = 1000  # of a site


class AttributeTypes:
    """The types of the attributes of *site*.

    ``learned`` has the attributes that this import saw first, ``widened`` those that became text.
    ``unreachable`` counts addresses that no message can be sent to, by attribute.
    ``doubts`` are warnings about attributes that became text although they are perhaps something else.
    *locale*: in which text may stand for a date, a number or a boolean.
    """

    def __init__(self, database: Database[Document], site: str, locale: str = "") -> None:
        self._collection = database.customer_attributes
        self._site = site
        self._customers = database.customers
        self._locale = locale
        self.doubts: list[str] = []
        self._declared: frozenset[str] = frozenset()
        self._needed: frozenset[str] = frozenset()
        self.learned: dict[str, Type] = {}
        self.widened: list[str] = []
        self.unreachable: Counter[str] = Counter()
        version = versions.live(database, site)
        if version:
            live = versions.read(database, site, version)
            declared_types.declare(database, site, live.source)
            self._declared = frozenset(declared_types.declared(live.source))
            self._needed = _attributes_of_rules(live.groups)
        with translate_errors():
            self._types = self._stored()

    def get(self, name: str) -> Type | None:
        """Return the type of an attribute; ``None`` if it has none yet."""
        return self._types.get(name)

    def learn(self, rows: Iterable[Row], *, untyped: bool) -> None:
        """Infer and store the types of all attributes that are new in *rows*."""
        values = defaultdict[str, list[Any]](list)
        for row in rows:
            self._widen(row)
            if new := row.attributes.keys() - self._types.keys():
                for name, value in row.attributes.items():
                    if name in new:
                        values[name].append(value)
        room = MAX_ATTRIBUTES - len(self._types)
        inferred: dict[str, Type] = {
            name: "text" if name in TEXTS else infer_type(values[name], untyped=untyped, locale=self._locale)
            for name in list(values)[: max(room, 0)]
        }
        if not inferred:
            return
        with translate_errors():
            self._collection.bulk_write([self._insert(name, type_) for name, type_ in inferred.items()], ordered=False)
            self._types = self._stored()
        for name in [each for each in inferred if untyped and each not in TEXTS]:
            texts = [each for each in values[name] if isinstance(each, str)]
            if inferred[name] == "text" and texts and (doubt := doubts(name, texts)):
                self.doubts.append(doubt)
        self.learned |= {name: self._types[name] for name in inferred}

    def convert(self, row: Row) -> dict[str, Any]:
        """Return the row's attributes, converted to their types.

        Raise `InvalidRecord` that names every attribute of another type.
        """
        types = self._types
        converted: dict[str, Any] = {}
        problems: list[str] = []
        for name, value in row.attributes.items():
            if name not in CONTACTS and type(value) is str and types.get(name) == "text":
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
        if name in CONTACTS and wanted == "text":
            value, is_reachable = check_contact(name, value)
            if not is_reachable:
                self.unreachable[name] += 1
        if self._locale and isinstance(value, str) and wanted in PARSERS:
            value = to_standard(value, self._locale)
        try:
            return convert(value, wanted)
        except InvalidRecord as error:
            hint = ": the rule of a target group needs the number" if is_code(value) and name in self._needed else ""
            raise InvalidRecord(f"{name}: {error}{hint}") from None

    def _widen(self, row: Row) -> None:
        """Make each inferred number of *row* text that has a code, together with the stored values."""
        for name, value in row.attributes.items():
            is_number = self._types.get(name) == "number" and name not in self._declared
            if not is_number or not is_code(value) or parse_number(value.strip()) is not None or name in self._needed:
                continue
            field = f"attributes.{name}"
            with translate_errors():
                self._collection.update_one({"_id": f"{self._site}:{name}"}, {"$set": {"type": "text"}})
                stored = {"site": self._site, field: {"$type": "number"}}
                self._customers.update_many(stored, [{"$set": {field: {"$toString": f"${field}"}}}])
            self._types[name] = "text"
            self.widened.append(name)

    def _stored(self) -> dict[str, Type]:
        types = {row["attribute"]: row["type"] for row in self._collection.find({"site": self._site})}
        known: dict[str, Type] = {name: type_ for name, type_ in types.items() if type_ in TYPES}
        return known | dict.fromkeys(CONTACTS & known.keys() - self._declared, "text")

    def _insert(self, name: str, type_: Type) -> UpdateOne:
        row = {"site": self._site, "attribute": name, "type": type_}
        return UpdateOne({"_id": f"{self._site}:{name}"}, {"$setOnInsert": row}, upsert=True)


def _attributes_of_rules(groups: Iterable[TargetGroup]) -> frozenset[str]:
    """Return the attributes that the rules of *groups* read."""
    rules = [parse_condition(group.rule, field=f"{group.id}.rule") for group in groups if group.rule]
    return frozenset(name for rule in rules for name in find_attributes(rule))


def infer_type(values: list[Any], *, untyped: bool, locale: str = "") -> Type:
    """Return the type that *values* share. *untyped*: text may stand for a number, a boolean or a date.

    If texts have different types, the type is text. If other values do, the most common type wins.
    """
    parse: Callable[[str], Any] = parse_scalar if untyped else lambda text: parse_date(text) or text
    if untyped and locale:
        parse = lambda text: parse_scalar(to_standard(text, locale))  # noqa: E731 - one of three ways to read a text
    types = Counter(type_of(parse(each) if isinstance(each, str) else each) for each in values)
    if len(types) > 1 and all(isinstance(each, str) for each in values):
        return "text"
    return types.most_common(1)[0][0]
