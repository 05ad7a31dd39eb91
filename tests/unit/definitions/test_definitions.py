"""Definitions: what is valid, what it becomes, and the messages about everything else."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from definitions.model.campaign import Campaign
from definitions.model.content import EmailContent
from definitions.model.field_errors import InvalidDefinitions, validate
from definitions.model.group import TargetGroup
from definitions.model.liquid import reads
from definitions.model.popup import PopupContent
from definitions.model.site import Site
from definitions.model.trigger import Matcher, Trigger
from tests.support.definitions import define

SITE: dict[str, Any] = {"id": "demo", "name": "Demo", "keys": [{"kind": "public", "key": "wk_public"}]}
CAMPAIGN: dict[str, Any] = {
    "id": "three-wins",
    "name": "Three wins",
    "targets": ["vip"],
    "trigger": {"sequence": [{"event": "win", "times": 3}], "within": "10m"},
    "channel": "popup",
    "content": {"layout": "modal", "title": "Hi {{ customer.first_name }}"},
}
STEP = {"event": "a"}
TWO = [STEP, {"event": "b"}]


def errors_in(model: Any, data: Any) -> list[tuple[str, str]]:
    """Return the field and message of every error in *data*."""
    with pytest.raises(InvalidDefinitions) as caught:
        validate(model, data)
    return [(problem.field, problem.message) for problem in caught.value.problems]


def conflicts(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the field and message of everything in *data* that does not fit together."""
    with pytest.raises(InvalidDefinitions) as caught:
        define(data)
    return [(problem.field, problem.message) for problem in caught.value.problems]


def test_a_full_trigger_is_read() -> None:
    """Durations become milliseconds, single names become lists, and defaults are filled in."""
    trigger = validate(
        Trigger,
        {
            "sequence": [
                {"event": "a", "where": {"x": {"gt": 1}}},
                {
                    "event": ["b", "c"],
                    "times": 2,
                    "consecutive": True,
                    "directly": True,
                    "gap": "90s",
                    "inner": "1h",
                    "not_before": [{"event": "d"}],
                },
            ],
            "within": "90d",
            "subject": ["a", "b", "c", "e"],
            "reset_on": [{"event": "logout"}],
            "unless": {"event": "order", "for": "30m", "anchor": "last"},
            "per": "cart.id",
            "after_match": "overlap",
            "max_backdate": "1d",
        },
    )
    assert trigger.sequence is not None
    assert trigger.unless is not None
    first, second = trigger.sequence
    assert first.event == ("a",)
    assert (first.times, first.consecutive, first.gap, first.not_before) == (1, False, None, ())
    assert (second.event, second.gap, second.inner) == (("b", "c"), 90_000, 3_600_000)
    assert second.not_before == (Matcher(event=("d",)),)
    assert (trigger.within, trigger.max_backdate, trigger.per) == (90 * 86_400_000, 86_400_000, ("cart.id",))
    assert (trigger.unless.for_, trigger.unless.anchor, trigger.unless.where) == (1_800_000, "last", {})
    plain = validate(Trigger, {"sequence": [STEP]})
    assert (plain.within, plain.subject, plain.reset_on, plain.unless, plain.per) == (
        None,
        None,
        (),
        None,
        (),
    )
    assert (plain.after_match, plain.max_backdate) == ("restart", 300_000)


@pytest.mark.parametrize(
    "trigger",
    [
        {"sequence": [STEP]},
        {"sequence": [STEP], "unless": {"event": "b", "for": "1m"}},
        {"sequence": TWO, "within": "1m"},
        {"sequence": [STEP, {"event": "b", "gap": "2m"}], "within": "1m"},
        {"all_of": TWO, "within": "1m", "reset_on": [{"event": "c"}]},
        {"all_of": [STEP, STEP], "within": "1m"},
        {"sequence": [{"event": "a", "times": 50}] * 10, "within": "1m"},
        {"sequence": [{"event": "a", "times": 2, "consecutive": True}], "within": "1m", "subject": "a"},
        {"sequence": [STEP], "per": []},
    ],
    ids=str,
)
def test_sound_triggers_pass(trigger: dict[str, Any]) -> None:
    """Everything that the language supports is valid, even parts that have no effect."""
    validate(Trigger, trigger)


@pytest.mark.parametrize(
    ("trigger", "field", "message"),
    [
        ({}, "", "'sequence' (in this order) or 'all_of'"),
        ({"sequence": TWO, "all_of": TWO, "within": "1m"}, "all_of", "not both"),
        ({"sequence": [], "within": "1m"}, "sequence", "at least 1 entry"),
        ({"sequence": [STEP] * 11, "within": "1m"}, "sequence", "not have more than 10 entries"),
        ({"all_of": [STEP], "within": "1m"}, "all_of", "at least 2 entries"),
        ({"all_of": TWO}, "within", "give a time frame, such as within: 10m"),
        ({"sequence": TWO}, "within", "more than one event is needed"),
        ({"sequence": [{"event": "a", "times": 2}]}, "within", "more than one event is needed"),
        ({"sequence": [STEP], "within": 10}, "within", "10 has no unit: write 10s, 10m, 10h or 10d"),
        ({"sequence": [STEP], "within": "10"}, "within", "is not a duration"),
        ({"sequence": [STEP], "within": "1.5h"}, "within", "a whole number and a unit"),
        ({"sequence": [STEP], "within": "0s"}, "within", "more than 0"),
        ({"sequence": [STEP], "within": "91d"}, "within", "the longest duration is 90d"),
        ({"sequence": [STEP], "within": "9" * 5000 + "d"}, "within", "the longest duration is 90d"),
        ({"sequence": [STEP], "max_backdate": True}, "max_backdate", "is not a duration"),
        ({"sequence": ["a"]}, "sequence[0]", "must be a map of fields, such as {event: game_result}"),
        ({"sequence": STEP}, "sequence", "must be a list"),
        ({"sequence": [{}]}, "sequence[0].event", "is missing"),
        ({"sequence": [{"event": ""}]}, "sequence[0].event[0]", "must not be empty"),
        ({"sequence": [{"event": []}]}, "sequence[0].event", "at least 1 entry"),
        ({"sequence": [{"event": 5}]}, "sequence[0].event", "put 5 in quotes"),
        ({"sequence": [{"event": ["a", 5]}]}, "sequence[0].event[1]", "write '5' in quotes"),
        ({"sequence": [{"event": "a", "where": None}]}, "sequence[0].where", "a condition is a map"),
        ({"sequence": [{"event": "a", "where": {"x": {"ge": 1}}}]}, "sequence[0].where.x.ge", "write 'gte'"),
        ({"sequence": [{"event": "a", "where": {"x": {"gt": "-3d"}}}]}, "sequence[0].where.x.gt", "'within'"),
        ({"sequence": [{"event": "a", "where": {"x": "$steps.0.y"}}]}, "sequence[0].where.x", "'per'"),
        ({"sequence": [{"event": "a", "times": 0}]}, "sequence[0].times", "must be 1 or more"),
        ({"sequence": [{"event": "a", "times": 51}]}, "sequence[0].times", "not be more than 50"),
        ({"sequence": [{"event": "a", "times": "3"}]}, "sequence[0].times", "a whole number, without quotes"),
        ({"sequence": [{"event": "a", "times": True}]}, "sequence[0].times", "a whole number"),
        (
            {"sequence": [{"event": "a", "consecutive": "yes", "times": 2}]},
            "sequence[0].consecutive",
            "true or false, without quotes",
        ),
        ({"sequence": [{"event": "a", "consecutive": True}]}, "sequence[0].consecutive", "write 'directly'"),
        ({"sequence": [{"event": "a", "inner": "1m"}]}, "sequence[0].inner", "write 'gap'"),
        ({"sequence": [{"event": "a", "gap": "1m"}]}, "sequence[0].gap", "no step before it"),
        ({"sequence": [{"event": "a", "directly": True}]}, "sequence[0].directly", "no step before it"),
        ({"sequence": [{"event": "a", "not_before": [STEP]}]}, "sequence[0].not_before", "no step before it"),
        ({"sequence": TWO, "within": "1m", "subject": "a"}, "subject", "remove it"),
        ({"all_of": TWO, "within": "1m", "subject": "a"}, "subject", "remove it"),
        (
            {"sequence": [STEP, {"event": "b", "directly": True}], "within": "1m", "subject": "b"},
            "subject",
            "must contain 'a', because sequence[1] is 'directly'",
        ),
        (
            {
                "sequence": [{"event": ["a", "b"], "times": 2, "consecutive": True}],
                "within": "1m",
                "subject": "a",
            },
            "subject",
            "must contain 'b', because sequence[0] is 'consecutive'",
        ),
        ({"sequence": [STEP], "after_match": "overlaps"}, "after_match", "did you mean 'overlap'?"),
        ({"sequence": [STEP], "unless": {"event": "b"}}, "unless.for", "is missing"),
        (
            {"sequence": [STEP], "unless": {"event": "b", "for": "1m", "anchor": "each"}},
            "unless.anchor",
            "write first or last",
        ),
        (
            {"sequence": [STEP], "unless": {"event": "b", "for": "1m", "times": 2}},
            "unless.times",
            "only a step",
        ),
        ({"sequence": [STEP], "per": ["a..b"]}, "per[0]", "not an attribute name"),
        (
            {"sequence": [STEP], "reset_on": [{"event": f"e{n}"} for n in range(40)]},
            "",
            "has 41 different matchers",
        ),
        ({"sequence": [STEP], "reset_on": STEP}, "reset_on", "must be a list"),
    ],
    ids=str,
)
def test_mistakes_in_triggers(trigger: dict[str, Any], field: str, message: str) -> None:
    """One mistake is one error, at its field."""
    ((found, said),) = errors_in(Trigger, trigger)
    assert found == field
    assert message in said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("min_gap", "5m", "cannot tell a minimum time between events"),
        ("after", "5m", "cannot tell a minimum time"),
        ("at_least", 3, "'times: n' already means 'at least n'"),
        ("exactly", 3, "it is not yet known whether more will follow"),
        ("at_most", 3, "'unless' with the same event"),
        ("max_times", 3, "write 'times: n' for 'at least n'"),
        ("sum", {"amount": 100}, "running total"),
        ("count_of", "x", "count events with 'times'"),
        ("unless", {"event": "x", "for": "5m"}, "write 'not_before' in the next step"),
        ("same_as", "x", "'per' separates runs"),
    ],
)
def test_what_the_language_does_not_offer(name: str, value: Any, message: str) -> None:
    """The message says why, and what to write instead."""
    trigger = {"sequence": [STEP, {"event": "b", name: value}], "within": "1h"}
    ((field, said),) = errors_in(Trigger, trigger)
    assert field == f"sequence[1].{name}"
    assert said.startswith(f"'{name}' is not supported: ")
    assert message in said


@pytest.mark.parametrize(
    ("trigger", "field"),
    [
        (
            {"sequence": [{"event": "a", "times": 3}], "within": "1m", "reset_on": [{"event": ["a", "b"]}]},
            "trigger.reset_on[0]",
        ),
        (
            {"sequence": [{"event": "a", "where": {"cart": {"exists": False}}}], "per": "cart"},
            "trigger.sequence[0].where.cart",
        ),
    ],
)
def test_a_trigger_that_can_never_fire(trigger: dict[str, Any], field: str) -> None:
    """A campaign is refused if its trigger is valid but can never fire."""
    ((found, _),) = errors_in(Campaign, CAMPAIGN | {"trigger": trigger})
    assert found == field
    validate(Trigger, trigger)


def test_a_reset_on_some_of_a_steps_events_is_possible() -> None:
    """A reset on the first or last event of a match only clears progress before or after it."""
    lost = {"event": "a", "where": {"outcome": "loss"}}
    for trigger in (
        {"sequence": [{"event": "a", "times": 3}], "within": "1m", "reset_on": [lost]},
        {"sequence": [{"event": "a", "times": 2}], "within": "1m", "reset_on": [STEP]},
    ):
        validate(Campaign, CAMPAIGN | {"trigger": trigger})


def test_unknown_fields_have_a_suggestion() -> None:
    """A typing error gets a suggestion, and other mistakes in the same map are still found."""
    found = errors_in(Trigger, {"sequense": [STEP], "sequence": [{"evnt": "a", "times": 0}], "whithin": "1m"})
    assert found == [
        ("sequense", "unknown field 'sequense', did you mean 'sequence'?"),
        ("whithin", "unknown field 'whithin', did you mean 'within'?"),
        ("sequence[0].evnt", "unknown field 'evnt', did you mean 'event'?"),
        ("sequence[0].event", "is missing"),
        ("sequence[0].times", "must be 1 or more"),
    ]
    ((field, message),) = errors_in(Site, SITE | {"pigeons": 2})
    assert field == "pigeons"
    assert message.startswith("unknown field 'pigeons'; known here: id, name, timezone, keys, sender, caps, ")
    ((field, message),) = errors_in(Campaign, CAMPAIGN | {"holdoot": "10%"})
    assert (field, message) == ("holdoot", "unknown field 'holdoot', did you mean 'holdout'?")


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"id": "Three Wins!"}, "id", "such as 'three-wins'"),
        ({"id": "x" * 65}, "id", "1 to 64 letters"),
        ({"name": ""}, "name", "must not be empty"),
        ({"name": 5}, "name", "write '5' in quotes"),
        ({"name": None}, "name", "is empty"),
        ({"targets": "vip"}, "targets", "write [vip]"),
        ({"targets": []}, "targets", "such as [vip-players], or everyone"),
        ({"targets": ["vip", "everyone"]}, "targets[1]", "write 'targets: everyone'"),
        ({"targets": ["vip", 5]}, "targets[1]", "the id of a target group"),
        ({"channel": "sms"}, "content", "is content for channel popup: for channel sms, write 'text'"),
        ({"channel": "mms"}, "channel", "write popup, email, sms, push or webhook, did you mean 'sms'?"),
        ({"channel": "popups"}, "channel", "did you mean 'popup'?"),
        ({"sequence": []}, "sequence", "indent it below 'trigger:'"),
        ({"content": "Hi"}, "content", "must be a map of fields"),
        ({"content": {"title": "x", "layout": "model"}}, "content.layout", "did you mean 'modal'?"),
        ({"content": {"body": "x"}}, "content.title", "is missing"),
        ({"content": {"title": "x", "actions": [{"label": "x"}]}}, "content.actions[0].url", "is missing"),
        ({"content": {"title": "x", "close": False}}, "content.close", "leaves no way to close the popup"),
        ({"content": {"title": "x", "delay": "30m"}}, "content.delay", "must be shorter than 30m"),
        (
            {"content": {"title": "x", "delay": "9s", "expires": "9s"}},
            "content.delay",
            "must be shorter than 'expires'",
        ),
        ({"content": {"title": "x", "theme": {"accent": "red"}}}, "content.theme.accent", 'such as "#7c3aed"'),
        ({"content": {"title": "x", "theme": {"accent": "#fff"}}}, "content.theme.accent", "in full"),
        ({"content": {"title": "x", "image": "/a.png"}}, "content.image", "such as {url: /boost.jpg"),
        (
            {"content": {"title": "x", "image": {"url": "data:image/png,x"}}},
            "content.image.url",
            "must not start with 'data:'",
        ),
        ({"delay": "5s"}, "delay", "write 'delay' into 'content'"),
        ({"content": {"subject": "x", "title": "y"}}, "content.subject", "unknown field"),
        (
            {"content": {"title": "{{ event.x | zzzz }}"}},
            "content.title",
            "unknown filter 'zzzz' (line 1, column 14 of the text)",
        ),
        (
            {"content": {"title": "x", "actions": [{"label": "x", "url": "javascript:x"}]}},
            "content.actions[0].url",
            "must not start with 'javascript:'",
        ),
        ({"channel": "email", "content": {"text": "x"}}, "content.subject", "is missing"),
        ({"channel": "email", "content": {"subject": "x"}}, "content.text", "needs 'text', 'html' or both"),
        ({"channel": "email", "content": {"subject": "x\ny", "text": "x"}}, "content.subject", "single line"),
    ],
    ids=str,
)
def test_mistakes_in_campaigns(change: dict[str, Any], field: str, message: str) -> None:
    """One mistake is one error, at its field."""
    ((found, said),) = errors_in(Campaign, CAMPAIGN | change)
    assert found == field
    assert message in said


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a {{ event.x ", 1, 3, "not Liquid"),
        ("a\n{% if event.x %}", 2, 17, "expected tag endif"),
        ("a\n  {% iff %}", 2, 6, "unknown tag 'iff', did you mean 'if'?"),
        ("{% endif %}", 1, 4, "unexpected tag 'endif'"),
        ("{% include 'x' %}", 1, 4, "no other templates"),
        ("{{ event.x | upcas }}", 1, 14, "unknown filter 'upcas', did you mean 'upcase'?"),
        ("{{ event.x | safe }}", 1, 14, "unknown filter 'safe'"),
        ("\n\n{{ custmer.x }}", 3, 4, "unknown variable 'custmer', did you mean 'customer'?"),
        ("{{ name }}", 1, 4, "write one of customer.…"),
        ("{{ event }}", 1, 4, "write event.name"),
        ("{{ event[0] }}", 1, 4, "write event.name"),
        ("{{ customer[event.x] }}", 1, 4, "write customer.name"),
        ("{% if true %}" * 100, 1, 277, "nesting limit"),
        ("a\n{% for i in (1..1000000000) reversed %}x{% endfor %}", 2, 4, "a range has more than 10000 numbers"),
        ("{% if (1..100000000) contains 'a' %}x{% endif %}", 1, 4, "a range has more than 10000 numbers"),
        ("{% assign a = 'xxxxxxxxx' %}" + "{% assign a = a | replace: 'x', a %}" * 9, 1, 104, "longer than 262144"),
        ("{% assign n = 99999999 %}" + "{% assign n = n | times: n %}" * 40, 1, 87, "more than 128 bits"),
        ("{% for i in (1..9999) %}" + "{% if 1 == 2 %}{% endif %}" * 3000 + "{% endfor %}", 1, 4, "longer than 1 s"),
        ("{{" * 20_000, 1, 40_001, "not Liquid"),
        ("{%" * 20_000, 1, 40_001, "not Liquid"),
        ("{{" + " " * 20_000, 1, 20_003, "not Liquid"),
        ("{% raw %}" * 5000, 1, 45_001, "not Liquid"),
    ],
)
def test_liquid_is_checked_with_line_and_column(text: str, line: int, column: int, message: str) -> None:
    """Line and column count from 1, inside the text."""
    field, said = errors_in(EmailContent, {"subject": "x", "text": text})[0]
    assert field == "text"
    assert said.endswith(f" (line {line}, column {column} of the text)")
    assert message in said


@pytest.mark.parametrize(
    "url",
    [
        "/boost",
        "boost?next=a:b",
        "https://shop.example/{{ event.path }}",
        "mailto:a@b.example",
        "tel:+431",
        "{{ event.url }}",
        "{{ event.path }}?at=12:30",
        "{{ '/boost' }}",
    ],
)
def test_urls_that_are_allowed(url: str) -> None:
    """Paths, http(s), mailto and tel. Parts that depend on the event are checked when it is known."""
    validate(PopupContent, _with_action(url))


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "java\nscript:alert(1)",
        "javascript&colon;alert(1)",
        "data:text/html,{{ event.x }}",
        "{{ 'javascript:' }}alert(1)",
        "vbscript:x",
    ],
)
def test_urls_that_run_code(url: str) -> None:
    """The check finds the scheme as a browser does."""
    ((field, _),) = errors_in(PopupContent, _with_action(url))
    assert field == "actions[0].url"


def _with_action(url: str) -> dict[str, Any]:
    return {"title": "x", "actions": [{"label": "x", "url": url}]}


def test_reads_names_the_attributes_of_the_event() -> None:
    """Every text counts, in any tag or filter; attributes of the customer do not."""
    content = PopupContent.model_validate(
        {
            "title": "{{ event.amount }} {{ customer.first_name }}",
            "body": "{% for item in event.items %}{{ item.name | append: event['order id'] }}{% endfor %}",
            "actions": [{"label": "{% if event.cart.total > 5 %}x{% endif %}", "url": "/{{ event.path }}"}],
        }
    )
    assert reads(content) == {"amount", "items", "order id", "cart", "path"}
    assert reads(EmailContent(subject="{{ event.a }}", html="{{ event.b }}", text="{{ event.c }}")) == set("abc")


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"id": "x" * 33}, "id", "1 to 32 letters"),
        ({"timezone": "Europe/Viena"}, "timezone", "did you mean 'Europe/Vienna'?"),
        ({"keys": []}, "keys", "at least 1 entry"),
        ({"keys": [{"kind": "public"}]}, "keys[0]", "exactly one of"),
        ({"keys": [{"kind": "public", "key": "x" * 8, "from_env": "X"}]}, "keys[0]", "exactly one of"),
        ({"keys": [{"kind": "secret", "key": "sk_secret_1"}]}, "keys[0].key", "must not be in a file"),
        ({"keys": [{"kind": "public", "key": "short"}]}, "keys[0].key", "8 to 200 characters"),
        ({"keys": [{"kind": "secret", "sha256": "ABC"}]}, "keys[0].sha256", "64 lower-case"),
        ({"keys": [{"kind": "secret", "from_env": "$KEY"}]}, "keys[0].from_env", "environment variable"),
        ({"keys": [{"kind": "private", "key": "x" * 8}]}, "keys[0].kind", "write public or secret"),
        ({"sender": {"address": "nobody"}}, "sender.address", "not an e-mail address"),
        ({"sender": {"adress": "a@b.example"}}, "sender.adress", "did you mean 'address'?"),
    ],
    ids=str,
)
def test_mistakes_in_sites(change: dict[str, Any], field: str, message: str) -> None:
    """The first error is at its field."""
    found, said = errors_in(Site, SITE | change)[0]
    assert found == field
    assert message in said


def test_keys_and_sender() -> None:
    """A secret key is hashed or in the environment; the sender's name is optional."""
    site = validate(
        Site,
        SITE
        | {
            "keys": [
                {"kind": "public", "key": "wk_public"},
                {"kind": "secret", "from_env": "SECRET"},
                {"kind": "secret", "sha256": "0f" * 32},
            ],
            "sender": {"address": "offers@casino.example"},
            "timezone": "Europe/Vienna",
        },
    )
    assert [key.from_env for key in site.keys] == [None, "SECRET", None]
    assert site.sender is not None
    assert site.sender.name == ""


@pytest.mark.parametrize(
    ("group", "field", "message"),
    [
        ({"id": "vip"}, "", "needs 'rule'"),
        ({"id": "vip", "rule": {"a": 1}, "list": ["u1"]}, "", "write a group for each"),
        ({"id": "vip", "any_of": []}, "any_of", "such as [vip-players]"),
        ({"id": "vip", "any_of": "rich"}, "any_of", "write [rich]"),
        ({"id": "vip", "any_of": ["everyone"]}, "any_of[0]", "'none_of' alone means all customers except"),
        ({"id": "vip", "any_of": [{"tier": "vip"}]}, "any_of[0]", "write conditions below 'rule'"),
        ({"id": "vip", "all_of": ["a", "b"], "none_of": ["b"]}, "all_of[1]", "is in 'none_of' too"),
        ({"id": "vip", "any_of": ["a"], "none_of": ["b", "a"]}, "any_of", "the group is always empty"),
        ({"id": "vip", "any": ["a"]}, "any", "any_of"),
        ({"id": "vip", "rule": {}}, "rule", "write 'targets: everyone'"),
        ({"id": "vip", "rule": {"last_login": {"gte": "30d"}}}, "rule.last_login.gte", "write -30d"),
        ({"id": "vip", "rule": {"a": {"over": 5}}}, "rule.a.over", "unknown operator"),
        ({"id": "vip", "rule": "tier = vip"}, "rule", "a condition is a map"),
        ({"id": "vip", "list": []}, "list", "at least 1 entry"),
        ({"id": "vip", "list": "vip.csv"}, "list", "only a folder of definitions may name a file"),
        ({"id": "vip", "list": ["u1", 7]}, "list[1]", "write '7' in quotes"),
    ],
    ids=str,
)
def test_mistakes_in_target_groups(group: dict[str, Any], field: str, message: str) -> None:
    """One mistake is one error, at its field."""
    ((found, said),) = errors_in(TargetGroup, group)
    assert found == field
    assert message in said


def test_groups_may_be_made_of_others_but_not_of_themselves() -> None:
    """Unknown groups and circles are reported at the reference, with the path of the circle."""
    groups = [
        {"id": "vips", "rule": {"tier": "vip"}},
        {"id": "a", "any_of": ["vips", "b"]},
        {"id": "b", "all_of": ["c"], "none_of": ["vip"]},
        {"id": "c", "none_of": ["a"]},
        {"id": "d", "any_of": ["d"]},
        {"id": "e", "rule": {"x": 1}, "any_of": ["vips", "c"]},
    ]
    assert conflicts({"site": SITE, "groups": groups, "campaigns": []}) == [
        ("groups[1].any_of[1]", "a group cannot be made of itself: a → b → c → a"),
        ("groups[2].all_of[0]", "a group cannot be made of itself: b → c → a → b"),
        ("groups[2].none_of[0]", "there is no target group 'vip', did you mean 'vips'?"),
        ("groups[3].none_of[0]", "a group cannot be made of itself: c → a → b → c"),
        ("groups[4].any_of[0]", "a group cannot be made of itself: d → d"),
    ]


def test_definitions_are_checked_together() -> None:
    """Ids are unique, target groups exist, and e-mails have a sender."""
    email = CAMPAIGN | {"channel": "email", "content": {"subject": "x", "text": "x"}}
    data = {
        "site": SITE,
        "groups": [{"id": "vips", "rule": {"tier": "vip"}}, {"id": "vips", "list": ["u1"]}],
        "campaigns": [CAMPAIGN, CAMPAIGN | {"targets": "everyone"}, email | {"id": "e", "targets": ["vips"]}],
    }
    assert conflicts(data) == [
        ("groups[1].id", "another target group has the id 'vips' too"),
        ("campaigns[1].id", "another campaign has the id 'three-wins' too"),
        ("campaigns[0].targets[0]", "there is no target group 'vip', did you mean 'vips'?"),
        (
            "campaigns[2].channel",
            "e-mails need a sender: add 'sender' with 'address' and 'name' to the site",
        ),
    ]


def test_what_was_read_is_written_as_it_can_be_read_again() -> None:
    """The stored source of a campaign has durations as text and is a valid definition."""
    trigger = {
        "sequence": [STEP, {"event": "b", "gap": "90s", "not_before": [{"event": "c"}]}],
        "within": "48h",
        "unless": {"event": "d", "for": "30m"},
    }
    email = {"channel": "email", "content": {"subject": "x", "text": "x"}}
    campaign = validate(Campaign, CAMPAIGN | email | {"trigger": trigger, "targets": "everyone"})
    source = campaign.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert source["trigger"]["within"] == "2d"
    assert source["trigger"]["unless"]["for"] == "30m"
    assert source["trigger"]["sequence"][1]["gap"] == "90s"
    assert source["trigger"]["max_backdate"] == "5m"
    assert validate(Campaign, source) == campaign


def test_definitions_are_frozen() -> None:
    """A definition cannot change after it has been checked."""
    campaign = validate(Campaign, CAMPAIGN)
    with pytest.raises(ValidationError):
        campaign.name = "other"


def test_messages_are_sentences() -> None:
    """Values of any type in any field never produce a message in pydantic's words."""
    wrong: list[Any] = [None, True, 5, 1.5, "x", [], ["x"], {}, {"x": 1}, [[]], [{}], [None], b"x", object()]
    said: list[str] = []
    for model, data in ((Campaign, CAMPAIGN), (Site, SITE), (TargetGroup, {"id": "v", "rule": {"a": 1}})):
        for name in model.model_fields:
            for value in wrong:
                said += _messages(model, data | {name: value})
    for name in Trigger.model_fields:
        for value in wrong:
            said += _messages(Trigger, {"sequence": [STEP], name: value})
    for name in Matcher.model_fields:
        for value in wrong:
            said += _messages(Trigger, {"sequence": [STEP | {name: value}]})
    assert len(said) > 200
    for message in said:
        assert message
        assert not re.search("Input should|type=|Value error|should be a valid|pydantic", message), message


def _messages(model: Any, data: Any) -> list[str]:
    try:
        validate(model, data)
    except InvalidDefinitions as error:
        return [problem.message for problem in error.problems]
    return []


def test_a_popup_cannot_answer_an_absence() -> None:
    """No request comes in when an absence falls due, so no response can carry a popup. An e-mail can be sent."""
    absence = CAMPAIGN | {"trigger": {"sequence": [STEP], "unless": {"event": "b", "for": "1m"}}}
    ((field, message),) = errors_in(Campaign, absence)
    assert field == "channel"
    assert "an absence ('unless') has no response that could carry a popup: use channel email" in message
    email = {"channel": "email", "content": {"subject": "x", "text": "x"}}
    assert validate(Campaign, absence | email).trigger.unless is not None
