"""Report what is wrong with a definition to the person who wrote it.

pydantic finds most errors and reports types and contexts; this module turns them into sentences with a field path.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.errors import InvalidDefinition

Model = TypeVar("Model", bound=BaseModel)


class InvalidDefinitions(InvalidDefinition):
    """A definition with errors; ``problems`` has one entry each, with its ``field`` and ``message``."""

    def __init__(self, problems: Iterable[InvalidDefinition]) -> None:
        self.problems = tuple(problems)
        lines = (f"{each.field}: {each.message}" if each.field else each.message for each in self.problems)
        super().__init__("; ".join(lines), field=self.problems[0].field)


class FieldErrors(ValueError):
    """The errors that a validator found.

    ``found``: pairs of a field, relative to the validated value, and a message.
    ``also``: errors of pydantic in the same value.
    """

    def __init__(self, *found: tuple[str, str], also: ValidationError | None = None) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = found
        self.also = also


def validate(model: type[Model], data: Any) -> Model:
    """Return *data* as a *model*; raises `InvalidDefinitions` with every error."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidDefinitions(problems(error)) from None


def problems(error: ValidationError, field: str = "") -> list[InvalidDefinition]:
    """Return pydantic's errors below *field* as sentences."""
    result: list[InvalidDefinition] = []
    for item in error.errors(include_url=False):
        here = field
        for part in item["loc"]:
            here = join(here, f"[{part}]" if isinstance(part, int) else part)
        context = item.get("ctx", {})
        if item["type"] == "too_short" and len(item["input"]) >= context["min_length"]:
            continue  # pydantic did not count the invalid entries, which have errors of their own
        cause = context.get("error")
        if isinstance(cause, FieldErrors):
            result += [InvalidDefinition(message, field=join(here, below)) for below, message in cause.found]
            if cause.also is not None:
                result += problems(cause.also, here)
        else:
            result.append(InvalidDefinition(_sentence(item["type"], context, item["input"]), field=here))
    return result


def join(field: str, below: str) -> str:
    """Return the path of *below* inside *field*."""
    return f"{field}.{below}" if field and below and not below.startswith("[") else field + below


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` if a known word is similar, else an empty text."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean '{close[0]}'?" if close else ""


def choices(word: str, known: Iterable[str], *, label: str = "known", in_order: bool = False) -> str:
    """Return a `suggestion`, or if there is none, all known words: ``; known: a, b``."""
    words = list(known) if in_order else sorted(known)
    return suggestion(word, words) or f"; {label}: {', '.join(words) or 'none'}"


def _sentence(kind: str, context: Mapping[str, Any], value: Any) -> str:
    if kind == "missing":
        return "is missing"
    if value is None:
        return "is empty: write a value, or remove the line"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"{_quoted(value)} is not possible here: write {_either(known)}" + suggestion(str(value), known)
    if kind in _BOUNDS:
        template, name = _BOUNDS[kind]
        return template.format(context.get(name))
    if kind in ("too_short", "too_long"):
        low, high = context.get("min_length"), context.get("max_length")
        entries = "entry" if (low or high) == 1 else "entries"
        return f"needs at least {low} {entries}" if kind == "too_short" else f"must not have more than {high} {entries}"
    if kind in ("string_type", "string_unicode"):
        hint = f": write '{value}' in quotes" if isinstance(value, int | float) and not isinstance(value, bool) else ""
        return "must be text" + hint
    return _EXPECTED.get(kind, f"{_quoted(value)} is not possible here")


_BOUNDS = {
    "greater_than_equal": ("must be {} or more", "ge"),
    "less_than_equal": ("must not be more than {}", "le"),
    "string_too_short": ("must not be empty", "min_length"),
    "string_too_long": ("must not be longer than {} characters", "max_length"),
}
_EXPECTED = {
    # Only a tag's page has a pattern.
    "string_pattern_mismatch": "must be a path that begins with '/', without spaces, such as /cart or /products/*",
    "int_type": "must be a whole number, without quotes",
    "bool_type": "must be true or false, without quotes",
    "tuple_type": "must be a list: write [a, b], or a line '- a' for each",
    "dict_type": "must be a map of names and values",
}


def _quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str | int | float) and not isinstance(value, bool) else "this value"


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
