"""Rendering: Liquid with limits, escaping in HTML, templates parsed once per campaign version."""

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
    assert refused.value.code == "template_error"


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
