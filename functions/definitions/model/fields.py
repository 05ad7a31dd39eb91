"""What all definitions share: strict maps, and names, durations and shares as people write them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from definitions.model.field_errors import FieldErrors, suggestion

UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
MAX_DURATION_MS = 90 * UNITS_MS["d"]
WHOLE_SHARE = 10_000
_MAX_DIGITS = 12


class Definition(BaseModel):
    """Something that people write: a frozen map in which every unknown field is an error."""

    # In the JSON Schema, a docstring is the definition's description, and ``json_schema_extra`` has the rules between
    # its fields.
    model_config = ConfigDict(frozen=True, extra="forbid")
    # Shown to people who wrote something other than a map.
    example: ClassVar[str] = "name: value"
    # Fields that people may expect here: why they do not exist, and what to write instead.
    unsupported_fields: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_unknown(cls, data: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        if isinstance(data, cls):
            return handler(data)
        if not isinstance(data, Mapping):
            raise FieldErrors(("", f"must be a map of fields, such as {{{cls.example}}}"))
        known = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = [name for name in data if name not in known]
        if not unknown:
            return handler(data)
        errors = [(str(name), cls._about_unknown(str(name), known)) for name in unknown]
        try:
            handler({name: value for name, value in data.items() if name in known})
        except ValidationError as error:
            raise FieldErrors(*errors, also=error) from None
        raise FieldErrors(*errors)

    @classmethod
    def _about_unknown(cls, name: str, known: list[str]) -> str:
        if name in cls.unsupported_fields:
            return f"'{name}' is not supported: {cls.unsupported_fields[name]}"
        return f"unknown field '{name}'" + (suggestion(name, known) or f"; known here: {', '.join(known)}")


# The keyword of a reference to another definition until the schema is complete, because pydantic refuses any `$ref`
# that it did not make.
REFERENCE = "x-ref"


@dataclass(frozen=True)
class AsWritten:
    """Annotates a type whose JSON Schema must describe what people write, not what it becomes."""

    change: Callable[[JsonSchemaValue], JsonSchemaValue]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the changed schema."""
        return self.change(handler(schema))


def parse_duration(value: Any) -> int:
    """Return the milliseconds of a duration such as ``90s``, ``10m``, ``24h`` or ``7d``."""
    if value is None:
        raise FieldErrors(("", "is empty: write a duration such as 10m, or remove the line"))
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise FieldErrors(("", f"{value} has no unit: write {value}s, {value}m, {value}h or {value}d"))
    found = re.fullmatch(r"([0-9]+)([smhd])", value) if isinstance(value, str) else None
    if not found:
        hint = "a whole number and a unit without a space, such as 90s, 10m, 24h or 7d"
        raise FieldErrors(("", f"{value!r} is not a duration: write {hint}"))
    milliseconds = int(found[1][:_MAX_DIGITS]) * UNITS_MS[found[2]]
    if len(found[1]) > _MAX_DIGITS or milliseconds > MAX_DURATION_MS:
        raise FieldErrors(("", f"{value} is too long: the longest duration is 90d"))
    if milliseconds == 0:
        raise FieldErrors(("", f"{value} is too short: a duration is more than 0"))
    return milliseconds


def format_duration(value: int | None) -> str | None:
    """Return milliseconds as a duration in the largest unit that divides them."""
    if value is None:
        return None
    unit = next((unit for unit in "dhm" if value % UNITS_MS[unit] == 0), "s")
    return f"{value // UNITS_MS[unit]}{unit}"


def parse_share(value: Any) -> int:
    """Return a share such as ``10%`` or ``2.5%`` in parts of 10,000; more than 0% and less than 100%."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise FieldErrors(("", f"{value} has no unit: write a percentage such as 10%"))
    found = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?%", value) if isinstance(value, str) else None
    if not found:
        raise FieldErrors(("", f"{value!r} is not a share: write a percentage such as 10% or 2.5%"))
    parts = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
    if not 0 < parts < WHOLE_SHARE:
        raise FieldErrors(("", f"{value} is out of range: write more than 0% and less than 100%"))
    return parts


def format_share(parts: int | None) -> str | None:
    """Return parts of 10,000 as a percentage."""
    return None if parts is None else f"{parts / 100:g}%"


def one_or_more(value: Any) -> Any:
    """Return a single name as a list of one; return lists as they are."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, int | float | Mapping):
        quoted = "" if isinstance(value, Mapping) else f"; put {value} in quotes if it is a name"
        raise FieldErrors(("", f"must be a name, or a list of names{quoted}"))
    return value


# After `one_or_more`: a single value or a list.
ONE_OR_MORE = AsWritten(
    lambda names: {"anyOf": [names["items"], {"type": "array", "items": names["items"], "minItems": 1}]}
)


def _check_identifier(max_length: int) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(rf"[a-z0-9-]{{1,{max_length}}}", value):
            hint = re.sub(r"[^a-z0-9-]+", "-", value.lower()).strip("-")[:max_length]
            like = f", such as '{hint}'" if hint else ""
            raise FieldErrors(("", f"an id has 1 to {max_length} letters a-z, digits and '-'{like}"))
        return value

    return AfterValidator(check)


Identifier = Annotated[str, _check_identifier(64), Field(json_schema_extra={"pattern": "^[a-z0-9-]{1,64}$"})]
ShortIdentifier = Annotated[str, _check_identifier(32), Field(json_schema_extra={"pattern": "^[a-z0-9-]{1,32}$"})]
Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Names = Annotated[tuple[Name, ...], BeforeValidator(one_or_more), Field(min_length=1), ONE_OR_MORE]
DURATION_SCHEMA: JsonSchemaValue = {"type": "string", "pattern": "^0*[1-9][0-9]*[smhd]$"}
# Milliseconds here; text in files and in the database.
Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(DURATION_SCHEMA),
]
# Parts of 10,000 here; text in files and in the database.
Share = Annotated[
    int,
    BeforeValidator(parse_share),
    PlainSerializer(format_share, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,2})?%$"}),
]
