"""The use case: what is recorded, what is delivered, what waits, and what is never delivered again."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from engager.controls import Control
from engager.engage import engage
from engager.ledger.states import Content, Held, Outcome, State
from engager.ports import Ports
from engager.rulesets import Rulesets
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.ruleset import Campaign, QuietHours, Ruleset, Schedule, Sender, Trigger, Variant
from tests.support.engager_ports import NOW, World

MINUTE = 60_000
HOUR = 60 * MINUTE
# NOW is 2026-09-21, 14:13 UTC.
QUIET = QuietHours(start=13 * 60, stop=15 * 60, zone="user")
CHANNELS = {
    "pop": "popup",
    "quietpop": "popup",
    "unsafe": "popup",
    "self": "popup",
    "many": "popup",
    "push": "push",
    "hook": "webhook",
}


def campaign(name: str, content: Content, **values: Any) -> Campaign:
    """Return a campaign for everyone."""
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    values = {"everyone": True, **values}
    return Campaign(name, "1", name, trigger, CHANNELS.get(name, "email"), content, **values)


MAIL = {"subject": "Hi {{ customer.name }}", "text": "{{ event.item }} {{ site.unsubscribe_url }}"}
RULESET = Ruleset(
    "demo",
    1,
    [],
    [
        campaign("pop", {"title": "Hi {{ customer.name }}, {{ event.item }}"}),
        campaign("quietpop", {"title": "Psst"}, quiet_hours=QuietHours(780, 900, "UTC", drop=True)),
        campaign("mail", MAIL),
        campaign("groups", MAIL, everyone=False),
        campaign("quiet", MAIL, quiet_hours=QUIET),
        campaign("hours", MAIL, schedule=Schedule("user", start=8 * 60, stop=12 * 60)),
        campaign("broken", {"subject": "x", "text": "{{ 1 | divided_by: 0 }}"}),
        campaign("unsafe", {"actions": [{"label": "x", "url": "{{ event.link }}"}]}),
        campaign("push", {"title": "x"}),
        campaign("hook", {"url": "https://x.example"}),
        campaign("self", {"title": "{{ campaign.name }} of {{ campaign.id }} on {{ site.id }}"}),
        campaign("many", {}, variants=[Variant("a", 1, {"title": "A"}), Variant("b", 1, {"title": "B"})]),
        campaign("both", {}, variants=[Variant("a", 1, {**MAIL}), Variant("b", 1, {**MAIL, "subject": "B"})]),
    ],
    Sender("hello@shop.example"),
)


def world(*outcomes: Outcome, **values: Any) -> World:
    """Return a world with Ada as the only customer with a name, and Bob without one."""
    given = World(known={"ada": {"name": "Ada", "timezone": "UTC"}, "bob": {}}, **values)
    if outcomes:
        given.outcomes = list(outcomes)
    return given


def run(
    given: World, name: str = "mail", held: Held | None = None, ruleset: Ruleset = RULESET, **changes: Any
) -> Outcome:
    """Engage an activation of the campaign *name*."""
    return engage(activation(name, **changes), given.ports(ruleset), held)


def activation(name: str = "mail", user: str = "ada", **changes: Any) -> Activation:
    """Return an activation of the campaign *name*, matched a second ago."""
    values: dict[str, Any] = {"attributes": {"item": "Book"}, "at": NOW - 1000, **changes}
    return Activation(
        "a1", "demo", user, name, 1, CHANNELS.get(name, "email"), event="Order", message_id="m1", **values
    )


def test_a_popup_is_rendered_and_kept() -> None:
    """The content names customer and item, and stands in the ledger as sent."""
    given = world()
    outcome = run(given, "pop")
    assert outcome.state is State.SENT
    assert outcome.content is not None
    assert outcome.content["title"] == "Hi Ada, Book"
    assert given.ledger.rows == {"a1": (State.SENT, None)}


def test_a_repeated_popup_is_the_stored_one() -> None:
    """A retried event gets the popup of the first time, though the customer has changed since."""
    given = world()
    first = run(given, "pop")
    again = run(given, "pop", attributes={"item": "Lamp"})
    assert again == Outcome(None, content=first.content)


def test_content_may_name_campaign_and_site() -> None:
    """The variables `campaign` and `site` are there beside customer and event."""
    outcome = run(world(), "self")
    assert outcome.content is not None
    assert outcome.content["title"] == "self of self on demo"


def test_a_popup_for_a_stranger_has_an_empty_customer() -> None:
    """A visitor nobody knows sees the popup without his name."""
    outcome = run(world(), "pop", user="anon:1")
    assert outcome.content is not None
    assert outcome.content["title"] == "Hi , Book"


def test_an_email_is_sent_once_and_settled() -> None:
    """The content is rendered with a way out of the channel, and the ledger says sent."""
    given = world()
    assert run(given) == Outcome(State.SENT, provider_id="p1")
    assert run(given) == Outcome(None)
    assert given.sent == [("a1", {"subject": "Hi Ada", "text": "Book https://p.example/demo/ada/email"})]
    assert given.ledger.rows == {"a1": (State.SENT, None)}


@pytest.mark.parametrize(
    "state",
    [
        State.SENDING,
        State.SENT,
        State.UNKNOWN,
        State.FAILED_FINAL,
        State.SUPPRESSED,
        State.HELD,
        State.HELD_OUT,
        State.DROPPED_LATE,
    ],
)
def test_a_row_in_any_other_state_stops_the_email(state: State) -> None:
    """Whoever wrote the row has, or had, the activation: nothing is sent, nothing is changed."""
    given = world()
    given.ledger.rows["a1"] = (state, None)
    assert run(given).state is None
    assert not given.sent
    assert given.ledger.rows == {"a1": (state, None)}


def test_a_throttled_email_is_tried_again() -> None:
    """A throttle is an error for the queue; the next try sends the mail and settles it."""
    given = world(Outcome(State.FAILED_RETRYABLE, "ThrottlingException"), Outcome(State.SENT))
    with pytest.raises(Unavailable):
        run(given)
    assert given.ledger.rows == {"a1": (State.FAILED_RETRYABLE, "ThrottlingException")}
    assert run(given).state is State.SENT
    assert len(given.sent) == 2


def test_an_unknown_outcome_is_no_error_and_never_sent_again() -> None:
    """Where nobody knows what became of the mail, the queue is done with it."""
    given = world(Outcome(State.UNKNOWN, "ReadTimeoutError"))
    assert run(given).state is State.UNKNOWN
    assert run(given).state is None
    assert len(given.sent) == 1


@pytest.mark.parametrize(
    ("name", "user", "changes", "reason"),
    [
        ("mail", "eve", {}, "no_customer"),
        ("broken", "ada", {}, "template_error"),
        ("gone", "ada", {}, "no_campaign"),
        ("push", "ada", {}, "no_channel"),
        ("unsafe", "ada", {"attributes": {"link": "javascript:x"}}, "unsafe_url"),
    ],
)
def test_what_can_never_be_delivered_is_final(name: str, user: str, changes: dict[str, Any], reason: str) -> None:
    """Each such activation ends in the ledger with its reason, and nothing leaves the house."""
    given = world()
    assert run(given, name, user=user, **changes) == Outcome(State.FAILED_FINAL, reason)
    assert given.ledger.rows == {"a1": (State.FAILED_FINAL, reason)}
    assert not given.sent


def test_a_webhook_needs_no_customer() -> None:
    """Its receiver is another: what a visitor does whom nobody knows may be told as well."""
    given = world()
    assert run(given, "hook", user="anon:1").state is State.SENT


@pytest.mark.parametrize("name", ["pop", "mail", "push"])
@pytest.mark.parametrize(("gate", "state"), [("cap", State.SUPPRESSED), ("holdout", State.HELD_OUT)])
def test_a_suppressed_activation_is_only_recorded(name: str, gate: str, state: State) -> None:
    """Of any channel: one row with the gate's name, nothing rendered, nothing delivered."""
    given = world()
    assert run(given, name, suppressed=gate) == Outcome(state, gate)
    assert given.ledger.rows == {"a1": (state, gate)}
    assert not given.sent


@pytest.mark.parametrize("paused", ["*", "channel:email", "campaign:mail"])
def test_a_pause_holds_an_email_for_a_minute(paused: str) -> None:
    """Of the site, the channel or the campaign; it counts as late from when it was due."""
    given = world(control=Control(frozenset({paused})))
    assert run(given) == Outcome(State.HELD, "paused")
    assert given.ledger.held["a1"][1:3] == (NOW + MINUTE, NOW - 1000)
    assert not given.sent


def test_a_pause_of_something_else_stops_nothing() -> None:
    """Another channel and another campaign."""
    given = world(control=Control(frozenset({"channel:popup", "campaign:pop"})))
    assert run(given).state is State.SENT


@pytest.mark.parametrize(
    ("name", "control", "reason"),
    [("pop", Control(frozenset({"*"})), "paused"), ("quietpop", Control(), "quiet_hours")],
)
def test_a_popup_cannot_wait(name: str, control: Control, reason: str) -> None:
    """Paused, or in quiet hours, it is suppressed."""
    given = world(control=control)
    assert run(given, name) == Outcome(State.SUPPRESSED, reason)
    assert given.ledger.rows == {"a1": (State.SUPPRESSED, reason)}


def test_nobody_opts_out_of_popups() -> None:
    """An opt-out is of messages that come by themselves."""
    given = world(opted_out={("ada", "popup")})
    assert run(given, "pop").state is State.SENT


def test_what_comes_too_late_is_dropped() -> None:
    """An hour after it was due, unless the campaign says otherwise; to the millisecond."""
    given = world()
    assert run(given, at=NOW - 2 * HOUR, due=NOW - HOUR, user="ada").state is State.SENT
    late = world()
    assert run(late, at=NOW - HOUR - 1) == Outcome(State.DROPPED_LATE, "max_lateness")
    assert late.ledger.rows == {"a1": (State.DROPPED_LATE, "max_lateness")}
    assert not late.sent


def test_an_opt_out_suppresses() -> None:
    """Of this channel."""
    assert run(world(opted_out={("ada", "sms")})).state is State.SENT
    assert run(world(opted_out={("ada", "email")})) == Outcome(State.SUPPRESSED, "opt_out")


@pytest.mark.parametrize(
    ("attributes", "sent"),
    [
        ({"ok": {"mail": True}}, True),
        ({"ok": {"mail": "true"}}, False),
        ({"ok": {"mail": 1}}, False),
        ({"ok": True}, False),
        ({}, False),
    ],
)
def test_consent_must_be_true(attributes: dict[str, Any], sent: bool) -> None:
    """Nothing but a true value of the site's attribute is consent; dots reach into objects."""
    ruleset = Ruleset("demo", 1, [], RULESET.campaigns, RULESET.sender, consent={"email": "ok.mail"})
    given = world()
    given.known["ada"] = attributes
    outcome = run(given, ruleset=ruleset)
    assert outcome == (Outcome(State.SENT, provider_id="p1") if sent else Outcome(State.SUPPRESSED, "consent"))


@pytest.mark.parametrize(
    ("name", "delay", "targets", "state"),
    [
        ("groups", HOUR, set(), State.SUPPRESSED),
        ("groups", HOUR, {("ada", "groups")}, State.SENT),
        ("groups", 0, set(), State.SENT),
        ("mail", HOUR, set(), State.SENT),
    ],
)
def test_a_delayed_one_must_still_be_a_target(
    name: str, delay: int, targets: set[tuple[str, str]], state: State
) -> None:
    """Asked again only where time has passed, and where there are targets at all."""
    given = world(target_of=targets)
    outcome = run(given, name, at=NOW - delay, due=NOW)
    assert outcome.state is state
    assert outcome.reason == (None if state is State.SENT else "recheck")


def test_quiet_hours_hold_until_they_end() -> None:
    """Until 15:00 on the customer's clocks; only from then on it counts as late."""
    given = world()
    end = NOW - NOW % HOUR + HOUR
    assert run(given, "quiet") == Outcome(State.HELD, "quiet_hours")
    assert given.ledger.held["a1"][1:3] == (end, end)
    held = given.ledger.held["a1"]
    given.now = end + HOUR
    assert run(given, "quiet", held).state is State.SENT


def test_without_a_zone_quiet_hours_hold_too() -> None:
    """Never fail open: looked at again every hour, until a day and the lateness that is allowed are over."""
    given = world()
    given.known["ada"]["timezone"] = "Europe/Atlantis"
    looks = 0
    outcome = run(given, "quiet")
    while outcome.state is State.HELD and looks < 48:
        looks += 1
        held = given.ledger.held["a1"]
        assert held.until == given.now + HOUR
        given.now = held.until
        outcome = run(given, "quiet", held)
    assert (looks, outcome) == (25, Outcome(State.DROPPED_LATE, "max_lateness"))
    assert not given.sent


def test_a_schedule_in_the_customers_zone_is_about_the_match() -> None:
    """It was open when the match was completed, whatever the clocks say when it is delivered."""
    given = world()
    given.known["ada"]["timezone"] = "America/New_York"  # 10:13 there
    assert run(given, "hours").state is State.SENT
    given = world()  # 14:13 in UTC
    assert run(given, "hours") == Outcome(State.SUPPRESSED, "schedule")
    assert run(world(), "hours", user="bob") == Outcome(State.SUPPRESSED, "schedule")


def test_a_ceiling_holds_until_the_next_minute() -> None:
    """What finds no place in this minute waits for the next one."""
    ruleset = Ruleset("demo", 1, [], RULESET.campaigns, RULESET.sender, rates={"email": 1})
    given = world(places=0)
    assert run(given, ruleset=ruleset) == Outcome(State.HELD, "ceiling")
    assert given.ledger.held["a1"][1:3] == (NOW - NOW % MINUTE + MINUTE, NOW - 1000)
    given.places = 1
    assert run(given, held=given.ledger.held["a1"], ruleset=ruleset).state is State.SENT


def test_a_copy_takes_no_place_under_a_ceiling() -> None:
    """Its place is given back: what was sent once counts once."""
    ruleset = Ruleset("demo", 1, [], RULESET.campaigns, RULESET.sender, rates={"email": 5})
    given = world(places=5)
    for _ in range(3):
        run(given, ruleset=ruleset)
    assert given.places == 4


def test_a_copy_that_comes_while_the_first_is_sent_takes_no_place_either() -> None:
    """It goes back to the queue, and its place to the others; so does that of a claim which the database refuses."""
    ruleset = Ruleset("demo", 1, [], RULESET.campaigns, RULESET.sender, rates={"email": 5})
    given = world(places=5)
    given.ledger.in_progress = {"a1"}
    with pytest.raises(Unavailable):
        run(given, ruleset=ruleset)
    assert (given.places, given.sent) == (5, [])


def test_a_campaign_that_is_gone_by_now_sends_nothing() -> None:
    """Its waiting activations are withdrawn; under a ruleset that an Engager has not heard of yet, nothing is."""
    given = world(control=Control(ruleset=2))
    both = {1: RULESET, 2: Ruleset("demo", 2, [], [campaign("other", MAIL)]), 3: RULESET}
    ports = replace(given.ports(RULESET), rulesets=Rulesets(lambda _site, version: both[version]))
    assert engage(activation(), ports) == Outcome(State.SUPPRESSED, "withdrawn")
    assert given.ledger.rows == {"a1": (State.SUPPRESSED, "withdrawn")}
    given.ledger.rows.clear()
    newer = msgspec.structs.replace(activation(), ruleset=3)
    assert engage(newer, ports).state is State.SENT


@pytest.mark.parametrize("everyone", [False, True])
def test_whom_a_campaign_is_for_is_asked_of_the_live_one(everyone: bool) -> None:
    """From a group to everyone: a delayed one goes out; the other way round it is checked. Content stays as it was."""
    given = world(control=Control(ruleset=2))
    both = {
        1: Ruleset("demo", 1, [], [campaign("mail", MAIL, everyone=not everyone)], RULESET.sender),
        2: Ruleset("demo", 2, [], [campaign("mail", {**MAIL, "subject": "New"}, everyone=everyone)], RULESET.sender),
    }
    ports = replace(given.ports(RULESET), rulesets=Rulesets(lambda _site, version: both[version]))
    outcome = engage(activation(due=NOW), ports)
    assert outcome.reason == (None if everyone else "recheck")
    assert [content["subject"] for _, content in given.sent] == ["Hi Ada"] * everyone


@pytest.mark.parametrize("calls_back", [True, False])
def test_a_goal_reached_while_it_was_held_stops_it(calls_back: bool) -> None:
    """Unless the campaign sends all the same."""
    campaigns = [campaign("mail", MAIL, cancel_on_goal=calls_back)]
    given = world()
    held = given.hold(activation(), until=NOW)._replace(converted=True)
    outcome = run(given, held=held, ruleset=Ruleset("demo", 1, [], campaigns, RULESET.sender))
    assert (outcome.reason, len(given.sent)) == (("goal", 0) if calls_back else (None, 1))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"control": Control(frozenset({"*"}))}, "paused"),
        ({}, "max_lateness"),
        ({"now": NOW}, "opt_out"),
        ({"now": NOW, "opted_out": set()}, "consent"),
        ({"now": NOW, "opted_out": set(), "known": {"ada": {"ok": True}}}, "recheck"),
        (
            {"now": NOW, "opted_out": set(), "known": {"ada": {"ok": True}}, "target_of": {("ada", "all")}},
            "quiet_hours",
        ),
        (
            {
                "now": NOW,
                "opted_out": set(),
                "known": {"ada": {"ok": True, "timezone": "Asia/Tokyo"}},
                "target_of": {("ada", "all")},
            },
            "ceiling",
        ),
    ],
)
def test_the_first_gate_that_closes_gives_the_reason(values: dict[str, Any], reason: str) -> None:
    """All are closed; opened one by one they show their order."""
    everything = campaign("all", MAIL, everyone=False, quiet_hours=QUIET)
    ruleset = Ruleset("demo", 1, [], [everything], consent={"email": "ok"}, rates={"email": 1})
    closed: dict[str, Any] = {
        "known": {"ada": {}},
        "opted_out": {("ada", "email")},
        "now": NOW + 3 * HOUR,
        "places": 0,
    }
    given = World(**{**closed, **values})
    assert run(given, "all", ruleset=ruleset, at=NOW - HOUR, due=NOW).reason == reason


def test_a_forgotten_user_gets_nothing_and_is_not_named() -> None:
    """The row says why, and no longer who."""
    given = world(forgotten={"ada"})
    assert run(given) == Outcome(State.SUPPRESSED, "forgotten")
    assert given.ledger.users == {"a1": "forgotten:x"}
    assert not given.sent


def test_a_held_one_that_is_throttled_waits_in_the_ledger() -> None:
    """No message stands behind it, so it is held for another minute, with the same lateness."""
    given = world(Outcome(State.FAILED_RETRYABLE, "Throttling"), Outcome(State.SENT))
    held = given.hold(activation(), until=NOW, since=NOW - 5)
    assert run(given, held=held) == Outcome(State.HELD, "Throttling")
    assert given.ledger.held["a1"] == Held(activation(), NOW + MINUTE, NOW - 5)
    assert run(given, held=given.ledger.held["a1"]).state is State.SENT


def test_what_a_sweep_has_seen_may_be_gone() -> None:
    """Another sweep was faster: nothing is sent, nothing is changed."""
    given = world()
    seen = given.hold(activation(), until=NOW)
    given.hold(activation(), until=NOW + MINUTE)
    assert run(given, held=seen).state is None
    assert not given.sent
    assert given.ledger.rows["a1"] == (State.HELD, "paused")


def test_a_user_always_gets_the_same_variant() -> None:
    """Popup and row say the same, and of many users each variant has about its share."""
    titles: dict[str, int] = {}
    for number in range(400):
        given = world()
        content = run(given, "many", user=f"u{number}").content
        assert content is not None
        assert content["title"] == str(given.ledger.variants["a1"]).upper()
        assert run(world(), "many", user=f"u{number}").content == content
        titles[content["title"]] = titles.get(content["title"], 0) + 1
    assert 150 < titles["A"] < 250
    assert sum(titles.values()) == 400


def test_templates_of_variants_are_kept_apart() -> None:
    """Two users, one set of templates, two subjects; the row of an e-mail names the variant too."""
    given = world()
    ports: Ports = given.ports(RULESET)
    subjects = set()
    for number in range(20):
        given.known[f"u{number}"] = {"name": "N"}
        given.ledger.rows.clear()
        engage(activation("both", f"u{number}"), ports)
        subject = given.sent[-1][1]["subject"]
        assert subject == {"a": "Hi N", "b": "B"}[given.ledger.variants["a1"] or ""]
        subjects.add(subject)
    assert len(subjects) == 2


def test_a_ruleset_version_is_read_once() -> None:
    """Rulesets are immutable, so the second activation costs no look-up; a failed look-up is not kept."""
    loads: list[int] = []

    def load(_site: str, version: int) -> Ruleset:
        loads.append(version)
        if len(loads) == 1:
            raise Unavailable("not yet")
        return RULESET

    rulesets = Rulesets(load)
    with pytest.raises(Unavailable):
        rulesets.brief(activation())
    assert rulesets.brief(activation()).campaign.id == "mail"
    assert rulesets.brief(activation("pop")).campaign.id == "pop"
    assert loads == [1, 1]
