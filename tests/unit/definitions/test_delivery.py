"""Definitions of delivery, content and the site: what is valid, and the messages about everything else."""

import re
from typing import Any

import pytest

from definitions.model.campaign import Campaign
from definitions.model.content import CONTENTS, PushContent, WebhookContent
from definitions.model.delivery import Variant
from definitions.model.field_errors import InvalidDefinitions, validate
from definitions.model.liquid import reads
from definitions.model.site import Site
from definitions.model.times import Schedule
from tests.unit.definitions.test_definitions import CAMPAIGN, SITE, conflicts, errors_in

DAY_MS = 86_400_000
TEXTS: dict[str, dict[str, Any]] = {
    "popup": {"title": "Hello"},
    "email": {"subject": "Hello", "text": "Hello"},
    "sms": {"text": "Hello"},
    "push": {"title": "Hello", "body": "there"},
    "webhook": {"url": "https://hooks.shop.example/x"},
}
HOURS = {"from": "22:00", "to": "08:00"}
DELAYED: dict[str, Any] = {"delay": "30m"}
GOAL = {"event": "order"}


def campaign(channel: str = "email", **changes: Any) -> dict[str, Any]:
    """Return a campaign for this channel, as written."""
    return CAMPAIGN | {"channel": channel, "content": TEXTS[channel]} | changes


def variants(*ids: str, channel: str = "email") -> list[dict[str, Any]]:
    """Return variants, as written."""
    return [{"id": name, "weight": 1, "content": TEXTS[channel]} for name in ids]


def split(**changes: Any) -> dict[str, Any]:
    """Return a campaign without `content`."""
    return {name: value for name, value in campaign(**changes).items() if name != "content"}


def test_a_full_campaign_is_read() -> None:
    """Durations become milliseconds, and shares become parts of 10,000. Times of day stay as they are."""
    read = validate(
        Campaign,
        campaign(
            priority=-3,
            schedule={"from": "2026-12-01", "to": "2026-12-24T18:00", "days": "mon", "hours": "21:00-03:00"},
            holdout="2.5%",
            limits={"again_after": "7d", "max": {"times": 50, "per": "30d"}},
            delay="90d",
            cancel_on=[{"event": "order", "where": {"amount": {"gt": 5}}}],
            goal={"event": ["order", "deposit"], "within": "24h"},
            cancel_on_goal=False,
            quiet_hours={"from": "22:00", "to": "24:00", "timezone": "user", "fallback": "Asia/Tokyo", "then": "drop"},
            max_lateness="2h",
            if_state_lost="send",
        ),
    )
    assert (read.priority, read.holdout, read.delay, read.lateness) == (-3, 250, 90 * DAY_MS, 7_200_000)
    assert read.limits is not None
    assert read.limits.max is not None
    assert (read.limits.again_after, read.limits.max.times, read.limits.max.per) == (7 * DAY_MS, 50, 30 * DAY_MS)
    assert read.schedule is not None
    assert (read.schedule.days, read.schedule.minutes, read.schedule.timezone) == (("mon",), (1260, 180), "site")
    assert read.goal is not None
    assert read.goal.within == DAY_MS


def test_what_is_left_out() -> None:
    """The documented defaults apply: a goal counts for a week, e-mail may be an hour late, a popup a minute."""
    plain = validate(Campaign, campaign(goal=GOAL))
    assert plain.goal is not None
    assert (plain.goal.within, plain.cancel_on_goal, plain.if_state_lost) == (7 * DAY_MS, True, "skip")
    assert (plain.lateness, validate(Campaign, CAMPAIGN).lateness) == (3_600_000, 60_000)
    assert (plain.holdout, plain.schedule, plain.limits, plain.delay, plain.quiet_hours) == (None,) * 5
    assert (plain.variants, plain.cancel_on, plain.priority) == ((), (), 0)


@pytest.mark.parametrize("channel", TEXTS)
def test_every_channel_has_its_content(channel: str) -> None:
    """It refuses the content of every other channel with a single error."""
    assert set(TEXTS) == set(CONTENTS)
    assert type(validate(Campaign, campaign(channel)).content) is CONTENTS[channel]
    for other, content in TEXTS.items():
        if set(content) <= set(CONTENTS[channel].model_fields):
            continue  # a push has all fields of this popup
        ((field, message),) = errors_in(Campaign, campaign(channel, content=content))
        assert field == "content"
        assert message.startswith("is content for channel ")
        assert f": for channel {channel}, write '" in message
        ((field, _),) = errors_in(
            Campaign, split(channel=channel, variants=[*variants("a", channel=channel), *variants("b", channel=other)])
        )
        assert field == "variants[1].content"


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"priority": 1.5}, "priority", "must be a whole number"),
        ({"priority": 1001}, "priority", "must not be more than 1000"),
        ({"holdout": 10}, "holdout", "10 has no unit: write a percentage such as 10%"),
        ({"holdout": "0.00%"}, "holdout", "more than 0% and less than 100%"),
        ({"holdout": "100%"}, "holdout", "more than 0% and less than 100%"),
        ({"holdout": "2.555%"}, "holdout", "is not a share"),
        ({"holdout": "-5%"}, "holdout", "is not a share"),
        ({"limits": "7d"}, "limits", "such as {again_after: 7d}"),
        ({"limits": {"again_after": "91d"}}, "limits.again_after", "the longest duration is 90d"),
        ({"limits": {"times": 3, "again_after": "1d"}}, "limits.times", "'max' with 'times' and 'per'"),
        ({"limits": {"max": {"times": 51, "per": "1d"}}}, "limits.max.times", "must not be more than 50"),
        ({"limits": {"max": {"times": 0, "per": "1d"}}}, "limits.max.times", "must be 1 or more"),
        ({"limits": {"max": {"times": 3}}}, "limits.max.per", "is missing"),
        ({"limits": {"max": {"max": 3, "times": 3, "per": "1d"}}}, "limits.max.max", "is called 'times'"),
        ({"again_after": "7d"}, "again_after", "indent it below 'limits:'"),
        ({"caps": {}}, "caps", "write them into the site"),
        ({"delay": "91d"}, "delay", "the longest duration is 90d"),
        ({"delay": 30}, "delay", "30 has no unit"),
        ({"cancel_on": [GOAL]}, "cancel_on", "needs 'delay'"),
        ({"cancel_on": [{"event": "x", "times": 2}], "delay": "1m"}, "cancel_on[0].times", "only a step"),
        ({"cancel_on": [GOAL] * 11, "delay": "1m"}, "cancel_on", "must not have more than 10 entries"),
        ({"cancel_on_goal": False, "goal": GOAL}, "cancel_on_goal", "needs 'delay'"),
        ({"cancel_on_goal": False, "delay": "1m"}, "cancel_on_goal", "has no effect without 'goal'"),
        ({"if_state_lost": "send"}, "if_state_lost", "needs 'delay'"),
        ({"if_state_lost": "resend", "delay": "1m"}, "if_state_lost", "write skip or send, did you mean 'send'?"),
        ({"goal": {"event": "x", "within": "91d"}}, "goal.within", "the longest duration is 90d"),
        ({"goal": "order"}, "goal", "such as {event: deposit, within: 24h}"),
        ({"quiet_hours": "holt"}, "quiet_hours", "must be hold, drop or ignore"),
        ({"quiet_hours": ["hold"]}, "quiet_hours", "must be hold, drop or ignore"),
        ({"quiet_hours": {"from": "22:00"}}, "quiet_hours.to", "is missing"),
        ({"quiet_hours": HOURS | {"from": 1320}}, "quiet_hours.from", "write it in quotes"),
        ({"quiet_hours": HOURS | {"from": "24:00"}}, "quiet_hours.to", "another time of day"),
        ({"quiet_hours": {"from": "00:00", "to": "24:00"}}, "quiet_hours.to", "another time of day"),
        ({"quiet_hours": HOURS | {"to": "8:00"}}, "quiet_hours.to", "is not a time of day"),
        ({"quiet_hours": HOURS | {"fallback": "UTC"}}, "quiet_hours.fallback", "without 'timezone: user'"),
        ({"quiet_hours": HOURS | {"timezone": "usr"}}, "quiet_hours.timezone", "did you mean 'user'?"),
        ({"quiet_hours": HOURS | {"timezone": "?"}}, "quiet_hours.timezone", "write user, site or an IANA name"),
        ({"quiet_hours": HOURS | {"channels": ["sms"]}}, "quiet_hours.channels", "unknown field"),
        ({"quiet_hours": HOURS | {"days": ["mon"]}}, "quiet_hours.days", "is not supported"),
        ({"max_lateness": "0s"}, "max_lateness", "more than 0"),
        ({"timezone": "UTC"}, "timezone", "has no time zone"),
    ],
    ids=str,
)
def test_mistakes(changes: dict[str, Any], field: str, message: str) -> None:
    """One mistake is one error, at its field."""
    ((found, said),) = errors_in(Campaign, campaign(**changes))
    assert found == field
    assert message in said


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"delay": "30m"}, "delay", "a popup cannot be delayed"),
        ({"quiet_hours": "hold"}, "quiet_hours", "a popup cannot be held"),
        ({"quiet_hours": HOURS}, "quiet_hours.then", "a popup cannot be held"),
        ({"max_lateness": "61s"}, "max_lateness", "must not be more than 1m for a popup"),
        ({"until_seen": False}, "until_seen", "write true, or a duration"),
        ({"until_seen": "25h"}, "until_seen", "must not be more than 24h"),
        ({"until_seen": "soon"}, "until_seen", "is not a duration"),
        ({"content": {"title": "x", "body": "y", "html": "z"}}, "content.html", "not both"),
        ({"content": {"title": "x", "html": "{{ name }}"}}, "content.html", "unknown variable 'name'"),
        ({"content": {"title": "x", "html": ""}}, "content.html", "must not be empty"),
    ],
    ids=str,
)
def test_what_a_popup_cannot_do(changes: dict[str, Any], field: str, message: str) -> None:
    """A popup is returned in the response to its event, so it cannot wait."""
    ((found, said),) = errors_in(Campaign, campaign("popup", **changes))
    assert found == field
    assert message in said
    validate(Campaign, campaign("popup", quiet_hours=HOURS | {"then": "drop"}, max_lateness="1m"))


@pytest.mark.parametrize(
    ("schedule", "field", "message"),
    [
        ({}, "", "restricts nothing"),
        ({"timezone": "user"}, "", "restricts nothing"),
        ({"from": "2026-12-24", "to": "2026-12-23"}, "to", "never open"),
        ({"from": "2026-12-24T09:00", "to": "2026-12-24T09:00"}, "to", "never open"),
        ({"from": "2026-12-01", "to": "2026-12-06", "days": ["mon"]}, "", "never open"),
        ({"from": "2026-12-01T12:00", "to": "2026-12-01T15:00", "hours": "15:00-12:00"}, "", "never open"),
        ({"from": "2026-12-02T04:00", "to": "2026-12-03", "days": ["tue"], "hours": "21:00-04:00"}, "", "never open"),
        ({"from": "2026-02-30"}, "from", "is not a date"),
        ({"from": "1.12.2026"}, "from", "write 2026-12-01, or 2026-12-01T09:00"),
        ({"from": 20261201}, "from", "is not a date"),
        ({"from": "2026-12-01T09:00Z"}, "from", "has an offset"),
        ({"from": "2026-12-01T09:00:00+01:00"}, "from", "write the local time in 'timezone'"),
        ({"days": []}, "days", "at least 1 entry"),
        ({"days": ["monday"]}, "days[0]", "did you mean 'mon'?"),
        ({"hours": "09:00"}, "hours", 'such as "09:00-21:00"'),
        ({"hours": "9:00-21:00"}, "hours", "is not a period of the day"),
        ({"hours": "09:00-24:01"}, "hours", "is not a period of the day"),
        ({"hours": "09:00-09:00"}, "hours", "leave 'hours' out for the whole day"),
        ({"days": ["mon"], "timezone": "Europe/Viena"}, "timezone", "did you mean 'Europe/Vienna'?"),
        ({"until": "2026-12-24", "days": ["mon"]}, "until", "is called 'to'"),
    ],
    ids=str,
)
def test_mistakes_in_schedules(schedule: dict[str, Any], field: str, message: str) -> None:
    """One mistake is one error, also if the schedule would never be open."""
    ((found, said),) = errors_in(Schedule, schedule)
    assert found == field
    assert message in said


@pytest.mark.parametrize(
    "schedule",
    [
        {"from": "2026-12-24", "to": "2026-12-24"},
        {"to": "2026-12-07", "from": "2026-12-01", "days": ["mon"]},
        {"from": "2026-12-02", "to": "2026-12-02T03:00", "days": ["tue"], "hours": "21:00-04:00"},
        {"from": "2026-12-01", "to": "2026-12-06", "days": ["mon"], "timezone": "user"},
        {"from": "2026-12-01", "to": "2027-12-01", "days": ["mon"], "hours": "00:00-00:01"},
        {"hours": "00:00-24:00"},
        {"hours": "20:00-00:00"},
    ],
    ids=str,
)
def test_schedules_that_open(schedule: dict[str, Any]) -> None:
    """An end date includes its day; early hours belong to the day before."""
    validate(Schedule, schedule)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"variants": variants("a")}, "variants", "at least 2 entries"),
        ({"variants": variants(*"abcdefghijk")}, "variants", "not have more than 10 entries"),
        ({"variants": variants("a", "b", "a")}, "variants[2].id", "another variant has the id 'a' too"),
        ({"variants": variants("a", "B")}, "variants[1].id", "such as 'b'"),
        (
            {"variants": [*variants("a"), {"id": "b", "weight": 0, "content": TEXTS["email"]}]},
            "variants[1].weight",
            "1",
        ),
        ({"variants": [*variants("a"), {"id": "b"}]}, "variants[1].content", "is missing"),
        ({"variants": "ab"}, "variants", "must be a list"),
        ({"content": TEXTS["email"], "variants": variants("a", "b")}, "variants", "write one of the two"),
        ({}, "content", "is missing: write what customers get"),
        ({"variants": []}, "content", "is missing"),
        (
            {"variants": [*variants("a"), {"id": "b", "content": {"subject": "{{ x }}", "text": "x"}}]},
            "variants[1].content.subject",
            "unknown variable 'x'",
        ),
        (
            {"variants": [*variants("a"), {"id": "b", "content": {"subject": "x"}}]},
            "variants[1].content.text",
            "needs 'text', 'html' or both",
        ),
    ],
    ids=str,
)
def test_mistakes_in_variants(changes: dict[str, Any], field: str, message: str) -> None:
    """One mistake is one error, at the field of the variant."""
    ((found, said),) = errors_in(Campaign, split(**changes) | changes)
    assert found == field
    assert message in said


def test_all_mistakes_in_variants_are_named_at_once() -> None:
    """A broken variant hides neither another one nor a wrong weight."""
    broken = [{"id": "a", "weight": 0, "content": {"subject": "{{ x }}", "text": "x"}}, {"id": "b", "content": {}}]
    fields = [field for field, _ in errors_in(Campaign, split(variants=broken))]
    assert fields == ["variants[0].weight", "variants[0].content.subject", "variants[1].content.subject"]


@pytest.mark.parametrize(
    ("channel", "content", "field", "message"),
    [
        ("sms", {"text": "x" * 1601}, "text", "must not be longer than 1600 characters"),
        ("sms", {"text": ""}, "text", "must not be empty"),
        ("sms", {"text": "x", "body": "x"}, "body", "is called 'text'"),
        ("sms", {"text": "{{ custmer.x }}"}, "text", "did you mean 'customer'?"),
        ("push", {"title": "x"}, "body", "is missing"),
        ("push", {"title": "x", "body": "x", "url": "javascript:x"}, "url", "must not start with 'javascript:'"),
        ("push", {"title": "x", "body": "x", "data": {"n": 5}}, "data.n", "write '5' in quotes"),
        ("push", {"title": "x", "body": "x", "data": {"n": "{{ x }}"}}, "data.n", "unknown variable"),
        ("push", {"title": "x", "body": "x", "data": {"gcm.n": "x"}}, "data.gcm.n", "is reserved"),
        ("push", {"title": "x", "body": "x", "data": {f"n{n}": "x" for n in range(21)}}, "data", "more than 20"),
        ("webhook", {"body": {}}, "url", "is missing"),
        ("webhook", {"url": "https://h.example/x", "method": "PUT"}, "method", "always a POST"),
        ("webhook", {"url": "https://h.example/x", "body": "x"}, "body", "must be a map"),
        (
            "webhook",
            {"url": "https://h.example/x", "body": {"a": [{"b": "{{ x }}"}]}},
            "body.a[0].b",
            "unknown variable",
        ),
        ("webhook", {"url": "https://h.example/x", "body": {"a": None}}, "body.a", "is empty"),
        ("webhook", {"url": "https://h.example/x", "body": {"a": {5: 1}}}, "body.a.5", "write '5' in quotes"),
        (
            "webhook",
            {"url": "https://h.example/x", "body": {"a": float("nan")}},
            "body.a",
            "every JSON reader can hold",
        ),
        ("webhook", {"url": "https://h.example/x", "body": {"a": 2**60}}, "body.a", "every JSON reader can hold"),
        ("webhook", {"url": "https://h.example/x", "body": {"a": b"x"}}, "body.a", "must be text, a number"),
    ],
    ids=str,
)
def test_mistakes_in_contents(channel: str, content: dict[str, Any], field: str, message: str) -> None:
    """One mistake is one error, at its field."""
    ((found, said),) = errors_in(Campaign, campaign(channel, content=content))
    assert found == f"content.{field}"
    assert message in said


def test_a_webhooks_body_ends_somewhere() -> None:
    """A body that contains itself is refused as too deeply nested."""
    body: dict[str, Any] = {}
    body["a"] = body
    ((_, message),) = errors_in(Campaign, campaign("webhook", content=TEXTS["webhook"] | {"body": body}))
    assert "nested too deeply" in message


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.shop.example",
        "https://hooks.shop.example/players/{{ customer.id | url_encode }}?event={{ event.name }}",
        "HTTPS://Hooks.Shop.Example/{% if event.x %}a{% else %}b{% endif %}",
        "https://hooks.shop.example?at={{ event.at }}",
        "https://xn--bcher-kva.example/",
        "https://bücher.example/{{ event.x }}",
    ],
)
def test_webhooks_that_are_allowed(url: str) -> None:
    """The path and the query may contain any Liquid."""
    validate(WebhookContent, {"url": url})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://hooks.shop.example/", "starts with https://"),
        ("/boost", "starts with https://"),
        ("{{ event.url }}", "starts with https://"),
        ("{{ 'https' }}://hooks.shop.example/", "starts with https://"),
        ("https://{{ event.host }}/", "write the host, a '/', and then Liquid"),
        ("https://hooks.shop.example{{ event.path }}", "write the host, a '/', and then Liquid"),
        ("https://user:password@hooks.shop.example/", "no user or password"),
        ("https://hooks.shop.example:8443/", "remove ':8443'"),
        ("https://localhost/", "'localhost' is not a host name"),
        ("https://169.254.169.254/latest", "is not a host name"),
        ("https://hooks.shop.example\\@evil.example/", "is not a host name"),
        ("https:///path", "is not a host name"),
        ("https://hooks.shop.example/a b", "must not contain spaces"),
        ("https://hooks.shop.example/ä", "non-ASCII letters"),
        ("https://hooks.shop.example/#{{ event.x }}", "'#'"),
    ],
)
def test_webhooks_that_could_go_elsewhere(url: str, message: str) -> None:
    """The scheme and the host cannot depend on the event."""
    field, said = errors_in(WebhookContent, {"url": url})[0]
    assert field == "url"
    assert message in said


def test_reads_names_the_attributes_in_all_channels() -> None:
    """Attributes deep in a webhook's body and in a push's data are found, too."""
    body = {"url": "javascript:{{ event.a }}", "list": [{"x": "{{ event.b.c }}"}], "n": 5, "yes": True}
    webhook = WebhookContent(url="https://h.example/{{ event.d }}", body=body)
    assert reads(webhook) == set("abd")
    push = PushContent(
        title="{{ event.a }}", body="{{ event.b }}", url="/{{ event.c }}", data={"url2": "{{ event.d }}"}
    )
    assert reads(push) == set("abcd")


def test_a_full_site_is_read() -> None:
    """All fields that apply to every campaign of the site."""
    site = validate(
        Site,
        SITE
        | {
            "caps": {"popup": {"max": 3, "per": "24h"}, "total": {"max": 50, "per": "90d"}},
            "quiet_hours": HOURS | {"timezone": "user", "fallback": "Europe/Vienna"},
            "consent": {"sms": "sms_consent", "email": "consent.mail"},
            "sends_per_minute": {"email": 600},
            "webhooks": {"hosts": ["Hooks.Shop.Example", "Straße.Example"]},
        },
    )
    assert site.caps is not None
    assert site.caps.popup is not None
    assert (site.caps.popup.max, site.caps.popup.per) == (3, DAY_MS)
    assert site.quiet_hours is not None
    assert site.quiet_hours.channels == ("email", "sms", "push")
    assert (site.quiet_hours.then, site.quiet_hours.minutes) == ("hold", (1320, 480))
    assert site.webhooks is not None
    assert site.webhooks.hosts == ("hooks.shop.example", "xn--strae-oqa.example")


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"caps": {"popups": {"max": 3, "per": "1d"}}}, "caps.popups", "did you mean 'popup'?"),
        ({"caps": {"popup": {"max": 51, "per": "1d"}}}, "caps.popup.max", "must not be more than 50"),
        ({"caps": {"popup": {"max": 3}}}, "caps.popup.per", "is missing"),
        ({"caps": {"popup": 3}}, "caps.popup", "such as {max: 3, per: 24h}"),
        ({"quiet_hours": "hold"}, "quiet_hours", "must be a map"),
        ({"quiet_hours": HOURS | {"channels": []}}, "quiet_hours.channels", "at least 1 entry"),
        ({"quiet_hours": HOURS | {"channels": ["mail"]}}, "quiet_hours.channels[0]", "did you mean 'email'?"),
        ({"quiet_hours": HOURS | {"channels": ["sms", "popup"]}}, "quiet_hours.then", "write 'then: drop'"),
        ({"quiet_hours": HOURS | {"timezone": "user", "fallback": "user"}}, "quiet_hours.fallback", "IANA name"),
        ({"consent": {"popup": "x"}}, "consent.popup", "because the customer is on the page already"),
        ({"consent": {"sms": "a..b"}}, "consent.sms", "not an attribute name"),
        ({"sends_per_minute": {"email": 0}}, "sends_per_minute.email", "must be 1 or more"),
        ({"sends_per_minute": {"popup": 5}}, "sends_per_minute.popup", "cannot wait"),
        ({"webhooks": {"hosts": ["https://h.example"]}}, "webhooks.hosts[0]", "write the name alone"),
        ({"webhooks": {"hosts": ["*.h.example"]}}, "webhooks.hosts[0]", "is not a host name"),
        ({"webhooks": {"hosts": ["10.0.0.1"]}}, "webhooks.hosts[0]", "is not a host name"),
        ({"webhooks": {"hosts": []}}, "webhooks.hosts", "at least 1 entry"),
    ],
    ids=str,
)
def test_mistakes_in_sites(changes: dict[str, Any], field: str, message: str) -> None:
    """One mistake is one error, at its field."""
    ((found, said),) = errors_in(Site, SITE | changes)
    assert found == field
    assert message in said


def test_popups_have_quiet_hours_where_they_are_dropped() -> None:
    """A popup cannot be held, only dropped."""
    site = validate(Site, SITE | {"quiet_hours": HOURS | {"channels": ["popup", "webhook"], "then": "drop"}})
    assert site.quiet_hours is not None


def together(site: dict[str, Any], *campaigns: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a site with a target group and *campaigns*."""
    numbered = [each | {"id": f"c{number}"} for number, each in enumerate(campaigns)]
    return {"site": SITE | site, "groups": [{"id": "vip", "list": ["u1"]}], "campaigns": numbered}


def test_what_a_campaign_needs_of_its_site() -> None:
    """The hosts of its webhooks, in variants too, and quiet hours if the campaign refers to them."""
    elsewhere = {"id": "b", "content": {"url": "https://hooks.shop.exampel/y"}}
    campaigns = [
        campaign("webhook"),
        split(channel="webhook", variants=[*variants("a", channel="webhook"), elsewhere]),
        campaign("sms", quiet_hours="drop"),
        campaign("sms", quiet_hours="ignore"),
    ]
    found = conflicts(together({}, *campaigns))
    assert [field for field, _ in found] == [
        "campaigns[0].content.url",
        "campaigns[1].variants[0].content.url",
        "campaigns[1].variants[1].content.url",
        "campaigns[2].quiet_hours",
    ]
    assert found[0][1] == (
        "webhooks may not go to 'hooks.shop.example': add it to 'hosts' of 'webhooks' in the site; known: none"
    )
    assert "the site has no quiet hours to drop in" in found[3][1]
    known = {"webhooks": {"hosts": ["hooks.shop.example"]}, "quiet_hours": HOURS}
    ((field, message),) = conflicts(together(known, *campaigns))
    assert field == "campaigns[1].variants[1].content.url"
    assert message.endswith("did you mean 'hooks.shop.example'?")


@pytest.mark.parametrize(
    "written",
    [
        campaign(
            schedule={"from": "2026-12-01", "days": ["mon"], "timezone": "user"},
            holdout="2.5%",
            limits={"max": {"times": 3, "per": "30d"}},
            delay="90m",
            cancel_on=[GOAL],
            goal=GOAL,
            quiet_hours=HOURS,
        ),
        campaign("webhook", quiet_hours="hold", content={"url": "https://h.example/", "body": {"a": [1, True, "x"]}}),
        campaign("push", max_lateness="90s"),
        split(variants=variants("a", "b")),
    ],
    ids=["mail", "webhook", "push", "variants"],
)
def test_what_was_read_can_be_read_again(written: dict[str, Any]) -> None:
    """The stored source of a campaign is a valid definition, with times and shares as text."""
    read = validate(Campaign, written)
    source = read.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert validate(Campaign, source) == read
    for name in ("holdout", "delay", "schedule", "max_lateness"):
        if name in written and name != "schedule":
            assert source[name] == written[name]


def test_messages_are_sentences() -> None:
    """Values of any type in any field never produce a message in pydantic's words."""
    wrong: list[Any] = [None, True, 5, 1.5, "x", [], ["x"], {}, {"x": 1}, {5: 1}, [[]], [{}], [None], b"x", object()]
    maps: list[tuple[str, dict[str, Any]]] = [
        (
            "schedule",
            {"from": "2026-01-01", "to": "2027-01-01", "days": ["mon"], "hours": "09:00-10:00", "timezone": ""},
        ),
        ("limits", {"again_after": "1d", "max": {}}),
        ("goal", {"event": "x", "where": {}, "within": "1d"}),
        ("quiet_hours", HOURS | {"timezone": "user", "fallback": "UTC", "then": "drop"}),
    ]
    tried = [campaign() | {name: data | {field: value}} for name, data in maps for field in data for value in wrong]
    for channel, content in TEXTS.items():
        names = [field.alias or name for name, field in CONTENTS[channel].model_fields.items()]
        tried += [campaign(channel, content=content | {name: value}) for name in names for value in wrong]
    names = list(Variant.model_fields)
    tried += [split(variants=[variants("a")[0], variants("b")[0] | {name: each}]) for name in names for each in wrong]
    said = [message for data in tried for message in _messages(Campaign, data)]
    of_site = {"caps": ["popup"], "consent": ["sms"], "sends_per_minute": ["sms"], "webhooks": ["hosts"]}
    for name, fields in (of_site | {"quiet_hours": ["from", "to", "timezone", "then", "channels"]}).items():
        for field in fields:
            around = HOURS if name == "quiet_hours" else {}
            for value in wrong:
                said += _messages(Site, SITE | {name: around | {field: value}})
    assert len(said) > 300
    for message in said:
        assert message
        assert not re.search("Input should|type=|Value error|should be a valid|pydantic|valid string", message), message


def _messages(model: Any, data: Any) -> list[str]:
    try:
        validate(model, data)
    except InvalidDefinitions as error:
        return [problem.message for problem in error.problems]
    return []
