"""The whole Engager on a real MongoDB: what is held, released, called back, paused, stopped or reported on."""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient
from pymongo.database import Database

from engager.controls import Controls
from engager.handler import Deps, create_handler
from engager.ledger.states import Content, Outcome, State
from engager.rulesets import Brief, Rulesets
from engager.wiring import assemble
from shared.contracts import Activation, Conversion, Engage
from shared.errors import Unavailable
from shared.mongodb import targets_collection
from shared.observability import observe
from shared.optouts import OptOuts
from shared.ruleset import Campaign, Goal, QuietHours, Ruleset, Sender, Trigger
from shared.settings import ENGAGER, Settings
from tests.integration.decider.test_user_state import together
from tests.support.lambdas import Context

NOW = 1_790_000_000_000  # 2026-09-21, 14:13 UTC
MINUTE = 60_000
HOUR = 60 * MINUTE
QUIET_ENDS = NOW - NOW % HOUR + HOUR
RATE = 5
Db = Database[dict[str, Any]]


class House:
    """An Engager with a provider in memory; ``now``: by its clock. Every call of the provider is in ``calls``."""

    def __init__(self, database: Db) -> None:
        self.database, self.now = database, NOW
        self.calls: list[str] = []
        self.answer: Callable[[], Outcome] = lambda: Outcome(State.SENT, provider_id="p")
        self._lock = threading.Lock()
        settings = Settings(
            function=ENGAGER,
            signing_secret="s" * 32,
            preferences_url="https://p.example",
            poll_seconds=10,
            clock=lambda: self.now,
        )
        given = assemble(settings, database)
        outward = {"email": self._prepare, "sms": self._prepare}
        self.deps: Deps = replace(given, ports=replace(given.ports, outward=outward))

    def _prepare(
        self,
        activation: Activation,
        brief: Brief,  # noqa: ARG002 - one signature for all channels
        customer: Mapping[str, Any],  # noqa: ARG002
        content: Content,  # noqa: ARG002
    ) -> Callable[[], Outcome]:
        def call() -> Outcome:
            with self._lock:
                self.calls.append(activation.id)
            return self.answer()

        return call

    def deliver(self, *activations: Activation) -> list[str]:
        """Deliver from the queue; return the ids that are handed back."""
        records = [
            {"messageId": each.id, "receiptHandle": "r", "body": msgspec.json.encode(each).decode()}
            for each in activations
        ]
        answer = create_handler(self.deps)({"Records": records}, Context())
        return [item["itemIdentifier"] for item in answer["batchItemFailures"]]

    def tell(self, *activations: Activation, conversions: tuple[Conversion, ...] = ()) -> dict[str, Any]:
        """Call synchronously, as the Decider does."""
        request = msgspec.to_builtins(Engage(list(activations), self.now + 5_000, list(conversions)))
        contents: dict[str, Any] = create_handler(self.deps)(request, Context())["contents"]
        return contents

    def sweep(self) -> dict[str, Any]:
        """Sweep."""
        swept: dict[str, Any] = create_handler(self.deps)({"type": "sweep"}, Context())
        return swept

    def row(self, name: str = "a1") -> dict[str, Any]:
        """Return a row of the ledger."""
        return self.database.activations.find_one({"_id": name}) or {}

    def state(self, name: str = "a1") -> tuple[str | None, str | None]:
        """Return state and reason of a row."""
        row = self.row(name)
        return row.get("state"), row.get("reason")

    def pause(self, *what: str) -> None:
        """Pause, and wait until the Engager looks again."""
        self.database.control.update_one({"_id": "demo"}, {"$set": {"paused": list(what)}}, upsert=True)
        self.now += MINUTE


@pytest.fixture(name="house")
def _house(mongodb: Db) -> House:
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    quiet = QuietHours(start=14 * 60, stop=15 * 60, zone="UTC")
    mail = {"subject": "Hi", "text": "{{ event['a.b'] }}{{ event['$c'] }}"}
    ruleset = Ruleset(
        "demo",
        1,
        [],
        [
            Campaign("pop", "1", "Pop", trigger, "popup", {"title": "Hi"}, everyone=True),
            Campaign("mail", "1", "Mail", trigger, "email", mail, everyone=True),
            Campaign("groups", "1", "Groups", trigger, "email", mail, groups=["few"]),
            Campaign("quiet", "1", "Quiet", trigger, "email", mail, everyone=True, quiet_hours=quiet),
            Campaign("text", "1", "Text", trigger, "sms", {"text": "Hi"}, everyone=True),
            Campaign("wish", "1", "Wish", trigger, "email", mail, everyone=True, goal=Goal(HOUR)),
        ],
        Sender("hello@shop.example"),
        rates={"sms": RATE},
    )
    mongodb.rulesets.insert_one({"_id": "demo:1", "site": "demo", "ruleset": msgspec.to_builtins(ruleset)})
    mongodb.customers.insert_one({"_id": "demo:ada", "site": "demo", "user": "ada", "attributes": {"name": "Ada"}})
    return House(mongodb)


def activation(name: str = "a1", campaign: str = "mail", **changes: Any) -> Activation:
    """Return an activation; its event has attributes that no document may have as they are."""
    channel = {"pop": "popup", "text": "sms"}.get(campaign, "email")
    values: dict[str, Any] = {"attributes": {"a.b": 1, "$c": 2**70}, "at": NOW, "due": NOW, **changes}
    user = values.pop("user", "ada")
    return Activation(name, "demo", user, campaign, 1, channel, event="Order", message_id="m1", **values)


def test_what_is_held_is_sent_when_quiet_hours_end(house: House) -> None:
    """The message is acknowledged, its copy too; not a moment before the end, and then once."""
    names = [f"a{n}" for n in range(30)]
    for name in (*names, *names):
        assert house.deliver(activation(name, "quiet")) == []
    assert house.state() == ("held", "quiet_hours")
    house.now = QUIET_ENDS - 1
    assert house.sweep()["outcomes"] == {}
    house.now = QUIET_ENDS
    assert house.sweep()["outcomes"] == {"sent": 30}
    assert house.sweep()["outcomes"] == {}
    assert Counter(house.calls) == dict.fromkeys(names, 1)
    assert {house.state(name) for name in names} == {("sent", None)}
    assert "held" not in house.row()
    assert "until" not in house.row()


def test_eight_sweeps_at_once_call_the_provider_once_each(house: House) -> None:
    """All begin at the same moment, with the same rows due."""
    names = [f"a{n}" for n in range(40)]
    for name in names:
        house.deliver(activation(name, "quiet"))
    house.now = QUIET_ENDS
    swept = together(8, lambda _: house.sweep())
    assert Counter(house.calls) == dict.fromkeys(names, 1)
    assert sum(each["outcomes"].get("sent", 0) for each in swept) == 40
    assert all(each["failed"] == 0 for each in swept)


def test_a_cancellation_meets_a_sweep(house: House) -> None:
    """Either it came in time and nothing was sent, or the mail was on its way: the ledger says which."""
    names = [f"a{n}" for n in range(60)]
    for name in names:
        house.deliver(activation(name, "quiet"))
    house.now = QUIET_ENDS
    records = [activation(name, "quiet", suppressed="cancelled") for name in reversed(names)]

    def act(who: int) -> None:
        if who:
            house.sweep()
        else:
            for record in records:
                house.tell(record)

    together(2, act)
    assert max(Counter(house.calls).values()) == 1
    for name in names:
        assert house.state(name) == (("sent", None) if name in house.calls else ("suppressed", "cancelled"))


@pytest.mark.parametrize("reason", ["cancelled", "goal"])
def test_only_what_is_held_can_be_called_back(house: House, reason: str) -> None:
    """What was sent stays sent; a cap is no cancellation, and what is held was not lost with the state."""
    house.deliver(activation("a1", "quiet"), activation("a2", "quiet"), activation("a3"))
    house.tell(
        activation("a1", "quiet", suppressed=reason),
        activation("a2", "quiet", suppressed="cap"),
        activation("a2", "quiet", suppressed="state_lost"),
        activation("a3", suppressed=reason),
    )
    assert house.state("a1") == ("suppressed", reason)
    assert "held" not in house.row("a1")
    assert house.state("a2") == ("held", "quiet_hours")
    assert house.state("a3") == ("sent", None)


@pytest.mark.parametrize("calls_back", [True, False])
def test_a_goal_calls_back_what_is_not_sent_yet(house: House, calls_back: bool) -> None:
    """Held, or refused for now: an order in the night, and nobody is reminded in the morning. What is sent stays so."""
    wanted = {"$set": {"ruleset.campaigns.$[].cancel_on_goal": calls_back}}
    house.database.rulesets.update_one({"_id": "demo:1"}, wanted)
    house.deliver(activation("a1", "quiet"), activation("a2"))
    house.answer = lambda: Outcome(State.FAILED_RETRYABLE, "Throttling")
    assert house.deliver(activation("a3")) == ["a3"]
    house.answer = lambda: Outcome(State.SENT)
    house.tell(conversions=tuple(Conversion(name, NOW + 5, calls_back) for name in ("a1", "a2", "a3")))
    house.now = QUIET_ENDS
    house.sweep()
    assert house.deliver(activation("a3")) == []
    expected = ("suppressed", "goal") if calls_back else ("sent", None)
    assert [house.state(name) for name in ("a1", "a2", "a3")] == [expected, ("sent", None), expected]
    assert all(house.row(name)["converted"].timestamp() * 1000 == NOW + 5 for name in ("a1", "a2", "a3"))
    assert "held" not in house.row()


def test_a_goal_before_what_is_then_held_calls_it_back_too(house: House) -> None:
    """The order comes while the message is in the queue: the sweep brings the two together before it releases any."""
    house.tell(conversions=(Conversion("a1", NOW, calls_back=True),))
    house.deliver(activation("a1", "quiet"))
    house.now = QUIET_ENDS
    assert house.sweep()["outcomes"] == {}
    assert (house.state(), house.calls) == (("suppressed", "goal"), [])


@pytest.mark.parametrize("calls_back", [True, False])
def test_a_goal_calls_back_what_is_in_the_queue(house: House, calls_back: bool) -> None:
    """The order comes before the message is taken out: no mail about what was done, unless the campaign wants it."""
    wanted = {"$set": {"ruleset.campaigns.$[].cancel_on_goal": calls_back}}
    house.database.rulesets.update_one({"_id": "demo:1"}, wanted)
    house.tell(conversions=(Conversion("a1", NOW, calls_back=calls_back),))
    assert house.deliver(activation("a1", "wish"), activation("a2", "wish")) == []
    assert house.state() == (("suppressed", "goal") if calls_back else ("sent", None))
    assert house.state("a2") == ("sent", None)
    house.sweep()
    assert house.row()["converted"].timestamp() * 1000 == NOW
    assert house.state()[0] == ("suppressed" if calls_back else "sent")


def test_a_conversion_and_a_release_have_one_winner(house: House) -> None:
    """A sweep and sixty goals at once: each is either sent, and converted, or called back, and never both."""
    names = [f"a{n}" for n in range(60)]
    for name in names:
        house.deliver(activation(name, "quiet"))
    house.now = QUIET_ENDS

    def act(who: int) -> None:
        if who:
            house.sweep()
        else:
            for name in reversed(names):
                house.deps.convert([Conversion(name, house.now, calls_back=True)])

    together(2, act)
    for name in names:
        assert house.state(name) == (("sent", None) if name in house.calls else ("suppressed", "goal"))
        assert "converted" in house.row(name)


def test_what_waits_to_be_tried_again_can_be_called_back(house: House) -> None:
    """The provider has refused it for now; it is cancelled before the queue brings it again."""
    house.answer = lambda: Outcome(State.FAILED_RETRYABLE, "Throttling")
    house.deliver(activation())
    house.tell(activation(suppressed="cancelled"))
    house.answer = lambda: Outcome(State.SENT)
    assert house.deliver(activation()) == []
    assert (house.state(), house.calls) == (("suppressed", "cancelled"), ["a1"])


def test_a_campaign_that_was_withdrawn_sends_nothing_that_is_held(house: House) -> None:
    """Published without it: what waits is suppressed, under a reason of its own."""
    house.deliver(activation("a1", "quiet"), activation("a2", "quiet"))
    ruleset = msgspec.to_builtins(Ruleset("demo", 2, [], []))
    house.database.rulesets.insert_one({"_id": "demo:2", "site": "demo", "ruleset": ruleset})
    house.database.control.update_one({"_id": "demo"}, {"$set": {"ruleset": 2}}, upsert=True)
    house.now = QUIET_ENDS
    assert house.sweep()["outcomes"] == {"suppressed": 2}
    assert house.state() == house.state("a2") == ("suppressed", "withdrawn")
    assert not house.calls


def test_what_fails_is_given_up_after_a_day_of_failures(house: House) -> None:
    """Not a day after it was due: held for days, it has a day from its first failure on."""
    house.pause("campaign:quiet")
    house.deliver(activation("a1", "quiet", due=NOW + 30 * HOUR))
    house.pause()

    def missing(site: str, version: int) -> Ruleset:
        raise Unavailable(f"no ruleset {version} of {site}", code="ruleset_missing")

    house.deps = replace(house.deps, ports=replace(house.deps.ports, rulesets=Rulesets(missing)))
    for hours, state in ((30, "held"), (31, "held"), (54, "held"), (55, "failed_final")):
        house.now = NOW + hours * HOUR
        house.sweep()
        assert house.state() == (state, "ruleset_missing")


def test_a_pause_is_obeyed_and_lifted(house: House) -> None:
    """What comes meanwhile is held, a popup suppressed; resumed, the sweep sends what is not too late by then."""
    house.pause("channel:email", "campaign:pop")
    assert house.deliver(activation("a1")) == []
    assert house.tell(activation("p1", "pop")) == {}
    assert house.state() == ("held", "paused")
    assert house.state("p1") == ("suppressed", "paused")
    house.now += MINUTE
    assert house.sweep()["outcomes"] == {"held": 1}
    house.pause()
    assert house.sweep()["outcomes"] == {"sent": 1}
    house.pause("*")
    assert house.deliver(activation("a2")) == []
    house.now += 2 * HOUR
    house.pause()
    assert house.sweep()["outcomes"] == {"dropped_late": 1}
    assert house.calls == ["a1"]


def test_without_knowing_the_pauses_nothing_is_sent(house: House) -> None:
    """Before they could be read for the first time: not an e-mail, and not a popup."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with MongoClient[dict[str, Any]]("127.0.0.1", port, serverSelectionTimeoutMS=200) as away:
            blind = Controls(away["x"], every_s=10, clock=lambda: house.now, observability=observe("engager"))
            house.deps = replace(house.deps, ports=replace(house.deps.ports, controls=blind))
            assert house.deliver(activation("a1"), activation("a2", "pop")) == ["a1", "a2"]
    assert not house.calls
    assert house.database.activations.count_documents({}) == 0


def test_an_opt_out_stops_what_is_held(house: House) -> None:
    """All gates are asked again when it is released."""
    house.deliver(activation("a1", "quiet"))
    OptOuts(house.database.optouts).add("demo", "ada", "email", "unsubscribed")
    house.now = QUIET_ENDS
    assert house.sweep()["outcomes"] == {"suppressed": 1}
    assert house.state() == ("suppressed", "opt_out")


def test_an_opt_out_is_of_one_channel(house: House) -> None:
    """The first reason stays; channels that are added at once are all kept."""
    opt_outs = OptOuts(house.database.optouts)
    added = together(8, lambda who: opt_outs.add("demo", "ada", "email" if who % 2 else "push", f"r{who}"))
    assert Counter(added) == {True: 2, False: 6}
    assert [opt_outs.has("demo", "ada", name) for name in ("email", "push", "sms")] == [True, True, False]
    assert not opt_outs.has("demo", "bob", "email")
    assert not opt_outs.has("other", "ada", "email")


def test_a_delayed_one_is_checked_against_the_current_targets(house: House) -> None:
    """Of the generation that is current when it is sent."""
    house.database.control.insert_one({"_id": "demo", "generation": 2})
    for generation, groups in ((1, ["few"]), (2, ["others"])):
        rows = house.database[targets_collection("demo", generation)]
        rows.insert_one({"_id": "ada", "groups": groups})
    house.deliver(activation("a1", "groups", at=NOW - HOUR))
    assert house.state() == ("suppressed", "recheck")
    house.deliver(activation("a2", "groups"))
    assert house.state("a2") == ("sent", None)
    house.database[targets_collection("demo", 2)].update_one({"_id": "ada"}, {"$push": {"groups": "few"}})
    house.deliver(activation("a3", "groups", at=NOW - HOUR))
    assert house.state("a3") == ("sent", None)


def test_a_ceiling_is_kept_by_all_who_send(house: House) -> None:
    """Five a minute, however many Engagers and sweeps there are; in the end all are sent."""
    names = [f"a{n}" for n in range(16)]
    together(16, lambda who: house.deliver(activation(names[who], "text")))
    assert len(house.calls) == RATE, "there is room for five"
    minute = 0
    while len(house.calls) < len(names) and minute < 12:
        before, minute = len(house.calls), minute + 1
        house.now = NOW - NOW % MINUTE + minute * MINUTE
        together(4, lambda _: house.sweep())
        # Two sweeps may see to the same row: for a moment both have a place, and a third one finds none.
        assert len(house.calls) - before <= RATE
    assert sorted(house.calls) == sorted(names)
    assert {house.state(name) for name in names} == {("sent", None)}


def test_a_released_one_that_is_throttled_is_not_lost(house: House) -> None:
    """No message of the queue stands behind it: the ledger keeps it until the provider takes it."""
    house.deliver(activation("a1", "quiet"))
    house.now = QUIET_ENDS
    house.answer = lambda: Outcome(State.FAILED_RETRYABLE, "Throttling")
    assert house.sweep()["outcomes"] == {"held": 1}
    assert house.state() == ("held", "Throttling")
    assert house.sweep()["outcomes"] == {}
    house.now += MINUTE
    house.answer = lambda: Outcome(State.SENT)
    assert house.sweep()["outcomes"] == {"sent": 1}
    assert house.row()["attempts"] == 2


def test_a_sweep_that_dies_leaves_unknown(house: House) -> None:
    """Killed between claim and answer: nobody knows, so it is not sent again, and after 15 minutes it is counted."""
    house.deliver(activation("a1", "quiet"))
    house.now = QUIET_ENDS
    (held,) = house.deps.sweeper.backlog.due()
    assert house.deps.ports.ledger.claim(held.activation, held=held)
    house.now += MINUTE + 1
    assert house.sweep()["interrupted"] == 1
    assert house.state() == ("unknown", "interrupted")
    assert "held" not in house.row()
    house.now += 15 * MINUTE + 1
    assert house.sweep()["unknown_old"] == 1
    house.now += 24 * HOUR
    assert house.sweep()["unknown_old"] == 0
    assert not house.calls


def test_ses_settles_what_nobody_knew(house: House) -> None:
    """Through the handler: a report of the mail with the activation's tag, in a shape that EventBridge delivers."""
    house.answer = lambda: Outcome(State.UNKNOWN, "ReadTimeoutError")
    house.deliver(activation())
    detail = {
        "eventType": "Complaint",
        "complaint": {"timestamp": "2026-09-21T14:14:00.000Z", "complainedRecipients": [{"emailAddress": "a@b.c"}]},
        "mail": {"messageId": "ses-1", "tags": {"activation_id": ["a1"], "ses:operation": ["SendRawEmail"]}},
    }
    event = {"version": "0", "source": "aws.ses", "detail-type": "Email Complaint Received", "detail": detail}
    for _ in range(2):
        noted = create_handler(house.deps)(event, Context())
        assert noted == {"event": "Complaint", "known": True, "opted_out": "complaint"}
    assert house.state() == ("sent", None)
    assert house.row()["provider_id"] == "ses-1"
    house.deliver(activation("a2"))
    assert house.state("a2") == ("suppressed", "opt_out")


def test_a_goal_may_come_before_its_row(house: House) -> None:
    """The call that tells of it succeeds; a sweep marks the row as soon as there is one. Repeats are harmless."""
    goal = Conversion("a1", NOW + 5)
    for _ in range(2):
        assert house.tell(conversions=(goal,)) == {}
    assert house.sweep()["converted"] == 0
    house.deliver(activation())
    assert house.sweep()["converted"] == 1
    assert house.row()["converted"].timestamp() * 1000 == NOW + 5
    house.tell(activation("h1", suppressed="holdout"), conversions=(Conversion("h1", NOW),))
    assert house.state("h1") == ("held_out", "holdout")
    assert house.row("h1")["converted"].timestamp() * 1000 == NOW


def test_somebody_forgotten_gets_no_popup_and_leaves_no_name(house: House) -> None:
    """His page is still open: seconds after he was forgotten, nothing is shown to him, and the row has no name."""
    assert set(house.tell(activation("p1", "pop"))) == {"p1"}
    create_handler(house.deps)({"type": "forget", "site": "demo", "user": "ada"}, Context())
    house.now += MINUTE  # memory is older than three polls: it is renewed first
    assert house.tell(activation("p2", "pop"), activation("p3", "pop", suppressed="cap")) == {}
    assert set(house.tell(activation("p4", "pop", user="bob"))) == {"p4"}
    assert house.state("p2") == ("suppressed", "forgotten")
    assert house.state("p3") == ("suppressed", "cap")
    assert "ada" not in str(list(house.database.activations.find()))


def test_tombstones_that_come_later_are_found_too(house: House) -> None:
    """Each look asks for what is new; one that was there before stays known, and a repeated one changes nothing."""
    for n, user in enumerate(("ada", "bob", "ada")):
        create_handler(house.deps)({"type": "forget", "site": "demo", "user": user}, Context())
        house.now += MINUTE
        house.tell(*(activation(f"{name}-{n}", "pop", user=name) for name in ("ada", "bob", "cleo")))
    reasons = {name: [house.state(f"{name}-{n}")[1] for n in range(3)] for name in ("ada", "bob", "cleo")}
    assert reasons == {"ada": ["forgotten"] * 3, "bob": [None, "forgotten", "forgotten"], "cleo": [None] * 3}


def test_somebody_forgotten_gets_nothing_that_was_held(house: House) -> None:
    """The request to forget reaches the ledger; a copy that comes later is recorded without a name."""
    house.deliver(activation("a1", "quiet"))
    changed = create_handler(house.deps)({"type": "forget", "site": "demo", "user": "ada"}, Context())
    assert changed["ledger"] == 1
    house.now = QUIET_ENDS
    assert house.sweep()["outcomes"] == {}
    house.deliver(activation("a2", "quiet"))
    assert house.state("a1") == house.state("a2") == ("suppressed", "forgotten")
    assert "ada" not in str(list(house.database.activations.find()))
    assert not house.calls
