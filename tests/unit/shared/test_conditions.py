"""The condition language: what each operator means, and the errors for mistakes."""

import subprocess
import sys
from typing import Any

import pytest

from shared.conditions.mongodb import compile_filter
from shared.conditions.parsing import parse_condition
from shared.conditions.predicate import compile_predicate
from shared.conditions.tree import find_attributes
from shared.errors import InvalidDefinition

NOW = 1_700_000_000_000


def holds(condition: dict[str, Any], attributes: dict[str, Any]) -> bool:
    """Return the result of the predicate."""
    return compile_predicate(parse_condition(condition))(attributes)


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ({"a": "win"}, ["win"], ["loss", "Win", None, 1, True, ["win"], {"win": 1}]),
        ({"a": 1}, [1, 1.0], [True, "1", 2, None, [1]]),
        ({"a": True}, [True], [1, "true", False, None]),
        ({"a": {"eq": ""}}, [""], [None, 0, False, " "]),
        ({"a": {"ne": "win"}}, ["loss", ""], ["win", None, 1, True, ["loss"]]),
        ({"a": {"ne": 1}}, [2, 1.5], [1, 1.0, "2", True, None]),
        ({"a": {"gt": 10}}, [10.5, 11], [10, 9, "11", True, None, [11]]),
        ({"a": {"gte": 10}}, [10, 10.0], [9.99, None]),
        ({"a": {"lt": 1}}, [0, -1, 0.5], [1, False, "0", None]),
        ({"a": {"lte": "m"}}, ["a", "m", ""], ["n", 1, None]),
        ({"a": {"gt": "2024-01-01"}}, ["2024-01-02"], ["2023-12-31", 2025, None]),
        ({"a": {"in": ["x", 1, True]}}, ["x", 1, 1.0, True], ["y", 2, False, None, ["x"]]),
        ({"a": {"in": [1]}}, [1], [True, "1"]),
        ({"a": {"not_in": ["x", 1]}}, ["y", 2], ["x", 1, True, None, ["y"]]),
        ({"a": {"contains": "ell"}}, ["hello", ["ell", 2]], ["Ell", ["hello"], None, {"ell": 1}]),
        ({"a": {"contains": 1}}, [[1], [2, 1.0]], [["1"], [True], 1, "1", [[1]], None]),
        ({"a": {"starts_with": "he"}}, ["he", "hello"], ["she", "He", None, ["he"]]),
        ({"a": {"ends_with": "lo"}}, ["lo", "hello"], ["lo\n", "low", None, 10]),
        ({"a": {"exists": True}}, ["", 0, False, [], {}], [None]),
        ({"a": {"exists": False}}, [None], ["", 0, False, []]),
        ({"a": {"between": [10, 20]}}, [10, 20, 15.5], [9.99, 20.01, "15", True, None]),
        ({"a": {"between": ["b", "d"]}}, ["b", "d", "cc"], ["a", "da", 1, None]),
        ({"a": {"matches": "b+c"}}, ["abbcd", "bc"], ["ac", 1, None, ["bc"]]),
        ({"a": {"matches": "^b+c$"}}, ["bbc"], ["abc", "bc\n"]),
        ({"a": {"matches": "(?i)^äB"}}, ["ÄB"], ["b"]),
        ({"a": {"gte": 1, "lt": 3, "ne": 2}}, [1, 2.5], [2, 3, 0]),
    ],
    ids=str,
)
def test_operators(condition: dict[str, Any], yes: list[Any], no: list[Any]) -> None:
    """Each operator matches these values and not those. None stands for null."""
    assert [value for value in yes if not holds(condition, {"a": value})] == []
    assert [value for value in no if holds(condition, {"a": value})] == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("x", False), ({"ne": "x"}, False), ({"lt": 5}, False), ({"in": ["x"]}, False),
        ({"not_in": ["x"]}, False), ({"contains": "x"}, False), ({"starts_with": "x"}, False),
        ({"between": [0, 9]}, False), ({"matches": "."}, False), ({"exists": True}, False),
        ({"exists": False}, True),
    ],
    ids=str,
)  # fmt: skip
def test_a_missing_attribute_meets_only_exists_false(wanted: Any, expected: bool) -> None:
    """Every comparison with a missing value is false, including `ne` and `not_in`."""
    assert holds({"a": wanted}, {}) is expected
    assert holds({"o.a": wanted}, {"o": {"b": 1}}) is expected
    assert holds({"o.a": wanted}, {"o": "x"}) is expected
    assert holds({"o.a": wanted}, {"o": [{"a": "x"}]}) is expected


def test_dots_reach_into_objects() -> None:
    """A dotted attribute is inside an object, or the flat name that some trackers send. Numbers are no places."""
    assert holds({"cart.total.net": {"gt": 5}}, {"cart": {"total": {"net": 6}}})
    assert holds({"cart.total": 6}, {"cart.total": 6})
    assert not holds({"items.0": "x"}, {"items": ["x"]})


def test_groups_nest() -> None:
    """any_of, all_of and none_of take conditions, including groups."""
    condition = {
        "tier": "vip",
        "any_of": [{"country": "AT"}, {"all_of": [{"country": "DE"}, {"none_of": [{"city": "Bonn"}]}]}],
        "none_of": [{"blocked": True}, {"age": {"lt": 18}}],
    }
    assert holds(condition, {"tier": "vip", "country": "AT"})
    assert holds(condition, {"tier": "vip", "country": "DE"})
    assert holds(condition, {"tier": "vip", "country": "DE", "city": "Ulm", "age": 18})
    assert not holds(condition, {"tier": "vip", "country": "DE", "city": "Bonn"})
    assert not holds(condition, {"tier": "vip", "country": "AT", "age": 17})
    assert not holds(condition, {"country": "AT"})
    assert holds({}, {})


def test_half_a_surrogate_pair_is_no_match() -> None:
    """Text that RE2 cannot read does not raise an error."""
    assert not holds({"a": {"matches": "^x$"}}, {"a": "\ud83d"})


def test_attributes_are_the_paths_that_a_condition_reads() -> None:
    """Of them follow the names that the Gateway passes on."""
    condition = parse_condition(
        {"a.b": 1, "c": {"gt": 1}, "any_of": [{"d": 1}, {"none_of": [{"e.f": {"exists": True}}]}]}
    )
    assert find_attributes(condition) == {"a.b", "c", "d", "e.f"}


@pytest.mark.parametrize(
    ("source", "field", "message"),
    [
        ({"a": {"greater_than": 1}}, "where.a.greater_than", "write 'gt'"),
        ({"a": {"gtee": 1}}, "where.a.gtee", "write 'gte'"),
        ({"a": {">=": 1}}, "where.a.>=", "write 'gte'"),
        ({"a": {"regex": "x"}}, "where.a.regex", "write 'matches'"),
        ({"cart": {"total": 5}}, "where.cart.total", "write cart.total"),
        ({"a": {}}, "where.a", "give a value or an operator"),
        ({"a": [1, 2]}, "where.a", "{in: [...]}"),
        ({"a": None}, "where.a", "{exists: false}"),
        ({"a": {"eq": None}}, "where.a.eq", "{exists: false}"),
        ({"a": {"eq": [1]}}, "where.a.eq", "text, a number, true or false"),
        ({"a": {"gt": True}}, "where.a.gt", "only numbers, text and dates have an order"),
        ({"a": {"gt": float("nan")}}, "where.a.gt", "finite"),
        ({"a": 2**63}, "where.a", "smaller than 2^63"),
        ({"a": {"in": "x"}}, "where.a.in", "a list of values"),
        ({"a": {"in": []}}, "where.a.in", "a list of values"),
        ({"a": {"not_in": ["x", {}]}}, "where.a.not_in[1]", "text, a number"),
        ({"a": {"between": [1]}}, "where.a.between", "the two ends"),
        ({"a": {"between": [2, 1]}}, "where.a.between", "the smaller end first"),
        ({"a": {"between": [1, "2"]}}, "where.a.between", "both ends must be numbers"),
        ({"a": {"between": ["-7d", "-30d"]}}, "where.a.between", "the earlier end first"),
        ({"a": {"between": ["-7d", "x"]}}, "where.a.between", "both ends must be dates"),
        ({"a": {"contains": ""}}, "where.a.contains", "the text to look for"),
        ({"a": {"starts_with": 5}}, "where.a.starts_with", "needs quotes"),
        ({"a": {"exists": "yes"}}, "where.a.exists", "true (there is a value) or false"),
        ({"a": {"exists": False, "gt": 1}}, "where.a", "can never hold"),
        ({"a": {"gt": 5, "lt": 5}}, "where.a", "can never hold"),
        ({"a": {"gt": 5, "lt": "x"}}, "where.a", "can never hold"),
        ({"a": {"matches": "(x"}}, "where.a.matches", "missing ): (x"),
        ({"a": {"matches": "(?=x)"}}, "where.a.matches", "no look-around"),
        ({"a": "{{ event.b }}"}, "where.a", "fixed values only"),
        ({"a": {"gt": "$steps[0].amount"}}, "where.a.gt", "fixed values only"),
        ({"any_of": {"a": 1}}, "where.any_of", "a list of conditions"),
        ({"any_of": []}, "where.any_of", "a list of conditions"),
        ({"none_of": [{"a": 1}, {}]}, "where.none_of[1]", "always hold"),
        ({"any_of": [{"a": 1}, {"b": {"nope": 1}}]}, "where.any_of[1].b.nope", "unknown operator"),
        ({"all_of": ["a"]}, "where.all_of[0]", "a map of attributes"),
        ({1: 1}, "where.1", "write '1' in quotes"),
        ({"a..b": 1}, "where.a..b", "not an attribute name"),
        ({"$where": "x"}, "where.$where", "start with '$'"),
        ({"a": "x\0"}, "where.a", "NUL"),
        ({"a": {"lt": "-99999d"}}, "where.a.lt", "more than 36500 days"),
        ("win", "where", "a map of attributes"),
        (None, "where", "a map of attributes"),
    ],
    ids=str,
)
def test_mistakes_are_named_with_what_to_write(source: Any, field: str, message: str) -> None:
    """The field names the operator, and the message says what to write."""
    with pytest.raises(InvalidDefinition) as caught:
        parse_condition(source)
    assert caught.value.field == field
    assert message in caught.value.message


def test_depth_is_bounded() -> None:
    """Conditions that are nested too deeply are refused."""
    condition: dict[str, Any] = {"a": 1}
    for _ in range(2000):
        condition = {"any_of": [condition]}
    with pytest.raises(InvalidDefinition, match="nested more than 10 deep"):
        parse_condition(condition)


@pytest.mark.parametrize(
    ("source", "dates", "message"),
    [
        ({"a": {"gte": "-30d"}}, False, "only works in the rule of a target group"),
        ({"a": {"between": ["-30d", "-7d"]}}, False, "only works in the rule of a target group"),
        ({"a": {"gte": "30d"}}, True, "write -30d"),
        ({"a": "-30d"}, True, "{gte: -30d}"),
    ],
)
def test_dates_in_the_wrong_place_or_form(source: dict[str, Any], dates: bool, message: str) -> None:
    """Dates that would be compared as text are refused when definitions are checked, and only then."""
    with pytest.raises(InvalidDefinition) as caught:
        parse_condition(source, dates=dates)
    assert message in caught.value.message
    parse_condition(source)


def test_a_relative_date_is_never_met_by_an_event() -> None:
    """Events have no dates, and text does not compare with one."""
    assert not holds({"a": {"gte": "-30d"}}, {"a": "2099-01-01"})
    assert not holds({"a": {"gte": "-30d"}}, {"a": "zzz"})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({}, {}),
        ({"tier": "vip"}, {"attributes.tier": {"$eq": "vip", "$not": {"$type": "array"}}}),
        (
            {"a": {"ne": 1}},
            {"attributes.a": {"$nin": [1], "$type": ["number"], "$not": {"$type": "array"}}},
        ),
        (
            {"a.b": {"gt": 1}},
            {
                "$and": [
                    {"attributes.a": {"$not": {"$type": "array"}}},
                    {"attributes.a.b": {"$gt": 1, "$not": {"$type": "array"}}},
                ]
            },
        ),
    ],
    ids=str,
)
def test_mongo_filters(source: dict[str, Any], expected: dict[str, Any]) -> None:
    """The filter names the type wherever MongoDB would accept others."""
    assert compile_filter(parse_condition(source), now_ms=NOW) == expected


def test_relative_dates_count_from_now() -> None:
    """-30d is a date thirty days before *now_ms*, not text."""
    condition = parse_condition({"seen": {"gte": "-30d"}})
    found = compile_filter(condition, prefix="", now_ms=NOW)["seen"]["$gte"]
    assert found.timestamp() * 1000 == NOW - 30 * 86_400_000


def test_patterns_are_translated_where_the_dialects_differ() -> None:
    """`$` matches only the end of the text. Brackets and quoted text are unchanged."""

    def pattern(text: str) -> str:
        condition = parse_condition({"a": {"matches": text}})
        found: str = compile_filter(condition, prefix="", now_ms=NOW)["a"]["$regex"]
        return found

    assert pattern("^a$|b$") == r"^a\z|b\z"
    assert pattern(r"[$\s]\s\$") == r"[$\t\n\f\r ][\t\n\f\r ]\$"
    assert pattern(r"[[]$[]$]$") == r"[[]\z[]$]\z"
    assert pattern(r"\Qa$\E$") == r"\Qa$\E\z"
    assert pattern("(?m)^a$") == "(?m)^a$"


def test_re2_is_loaded_only_for_patterns() -> None:
    """A cold start loads the regular expressions only if a ruleset needs them."""
    script = (
        "import sys; from shared.conditions.parsing import parse_condition as parse;"
        "from shared.conditions.predicate import compile_predicate as compile;"
        "compile(parse({'a': {'gt': 1, 'lt': 3}}))({'a': 2}); assert 're2' not in sys.modules;"
        "parse({'a': {'matches': 'x'}}); assert 're2' in sys.modules; assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
