"""The filters of Liquid, bounded: none makes a value that is too large, and none takes more than linear time."""

import re
from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_UP, Decimal
from itertools import chain
from typing import Any

from shared import without_babel  # noqa: F401 - must be imported before `liquid`

# isort: split
from liquid.exceptions import FilterArgumentError, ResourceLimitError
from liquid.filter import math_filter, num_arg, sequence_filter
from liquid.undefined import is_undefined
from markupsafe import Markup

MAX_TEXT = 256 * 1024
MAX_ITEMS = 10_000
MAX_BITS = 128
MAX_DATE = 100  # characters of a date or of its format
MAX_PATTERN = 1000  # characters that are searched from the end, which takes length times length
_ELEMENT = re.compile(r"<(!--|script|style)", re.IGNORECASE)
_TAG_END = re.compile(">")
_CLOSINGS = {
    "!--": re.compile("-->"),
    "script": re.compile("</script", re.IGNORECASE),
    "style": re.compile("</style", re.IGNORECASE),
}
MAX_DIGITS = 15  # of a number, behind or before the point, to round to
_NO_VALUE = object()
_CHECK_EVERY = 16


def check_size(value: Any) -> Any:
    """Return *value*; raise `ResourceLimitError` if it, with everything in it, is too large."""
    if isinstance(value, str):
        _check_length(len(value))
        return value
    size, todo = 0, [value]
    while todo:
        each = todo.pop()
        size += 1
        if isinstance(each, str):
            size += len(each)
        elif isinstance(each, int) and each.bit_length() > MAX_BITS:
            raise ResourceLimitError(f"a number has more than {MAX_BITS} bits", token=None)
        elif isinstance(each, dict | list | tuple):
            todo.extend(_items(each))
        _check_length(size)
    return value


def _items(group: Any) -> Iterable[Any]:
    if len(group) > MAX_ITEMS:
        raise ResourceLimitError(f"a list has more than {MAX_ITEMS} items", token=None)
    return chain(group.keys(), group.values()) if isinstance(group, dict) else group


def _check_length(length: int) -> None:
    if length > MAX_TEXT:
        raise ResourceLimitError(f"a value is longer than {MAX_TEXT} characters", token=None)


def _check_replace(value: object, old: object = "", new: object = "", *_: object) -> None:
    text, old, new = str(value), str(old), str(new)
    _check_length(len(text) + text.count(old) * (len(new) - len(old)))


def _check_join(items: object, separator: object = " ") -> None:
    if isinstance(items, list | tuple | range):
        _check_length(len(str(separator)) * len(items))


def _check_pattern(_: object, pattern: object = "", *__: object) -> None:
    if len(str(pattern)) > MAX_PATTERN:
        raise ResourceLimitError(f"the text to replace is longer than {MAX_PATTERN} characters", token=None)


def _check_date(value: object, form: object = "", *_: object, **__: object) -> None:
    if max(len(str(value)), len(str(form))) > MAX_DATE:
        raise ResourceLimitError(f"a date or its format is longer than {MAX_DATE} characters", token=None)


# Filters whose result, or time, can be far larger than what they are given: checked before they run.
BEFORE: dict[str, Callable[..., None]] = {
    "replace": _check_replace,
    "join": _check_join,
    "remove_last": _check_pattern,
    "replace_last": _check_pattern,
    "date": _check_date,
}


def strip_html(value: object) -> str:
    """Return *value* without tags, comments, scripts and styles. Takes linear time, unlike an HTML parser."""
    text = "" if value is None else str(value)
    find = _Finder(text)
    kept, at = [], 0
    while (start := text.find("<", at)) >= 0:
        end = find.end_of_markup(start)
        if end < 0:
            break
        kept.append(text[at:start])
        at = end
    stripped = "".join([*kept, text[at:]])
    return Markup(stripped) if isinstance(value, Markup) else stripped  # noqa: S704 - it was safe before


class _Finder:
    """Finds the ends of markup. It remembers what is missing, so that it never searches to the end twice."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._missing: set[re.Pattern[str]] = set()

    def end_of_markup(self, start: int) -> int:
        """Return the index behind the tag, comment, script or style at *start*; -1 if no ``>`` follows."""
        opening = _ELEMENT.match(self._text, start)
        if opening:
            closing = _CLOSINGS[opening[1].lower()]
            end = self._find(closing, start)
            if end >= 0 and closing is not _CLOSINGS["!--"]:
                end = self._find(_TAG_END, end)
            if end >= 0:
                return end
        return self._find(_TAG_END, start)

    def _find(self, what: re.Pattern[str], start: int) -> int:
        found = None if what in self._missing else what.search(self._text, start)
        if found is None:
            self._missing.add(what)
            return -1
        return found.end()


@sequence_filter
def uniq(items: Iterable[Any], key: object = None) -> list[object]:
    """Return *items*, each once, by themselves or by their *key*. Takes linear time."""
    seen: set[object] = set()
    unique: list[object] = []
    for item in items:
        value: Any = item
        mark: object
        if key is not None:
            try:
                value = item[key]
            except KeyError:
                value = _NO_VALUE
            except TypeError as error:
                raise FilterArgumentError("an item has no properties", token=None) from error
        try:
            hash(value)
            mark = value
        except TypeError:
            mark = (_NO_VALUE, repr(value))
        if mark not in seen:
            seen.add(mark)
            unique.append(item)
    return unique


@math_filter
def round_half_up(number: float, digits: object = None) -> float:
    """Return *number* rounded to *digits* decimals, half away from zero, as Ruby does: 2.5 is 3."""
    places = 0
    if digits is not None and not is_undefined(digits):
        places = max(-MAX_DIGITS, min(int(num_arg(digits, default=0)), MAX_DIGITS))
    exact = Decimal(str(number))
    if -int(exact.as_tuple().exponent) <= places:
        return int(number) if places <= 0 else number
    rounded = exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    return int(rounded) if places <= 0 else float(rounded)


@math_filter
def modulo(number: float, other: object) -> float:
    """Return the rest of a division. It has the sign of *other*, as in Ruby."""
    divisor = num_arg(other, default=0)
    if divisor == 0:
        raise FilterArgumentError(f"modulo: can't divide by {divisor}", token=None)
    if isinstance(number, int) and isinstance(divisor, int):
        return number % divisor
    exact, by = Decimal(str(number)), Decimal(str(divisor))
    rest = exact % by
    return float(rest + by if rest and (rest < 0) != (by < 0) else rest)
