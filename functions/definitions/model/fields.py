"""What all definitions have in common: strict fields, names and durations as people write them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

from definitions.model.field_errors import FieldErrors, suggestion

UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
LONGEST_MS = 90 * UNITS_MS["d"]
WHOLE = 10_000  # the parts that a share is counted in
_DIGITS = 12


class Definition(BaseModel):
    """Something that people write; frozen, and every field it does not know is an error.

    ``example``: what to write where there is no map. ``not_offered``: fields that one might expect, with the
    reason why there are none and what to write instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    example: ClassVar[str] = "name: value"
    not_offered: ClassVar[Mapping[str, str]] = {}

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
        complaints = [(str(name), cls._about(str(name), known)) for name in unknown]
        try:
            handler({name: value for name, value in data.items() if name in known})
        except ValidationError as error:
            raise FieldErrors(*complaints, also=error) from None
        raise FieldErrors(*complaints)

    @classmethod
    def _about(cls, name: str, known: list[str]) -> str:
        if name in cls.not_offered:
            return f"'{name}' is not offered: {cls.not_offered[name]}"
        return f"unknown field '{name}'" + (suggestion(name, known) or f"; known here: {', '.join(known)}")


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
    milliseconds = int(found[1][:_DIGITS]) * UNITS_MS[found[2]]
    if len(found[1]) > _DIGITS or milliseconds > LONGEST_MS:
        raise FieldErrors(("", f"{value} is too long: durations end at 90d"))
    if milliseconds == 0:
        raise FieldErrors(("", f"{value} is too short: a duration is more than 0"))
    return milliseconds


def format_duration(value: int | None) -> str | None:
    """Return milliseconds as they are written in a file: in the largest unit that leaves no rest."""
    if value is None:
        return None
    unit = next((unit for unit in "dhm" if value % UNITS_MS[unit] == 0), "s")
    return f"{value // UNITS_MS[unit]}{unit}"


def parse_share(value: Any) -> int:
    """Return a share such as ``10%`` or ``2.5%`` in parts of 10,000: more than none, and less than all."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise FieldErrors(("", f"{value} has no unit: write a percentage such as 10%"))
    found = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?%", value) if isinstance(value, str) else None
    if not found:
        raise FieldErrors(("", f"{value!r} is not a share: write a percentage such as 10% or 2.5%"))
    parts = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
    if not 0 < parts < WHOLE:
        raise FieldErrors(("", f"{value} is not possible here: write more than 0% and less than 100%"))
    return parts


def format_share(parts: int | None) -> str | None:
    """Return parts of 10,000 as they are written in a file."""
    return None if parts is None else f"{parts / 100:g}%"


def one_or_more(value: Any) -> Any:
    """Return a single name as a list of one."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, int | float | Mapping):
        quoted = "" if isinstance(value, Mapping) else f"; put {value} in quotes if it is a name"
        raise FieldErrors(("", f"must be a name, or a list of names{quoted}"))
    return value


def identifier(longest: int) -> AfterValidator:
    """Return the check of an id."""

    def check(value: str) -> str:
        if not re.fullmatch(rf"[a-z0-9-]{{1,{longest}}}", value):
            hint = re.sub(r"[^a-z0-9-]+", "-", value.lower()).strip("-")[:longest]
            like = f", such as '{hint}'" if hint else ""
            raise FieldErrors(("", f"an id has 1 to {longest} letters a-z, digits and '-'{like}"))
        return value

    return AfterValidator(check)


Text = Annotated[str, StringConstraints(min_length=1)]
LongText = Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Names = Annotated[tuple[Name, ...], BeforeValidator(one_or_more), Field(min_length=1)]
# In files and in the database durations are text, as they were written.
Duration = Annotated[
    int, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str, when_used="json")
]
Share = Annotated[int, BeforeValidator(parse_share), PlainSerializer(format_share, return_type=str, when_used="json")]
