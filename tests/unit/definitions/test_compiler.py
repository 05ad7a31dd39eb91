"""The compiler: what a trigger's key, bits and horizon depend on, and what a campaign takes from its site."""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from definitions.compiler import delivery
from definitions.compiler.ruleset import compile_campaign, compile_ruleset
from definitions.model.campaign import Campaign
from definitions.model.definitions import Definitions
from definitions.model.field_errors import validate
from definitions.model.group import TargetGroup
from definitions.model.popup import PopupContent
from definitions.model.site import Site
from shared import ruleset
from shared.hours import is_open
from shared.ruleset import CANCEL, GOAL
from tests.support.builders import THREE_WINS, compiled

DAY_MS = 86_400_000


def key(trigger: dict[str, Any], **options: Any) -> str:
    """Return the key of a compiled trigger."""
    return compiled(trigger, **options).trigger.key


def test_the_key_changes_with_the_pattern_alone() -> None:
    """A new window makes a new key; a new channel or audience does not."""
    assert key(THREE_WINS) == key(THREE_WINS, everyone=False) == key(THREE_WINS, channel="email")
    assert key(THREE_WINS) != key({**THREE_WINS, "within": "9m"})
    assert key(THREE_WINS) != key(THREE_WINS, name="another-campaign")


def test_the_version_changes_with_anything() -> None:
    """The version identifies the whole campaign."""
    assert compiled(THREE_WINS).version != compiled(THREE_WINS, everyone=False).version
    assert compiled(THREE_WINS).version == compiled(THREE_WINS).version


def test_equal_matchers_share_a_bit_and_different_roles_do_not() -> None:
    """Two equal steps share a bit; a guard on another event has its own."""
    step = {"event": "view"}
    trigger = compiled({"sequence": [step, step, {"event": "buy", "not_before": [{"event": "back"}]}], "within": "1h"})
    bits = [part["bit"] for part in trigger.trigger.program["steps"]]
    assert bits[0] == bits[1] != bits[2]
    assert trigger.trigger.program["steps"][2]["guard"] not in bits
    assert len(trigger.trigger.matchers) == 3


def test_the_subject_is_the_events_that_strictness_is_about() -> None:
    """The default is the events of the steps that use it and, for `directly`, those of the step before."""
    steps = [
        {"event": "a"},
        {"event": "b", "directly": True},
        {"event": "c"},
        {"event": "d", "times": 2, "consecutive": True},
    ]
    trigger = compiled({"sequence": steps, "within": "1h"}).trigger
    subject = trigger.program["subject"]
    assert {name for matcher in trigger.matchers if matcher.bits & subject for name in matcher.events} == {
        "a",
        "b",
        "d",
    }


def test_progress_is_kept_as_long_as_it_can_matter() -> None:
    """The horizon is window plus wait, or 400 days for a campaign that activates once."""
    unless = {"event": "buy", "for": "2h"}
    silence = {"sequence": [{"event": "a"}, {"event": "b"}], "within": "1h", "unless": unless}
    assert compiled(silence, channel="email").trigger.horizon == 3 * 3_600_000
    assert compiled({"sequence": [{"event": "a"}]}).trigger.horizon == 0
    assert compiled({"sequence": [{"event": "a"}], "after_match": "once"}).trigger.horizon == 400 * DAY_MS


FULL: dict[str, Any] = {
    "priority": 7,
    "schedule": {"from": "2026-03-28", "to": "2026-03-29", "days": ["sun", "sat"], "hours": "21:00-00:00"},
    "holdout": "2.5%",
    "limits": {"again_after": "7d", "max": {"times": 3, "per": "30d"}},
    "delay": "30m",
    "cancel_on": [{"event": ["order", "deposit"]}, {"event": "logout"}],
    "goal": {"event": ["deposit", "order"], "within": "24h"},
    "cancel_on_goal": False,
    "max_lateness": "2h",
    "if_state_lost": "send",
}
QUIET = {"from": "22:00", "to": "08:00", "timezone": "user", "fallback": "Asia/Tokyo"}
PLAIN = ("priority", "schedule", "holdout", "limits", "goal", "max_lateness")
CONTENT: dict[str, dict[str, Any]] = {
    "popup": {"title": "x"},
    "email": {"subject": "x", "text": "x"},
    "sms": {"text": "x"},
    "push": {"title": "x", "body": "x"},
    "webhook": {"url": "https://hooks.shop.example/x"},
}


def written(channel: str = "email", **changes: Any) -> Campaign:
    """Return a campaign as it is written, with three wins as its trigger."""
    content = CONTENT[channel]
    source = {"id": "three-wins", "name": "x", "targets": ["vip"], "trigger": THREE_WINS, "channel": channel}
    return validate(Campaign, source | ({} if "variants" in changes else {"content": content}) | changes)


def site(**changes: Any) -> Site:
    """Return a site in Vienna."""
    public = {"kind": "public", "key": "wk_public"}
    return validate(Site, {"id": "demo", "name": "Demo", "timezone": "Europe/Vienna", "keys": [public], **changes})


def test_the_key_is_what_it_was() -> None:
    """The state store keeps progress under this key, so a new one would lose the progress of every user."""
    assert key(THREE_WINS, name="three-wins") == "LU1UGHfy"


def test_nothing_but_the_trigger_is_in_the_key() -> None:
    """Every other field changes the campaign's version and keeps its users' progress."""
    plain = compile_campaign(written())
    delay = {"delay": "30m"}
    changes: list[dict[str, Any]] = [{name: value} for name, value in FULL.items() if name in PLAIN]
    changes += [delay, delay | {"cancel_on": FULL["cancel_on"]}, delay | {"if_state_lost": "send"}]
    changes += [delay | {"goal": FULL["goal"], "cancel_on_goal": False}, {"quiet_hours": QUIET}, FULL]
    changes += [{"variants": [{"id": name, "content": CONTENT["email"]} for name in "ab"]}]
    changed = [compile_campaign(written(**change)) for change in changes]
    assert {each.trigger.key for each in changed} == {plain.trigger.key}
    assert len({plain.version, *(each.version for each in changed)}) == len(changed) + 1


def test_a_full_campaign_is_compiled() -> None:
    """Times are ms, the share is parts of 10,000, and an event that cancels and is the goal is one matcher."""
    one = compile_campaign(written(**FULL), site())
    assert (one.priority, one.holdout, one.delay, one.max_lateness) == (7, 250, 1_800_000, 7_200_000)
    assert one.limits == ruleset.Limits(again_after=7 * DAY_MS, max=ruleset.Quota(max=3, per=30 * DAY_MS))
    assert (one.goal, one.cancel_on_goal, one.send_if_lost) == (ruleset.Goal(within=DAY_MS), False, True)
    assert one.watchers == [
        ruleset.Matcher(events=["deposit", "order"], bits=CANCEL + GOAL),
        ruleset.Matcher(events=["logout"], bits=CANCEL),
    ]


def test_what_is_left_out_is_compiled_too() -> None:
    """There are no limits, and a popup is late after a minute."""
    plain = compile_campaign(written("popup"))
    assert (plain.priority, plain.holdout, plain.delay, plain.watchers, plain.variants) == (0, 0, 0, [], [])
    assert (plain.schedule, plain.limits, plain.goal, plain.quiet_hours) == (None,) * 4
    assert (plain.max_lateness, plain.cancel_on_goal, plain.send_if_lost) == (60_000, True, False)
    assert compile_campaign(written("sms")).max_lateness == 3_600_000


@pytest.mark.parametrize(
    ("schedule", "zone", "begin", "end"),
    [
        ({"from": "2026-03-28", "to": "2026-03-29"}, "Europe/Vienna", "2026-03-28T00+01", "2026-03-30T00+02"),
        ({"from": "2026-03-29T12:00:30", "timezone": "UTC"}, "UTC", "2026-03-29T12:00:30+00", None),
        ({"to": "2026-03-29T12:00", "timezone": "Asia/Tokyo"}, "Asia/Tokyo", None, "2026-03-29T12:00+09"),
        ({"from": "2026-03-28", "timezone": "user"}, "user", "2026-03-28T00+01", None),
    ],
)
def test_dates_are_read_on_the_clocks_of_the_zone(
    schedule: dict[str, Any], zone: str, begin: str | None, end: str | None
) -> None:
    """`site` is the site's zone. An end date includes its day. With `user`, dates are the site's."""
    made = compile_campaign(written(schedule=schedule), site()).schedule
    assert made is not None
    wanted = [None if each is None else int(datetime.fromisoformat(each).timestamp() * 1000) for each in (begin, end)]
    assert (made.zone, [made.begin, made.end], made.days) == (zone, wanted, [])
    assert (made.start, made.stop) == (0, 1440)


def test_days_and_hours_are_open_when_they_say() -> None:
    """Weekends from 21:00 to midnight, and not a minute longer."""
    made = compile_campaign(written(**FULL), site()).schedule
    assert made is not None
    assert (made.days, made.start, made.stop) == ([5, 6], 1260, 1440)

    def is_open_at(text: str) -> bool:
        return is_open(made, int(datetime.fromisoformat(text).timestamp() * 1000), made.zone)

    assert is_open_at("2026-03-28T21:00+01")
    assert is_open_at("2026-03-29T23:59+02")
    assert not is_open_at("2026-03-29T00:00+01")
    assert not is_open_at("2026-03-28T20:59+01")
    assert not is_open_at("2026-04-04T21:00+02")
    assert compile_campaign(written(**FULL)).schedule != made


@pytest.mark.parametrize(
    ("channel", "said", "of_site", "wanted"),
    [
        ("email", None, {}, (1320, 480, "user", "Asia/Tokyo", False)),
        ("webhook", None, {}, None),
        ("popup", None, {}, None),
        ("webhook", None, {"channels": ["webhook"], "then": "drop"}, (1320, 480, "user", "Asia/Tokyo", True)),
        ("email", None, {"channels": ["webhook"]}, None),
        ("popup", None, {"channels": ["popup"], "then": "drop"}, (1320, 480, "user", "Asia/Tokyo", True)),
        ("email", "ignore", {}, None),
        ("email", "drop", {}, (1320, 480, "user", "Asia/Tokyo", True)),
        ("email", "hold", {"then": "drop"}, (1320, 480, "user", "Asia/Tokyo", False)),
        ("webhook", "hold", {}, (1320, 480, "user", "Asia/Tokyo", False)),
        ("sms", {"from": "20:00", "to": "00:00"}, {}, (1200, 1440, "Europe/Vienna", "", False)),
    ],
)
def test_quiet_hours_are_those_of_the_campaign(
    channel: str, said: Any, of_site: dict[str, Any], wanted: tuple[int, int, str, str, bool] | None
) -> None:
    """Its own, or the site's if they apply to its channel or the campaign asks for them."""
    campaign = written(channel) if said is None else written(channel, quiet_hours=said)
    made = compile_campaign(campaign, site(quiet_hours=QUIET | of_site)).quiet_hours
    assert made == (None if wanted is None else ruleset.QuietHours(*wanted))


def test_variants_are_compiled() -> None:
    """The campaign has no other content, and `reads` has the attributes of all variants."""
    variants = [
        {"id": "a", "weight": 3, "content": {"text": "{{ event.amount }}"}},
        {"id": "b", "content": {"text": "{{ event.table }}"}},
    ]
    one = compile_campaign(written("sms", variants=variants))
    assert (one.content, one.reads) == ({}, ["amount", "table"])
    assert one.variants == [
        ruleset.Variant(id="a", weight=3, content={"text": "{{ event.amount }}"}),
        ruleset.Variant(id="b", weight=1, content={"text": "{{ event.table }}"}),
    ]


def test_contents_of_the_channels_are_compiled() -> None:
    """Only the fields that were written are compiled."""
    content = {"url": "https://hooks.shop.example/x", "body": {"points": 5, "who": "{{ customer.id }}", "ok": True}}
    assert compile_campaign(written("webhook", content=content)).content == content
    assert compile_campaign(written("webhook")).content == CONTENT["webhook"]
    html = compile_campaign(written("popup", content={"title": "x", "html": "<b>{{ event.a }}</b>"}))
    assert (html.content["html"], html.content["body"], html.reads) == ("<b>{{ event.a }}</b>", "", ["a"])


def test_what_the_site_says_is_in_the_ruleset() -> None:
    """Caps, consent, rates and hosts are in it, and the campaigns have the site's zone. It can be stored and read."""
    definitions = Definitions(
        site=site(
            caps={"popup": {"max": 3, "per": "24h"}, "total": {"max": 9, "per": "7d"}},
            consent={"sms": "sms_consent"},
            sends_per_minute={"email": 600},
            webhooks={"hosts": ["hooks.shop.example"]},
            quiet_hours=QUIET,
        ),
        groups=(validate(TargetGroup, {"id": "vip", "list": ["u1"]}),),
        campaigns=(written("sms", schedule=FULL["schedule"]),),
    )
    made = compile_ruleset(definitions, version=1, keys=[])
    assert made.caps == {"popup": ruleset.Quota(3, DAY_MS), "total": ruleset.Quota(9, 7 * DAY_MS)}
    assert (made.consent, made.rates, made.webhook_hosts) == (
        {"sms": "sms_consent"},
        {"email": 600},
        ["hooks.shop.example"],
    )
    (campaign,) = made.campaigns
    assert campaign.schedule is not None
    assert campaign.schedule.zone == "Europe/Vienna"
    assert campaign.quiet_hours is not None
    assert msgspec.convert(msgspec.to_builtins(made), ruleset.Ruleset) == made
    plain = compile_ruleset(Definitions(site=site()), version=1, keys=[])
    assert (plain.caps, plain.consent, plain.rates, plain.webhook_hosts) == ({}, {}, {}, [])


def test_a_popups_times_are_compiled_to_milliseconds() -> None:
    """The Engager gets numbers, because it does not parse durations. Fields that were left out stay out."""
    times = {"delay": "2s", "expires": "1h", "dismiss_after": "8s"}
    written = PopupContent.model_validate({"title": "x", **times, "theme": {"accent": "#7c3aed"}})
    content = delivery.content(written)
    assert {name: content[name] for name in ("delay", "expires", "dismiss_after", "theme")} == {
        "delay": 2000,
        "expires": 3_600_000,
        "dismiss_after": 8000,
        "theme": {"accent": "#7c3aed"},
    }
    assert not {"close", "image", "html"} & content.keys()
    stays = PopupContent.model_validate({"title": "x", "close": False, "dismiss_after": "8s"})
    assert delivery.content(stays)["close"] is False
