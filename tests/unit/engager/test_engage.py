"""The use case: which activations are recorded, delivered or held, and that none is delivered twice."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from engager.controls import Control
from engager.engage import engage
from engager.ledger.states import DeliveryResult, HeldActivation, RenderedContent, State
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


def campaign(name: str, content: RenderedContent, **values: Any) -> Campaign:
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


def world(*results: DeliveryResult, **values: Any) -> World:
    """Return a world with the customers Ada, who has a name, and Bob, who has none."""
    given = World(known={"ada": {"name": "Ada", "timezone": "UTC"}, "bob": {}}, **values)
    if results:
        given.results = list(results)
    return given


def run(
    given: World, name: str = "mail", held: HeldActivation | None = None, ruleset: Ruleset = RULESET, **changes: Any
) -> DeliveryResult:
    """Engage an activation of the campaign *name*."""
    return engage(activation(name, **changes), given.ports(ruleset), held)


def activation(name: str = "mail", user: str = "ada", **changes: Any) -> Activation:
    """Return an activation of the campaign *name* that matched a second ago."""
    values: dict[str, Any] = {"attributes": {"item": "Book"}, "at": NOW - 1000, **changes}
    return Activation(
        "a1", "demo", user, name, 1, CHANNELS.get(name, "email"), event="Order", message_id="m1", **values
    )


def test_a_popup_is_rendered_and_stored() -> None:
    """The content has the customer's name and the item, and the ledger has it as sent."""
    given = world()
    result = run(given, "pop")
    assert result.state is State.SENT
    assert result.content is not None
    assert result.content["title"] == "Hi Ada, Book"
    assert given.ledger.rows == {"a1": (State.SENT, None)}


def test_a_repeated_popup_is_the_stored_one() -> None:
    """A retried event gets the first popup, even if its attributes differ."""
    given = world()
    first = run(given, "pop")
    again = run(given, "pop", attributes={"item": "Lamp"})
    assert again == DeliveryResult(None, content=first.content)


def test_content_may_name_campaign_and_site() -> None:
    """The variables `campaign` and `site` exist beside `customer` and `event`."""
    result = run(world(), "self")
    assert result.content is not None
    assert result.content["title"] == "self of self on demo"


def test_a_popup_for_an_unknown_visitor_has_an_empty_customer() -> None:
    """The customer's attributes render as nothing."""
    result = run(world(), "pop", user="anon:1")
    assert result.content is not None
    assert result.content["title"] == "Hi , Book"


def test_an_email_is_sent_once_and_settled() -> None:
    """The content is rendered with an unsubscribe link, and the ledger has it as sent."""
    given = world()
    assert run(given) == DeliveryResult(State.SENT, provider_id="p1")
    assert run(given) == DeliveryResult(None)
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
    """Another Engager has, or had, the activation: nothing is sent, and nothing changes."""
    given = world()
    given.ledger.rows["a1"] = (state, None)
    assert run(given).state is None
    assert not given.sent
    assert given.ledger.rows == {"a1": (state, None)}


def test_a_throttled_email_is_retried() -> None:
    """A throttled call is an error for the queue; the retry sends the e-mail and settles it."""
    given = world(DeliveryResult(State.FAILED_RETRYABLE, "ThrottlingException"), DeliveryResult(State.SENT))
    with pytest.raises(Unavailable):
        run(given)
    assert given.ledger.rows == {"a1": (State.FAILED_RETRYABLE, "ThrottlingException")}
    assert run(given).state is State.SENT
    assert len(given.sent) == 2


def test_an_ambiguous_send_is_not_an_error_and_not_retried() -> None:
    """If the e-mail may have been sent, the queue does not get the message back."""
    given = world(DeliveryResult(State.UNKNOWN, "ReadTimeoutError"))
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
        ("unsafe", "ada", {"attributes": {"link": "&#" + "9" * 5000 + ";"}}, "invalid_content"),
    ],
)
def test_an_undeliverable_activation_is_final(name: str, user: str, changes: dict[str, Any], reason: str) -> None:
    """The ledger has the reason, and no provider is called."""
    given = world()
    assert run(given, name, user=user, **changes) == DeliveryResult(State.FAILED_FINAL, reason)
    assert given.ledger.rows == {"a1": (State.FAILED_FINAL, reason)}
    assert not given.sent


def test_a_webhook_needs_no_customer() -> None:
    """Its receiver is not the customer, so an unknown visitor triggers one too."""
    given = world()
    assert run(given, "hook", user="anon:1").state is State.SENT


@pytest.mark.parametrize("name", ["pop", "mail", "push"])
@pytest.mark.parametrize(("gate", "state"), [("cap", State.SUPPRESSED), ("holdout", State.HELD_OUT)])
def test_a_suppressed_activation_is_only_recorded(name: str, gate: str, state: State) -> None:
    """For every channel: one row with the gate's name, and no delivery."""
    given = world()
    assert run(given, name, suppressed=gate) == DeliveryResult(state, gate)
    assert given.ledger.rows == {"a1": (state, gate)}
    assert not given.sent


@pytest.mark.parametrize("paused", ["*", "channel:email", "campaign:mail"])
def test_a_pause_holds_an_email_for_a_minute(paused: str) -> None:
    """A pause of the site, the channel or the campaign holds it; lateness still counts from the due time."""
    given = world(control=Control(frozenset({paused})))
    assert run(given) == DeliveryResult(State.HELD, "paused")
    assert given.ledger.held["a1"][1:3] == (NOW + MINUTE, NOW - 1000)
    assert not given.sent


def test_a_pause_of_something_else_stops_nothing() -> None:
    """Pauses of another channel and another campaign do not apply."""
    given = world(control=Control(frozenset({"channel:popup", "campaign:pop"})))
    assert run(given).state is State.SENT


@pytest.mark.parametrize(
    ("name", "control", "reason"),
    [("pop", Control(frozenset({"*"})), "paused"), ("quietpop", Control(), "quiet_hours")],
)
def test_a_popup_is_never_held(name: str, control: Control, reason: str) -> None:
    """A pause or quiet hours suppress it."""
    given = world(control=control)
    assert run(given, name) == DeliveryResult(State.SUPPRESSED, reason)
    assert given.ledger.rows == {"a1": (State.SUPPRESSED, reason)}


def test_an_opt_out_does_not_apply_to_popups() -> None:
    """Opt-outs are for messages only."""
    given = world(opted_out={("ada", "popup")})
    assert run(given, "pop").state is State.SENT


def test_a_late_message_is_dropped() -> None:
    """By default, one millisecond more than an hour after the due time is too late."""
    given = world()
    assert run(given, at=NOW - 2 * HOUR, due=NOW - HOUR, user="ada").state is State.SENT
    late = world()
    assert run(late, at=NOW - HOUR - 1) == DeliveryResult(State.DROPPED_LATE, "max_lateness")
    assert late.ledger.rows == {"a1": (State.DROPPED_LATE, "max_lateness")}
    assert not late.sent


def test_an_opt_out_suppresses() -> None:
    """Only an opt-out of the same channel counts."""
    assert run(world(opted_out={("ada", "sms")})).state is State.SENT
    assert run(world(opted_out={("ada", "email")})) == DeliveryResult(State.SUPPRESSED, "opt_out")


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
    """Only `true` in the site's attribute is consent; dots in its name reach into objects."""
    ruleset = Ruleset("demo", 1, [], RULESET.campaigns, RULESET.sender, consent={"email": "ok.mail"})
    given = world()
    given.known["ada"] = attributes
    result = run(given, ruleset=ruleset)
    assert result == (
        DeliveryResult(State.SENT, provider_id="p1") if sent else DeliveryResult(State.SUPPRESSED, "consent")
    )


@pytest.mark.parametrize(
    ("name", "delay", "targets", "state"),
    [
        ("groups", HOUR, set(), State.SUPPRESSED),
        ("groups", HOUR, {("ada", "groups")}, State.SENT),
        ("groups", 0, set(), State.SENT),
        ("mail", HOUR, set(), State.SENT),
    ],
)
def test_a_delayed_activation_needs_a_current_target(
    name: str, delay: int, targets: set[tuple[str, str]], state: State
) -> None:
    """Targets are checked again only after a delay, and only for campaigns with target groups."""
    given = world(target_of=targets)
    result = run(given, name, at=NOW - delay, due=NOW)
    assert result.state is state
    assert result.reason == (None if state is State.SENT else "recheck")


def test_quiet_hours_hold_until_they_end() -> None:
    """An e-mail is held until 15:00 of the customer's time, and lateness counts from there."""
    given = world()
    end = NOW - NOW % HOUR + HOUR
    assert run(given, "quiet") == DeliveryResult(State.HELD, "quiet_hours")
    assert given.ledger.held["a1"][1:3] == (end, end)
    held = given.ledger.held["a1"]
    given.now = end + HOUR
    assert run(given, "quiet", held).state is State.SENT


def test_an_unknown_zone_counts_as_quiet() -> None:
    """The e-mail is checked every hour and dropped after a day and the allowed lateness."""
    given = world()
    given.known["ada"]["timezone"] = "Europe/Atlantis"
    checks = 0
    result = run(given, "quiet")
    while result.state is State.HELD and checks < 48:
        checks += 1
        held = given.ledger.held["a1"]
        assert held.until == given.now + HOUR
        given.now = held.until
        result = run(given, "quiet", held)
    assert (checks, result) == (25, DeliveryResult(State.DROPPED_LATE, "max_lateness"))
    assert not given.sent


@pytest.mark.parametrize(
    ("own", "device", "state"),
    [
        (None, "Asia/Tokyo", State.SENT),
        (None, "UTC", State.HELD),
        ("UTC", "Asia/Tokyo", State.HELD),
        ("Asia/Tokyo", "UTC", State.SENT),
        ("Europe/Atlantis", "Asia/Tokyo", State.SENT),
        (None, "Europe/Atlantis", State.HELD),
        (None, "../../etc/passwd", State.HELD),
        (None, "user", State.HELD),
        (None, "", State.HELD),
        (None, 7, State.HELD),
    ],
)
def test_the_zone_of_the_device_stands_in_for_an_unknown_one(own: str | None, device: Any, state: State) -> None:
    """The customer's own zone wins. A zone that does not exist is as good as none. It is 14:13 UTC, 23:13 in Tokyo."""
    given = world()
    given.known["ada"]["timezone"] = own
    result = run(given, "quiet", attributes={"item": "Book", "context": {"timezone": device}})
    assert result.state is state


def test_a_schedule_in_the_customers_zone_is_about_the_match() -> None:
    """The schedule must be open at the time of the match, in the customer's zone."""
    given = world()
    given.known["ada"]["timezone"] = "America/New_York"  # 10:13 there
    assert run(given, "hours").state is State.SENT
    given = world()  # 14:13 in UTC
    assert run(given, "hours") == DeliveryResult(State.SUPPRESSED, "schedule")
    assert run(world(), "hours", user="bob") == DeliveryResult(State.SUPPRESSED, "schedule")


def test_the_rate_limit_holds_until_the_next_minute() -> None:
    """A message beyond the limit waits for the next minute."""
    ruleset = Ruleset("demo", 1, [], RULESET.campaigns, RULESET.sender, rates={"email": 1})
    given = world(sends_left=0)
    assert run(given, ruleset=ruleset) == DeliveryResult(State.HELD, "rate_limit")
    assert given.ledger.held["a1"][1:3] == (NOW - NOW % MINUTE + MINUTE, NOW - 1000)
    given.sends_left = 1
    assert run(given, held=given.ledger.held["a1"], ruleset=ruleset).state is State.SENT


def test_a_copy_does_not_count_towards_the_rate_limit() -> None:
    """Its count is taken back, so that one delivery counts once."""
    ruleset = Ruleset("demo", 1, [], RULESET.campaigns, RULESET.sender, rates={"email": 5})
    given = world(sends_left=5)
    for _ in range(3):
        run(given, ruleset=ruleset)
    assert given.sends_left == 4


def test_a_copy_during_the_first_delivery_does_not_count_either() -> None:
    """Its message goes back to the queue, and its count is taken back, as after any failed claim."""
    ruleset = Ruleset("demo", 1, [], RULESET.campaigns, RULESET.sender, rates={"email": 5})
    given = world(sends_left=5)
    given.ledger.in_progress = {"a1"}
    with pytest.raises(Unavailable):
        run(given, ruleset=ruleset)
    assert (given.sends_left, given.sent) == (5, [])


def test_a_withdrawn_campaign_sends_nothing() -> None:
    """Its pending activations are withdrawn. An activation of a newer ruleset than the known one is sent."""
    given = world(control=Control(ruleset=2))
    both = {1: RULESET, 2: Ruleset("demo", 2, [], [campaign("other", MAIL)]), 3: RULESET}
    ports = replace(given.ports(RULESET), rulesets=Rulesets(lambda _site, version: both[version]))
    assert engage(activation(), ports) == DeliveryResult(State.SUPPRESSED, "withdrawn")
    assert given.ledger.rows == {"a1": (State.SUPPRESSED, "withdrawn")}
    given.ledger.rows.clear()
    newer = msgspec.structs.replace(activation(), ruleset=3)
    assert engage(newer, ports).state is State.SENT


@pytest.mark.parametrize("everyone", [False, True])
def test_targets_come_from_the_live_campaign(everyone: bool) -> None:
    """A campaign that is now for everyone sends; one that now has target groups checks them. Content is unchanged."""
    given = world(control=Control(ruleset=2))
    both = {
        1: Ruleset("demo", 1, [], [campaign("mail", MAIL, everyone=not everyone)], RULESET.sender),
        2: Ruleset("demo", 2, [], [campaign("mail", {**MAIL, "subject": "New"}, everyone=everyone)], RULESET.sender),
    }
    ports = replace(given.ports(RULESET), rulesets=Rulesets(lambda _site, version: both[version]))
    result = engage(activation(due=NOW), ports)
    assert result.reason == (None if everyone else "recheck")
    assert [content["subject"] for _, content in given.sent] == ["Hi Ada"] * everyone


@pytest.mark.parametrize("calls_back", [True, False])
def test_a_goal_reached_while_it_was_held_stops_it(calls_back: bool) -> None:
    """Unless the campaign says `cancel_on_goal: false`."""
    campaigns = [campaign("mail", MAIL, cancel_on_goal=calls_back)]
    given = world()
    held = given.hold(activation(), until=NOW)._replace(converted=True)
    result = run(given, held=held, ruleset=Ruleset("demo", 1, [], campaigns, RULESET.sender))
    assert (result.reason, len(given.sent)) == (("goal", 0) if calls_back else (None, 1))


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
            "rate_limit",
        ),
    ],
)
def test_the_first_gate_that_closes_gives_the_reason(values: dict[str, Any], reason: str) -> None:
    """All gates are closed; opening them one by one shows their order."""
    everything = campaign("all", MAIL, everyone=False, quiet_hours=QUIET)
    ruleset = Ruleset("demo", 1, [], [everything], consent={"email": "ok"}, rates={"email": 1})
    closed: dict[str, Any] = {
        "known": {"ada": {}},
        "opted_out": {("ada", "email")},
        "now": NOW + 3 * HOUR,
        "sends_left": 0,
    }
    given = World(**{**closed, **values})
    assert run(given, "all", ruleset=ruleset, at=NOW - HOUR, due=NOW).reason == reason


def test_a_forgotten_user_gets_nothing_and_is_not_named() -> None:
    """The row has the reason and a pseudonym."""
    given = world(forgotten={"ada"})
    assert run(given) == DeliveryResult(State.SUPPRESSED, "forgotten")
    assert given.ledger.users == {"a1": "forgotten:x"}
    assert not given.sent


def test_a_held_activation_that_is_throttled_stays_in_the_ledger() -> None:
    """The queue has no message for it, so it is held for another minute, and its lateness goes on counting."""
    given = world(DeliveryResult(State.FAILED_RETRYABLE, "Throttling"), DeliveryResult(State.SENT))
    held = given.hold(activation(), until=NOW, expected_at=NOW - 5)
    assert run(given, held=held) == DeliveryResult(State.HELD, "Throttling")
    assert given.ledger.held["a1"] == HeldActivation(activation(), NOW + MINUTE, NOW - 5)
    assert run(given, held=given.ledger.held["a1"]).state is State.SENT


def test_another_sweep_may_be_faster() -> None:
    """Then nothing is sent, and nothing changes."""
    given = world()
    found = given.hold(activation(), until=NOW)
    given.hold(activation(), until=NOW + MINUTE)
    assert run(given, held=found).state is None
    assert not given.sent
    assert given.ledger.rows["a1"] == (State.HELD, "paused")


def test_a_user_always_gets_the_same_variant() -> None:
    """Popup and row agree, and each variant gets about its share of many users."""
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
    """Two variants of one campaign have two subjects, and the row of an e-mail has the variant."""
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
    """Rulesets are immutable, so the second activation costs no read; a failed read is not cached."""
    loads: list[int] = []

    def load(_site: str, version: int) -> Ruleset:
        loads.append(version)
        if len(loads) == 1:
            raise Unavailable("not yet")
        return RULESET

    rulesets = Rulesets(load)
    with pytest.raises(Unavailable):
        rulesets.delivery_context(activation())
    assert rulesets.delivery_context(activation()).campaign.id == "mail"
    assert rulesets.delivery_context(activation("pop")).campaign.id == "pop"
    assert loads == [1, 1]
