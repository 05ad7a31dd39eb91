"""What is wrong with a definition, said to the person who wrote it.

pydantic finds most of it and reports types and contexts; here they become sentences with a field path.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.errors import InvalidDefinition

Model = TypeVar("Model", bound=BaseModel)


class InvalidDefinitions(InvalidDefinition):
    """All that is wrong with one definition: ``problems``, each with its ``field`` and ``message``."""

    def __init__(self, problems: Iterable[InvalidDefinition]) -> None:
        self.problems = tuple(problems)
        lines = (f"{each.field}: {each.message}" if each.field else each.message for each in self.problems)
        super().__init__("; ".join(lines), field=self.problems[0].field)


class FieldErrors(ValueError):
    """What a validator found: pairs of a field, relative to the value it was given, and a message."""

    def __init__(self, *found: tuple[str, str], also: ValidationError | None = None) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = found
        self.also = also


def validate(model: type[Model], data: Any) -> Model:
    """Return *data* as *model*; raises `InvalidDefinitions` with all problems at once."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidDefinitions(problems(error)) from None


def problems(error: ValidationError, field: str = "") -> list[InvalidDefinition]:
    """Return what pydantic found below *field*, in words."""
    result: list[InvalidDefinition] = []
    for item in error.errors(include_url=False):
        here = field
        for part in item["loc"]:
            here = join(here, f"[{part}]" if isinstance(part, int) else part)
        context = item.get("ctx", {})
        if item["type"] == "too_short" and len(item["input"]) >= context["min_length"]:
            continue  # only as invalid entries, each with a complaint of its own, were not counted
        cause = context.get("error")
        if isinstance(cause, FieldErrors):
            result += [InvalidDefinition(message, field=join(here, below)) for below, message in cause.found]
            if cause.also is not None:
                result += problems(cause.also, here)
        else:
            result.append(InvalidDefinition(_sentence(item["type"], context, item["input"]), field=here))
    return result


def join(field: str, below: str) -> str:
    """Return the path of *below* inside of *field*."""
    return f"{field}.{below}" if field and below and not below.startswith("[") else field + below


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` where a known word is close, else an empty text."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean '{close[0]}'?" if close else ""


def choices(word: str, known: Iterable[str], *, in_order: bool = False) -> str:
    """Return the known word that is close to *word*, or all of them: ``; known: a, b``."""
    words = list(known) if in_order else sorted(known)
    return suggestion(word, words) or f"; known: {', '.join(words) or 'none'}"


def _sentence(kind: str, context: Mapping[str, Any], value: Any) -> str:
    if kind == "missing":
        return "is missing"
    if value is None:
        return "is empty: write a value, or remove the line"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"{_shown(value)} is not possible here: write {_or(known)}" + suggestion(str(value), known)
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
    return _EXPECTED.get(kind, f"{_shown(value)} is not possible here")


_BOUNDS = {
    "greater_than_equal": ("must be {} or more", "ge"),
    "less_than_equal": ("must not be more than {}", "le"),
    "string_too_short": ("must not be empty", "min_length"),
    "string_too_long": ("must not be longer than {} characters", "max_length"),
}
_EXPECTED = {
    # The page of a tag is the only one.
    "string_pattern_mismatch": "must be a path that begins with '/', without spaces, such as /cart or /products/*",
    "int_type": "must be a whole number, without quotes",
    "bool_type": "must be true or false, without quotes",
    "tuple_type": "must be a list: write [a, b], or a line '- a' for each",
    "dict_type": "must be a map of names and values",
}


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str | int | float) and not isinstance(value, bool) else "this value"


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
