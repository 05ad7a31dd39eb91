"""Validate the operand of each operator of a condition."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from shared.errors import InvalidDefinition

MAX_TEXT = 1000
MAX_LIST = 1000
MAX_PAST_DAYS = 36_500
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
RELATIVE_DATE = re.compile(r"-(\d+)([smhd])")

_UNSIGNED = re.compile(r"\+?\d+[smhd]")
# An operand that looks like a reference. References do not exist, and as text it would never match.
_REFERENCE = re.compile(r"\{\{|\{%|^\$\{|^\$(steps?|events?|previous|first|last|self)\b")
Scalar = str | int | float | bool


def kind_of(value: Any) -> str | None:
    """Return the type that a value compares as: ``string``, ``number`` or ``bool``; ``None`` for others."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else None


def _check_scalar(operand: Any, field: str) -> Scalar:
    if operand is None:
        refuse("the value is missing: write {exists: false} to match a missing attribute", field)
    if isinstance(operand, str):
        if _REFERENCE.search(operand):
            refuse(
                f"{operand!r} looks like a reference: conditions compare with fixed values only, because the "
                "progress of a trigger keeps times, not attributes; to tie events together by an attribute, "
                "name it in 'per' of the trigger",
                field,
            )
        return check_text(operand, field)
    if isinstance(operand, bool):
        return operand
    if not isinstance(operand, int | float):
        refuse("a value must be text, a number, true or false", field)
    if isinstance(operand, float) and not math.isfinite(operand):
        refuse("a number must be finite", field)
    if abs(operand) >= 2**63:
        refuse("a number must be smaller than 2^63", field)
    return operand


def check_text(text: str, field: str) -> str:
    """Return *text* if MongoDB and RE2 accept it; raise `InvalidDefinition` otherwise."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        refuse("text must not contain NUL or lone surrogates", field)
    if len(text) > MAX_TEXT:
        refuse(f"text must not be longer than {MAX_TEXT} characters", field)
    return text


def _check_ordered(operand: Any, field: str) -> Scalar:
    if kind_of(operand) not in ("string", "number"):
        refuse("only numbers, text and dates have an order: write a number, or text", field)
    relative = isinstance(operand, str) and RELATIVE_DATE.fullmatch(operand)
    if relative and _to_seconds(operand) > MAX_PAST_DAYS * SECONDS["d"]:
        refuse(f"{operand} is more than {MAX_PAST_DAYS} days ago", field)
    return _check_scalar(operand, field)


def _check_list(operand: Any, field: str) -> tuple[Scalar, ...]:
    if not isinstance(operand, list | tuple) or not operand:
        refuse("write a list of values, such as [win, draw]", field)
    if len(operand) > MAX_LIST:
        refuse(f"a list must not have more than {MAX_LIST} values; use a target group with a list", field)
    return tuple(_check_scalar(value, f"{field}[{number}]") for number, value in enumerate(operand))


def _check_between(operand: Any, field: str) -> tuple[Scalar, Scalar]:
    if not isinstance(operand, list | tuple) or len(operand) != 2:
        refuse("write the two ends, both included: [10, 20]", field)
    low, high = (_check_ordered(value, f"{field}[{number}]") for number, value in enumerate(operand))
    if kind_of(low) != kind_of(high):
        refuse("both ends must be numbers, or both text", field)
    dated = [bool(RELATIVE_DATE.fullmatch(end)) for end in (low, high) if isinstance(end, str)]
    if any(dated):
        if not all(dated) and not all(re.match(r"-\d|\d{4}-\d\d-\d\d", str(end)) for end in (low, high)):
            refuse("both ends must be dates, such as [-30d, -7d]", field)
        if all(dated) and _to_seconds(str(low)) < _to_seconds(str(high)):
            refuse(f"nothing lies between {low} and {high}: write the earlier end first", field)
    elif low > high:  # type: ignore[operator]
        refuse(f"nothing lies between {low} and {high}: write the smaller end first", field)
    return low, high


def _check_string(operand: Any, field: str) -> str:
    if not isinstance(operand, str) or not operand:
        refuse("write the text to look for; a number only needs quotes to be text", field)
    return str(_check_scalar(operand, field))


def _check_contains(operand: Any, field: str) -> Scalar:
    if operand == "" or kind_of(operand) is None:
        refuse("write the text to look for, or the value that a list must contain", field)
    return _check_scalar(operand, field)


def _check_exists(operand: Any, field: str) -> bool:
    if not isinstance(operand, bool):
        refuse("write true (there is a value) or false (there is none)", field)
    return operand


def _check_matches(operand: Any, field: str) -> str:
    if not isinstance(operand, str) or not operand:
        refuse("write a pattern in RE2 syntax, such as '^promo-[0-9]+'", field)
    # A pattern may contain braces, so it is not checked for references.
    compile_pattern(check_text(operand, field), field=field)
    return operand


def compile_pattern(pattern: str, *, field: str = "matches") -> Any:
    """Return *pattern* compiled by RE2; raise `InvalidDefinition` if it is not valid."""
    # Imported here because only rulesets with `matches` need this native library.
    import re2  # noqa: PLC0415

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        hint = "; RE2 has no look-around and no back-references" if "(?" in reason or "\\" in reason else ""
        refuse(f"the pattern is not valid RE2 syntax: {reason}{hint}", field)


class Operator(NamedTuple):
    """An operator of a condition.

    ``check``: returns the valid operand of a field, or raises `InvalidDefinition`.
    ``meaning``: completes "the attribute …", for people.
    """

    check: Callable[[Any, str], Any]
    meaning: str


OPERATORS = {
    "eq": Operator(_check_scalar, "is this; the same as writing the value alone"),
    "ne": Operator(_check_scalar, "is something else"),
    "gt": Operator(_check_ordered, "is more than this"),
    "gte": Operator(_check_ordered, "is this or more"),
    "lt": Operator(_check_ordered, "is less than this"),
    "lte": Operator(_check_ordered, "is this or less"),
    "in": Operator(_check_list, "is one of these"),
    "not_in": Operator(_check_list, "is none of these"),
    "contains": Operator(_check_contains, "is text with this part, or a list with this value"),
    "starts_with": Operator(_check_string, "is text that begins with this"),
    "ends_with": Operator(_check_string, "is text that ends with this"),
    "exists": Operator(_check_exists, "is there (true), or is missing (false)"),
    "between": Operator(_check_between, "lies between the two, both included"),
    "matches": Operator(_check_matches, "is text in which this RE2 pattern is found"),
}


def check_dates(operator: str, operand: Any, field: str, dates: bool | None) -> None:
    """Refuse text that looks like a relative date but would be compared as text."""
    ordered = operator in ("gt", "gte", "lt", "lte", "between")
    if dates is None or not (ordered or (operator == "eq" and dates)):
        return
    for value in operand if operator == "between" else (operand,):
        if not isinstance(value, str):
            continue
        if not RELATIVE_DATE.fullmatch(value):
            if dates and ordered and _UNSIGNED.fullmatch(value):
                refuse(f"'{value}' is not a date: write -{value.lstrip('+')} for that long ago", field)
        elif not dates:
            refuse(
                f"the relative date {value} only works in the rule of a target group; "
                "for the time between events, use 'within' or 'gap' of the trigger",
                field,
            )
        elif not ordered:
            refuse(f"a date is compared with an operator: write {{gte: {value}}} for the time since then", field)


def _to_seconds(relative: str) -> int:
    return int(relative[1:-1]) * SECONDS[relative[-1]]


def check_satisfiable(attribute: str, wanted: Mapping[str, Any], field: str) -> None:
    """Refuse bounds that no value can meet."""
    if wanted.get("exists") is False and len(wanted) > 1:
        refuse(f"this can never hold: {attribute} cannot be missing and have a value too", field)
    for low in wanted.keys() & {"gt", "gte"}:
        for high in wanted.keys() & {"lt", "lte"}:
            a, b = wanted[low], wanted[high]
            if kind_of(a) != kind_of(b):
                refuse("this can never hold: a value is either a number or text", field)
            if kind_of(a) == "number" and (a > b or (a == b and (low, high) != ("gte", "lte"))):
                refuse(f"this can never hold: nothing is {low} {a} and {high} {b}", field)


def join_path(field: str, name: Any) -> str:
    """Return the path of *name* inside *field*."""
    return f"{field}.{name}" if field else str(name)


def refuse(message: str, field: str) -> NoReturn:
    """Raise `InvalidDefinition`."""
    raise InvalidDefinition(message, field=field)
