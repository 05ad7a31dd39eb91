"""Compile conditions to MongoDB filters that are as strict about types as the predicate.

MongoDB's operators look inside arrays, and ``$ne`` also matches missing fields. Each comparison therefore excludes
arrays, for the attribute and for the objects that contain it, and ``$ne`` names the type.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.attribute_types import parse_date
from shared.conditions.operands import RELATIVE_DATE, SECONDS, kind_of
from shared.conditions.tree import Comparison, Condition

Filter = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_ARRAY: Filter = {"$not": {"$type": "array"}}
_GROUPS = {"all": "$and", "any": "$or", "none": "$nor"}
# RE2 and PCRE differ here, outside and inside brackets. In PCRE, `$` also matches before a final line break, `\s`
# includes the vertical tab, and `\v` matches every vertical space.
_OUTSIDE = {"$": r"\z", r"\s": r"[\t\n\f\r ]", r"\S": r"[^\t\n\f\r ]", r"\v": r"\x0b"}
_INSIDE = {r"\s": r"\t\n\f\r ", r"\v": r"\x0b"}
_TOKEN_OUTSIDE = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?|.", re.DOTALL)
_TOKEN_INSIDE = re.compile(r"\\.|\[:\^?\w+:\]|.", re.DOTALL)


def compile_filter(condition: Condition, *, prefix: str = "attributes.", now_ms: int) -> Filter:
    """Return the filter for the documents whose attributes meet *condition*.

    prefix: the path of the attributes in a document.
    now_ms: the time from which relative dates count.

    A date without a zone is in UTC, and one without a time is at midnight.
    """
    if isinstance(condition, Comparison):
        return _compile_comparison(condition, prefix, now_ms)
    parts = [compile_filter(part, prefix=prefix, now_ms=now_ms) for part in condition.parts]
    return {_GROUPS[condition.mode]: parts} if parts else {}


def _compile_comparison(comparison: Comparison, prefix: str, now_ms: int) -> Filter:
    path = prefix + ".".join(comparison.path)
    above = [prefix + ".".join(comparison.path[:length]) for length in range(1, len(comparison.path))]
    if comparison.operator == "exists":
        missing: list[Filter] = [{name: {"$type": "array"}} for name in above]
        missing.append({path: {"$eq": None, **_NO_ARRAY}})
        return {"$nor" if comparison.operand else "$or": missing}
    found = _compile_operator(path, comparison.operator, comparison.operand, now_ms)
    return {"$and": [*({name: _NO_ARRAY} for name in above), found]} if above else found


def _compile_operator(path: str, operator: str, operand: Any, now_ms: int) -> Filter:
    if operator in ("eq", "in"):
        values = _add_dates((operand,) if operator == "eq" else operand)
        return {path: {"$eq": values[0], **_NO_ARRAY} if len(values) == 1 else {"$in": values, **_NO_ARRAY}}
    if operator in ("ne", "not_in"):
        values = _add_dates((operand,) if operator == "ne" else operand)
        types = sorted({kind_of(value) or "date" for value in values})
        return {path: {"$nin": values, "$type": types, **_NO_ARRAY}}
    if operator in ("gt", "gte", "lt", "lte"):
        return _match_any(path, [{f"${operator}": value} for value in _resolve_bound(operand, now_ms)])
    if operator == "between":
        return _match_any(path, _compile_between(operand[0], operand[1], now_ms))
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
        pattern = _to_pcre(operand)
    return {path: {"$regex": pattern, **_NO_ARRAY}}


def _match_any(path: str, comparisons: list[Filter]) -> Filter:
    found: list[Filter] = [{path: {**comparison, **_NO_ARRAY}} for comparison in comparisons]
    return found[0] if len(found) == 1 else {"$or": found}


def _resolve_bound(operand: Any, now_ms: int) -> list[Any]:
    """Return the values that a bound stands for: the operand itself, a date, or both."""
    relative = isinstance(operand, str) and RELATIVE_DATE.fullmatch(operand)
    if relative:
        return [_EPOCH + timedelta(milliseconds=now_ms - int(relative[1]) * SECONDS[relative[2]] * 1000)]
    return _add_dates((operand,))


def _compile_between(low: Any, high: Any, now_ms: int) -> list[Filter]:
    lows, highs = _resolve_bound(low, now_ms), _resolve_bound(high, now_ms)
    return [{"$gte": a, "$lte": b} for a in lows for b in highs if kind_of(a) == kind_of(b)]


def _add_dates(operands: tuple[Any, ...]) -> list[Any]:
    """Return *operands*, followed by the dates that they may also stand for."""
    return [
        *operands,
        *(date for each in operands if isinstance(each, str) and (date := parse_date(each)) is not None),
    ]


def _to_pcre(pattern: str) -> str:
    r"""Return an RE2 pattern in MongoDB's dialect, PCRE.

    Not translated: ``\S`` inside brackets, which matches a vertical tab in RE2 only, and ``$`` with the flag ``m``,
    which means the same in both.
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
