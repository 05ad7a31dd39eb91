"""Events and attributes, as they are written: what a site sends, and what it knows of its customers."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, field_validator, model_validator

from definitions.model.field_errors import FieldErrors, suggestion
from definitions.model.fields import Definition, Name, Text
from shared.conditions.parsing import check_attribute
from shared.contracts import PAGE_VIEWED, SCREEN_VIEWED
from shared.errors import InvalidDefinition

AttributeType = Literal["text", "number", "boolean", "date", "list", "object"]
TYPES: tuple[AttributeType, ...] = get_args(AttributeType)
MAX_ATTRIBUTES = 200
OWN_EVENTS = "Opportune "  # what the names of the tag's own reports begin with
BUILT_IN = frozenset({PAGE_VIEWED, SCREEN_VIEWED})  # what calls of `page` and `screen` become
_PYTHON: Mapping[str, tuple[type, ...]] = {"text": (str,), "number": (int, float), "date": (str,)}
_WORDS: Mapping[str, str] = {
    "string": "text", "str": "text", "int": "number", "integer": "number", "float": "number", "decimal": "number",
    "money": "number", "bool": "boolean", "datetime": "date", "time": "date", "timestamp": "date", "array": "list",
    "map": "object", "json": "object",
}  # fmt: skip


def _attribute_name(name: str) -> str:
    try:
        check_attribute(name, field="")
    except InvalidDefinition as error:
        raise FieldErrors((error.field, error.message)) from None
    return name


AttributeName = Annotated[Name, AfterValidator(_attribute_name)]


def _type(value: Any) -> Any:
    if isinstance(value, str) and value not in TYPES:
        known = f": write '{_WORDS[value.lower()]}'" if value.lower() in _WORDS else suggestion(value, TYPES)
        any_of = f": write one of {', '.join(TYPES)}"
        raise FieldErrors(("", f"'{value}' is no type{known or any_of}"))
    return value


def fits(value: Any, kind: str) -> bool:
    """Return whether *value*, as it is written, may be one of an attribute of type *kind*."""
    if kind in ("list", "object"):
        return isinstance(value, list | tuple if kind == "list" else Mapping)
    if isinstance(value, bool) or kind == "boolean":
        return isinstance(value, bool) and kind == "boolean"
    return isinstance(value, _PYTHON[kind])


class Attribute(Definition):
    """An attribute of an event or of a customer: its type, and where only some values are possible, these."""

    example = "type: number"
    not_offered: ClassVar[Mapping[str, str]] = {
        "enum": "the values that are possible are called 'one_of'",
        "values": "the values that are possible are called 'one_of'",
        "required": "an attribute may always be missing: a condition on it is then not met",
        "default": "an attribute that is missing is missing: write 'exists: false' in a condition to ask for it",
    }

    type: Annotated[AttributeType, BeforeValidator(_type)]
    description: Text | None = None
    one_of: Annotated[tuple[Any, ...], Field(min_length=1, max_length=200)] | None = None
    sample: Annotated[Any, Field(alias="example")] = None

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        found = []
        if self.one_of is not None and self.type not in ("text", "number"):
            found.append(("one_of", f"is for text and numbers: remove it from a {self.type}"))
        else:
            for number, value in enumerate(self.one_of or ()):
                if not fits(value, self.type):
                    found.append((f"one_of[{number}]", _other_type(value, self.type)))
        if self.sample is not None and not fits(self.sample, self.type):
            found.append(("example", _other_type(self.sample, self.type)))
        elif self.one_of is not None and self.sample is not None and self.sample not in self.one_of:
            found.append(("example", "must be one of the values in 'one_of'"))
        if found:
            raise FieldErrors(*found)
        return self


def _other_type(value: Any, kind: str) -> str:
    hint = f": write '{value}' in quotes" if kind in ("text", "date") and isinstance(value, int | float) else ""
    return f"is no {kind}{hint}"


def in_short(value: Any) -> Any:
    """Return a type alone as an attribute that has it."""
    return {"type": value} if isinstance(value, str) else value


Attributes = Annotated[
    dict[AttributeName, Annotated[Attribute, BeforeValidator(in_short)]], Field(max_length=MAX_ATTRIBUTES)
]


class Tag(Definition):
    """Where on the site the event is sent: the page, and what there is clicked, submitted or seen."""

    example = 'page: /cart, selector: "#checkout"'

    page: Annotated[str, StringConstraints(pattern=r"^/\S*$", max_length=500)] | None = None
    selector: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    on: Literal["click", "submit", "view"] | None = None

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if self.page is None and self.selector is None:
            raise FieldErrors(("", "needs 'page' (a path such as /cart), 'selector' (such as \"#checkout\"), or both"))
        if self.on is not None and self.selector is None:
            raise FieldErrors(("on", "needs 'selector': what is clicked, submitted or seen?"))
        return self


class Event(Definition):
    """An event that the site sends. Without ``attributes`` any are allowed; with them, these and no others."""

    example = "name: order_placed"
    not_offered: ClassVar[Mapping[str, str]] = {
        "id": "an event is known by its 'name', as the site sends it",
        "properties": "the properties of an event are called 'attributes' here",
        "where": "where the event is sent from is called 'tag', with 'page' and 'selector'",
    }

    name: Name
    description: Text | None = None
    attributes: Attributes | None = None
    tag: Tag | None = None

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name.startswith(OWN_EVENTS):
            raise FieldErrors(("", f"names that begin with '{OWN_EVENTS}' are those of the tag's own reports"))
        if name in BUILT_IN:
            raise FieldErrors(
                ("", f"'{name}' is known without a definition: it is what a call of `page` or `screen` is")
            )
        if re.search(r"[\x00-\x1f]", name):
            raise FieldErrors(("", "must be a single line"))
        return name
