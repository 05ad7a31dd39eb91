"""The filters of Liquid return what Shopify documents, and ``money`` and ``date`` follow the customer.

The class of faults: a value that a template shows otherwise than Liquid's documentation says, or than people in the
customer's country and zone write it. The values are those of https://shopify.github.io/liquid/filters/, a page for
each filter; those of `round` and `modulo` beyond them are Ruby's, in which Liquid is written.
"""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liquid.exceptions import FilterArgumentError

from shared.templates import Budget, Environment
from tests.support.paths import ROOT

PLAIN = Environment(autoescape=False)
AT = 1_790_000_000_123  # 2026-09-21 14:13:20 UTC
BORN = datetime(1990, 5, 1, tzinfo=UTC)


def rendered(template: str, **customer: Any) -> str:
    """Return *template* for a customer with these attributes."""
    variables = {
        "customer": customer,
        "event": {
            "at": AT,
            "price": 129.9,
            "none": None,
            "products": [
                {"title": "Vacuum", "type": "house", "price": 3, "available": True},
                {"title": "Spatula", "type": "kitchen", "price": 1, "available": True},
                {"title": "Television", "type": "house", "price": 2, "available": False},
            ],
        },
    }
    return PLAIN.parse_template(template).render_within(variables, Budget())


DOCUMENTED = {
    "-17 | abs": "17",
    "'-19.86' | abs": "19.86",
    "'/my/fancy/url' | append: '.html'": "/my/fancy/url.html",
    "4 | at_least: 5": "5",
    "4 | at_most: 3": "3",
    "'title' | capitalize": "Title",
    "'my GREAT title' | capitalize": "My great title",
    "1.2 | ceil": "2",
    "'3.5' | ceil": "4",
    "183.357 | ceil": "184",
    "'Fri, Jul 17, 15' | date: '%a, %b %d, %y'": "Fri, Jul 17, 15",
    "'March 14, 2016' | date: '%b %d, %y'": "Mar 14, 16",
    "'2015-07-17' | date: '%Y'": "2015",
    "event.none | default: 2.99": "2.99",
    "4.99 | default: 2.99": "4.99",
    "'' | default: 2.99": "2.99",
    "false | default: true, allow_false: true": "false",
    "16 | divided_by: 4": "4",
    "20 | divided_by: 7": "2",
    "20 | divided_by: 7.0": "2.857142857142857",
    "'Parker Moore' | downcase": "parker moore",
    "'Ground control to Major Tom.' | size": "28",
    "'1 < 2 & 3' | escape": "1 &lt; 2 &amp; 3",
    "'1 &lt; 2 &amp; 3' | escape_once": "1 &lt; 2 &amp; 3",
    "'Ground control to Major Tom.' | split: ' ' | first": "Ground",
    "'Ground control to Major Tom.' | split: ' ' | last": "Tom.",
    "1.2 | floor": "1",
    "183.357 | floor": "183",
    "'John, Paul, George, Ringo' | split: ', ' | join: ' and '": "John and Paul and George and Ringo",
    "'          So much room!          ' | lstrip": "So much room!          ",
    "event.products | map: 'title' | join: ','": "Vacuum,Spatula,Television",
    "4 | minus: 2": "2",
    "183.357 | minus: 12": "171.357",
    "3 | modulo: 2": "1",
    "24 | modulo: 7": "3",
    "183.357 | modulo: 12": "3.357",
    "-5.5 | modulo: 3": "0.5",
    "'Hello\nthere' | newline_to_br": "Hello<br />\nthere",
    "4 | plus: 2": "6",
    "183.357 | plus: 12": "195.357",
    "'apples, oranges' | prepend: 'Some fruit: '": "Some fruit: apples, oranges",
    "event.products | reject: 'type', 'kitchen' | map: 'title' | join: ','": "Vacuum,Television",
    "'I strained to see the train through the rain' | remove: 'rain'": "I sted to see the t through the ",
    "'I strained to see the train through the rain' | remove_first: 'rain'": "I sted to see the train through the rain",
    "'I strained to see the train through the rain' | remove_last: 'rain'": "I strained to see the train through the ",
    "'Take my protein pills and my helmet' | replace: 'my', 'your'": "Take your protein pills and your helmet",
    "'Take my protein pills and put my helmet on' | replace_first: 'my', 'your'": (
        "Take your protein pills and put my helmet on"
    ),
    "'Take my protein pills and put my helmet on' | replace_last: 'my', 'your'": (
        "Take my protein pills and put your helmet on"
    ),
    "'apples,oranges,peaches' | split: ',' | reverse | join: ','": "peaches,oranges,apples",
    "1.2 | round": "1",
    "2.7 | round": "3",
    "183.357 | round: 2": "183.36",
    "10.5 | round": "11",
    "2.5 | round": "3",
    "0.5 | round": "1",
    "-2.5 | round": "-3",
    "-0.5 | round": "-1",
    "'10.5' | round": "11",
    "1.005 | round: 2": "1.01",
    "2.675 | round: 2": "2.68",
    "0.125 | round: 2": "0.13",
    "5 | round: 2": "5",
    "1250 | round: -2": "1300",
    "1.5 | round: 0": "2",
    "'x' | round": "0",
    "'          So much room!          ' | rstrip": "          So much room!",
    "'Liquid' | slice: 0": "L",
    "'Liquid' | slice: 2, 5": "quid",
    "'Liquid' | slice: -3, 2": "ui",
    "'zebra, octopus, giraffe, Sally Snake' | split: ', ' | sort | join: ', '": "Sally Snake, giraffe, octopus, zebra",
    "'zebra, octopus, giraffe, Sally Snake' | split: ', ' | sort_natural | join: ', '": (
        "giraffe, octopus, Sally Snake, zebra"
    ),
    "event.products | sort: 'price' | map: 'title' | first": "Spatula",
    "event.products | sum: 'price'": "6",
    "'          So much room!          ' | strip": "So much room!",
    "'Have <em>you</em> read <strong>Ulysses</strong>?' | strip_html": "Have you read Ulysses?",
    "'Hello\nthere' | strip_newlines": "Hellothere",
    "3 | times: 2": "6",
    "183.357 | times: 12": "2200.284",
    "'Ground control to Major Tom.' | truncate: 20": "Ground control to...",
    "'Ground control to Major Tom.' | truncate: 25, ', and so on'": "Ground control, and so on",
    "'Ground control to Major Tom.' | truncate: 20, ''": "Ground control to Ma",
    "'Ground control to Major Tom.' | truncatewords: 3": "Ground control to...",
    "'Ground control to Major Tom.' | truncatewords: 3, '--'": "Ground control to--",
    "'ants,bugs,bees,bugs,ants' | split: ',' | uniq | join: ','": "ants,bugs,bees",
    "'Parker Moore' | upcase": "PARKER MOORE",
    "'%27Stop%21%27+said+Fred' | url_decode": "'Stop!' said Fred",
    "'john@liquid.com' | url_encode": "john%40liquid.com",
    "'Tetsuro Takara' | url_encode": "Tetsuro+Takara",
    "event.products | where: 'type', 'kitchen' | map: 'title' | join: ','": "Spatula",
    "event.products | where: 'available' | map: 'title' | join: ','": "Vacuum,Spatula",
    "event.products | find: 'type', 'kitchen' | size": "4",
    "event.products | has: 'type', 'garden'": "false",
    "'one two three' | base64_encode": "b25lIHR3byB0aHJlZQ==",
}


@pytest.mark.parametrize(("expression", "expected"), DOCUMENTED.items(), ids=list(DOCUMENTED))
def test_a_filter_returns_the_documented_value(expression: str, expected: str) -> None:
    """The expression and its value stand on the page of the filter."""
    assert rendered("{{ " + expression + " }}") == expected


@given(st.integers(-(10**6), 10**6))
def test_a_half_is_rounded_away_from_zero(number: int) -> None:
    """Each number and a half."""
    expected = number + 1 if number >= 0 else number
    assert rendered(f"{{{{ {number}.5 | round }}}}") == str(expected if number >= 0 else number - 1)


@pytest.mark.parametrize(
    ("expression", "customer", "expected"),
    [
        ("event.price | money: 'EUR'", {"locale": "de-DE"}, "129,90 €"),
        ("event.price | money: 'EUR'", {"locale": "de_AT"}, "€ 129,90"),
        ("event.price | money: 'EUR'", {"locale": "de_DE.UTF-8"}, "129,90 €"),
        ("event.price | money: 'EUR'", {}, "€129.90"),
        ("event.price | money: 'EUR'", {"locale": "xx-YY"}, "€129.90"),
        ("event.price | money: 'EUR'", {"locale": 7}, "€129.90"),
        ("event.price | money: 'eur', locale: 'en-IE'", {"locale": "de"}, "€129.90"),
        ("event.price | money", {"locale": "de"}, "129,90"),
        ("event.price | money: currency: 'GBP'", {"locale": "en-GB"}, "£129.90"),
        ("1234567.5 | money: 'EUR'", {"locale": "fr-FR"}, "1 234 567,50 €"),
        ("1234.5 | money: 'USD'", {"locale": "en-US"}, "$1,234.50"),
        ("1234.5 | money: 'JPY', locale: 'ja'", {}, "￥1,235"),
        ("2.345 | money: 'EUR', locale: 'en'", {}, "€2.35"),
        ("2.5 | money: 'EUR', locale: 'en'", {}, "€2.50"),
        ("0 | money: 'EUR', locale: 'de'", {}, "0,00 €"),
        ("-5 | money: 'EUR', locale: 'de'", {}, "-5,00 €"),
        ("'129.90' | money: 'EUR', locale: 'de'", {}, "129,90 €"),
        ("event.none | money: 'EUR'", {}, ""),
        ("event.missing | money: 'EUR'", {}, ""),
    ],
)
def test_money_is_written_as_in_the_customers_country(expression: str, customer: Any, expected: str) -> None:
    """Two decimals, or as many as the currency has; the locale is the customer's unless the template has one."""
    assert rendered("{{ " + expression + " }}", **customer) == expected


@pytest.mark.parametrize("expression", ["'many' | money: 'EUR'", "true | money", "event | money", "5 | money: '€'"])
def test_what_is_not_an_amount_of_money_is_an_error(expression: str) -> None:
    """No customer reads an amount that nobody has stored."""
    with pytest.raises(FilterArgumentError):
        rendered("{{ " + expression + " }}")


@pytest.mark.parametrize(
    ("expression", "customer", "expected"),
    [
        ("event.at | date: '%H:%M'", {}, "14:13"),
        ("event.at | date: '%H:%M'", {"timezone": "Europe/Vienna"}, "16:13"),
        ("event.at | date: '%H:%M'", {"timezone": "Mars/Olympus"}, "14:13"),
        ("event.at | date: '%H:%M', zone: 'Asia/Tokyo'", {"timezone": "Europe/Vienna"}, "23:13"),
        ("event.at | date: '%H:%M', 'Asia/Tokyo'", {}, "23:13"),
        ("1790000000 | date: '%s'", {"timezone": "Asia/Tokyo"}, "1790000000"),
        ("1790000000123456 | date: '%Y'", {}, "2026"),
        ("'2026-11-30T23:30:00Z' | date: '%d %H:%M'", {"timezone": "Europe/Vienna"}, "01 00:30"),
        ("'2026-11-30T23:30:00+01:00' | date: '%d %H:%M'", {"timezone": "Europe/London"}, "30 22:30"),
        ("customer.born | date: '%d.%m.%Y'", {"born": BORN, "timezone": "America/New_York"}, "01.05.1990"),
        ("'2026-03-01' | date: '%-d. %B %Y'", {"locale": "de", "timezone": "America/New_York"}, "1. März 2026"),
        ("'2026-03-01' | date: '%A, %-d %B'", {"locale": "fr"}, "dimanche, 1 mars"),
        ("'2026-03-01' | date: '%^a'", {"locale": "de"}, "SO."),
        ("'2026-03-01' | date: '%A %d %b'", {"locale": "en-GB"}, "Sunday 01 Mar"),
        ("'2026-03-01' | date: 'long'", {"locale": "de"}, "1. März 2026"),
        ("'2026-03-01' | date: 'short', locale: 'en-US'", {"locale": "de"}, "3/1/26"),
        ("'2026-03-01' | date: '%d %% %B'", {"locale": "de"}, "01 % März"),
        ("'soon' | date: '%d'", {}, "soon"),
        ("event.none | date: '%d'", {}, ""),
    ],
)
def test_dates_are_those_of_the_customer(expression: str, customer: Any, expected: str) -> None:
    """The zone and the language are the customer's unless the template has one; a day is the same in every zone."""
    assert rendered("{{ " + expression + " }}", **customer) == expected


def test_a_zone_that_does_not_exist_is_an_error() -> None:
    """A typing error in a template must not show another hour."""
    with pytest.raises(FilterArgumentError, match="unknown time zone"):
        rendered("{{ event.at | date: '%H', zone: 'Europe/Viena' }}")


def test_babel_is_imported_when_a_template_needs_it() -> None:
    """It takes longer than the rest of a template, and most templates need no locale."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "functions")!r})
import engager.handler
from shared.templates import Budget, Environment
render = lambda text: Environment(autoescape=True).parse_template(text).render_within({{}}, Budget())
assert render("{{{{ 2.5 | round }}}} {{{{ 0 | date: '%Y %B' }}}}") == "3 1970 January"
assert "babel" not in sys.modules, "imported by a template without a locale"
assert render("{{{{ 2.5 | money: 'EUR', locale: 'de' }}}}") == "2,50 €"
assert sys.modules["babel"].__file__
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
