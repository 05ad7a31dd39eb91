"""Checks of events and attributes: every mistake has its place, and without declarations nothing is checked."""

from pathlib import Path
from typing import Any

import pytest

from definitions.checks.attributes import check_attributes
from definitions.checks.satisfiability import contradiction
from definitions.loading.problems import InvalidFiles
from definitions.model.event import Event
from definitions.model.field_errors import InvalidDefinitions, validate
from definitions.model.site import Site
from shared.conditions.parsing import parse_condition
from shared.conditions.predicate import compile_predicate
from tests.support.definitions import load_definitions
from tests.unit.definitions.test_loading import GROUP, SITE, C, G, S, folder, problems

EVENT = """\
name: win
attributes:
  outcome: {type: text, one_of: [big, small]}
  amount: number
  live: boolean
  at: date
  tags: list
  cart: object
  table_id: text
"""
E = "events/win.yaml"
CAMPAIGN = """\
id: three-wins
name: Three wins
targets: [vip]
trigger:
  sequence:
    - event: win
      where: {outcome: big}
      times: 3
  within: 10m
channel: email
delay: 1h
cancel_on: [{event: win}]
goal: {event: win, within: 1d}
content:
  subject: Hi
  text: Hi {{ event.amount }}
"""
SENDER = SITE + "sender: {address: a@b.example}\n"
TYPED = SENDER + "customer_attributes: {tier: {type: text, one_of: [vip, gold]}, age: number, news: boolean}\n"
BASE: dict[str, str | bytes] = {S: SENDER, C: CAMPAIGN, E: EVENT}
STEP = "trigger.sequence[0]"


def test_a_folder_with_events_is_read(tmp_path: Path) -> None:
    """Types may be short or long. A campaign that uses only these events and attributes is valid."""
    (event,) = load_definitions(folder(tmp_path, BASE)).events
    assert event.attributes is not None
    assert {name: each.type for name, each in event.attributes.items()}["amount"] == "number"
    assert event.attributes["outcome"].one_of == ("big", "small")


CASES: list[tuple[str, str, str, str, str]] = [
    # file, its text, line:column, field, message
    (
        C,
        CAMPAIGN.replace("event: win\n", "event: wim\n"),
        "6:7",
        f"{STEP}.event",
        "no event 'wim' is defined, did you mean 'win'?",
    ),
    (
        C,
        CAMPAIGN.replace("[{event: win}]", "[{event: nope}]"),
        "12:14",
        "cancel_on[0].event",
        "no event 'nope' is defined; defined: win",
    ),
    (
        C,
        CAMPAIGN.replace("{event: win, within", "{event: wins, within"),
        "13:8",
        "goal.event",
        "no event 'wins' is defined, did you mean 'win'?",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{outcom: big}"),
        "7:15",
        f"{STEP}.where.outcom",
        "event 'win' has no attribute 'outcom', did you mean 'outcome'?",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{outcome: bigg}"),
        "7:15",
        f"{STEP}.where.outcome",
        "'outcome' is never 'bigg', did you mean 'big'?",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{outcome: {in: [big, huge]}}"),
        "7:25",
        f"{STEP}.where.outcome.in",
        "'outcome' is never 'huge': it is one of big, small",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", '{amount: "5"}'),
        "7:15",
        f"{STEP}.where.amount",
        "'amount' is a number: compare it with a number, without quotes",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{amount: {starts_with: a}}"),
        "7:24",
        f"{STEP}.where.amount.starts_with",
        "'amount' is a number, and 'starts_with' is for text",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{live: 1}"),
        "7:15",
        f"{STEP}.where.live",
        "'live' is a boolean: compare it with true or false, without quotes",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{live: {gt: 1}}"),
        "7:22",
        f"{STEP}.where.live.gt",
        "'live' is a boolean and has no order: write true or false",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{at: {gte: tomorrow}}"),
        "7:20",
        f"{STEP}.where.at.gte",
        "'at' is a date: compare it with a date, such as 2026-12-01",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{tags: red}"),
        "7:15",
        f"{STEP}.where.tags",
        "'tags' is a list: use the operator 'contains'",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{cart: red}"),
        "7:15",
        f"{STEP}.where.cart",
        "'cart' is an object: compare one of its parts, such as cart.name, or use 'exists'",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{outcome.x: big}"),
        "7:15",
        f"{STEP}.where.outcome.x",
        "'outcome' of event 'win' is text and has no parts",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{any_of: [{table_id: 5}, {live: true}]}"),
        "7:25",
        f"{STEP}.where.any_of[0].table_id",
        "'table_id' is text: compare it with text, in quotes",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{amount: {gte: 5}, all_of: [{amount: {lt: 5}}]}"),
        "7:52",
        f"{STEP}.where.all_of[0].amount.lt",
        "this can never hold: 'amount' cannot be gte 5 and lt 5",
    ),
    (
        C,
        CAMPAIGN.replace("  within: 10m\n", "  within: 10m\n  per: game_id\n"),
        "10:3",
        "trigger.per[0]",
        "every event of the trigger needs it: event 'win' has no attribute 'game_id', did you mean 'table_id'?",
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{context.device.typ: mobile}"),
        "7:15",
        f"{STEP}.where.context.device.typ",
        ("the context of an event has no attribute 'context.device.typ', did you mean 'context.device.type'?"),
    ),
    (
        C,
        CAMPAIGN.replace("{outcome: big}", "{context.locale: 7}"),
        "7:15",
        f"{STEP}.where.context.locale",
        "'context.locale' is text: compare it with text, in quotes",
    ),
    (
        C,
        CAMPAIGN.replace("within: 10m", "within: 10m\n  per: context.page"),
        "10:3",
        "trigger.per[0]",
        "the context of an event has no attribute 'context.page', did you mean 'context.page.url'?",
    ),
    (
        C,
        CAMPAIGN.replace("event.amount", "context.page.ur"),
        "16:3",
        "content.text",
        (
            "{{ context.page.ur }} is always empty: the context of an event has no attribute 'context.page.ur', "
            "did you mean 'context.page.url'?"
        ),
    ),
    (
        C,
        CAMPAIGN.replace("event.amount", "event.sum"),
        "16:3",
        "content.text",
        (
            "{{ event.sum }} is always empty: event 'win' has no attribute 'sum'; "
            "known: amount, at, cart, live, outcome, table_id, tags"
        ),
    ),
    (
        S,
        TYPED + "consent: {email: newz}\n",
        "7:11",
        "consent.email",
        "a customer has no attribute 'newz', did you mean 'news'?",
    ),
    (S, TYPED + "consent: {email: age}\n", "7:11", "consent.email", "'age' is a number: compare it with a number"),
    (
        G,
        GROUP.replace("rule", "name: V\nrule").replace("tier: vip", "tier: vip, all_of: [{tier: gold}]"),
        "3:29",
        "rule.all_of[0].tier",
        "this can never hold: 'tier' cannot be 'vip' and 'gold'",
    ),
    (E, EVENT.replace("number", "money"), "4:3", "attributes.amount.type", "'money' is not a type: write 'number'"),
    (
        E,
        EVENT.replace("[big, small]", "[big, 5]"),
        "3:39",
        "attributes.outcome.one_of[1]",
        "is not text: write '5' in quotes",
    ),
    (
        "events/x.yaml",
        "name: Opportune Click\n",
        "1:1",
        "name",
        "names that begin with 'Opportune ' are reserved for the tag's own events",
    ),
    (
        E,
        EVENT + "tag: {on: click}\n",
        "10:1",
        "tag",
        "needs 'page' (a path such as /cart), 'selector' (such as \"#checkout\"), or both",
    ),
    (
        E,
        EVENT + "tag: {page: '*'}\n",
        "10:7",
        "tag.page",
        "must be a path that begins with '/', without spaces, such as /cart or /products/*",
    ),
    ("events/other.yaml", "name: win\n", "1:1", "name", "another event has the name 'win' too"),
]


@pytest.mark.parametrize(("file", "text", "place", "field", "message"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_each_mistake_has_its_place(tmp_path: Path, file: str, text: str, place: str, field: str, message: str) -> None:
    """One mistake is one problem, at its place."""
    found = problems(folder(tmp_path, BASE | {file: text}))
    said = [(f"{each.file}:{each.line}:{each.column}", each.field, each.message) for each in found]
    if file == "events/other.yaml":
        file = E  # the second file by name
    assert said == [(f"{file}:{place}", field, message)]


def test_groups_and_texts_are_checked_with_what_is_known_of_customers(tmp_path: Path) -> None:
    """Impossible rules and variables that are always empty are found. Attributes that channels use are always known."""
    text = CAMPAIGN.replace("event.amount }}", "event.amount }} {{ customer.email }} {{ customer.frist_name }}")
    path = folder(tmp_path, BASE | {S: TYPED, C: text, G: "id: vip\nrule: {tier: silver, age: young}\n"})
    assert [(each.field, each.message) for each in problems(path)] == [
        (
            "content.text",
            (
                "{{ customer.frist_name }} is always empty: a customer has no attribute 'frist_name'; "
                "known: age, news, tier"
            ),
        ),
        ("rule.tier", "'tier' is never 'silver': it is one of vip, gold"),
        ("rule.age", "'age' is a number: compare it with a number"),
    ]


def test_where_nothing_is_defined_nothing_is_checked(tmp_path: Path) -> None:
    """Without event definitions, or without attributes in them, campaigns may use any attribute."""
    free = CAMPAIGN.replace("{outcome: big}", "{whatever: 5}").replace("event.amount", "event.also }} {{ customer.this")
    assert load_definitions(folder(tmp_path / "none", {S: SENDER, C: free})).events == ()
    assert len(load_definitions(folder(tmp_path / "name", BASE | {C: free, E: "name: win\n"})).events) == 1


def test_what_the_gateway_makes_itself_needs_no_definition(tmp_path: Path) -> None:
    """Page views and the tag's own events."""
    for name in ("Page Viewed", "Screen Viewed", "Opportune Dismiss"):
        text = CAMPAIGN.replace("event: win\n      where: {outcome: big}", f"event: {name}")
        load_definitions(folder(tmp_path, BASE | {C: text}))


@pytest.mark.parametrize("text", ["name: win\nattributes: [a]\n", "name: win: x\n", "attributes: {}\n"])
def test_a_broken_event_is_one_problem_and_not_one_of_every_campaign(tmp_path: Path, text: str) -> None:
    """Its name counts as defined. If the name cannot be read either, no campaign is blamed for an unknown event."""
    assert {each.file for each in problems(folder(tmp_path, BASE | {E: text}))} == {E}


def test_events_in_the_site_file_are_shown_where_they_belong(tmp_path: Path) -> None:
    """Each event belongs into a file of its own."""
    with pytest.raises(InvalidFiles, match=r"site.yaml:5:1: events: 'events' is not supported: .*folder events/"):
        load_definitions(folder(tmp_path, {S: SITE + "events: []\n"}))


ATTRIBUTES = validate(Event, {"name": "e", "attributes": {"cart": "object", "cart.total": "number", "a.b": "text"}})


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"cart.total": 5}, None),
        ({"cart.anything": "goes"}, None),
        ({"a": {"exists": True}}, None),
        ({"cart.total": "5"}, "compare it with a number"),
        ({"a.c": 5}, "no attribute 'a.c'"),
    ],
)
def test_parts_of_objects(condition: dict[str, Any], message: str | None) -> None:
    """An object may have any parts, unless only its parts are declared."""
    found = [said for _, said in check_attributes(condition, ATTRIBUTES.attributes or {}, "event 'e'")]
    assert len(found) == (message is not None)
    assert message is None or message in found[0]


IMPOSSIBLE: list[dict[str, Any]] = [
    {"a": 1, "all_of": [{"a": 2}]},
    {"a": {"in": ["x", "y"]}, "all_of": [{"a": {"in": ["z"]}}]},
    {"a": {"gt": 5}, "all_of": [{"a": {"between": [1, 5]}}]},
    {"a": {"gte": 5}, "all_of": [{"a": {"starts_with": "x"}}]},
    {"a": {"exists": False}, "all_of": [{"a": {"ne": 3}}]},
    {"a": "xyz", "all_of": [{"a": {"ends_with": "w"}}]},
    {"a": {"gte": "-7d", "lt": "-30d"}},
    {"any_of": [{"a": 1}, {"a": 2}], "all_of": [{"a": {"gt": 2}}]},
    {"a": {"contains": 5}, "all_of": [{"a": {"gt": 5}}]},
    {"a": {"eq": 5, "ne": 5}},
]
POSSIBLE: list[dict[str, Any]] = [
    {},
    {"a": 1, "b": 2},
    {"any_of": [{"a": 1}, {"a": 2}], "all_of": [{"a": {"gt": 1}}]},
    {"none_of": [{"a": 1}], "a": 1},  # `none_of` is not examined
    {"a": {"gte": "-30d", "lt": "-7d"}},
    {"a": {"gte": "2026-01-01"}, "all_of": [{"a": "2026-05-05"}]},
    {"a": {"contains": "x"}, "all_of": [{"a": {"starts_with": "y"}}]},
    {"a": {"gte": 5}, "all_of": [{"a": {"lte": 5}}]},
    {"a": {"exists": True, "gt": 5}},
    {"all_of": [{"any_of": [{"a": n} for n in range(20)]} for _ in range(20)]},  # too many alternatives to examine
]


@pytest.mark.parametrize("condition", IMPOSSIBLE, ids=str)
def test_contradictions_are_found_and_are_true(condition: dict[str, Any]) -> None:
    """None of many sample values meets the condition either."""
    found = contradiction(condition, {})
    assert found is not None
    assert found[1].startswith("this can never hold: 'a' cannot be ")
    meets = compile_predicate(parse_condition(condition))
    values = [None, True, 0, 1, 2, 3, 4, 5, 5.5, 6, "x", "y", "z", "xyz", "w", ["x"], [5], {"b": 1}]
    assert not any(meets({"a": value, "b": other}) for value in values for other in values)


@pytest.mark.parametrize("condition", POSSIBLE, ids=lambda value: str(value)[:60])
def test_what_may_hold_is_left_alone(condition: dict[str, Any]) -> None:
    """Conditions that are too complex to examine pass, too."""
    assert contradiction(condition, {}) is None


def test_declared_values_leave_nothing() -> None:
    """A condition that excludes both values of a boolean, or every possible value, is a contradiction."""
    attributes = {"vip": "boolean", "tier": {"type": "text", "one_of": ["a", "b"]}}
    keys = [{"kind": "public", "key": "wk_public"}]
    site = validate(Site, {"id": "s", "name": "s", "keys": keys, "customer_attributes": attributes})
    known = site.customer_attributes or {}
    assert contradiction({"vip": {"not_in": [True, False]}}, known) is not None
    assert contradiction({"tier": {"ne": "a"}, "all_of": [{"tier": {"ne": "b"}}]}, known) is not None
    assert contradiction({"tier": {"ne": "a"}}, known) is None
    with pytest.raises(InvalidDefinitions, match="'string' is not a type: write 'text'"):
        validate(Event, {"name": "e", "attributes": {"a": "string"}})
