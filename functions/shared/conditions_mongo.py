"""Conditions as MongoDB filters, as strict about types as the predicate is.

MongoDB's operators look into arrays on their own, and ``$ne`` also finds what is missing; each test
therefore says that neither the attribute nor an object above it is an array, and ``$ne`` names the type.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.conditions_operands import RELATIVE_DATE, SECONDS, kind
from shared.conditions_parse import Comparison, Condition

Filter = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}(:?\d{2})?)?)?", re.ASCII)
_NO_ARRAY: Filter = {"$not": {"$type": "array"}}
_GROUPS = {"all": "$and", "any": "$or", "none": "$nor"}
# RE2 and PCRE read these differently outside and inside of brackets: `$` is before a last line break too
# to PCRE, `\s` has a vertical tab, and `\v` is every vertical space.
_OUTSIDE = {"$": r"\z", r"\s": r"[\t\n\f\r ]", r"\S": r"[^\t\n\f\r ]", r"\v": r"\x0b"}
_INSIDE = {r"\s": r"\t\n\f\r ", r"\v": r"\x0b"}
_TOKEN_OUTSIDE = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?|.", re.DOTALL)
_TOKEN_INSIDE = re.compile(r"\\.|\[:\^?\w+:\]|.", re.DOTALL)


def mongo_filter(condition: Condition, *, prefix: str = "attributes.", now_ms: int) -> Filter:
    """Return the filter that finds the documents whose attributes meet *condition*.

    *prefix*: what stands before the attributes in a document. *now_ms*: what relative dates count from.
    A date without a zone is UTC, one without a time is its midnight.
    """
    if isinstance(condition, Comparison):
        return _test(condition, prefix, now_ms)
    parts = [mongo_filter(part, prefix=prefix, now_ms=now_ms) for part in condition.parts]
    return {_GROUPS[condition.mode]: parts} if parts else {}


def _test(test: Comparison, prefix: str, now_ms: int) -> Filter:
    path = prefix + ".".join(test.path)
    above = [prefix + ".".join(test.path[:length]) for length in range(1, len(test.path))]
    if test.operator == "exists":
        missing: list[Filter] = [{name: {"$type": "array"}} for name in above]
        missing.append({path: {"$eq": None, **_NO_ARRAY}})
        return {"$nor" if test.operand else "$or": missing}
    found = _comparison(path, test.operator, test.operand, now_ms)
    return {"$and": [*({name: _NO_ARRAY} for name in above), found]} if above else found


def _comparison(path: str, operator: str, operand: Any, now_ms: int) -> Filter:
    if operator in ("eq", "in"):
        values = _with_dates((operand,) if operator == "eq" else operand)
        return {path: {"$eq": values[0], **_NO_ARRAY} if len(values) == 1 else {"$in": values, **_NO_ARRAY}}
    if operator in ("ne", "not_in"):
        values = _with_dates((operand,) if operator == "ne" else operand)
        types = sorted({kind(value) or "date" for value in values})
        return {path: {"$nin": values, "$type": types, **_NO_ARRAY}}
    if operator in ("gt", "gte", "lt", "lte"):
        return _either(path, [{f"${operator}": value} for value in _ends(operand, now_ms)])
    if operator == "between":
        return _either(path, _between(operand[0], operand[1], now_ms))
    if operator == "contains":
        member: Filter = {path: {"$type": "array", "$elemMatch": {"$eq": operand}}}
        if not isinstance(operand, str):
            return member
        return {"$or": [{path: {"$regex": re.escape(operand), **_NO_ARRAY}}, member]}
    if operator == "starts_with":
        pattern = r"\A" + re.escape(operand)
    elif operator == "ends_with":
        pattern = re.escape(operand) + r"\z"
    else:
        pattern = _pcre(operand)
    return {path: {"$regex": pattern, **_NO_ARRAY}}


def _either(path: str, comparisons: list[Filter]) -> Filter:
    found: list[Filter] = [{path: {**comparison, **_NO_ARRAY}} for comparison in comparisons]
    return found[0] if len(found) == 1 else {"$or": found}


def _ends(operand: Any, now_ms: int) -> list[Any]:
    """Return what an operand of an order stands for: itself, a date, or both."""
    relative = isinstance(operand, str) and RELATIVE_DATE.fullmatch(operand)
    if relative:
        return [_EPOCH + timedelta(milliseconds=now_ms - int(relative[1]) * SECONDS[relative[2]] * 1000)]
    return _with_dates((operand,))


def _between(low: Any, high: Any, now_ms: int) -> list[Filter]:
    lows, highs = _ends(low, now_ms), _ends(high, now_ms)
    return [{"$gte": a, "$lte": b} for a in lows for b in highs if kind(a) == kind(b)]


def _with_dates(operands: tuple[Any, ...]) -> list[Any]:
    """Return *operands*, and after them the dates that they may also stand for."""
    return [
        *operands,
        *(date for each in operands if isinstance(each, str) and (date := _date(each)) is not None),
    ]


def _date(text: str) -> datetime | None:
    if not _ISO_DATE.fullmatch(text):
        return None
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None  # the 31st of February is text


def _pcre(pattern: str) -> str:
    r"""Return an RE2 pattern in the dialect of MongoDB, where the two differ.

    Left as it is: ``\S`` inside of brackets (here it does not hold for a vertical tab, there it does), and
    ``$`` where a flag ``m`` is set, which means the same to both.
    """
    lines = re.search(r"\(\?[a-zA-Z]*m", pattern) is not None
    result, inside, position = [], False, 0
    while found := (_TOKEN_INSIDE if inside else _TOKEN_OUTSIDE).match(pattern, position):
        token, position = found[0], found.end()
        if inside:
            inside = token != "]"
            token = _INSIDE.get(token, token)
        else:
            inside = token.startswith("[")
            token = token if token == "$" and lines else _OUTSIDE.get(token, token)
        result.append(token)
    return "".join(result)
