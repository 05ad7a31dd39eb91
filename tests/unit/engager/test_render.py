"""Rendering: Liquid with limits, escaping in HTML, templates parsed once per campaign version."""

import time
from typing import Any

import pytest

from engager.ledger.states import Undeliverable
from engager.render import Templates
from shared.ruleset import Campaign, Trigger

SCRIPT = "<script>alert('1')</script>"


def campaign(**content: Any) -> Campaign:
    """Return a campaign with *content*."""
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    return Campaign(id="c", version="1", name="C", trigger=trigger, channel="popup", content=content)


def render(content: dict[str, Any], customer: dict[str, Any] | None = None, **event: Any) -> dict[str, Any]:
    """Return *content* rendered for *customer* and the attributes of *event*."""
    variables = {"customer": customer or {}, "event": event}
    return Templates().render("demo", 1, campaign(**content), variables)


def test_variables_come_from_customer_and_event() -> None:
    """A template reads attributes of the customer and of the event."""
    content = {"title": "Hi {{ customer.first_name }}", "body": "{{ event.cart.total }} €"}
    assert render(content, {"first_name": "Ada"}, cart={"total": 12}) == {"title": "Hi Ada", "body": "12 €"}


def test_structure_is_kept() -> None:
    """Lists, nested objects and values other than strings are unchanged; strings in them are rendered."""
    content = {"layout": "modal", "actions": [{"label": "{{ event.x }}", "url": "/a"}], "size": 3}
    assert render(content, x="go") == {
        "layout": "modal",
        "actions": [{"label": "go", "url": "/a"}],
        "size": 3,
    }


@pytest.mark.parametrize(
    "expression",
    ["customer.x", "customer.x | escape | strip_html", "customer.x | url_encode | url_decode", "customer.l"],
)
def test_customer_data_is_escaped_in_html(expression: str) -> None:
    """A customer's value never becomes markup, whichever filters it passes."""
    rendered = render({"html": f"<b>{{{{ {expression} }}}}</b>"}, {"x": SCRIPT, "l": [SCRIPT]})["html"]
    assert rendered.startswith("<b>")
    assert "<script" not in rendered


def test_plain_fields_are_not_escaped() -> None:
    """Subjects, text parts and a popup's text fields keep an apostrophe as it is."""
    fields = ("subject", "text", "title", "body")
    rendered = render(dict.fromkeys(fields, "{{ customer.x }}"), {"x": "O'Neil & Co"})
    assert rendered == dict.fromkeys(fields, "O'Neil & Co")


def test_undefined_variables_are_empty() -> None:
    """A missing attribute renders as nothing, and `default` replaces it."""
    content = {"title": "[{{ customer.a.b }}{{ nobody }}]", "body": "{{ customer.name | default: 'you' }}"}
    assert render(content) == {"title": "[]", "body": "you"}


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in (1..1000000000) %}x{% endfor %}",
        "{{ (1..1000000000) | join }}",
        "{% assign a = 'xxxxxxxxxxxxxxxx' %}" + "{% assign a = a | append: a %}" * 30,
        "{% for i in (1..9999) %}{{ customer.long }}{% endfor %}",
        "{% if true %}" * 40 + "{% endif %}" * 40,
    ],
    ids=["loop", "range", "memory", "output", "depth"],
)
def test_a_template_without_end_is_stopped(template: str) -> None:
    """Loops, ranges, memory, output and nesting each have a limit; beyond it nothing is delivered."""
    with pytest.raises(Undeliverable) as refused:
        render({"body": template}, {"long": "x" * 1000})
    assert refused.value.code == "template_limit"


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' | safe }}",
        "{% include 'x' %}",
        "{{ 1 | divided_by: 0 }}",
        "{% if %}",
        "{{ customer.s | times: customer.n | map: 'x' }}",
    ],
)
def test_a_broken_template_is_one_clear_refusal(template: str) -> None:
    """A template that cannot be parsed or rendered is a `template_error` that does not quote the customer."""
    with pytest.raises(Undeliverable) as refused:
        render({"body": template}, {"s": "secret-value", "n": 3})
    assert refused.value.code == "template_error"
    assert "secret-value" not in str(refused.value)


def test_templates_are_parsed_once_per_version() -> None:
    """The same version is parsed once; another version is parsed again."""
    templates = Templates()
    first = campaign(title="one")
    assert templates.render("demo", 1, first, {}) == {"title": "one"}
    second = campaign(title="two")
    assert templates.render("demo", 1, second, {}) == {"title": "one"}
    assert templates.render("demo", 2, second, {}) == {"title": "two"}
    assert templates.render("other", 1, second, {}) == {"title": "two"}


def test_the_link_to_unsubscribe_is_a_variable() -> None:
    """`site.unsubscribe_url` is rendered unchanged, also in HTML."""
    url = "https://x.example/unsubscribe/a-B_9"
    content = {"html": "<a href='{{ site.unsubscribe_url }}'>x</a>", "text": "{{ site.unsubscribe_url }}"}
    rendered = Templates().render("demo", 1, campaign(**content), {"site": {"unsubscribe_url": url}})
    assert rendered == {"html": f"<a href='{url}'>x</a>", "text": url}


BIG = 10**8
GROW = "{% assign a = 'xxxxxxxxxxxxxxxx' %}"


@pytest.mark.parametrize("field", ["body", "html"])
@pytest.mark.parametrize(
    "template",
    [
        "{% for i in (1..event.n) reversed %}x{% endfor %}",
        "{% for i in (1..event.n) offset: 99999999 limit: 1 %}x{% endfor %}",
        "{% tablerow i in (1..event.n) limit: 1 %}x{% endtablerow %}",
        "{% if (1..event.n) contains 'a' %}x{% endif %}",
        "{% case 'a' %}{% when 'b' %}{% endcase %}{{ (0..event.n) | last }}",
        "{{ (1..event.n) | slice: 0, 100000000 }}",
        "{{ (1..event.n) | size }}",
        "{{ event.text | replace: '', event.text }}",
        "{{ event.text | replace: 'x', event.text | replace: 'x', event.text }}",
        GROW + "{% assign a = a | replace: 'x', a %}" * 10,
        GROW + "{% assign a = a | append: a %}" * 30,
        GROW + "{% assign a = a | prepend: a %}" * 30,
        "{% assign a = event.text | split: ',' %}" + "{% assign a = a | concat: a %}" * 30,
        "{% assign a = event.words | split: ' ' %}{{ a | join: event.text }}",
        "{% assign n = event.n %}" + "{% assign n = n | times: n %}" * 40,
        "{% assign n = 1 %}" + "{% assign n = n | times: event.n %}" * 40 + "{{ n }}",
        "{% capture a %}{{ event.text }}{% endcapture %}" + "{% capture a %}{{ a }}{{ a }}{% endcapture %}" * 30,
        "{% for i in (1..9999) %}{% capture a %}{{ a }}{{ event.text }}{% endcapture %}{% endfor %}",
        "{% cycle " + ", ".join(["event.text"] * 1000) + " %}",
        "{% assign a = event.text | split: '' %}{{ a | uniq | size }}",
        "{{ event.huge }}",
        "{{ event.huge | size }}",
        "{{ event.many | join }}",
        "{{ event.number }}",
        "{{ event.n | date: event.text }}",
        "{% for i in (1..9999) %}" + "{% if event.a == event.b %}{% endif %}" * 3000 + "{% endfor %}",
        "{% for i in (1..9999) %}" + "{% if 1 == 2 %}{% endif %}" * 3000 + "{% endfor %}",
    ],
)
def test_hostile_values_cannot_use_up_time_or_memory(field: str, template: str) -> None:
    """Each value on the way is bounded, not only the output: the reason is the limit, and it comes soon."""
    event: dict[str, Any] = {"n": BIG, "text": "x," * 20_000, "words": "a " * 9_000, "number": 10**60}
    event |= {"huge": "x" * 1_000_000, "many": list(range(10_001))}
    began = time.thread_time()
    with pytest.raises(Undeliverable) as refused:
        render({field: template}, {}, **event)
    assert refused.value.code == "template_limit"
    assert time.thread_time() - began < 3


def test_all_texts_of_a_message_share_the_limits() -> None:
    """A webhook may have hundreds of texts, so time and output count for all of them."""
    with pytest.raises(Undeliverable) as refused:
        render({"body": {str(number): "{{ event.text }}" for number in range(20)}}, text="x" * 100_000)
    assert refused.value.code == "template_limit"


@pytest.mark.parametrize("size", [10, 60_000])
def test_filters_take_linear_time(size: int) -> None:
    """Filters that are quadratic in python-liquid are not here, and give the same results."""
    began = time.thread_time()
    assert render({"body": "{{ event.t | strip_html }}"}, t="<" * size + ">")["body"] == ""
    assert render({"body": "{{ event.t | strip_html }}"}, t="<!--" * size)["body"] == "<!--" * size
    many = [{"a": number} for number in range(min(size, 9000))]
    assert render({"body": "{{ event.l | uniq | size }}"}, l=many)["body"] == str(len(many))
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Have <em>you</em> read <strong>Ulysses</strong>?", "Have you read Ulysses?"),
        ("a<br/>b<!-- <p> -->c", "abc"),
        ("a<script>x < 1 > 2</script >b<STYLE>p {}</style>c", "abc"),
        ("a<script>alert(1)", "aalert(1)"),
        ("1 < 2", "1 < 2"),
        ("", ""),
    ],
)
def test_strip_html(text: str, expected: str) -> None:
    """Tags, comments, scripts and styles go; the rest stays as it is."""
    assert render({"body": "{{ event.t | strip_html }}"}, t=text) == {"body": expected}


def test_uniq() -> None:
    """Items are compared by value, whatever they are, or by a property."""
    items = [1, 2, 1, "1", [3], {"a": 1}, {"a": 1}, None, None]
    assert render({"body": "{{ event.l | uniq | join: ',' }}"}, l=items) == {"body": "1,2,1,3,{'a': 1},None"}
    things = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"b": 3}, {"b": 4}]
    assert render({"body": "{{ event.l | uniq: 'a' | map: 'b' | join: ',' }}"}, l=things) == {"body": "1,3"}
