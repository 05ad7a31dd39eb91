"""Events and attributes, as people write them: what a site sends, and what it knows about its customers."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from definitions.model.condition import AttributeName
from definitions.model.field_errors import FieldErrors, suggestion
from definitions.model.fields import AsWritten, Definition, Name, Text
from shared.context import is_context
from shared.contracts import PAGE_VIEWED, SCREEN_VIEWED

AttributeType = Literal["text", "number", "boolean", "date", "list", "object"]
TYPES: tuple[AttributeType, ...] = get_args(AttributeType)
MAX_ATTRIBUTES = 200
TAG_EVENT_PREFIX = "Opportune "  # the events that the tag sends about popups
BUILT_IN = frozenset({PAGE_VIEWED, SCREEN_VIEWED})  # the events that calls of `page` and `screen` become
_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {"text": (str,), "number": (int, float), "date": (str,)}
_SYNONYMS: Mapping[str, str] = {
    "string": "text", "str": "text", "int": "number", "integer": "number", "float": "number", "decimal": "number",
    "money": "number", "bool": "boolean", "datetime": "date", "time": "date", "timestamp": "date", "array": "list",
    "map": "object", "json": "object",
}  # fmt: skip


def _check_type(value: Any) -> Any:
    if isinstance(value, str) and value not in TYPES:
        synonym = _SYNONYMS.get(value.lower())
        known = f": write '{synonym}'" if synonym else suggestion(value, TYPES)
        every = f": write one of {', '.join(TYPES)}"
        raise FieldErrors(("", f"'{value}' is not a type{known or every}"))
    return value


def fits(value: Any, kind: str) -> bool:
    """Return whether *value* may be the value of an attribute of type *kind*."""
    if kind in ("list", "object"):
        return isinstance(value, list | tuple if kind == "list" else Mapping)
    if isinstance(value, bool) or kind == "boolean":
        return isinstance(value, bool) and kind == "boolean"
    return isinstance(value, _PYTHON_TYPES[kind])


class Attribute(Definition):
    """An attribute: its type, or a map with more about it."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["one_of"]},
            "then": {"properties": {"type": {"enum": ["text", "number"]}}},
        }
    )
    example = "type: number"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "enum": "the possible values are called 'one_of'",
        "values": "the possible values are called 'one_of'",
        "required": "every attribute may be missing; a condition on a missing attribute is false",
        "default": "a missing attribute has no value; match it with 'exists: false' in a condition",
    }

    type: Annotated[AttributeType, BeforeValidator(_check_type)] = Field(
        description="Type of its values; a date is ISO-8601 text."
    )
    description: Text | None = Field(default=None, description="What it means, for people.")
    one_of: (
        Annotated[
            tuple[Any, ...],
            Field(min_length=1, max_length=200, json_schema_extra={"items": {"type": ["string", "number"]}}),
        ]
        | None
    ) = Field(default=None, description="Its possible values, if only some are possible.", examples=[["win", "loss"]])
    sample: Any = Field(
        alias="example", default=None, description="A value for the snippets of the web team.", examples=[49.9]
    )

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        found = []
        if self.one_of is not None and self.type not in ("text", "number"):
            found.append(("one_of", f"is for text and numbers: remove it from a {self.type}"))
        else:
            for number, value in enumerate(self.one_of or ()):
                if not fits(value, self.type):
                    found.append((f"one_of[{number}]", _wrong_type(value, self.type)))
        if self.sample is not None and not fits(self.sample, self.type):
            found.append(("example", _wrong_type(self.sample, self.type)))
        elif self.one_of is not None and self.sample is not None and self.sample not in self.one_of:
            found.append(("example", "must be one of the values in 'one_of'"))
        if found:
            raise FieldErrors(*found)
        return self


def noun(kind: AttributeType) -> str:
    """Return a type with its article, for messages."""
    return "text" if kind == "text" else f"{'an' if kind == 'object' else 'a'} {kind}"


def _wrong_type(value: Any, kind: AttributeType) -> str:
    hint = f": write '{value}' in quotes" if kind in ("text", "date") and isinstance(value, int | float) else ""
    return f"is not {noun(kind)}{hint}"


def expand_type(value: Any) -> Any:
    """Return a type as an attribute of that type; return maps as they are."""
    return {"type": value} if isinstance(value, str) else value


Attributes = Annotated[
    dict[
        AttributeName,
        Annotated[
            Attribute,
            BeforeValidator(expand_type),
            AsWritten(lambda attribute: {"anyOf": [{"enum": list(TYPES)}, attribute]}),
        ],
    ],
    Field(max_length=MAX_ATTRIBUTES),
]


class Tag(Definition):
    """Where on the site an event is sent from."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["page"]}, {"required": ["selector"]}],
            "if": {"required": ["on"]},
            "then": {"required": ["selector"]},
        }
    )
    example = 'page: /cart, selector: "#checkout"'

    page: Annotated[str, StringConstraints(pattern=r"^/\S*$", max_length=500)] | None = Field(
        default=None,
        description="Path of the page; `*` stands for any part of it.",
        examples=["/cart", "/products/*"],
    )
    selector: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = Field(
        default=None, description="CSS selector of the element.", examples=["#checkout"]
    )
    on: Literal["click", "submit", "view"] | None = Field(
        default=None,
        description="What happens to the element: a `click` (the default), a `submit`, or it comes into `view`.",
    )

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if self.page is None and self.selector is None:
            raise FieldErrors(("", "needs 'page' (a path such as /cart), 'selector' (such as \"#checkout\"), or both"))
        if self.on is not None and self.selector is None:
            raise FieldErrors(("on", "needs 'selector': the element that is clicked, submitted or seen"))
        return self


class Event(Definition):
    """An event that the site sends."""

    example = "name: order_placed"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "id": "an event is known by its 'name', as the site sends it",
        "properties": "the properties of an event are called 'attributes' here",
        "where": "the place on the site is called 'tag', with 'page' and 'selector'",
    }

    name: Name = Field(description="Name of the event, as the site sends it.", examples=["order_placed"])
    description: Text | None = Field(default=None, description="What has happened, for people.")
    attributes: Attributes | None = Field(
        default=None,
        description="The attributes that it may have, with their types; if left out, any.",
        examples=[{"outcome": {"type": "text", "one_of": ["win", "loss"]}, "amount": "number"}],
    )
    tag: Tag | None = Field(
        default=None,
        description="Where on the site it is sent from; left out for events from a server or the site's own code.",
    )

    @field_validator("attributes")
    @classmethod
    def _check_attributes(cls, attributes: Attributes | None) -> Attributes | None:
        for name in attributes or {}:
            if is_context(name):
                raise FieldErrors((name, "needs no definition: every event has the context that the tracker sends"))
        return attributes

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name.startswith(TAG_EVENT_PREFIX):
            raise FieldErrors(("", f"names that begin with '{TAG_EVENT_PREFIX}' are reserved for the tag's own events"))
        if name in BUILT_IN:
            raise FieldErrors(("", f"'{name}' needs no definition: it is what a call of `page` or `screen` becomes"))
        if re.search(r"[\x00-\x1f]", name):
            raise FieldErrors(("", "must be a single line"))
        return name
