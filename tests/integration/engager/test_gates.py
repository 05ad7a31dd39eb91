"""The whole Engager on a real MongoDB: activations that are held, delivered, recalled, paused or stopped."""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient
from pymongo.database import Database

from engager.channels.channel import OutboundChannel
from engager.controls import Controls
from engager.handler import create_handler
from engager.ledger.states import DeliveryResult, RenderedContent, State
from engager.ports import Deps
from engager.rulesets import DeliveryContext, Rulesets
from engager.wiring import assemble
from shared.contracts import Activation, Conversion, Engage
from shared.errors import Unavailable
from shared.mongodb import targets_collection
from shared.observability import observe
from shared.optouts import OptOuts
from shared.ruleset import Campaign, Goal, QuietHours, Ruleset, Sender, Trigger
from shared.settings import ENGAGER, Settings
from shared.targets import create_generation
from tests.integration.decider.test_user_state import together
from tests.support.lambdas import Context
from tests.support.opt_outs import has_opted_out

NOW = 1_790_000_000_000  # 2026-09-21, 14:13 UTC
MINUTE = 60_000
HOUR = 60 * MINUTE
QUIET_ENDS = NOW - NOW % HOUR + HOUR
RATE = 5
Db = Database[dict[str, Any]]


class Home:
    """An Engager with a provider in memory. ``now``: by its clock. ``calls``: all calls to the provider."""

    def __init__(self, database: Db) -> None:
        self.database, self.now = database, NOW
        self.calls: list[str] = []
        self.respond: Callable[[], DeliveryResult] = lambda: DeliveryResult(State.SENT, provider_id="p")
        self._lock = threading.Lock()
        settings = Settings(
            function=ENGAGER,
            signing_secret="s" * 32,
            preferences_url="https://p.example",
            poll_seconds=10,
            clock=lambda: self.now,
        )
        given = assemble(settings, database)
        channel = OutboundChannel(self._prepare)
        outbound = {"email": channel, "sms": channel}
        self.deps: Deps = replace(given, ports=replace(given.ports, outbound=outbound))

    def _prepare(
        self,
        activation: Activation,
        context: DeliveryContext,  # noqa: ARG002 - one signature for all channels
        customer: Mapping[str, Any],  # noqa: ARG002
        content: RenderedContent,  # noqa: ARG002
    ) -> Callable[[], DeliveryResult]:
        def call() -> DeliveryResult:
            with self._lock:
                self.calls.append(activation.id)
            return self.respond()

        return call

    def deliver(self, *activations: Activation) -> list[str]:
        """Deliver from the queue; return the ids that go back to it."""
        records = [
            {"messageId": each.id, "receiptHandle": "r", "body": msgspec.json.encode(each).decode()}
            for each in activations
        ]
        response = create_handler(self.deps)({"Records": records}, Context())
        return [item["itemIdentifier"] for item in response["batchItemFailures"]]

    def request(self, *activations: Activation, conversions: tuple[Conversion, ...] = ()) -> dict[str, Any]:
        """Call synchronously, as the Decider does."""
        engage = msgspec.to_builtins(Engage(list(activations), self.now + 5_000, list(conversions)))
        contents: dict[str, Any] = create_handler(self.deps)(engage, Context())["contents"]
        return contents

    def sweep(self) -> dict[str, Any]:
        """Sweep."""
        swept: dict[str, Any] = create_handler(self.deps)({"type": "sweep"}, Context())
        return swept

    def row(self, name: str = "a1") -> dict[str, Any]:
        """Return a row of the ledger."""
        return self.database.activations.find_one({"_id": name}) or {}

    def state(self, name: str = "a1") -> tuple[str | None, str | None]:
        """Return the state and the reason of a row."""
        row = self.row(name)
        return row.get("state"), row.get("reason")

    def pause(self, *what: str) -> None:
        """Pause, and let a minute pass, so that the Engager reads the pauses again."""
        self.database.control.update_one({"_id": "demo"}, {"$set": {"paused": list(what)}}, upsert=True)
        self.now += MINUTE


@pytest.fixture(name="home")
def _home(mongodb: Db) -> Home:
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
    return Home(mongodb)


def activation(name: str = "a1", campaign: str = "mail", **changes: Any) -> Activation:
    """Return an activation whose event attributes have names that MongoDB documents must not have."""
    channel = {"pop": "popup", "text": "sms"}.get(campaign, "email")
    values: dict[str, Any] = {"attributes": {"a.b": 1, "$c": 2**70}, "at": NOW, "due": NOW, **changes}
    user = values.pop("user", "ada")
    return Activation(name, "demo", user, campaign, 1, channel, event="Order", message_id="m1", **values)


def test_what_is_held_is_sent_when_quiet_hours_end(home: Home) -> None:
    """Both copies of the message are acknowledged; the e-mail is sent once, and not a millisecond early."""
    names = [f"a{n}" for n in range(30)]
    for name in (*names, *names):
        assert home.deliver(activation(name, "quiet")) == []
    assert home.state() == ("held", "quiet_hours")
    home.now = QUIET_ENDS - 1
    assert home.sweep()["outcomes"] == {}
    home.now = QUIET_ENDS
    assert home.sweep()["outcomes"] == {"sent": 30}
    assert home.sweep()["outcomes"] == {}
    assert Counter(home.calls) == dict.fromkeys(names, 1)
    assert {home.state(name) for name in names} == {("sent", None)}
    assert "held" not in home.row()
    assert "until" not in home.row()


def test_eight_sweeps_at_once_call_the_provider_once_each(home: Home) -> None:
    """All sweeps start at the same moment with the same due rows."""
    names = [f"a{n}" for n in range(40)]
    for name in names:
        home.deliver(activation(name, "quiet"))
    home.now = QUIET_ENDS
    swept = together(8, lambda _: home.sweep())
    assert Counter(home.calls) == dict.fromkeys(names, 1)
    assert sum(each["outcomes"].get("sent", 0) for each in swept) == 40
    assert all(each["failed"] == 0 for each in swept)


def test_a_cancellation_meets_a_sweep(home: Home) -> None:
    """Each e-mail is either cancelled or sent, and the ledger says which."""
    names = [f"a{n}" for n in range(60)]
    for name in names:
        home.deliver(activation(name, "quiet"))
    home.now = QUIET_ENDS
    records = [activation(name, "quiet", suppressed="cancelled") for name in reversed(names)]

    def act(who: int) -> None:
        if who:
            home.sweep()
        else:
            for record in records:
                home.request(record)

    together(2, act)
    assert max(Counter(home.calls).values()) == 1
    for name in names:
        assert home.state(name) == (("sent", None) if name in home.calls else ("suppressed", "cancelled"))


@pytest.mark.parametrize("reason", ["cancelled", "goal"])
def test_only_a_held_activation_can_be_recalled(home: Home, reason: str) -> None:
    """A sent row stays sent. Other reasons than a cancellation or a goal do not change a held row."""
    home.deliver(activation("a1", "quiet"), activation("a2", "quiet"), activation("a3"))
    home.request(
        activation("a1", "quiet", suppressed=reason),
        activation("a2", "quiet", suppressed="cap"),
        activation("a2", "quiet", suppressed="state_lost"),
        activation("a3", suppressed=reason),
    )
    assert home.state("a1") == ("suppressed", reason)
    assert "held" not in home.row("a1")
    assert home.state("a2") == ("held", "quiet_hours")
    assert home.state("a3") == ("sent", None)


@pytest.mark.parametrize("calls_back", [True, False])
def test_a_goal_recalls_messages_that_are_not_sent_yet(home: Home, calls_back: bool) -> None:
    """A goal recalls held and throttled messages, unless the campaign says otherwise. Sent ones stay sent."""
    wanted = {"$set": {"ruleset.campaigns.$[].cancel_on_goal": calls_back}}
    home.database.rulesets.update_one({"_id": "demo:1"}, wanted)
    home.deliver(activation("a1", "quiet"), activation("a2"))
    home.respond = lambda: DeliveryResult(State.FAILED_RETRYABLE, "Throttling")
    assert home.deliver(activation("a3")) == ["a3"]
    home.respond = lambda: DeliveryResult(State.SENT)
    home.request(conversions=tuple(Conversion(name, NOW + 5, calls_back) for name in ("a1", "a2", "a3")))
    home.now = QUIET_ENDS
    home.sweep()
    assert home.deliver(activation("a3")) == []
    expected = ("suppressed", "goal") if calls_back else ("sent", None)
    assert [home.state(name) for name in ("a1", "a2", "a3")] == [expected, ("sent", None), expected]
    assert all(home.row(name)["converted"].timestamp() * 1000 == NOW + 5 for name in ("a1", "a2", "a3"))
    assert "held" not in home.row()


def test_an_early_goal_recalls_a_message_that_is_held_later(home: Home) -> None:
    """The goal comes while the message is queued; the sweep applies it before it delivers."""
    home.request(conversions=(Conversion("a1", NOW, calls_back=True),))
    home.deliver(activation("a1", "quiet"))
    home.now = QUIET_ENDS
    assert home.sweep()["outcomes"] == {}
    assert (home.state(), home.calls) == (("suppressed", "goal"), [])


@pytest.mark.parametrize("calls_back", [True, False])
def test_a_goal_recalls_a_queued_message(home: Home, calls_back: bool) -> None:
    """The goal comes before the message is received, so nothing is sent unless the campaign says otherwise."""
    wanted = {"$set": {"ruleset.campaigns.$[].cancel_on_goal": calls_back}}
    home.database.rulesets.update_one({"_id": "demo:1"}, wanted)
    home.request(conversions=(Conversion("a1", NOW, calls_back=calls_back),))
    assert home.deliver(activation("a1", "wish"), activation("a2", "wish")) == []
    assert home.state() == (("suppressed", "goal") if calls_back else ("sent", None))
    assert home.state("a2") == ("sent", None)
    home.sweep()
    assert home.row()["converted"].timestamp() * 1000 == NOW
    assert home.state()[0] == ("suppressed" if calls_back else "sent")


def test_a_conversion_and_a_delivery_have_one_winner(home: Home) -> None:
    """With a sweep and sixty goals at once, each message is either sent and converted, or recalled."""
    names = [f"a{n}" for n in range(60)]
    for name in names:
        home.deliver(activation(name, "quiet"))
    home.now = QUIET_ENDS

    def act(who: int) -> None:
        if who:
            home.sweep()
        else:
            for name in reversed(names):
                home.deps.mark_conversions([Conversion(name, home.now, calls_back=True)])

    together(2, act)
    for name in names:
        assert home.state(name) == (("sent", None) if name in home.calls else ("suppressed", "goal"))
        assert "converted" in home.row(name)


def test_a_message_that_waits_for_a_retry_can_be_recalled(home: Home) -> None:
    """The provider throttled it, and it is cancelled before the queue delivers it again."""
    home.respond = lambda: DeliveryResult(State.FAILED_RETRYABLE, "Throttling")
    home.deliver(activation())
    home.request(activation(suppressed="cancelled"))
    home.respond = lambda: DeliveryResult(State.SENT)
    assert home.deliver(activation()) == []
    assert (home.state(), home.calls) == (("suppressed", "cancelled"), ["a1"])


def test_a_withdrawn_campaign_sends_no_held_messages(home: Home) -> None:
    """The next ruleset lacks the campaign, so its held messages are suppressed as withdrawn."""
    home.deliver(activation("a1", "quiet"), activation("a2", "quiet"))
    ruleset = msgspec.to_builtins(Ruleset("demo", 2, [], []))
    home.database.rulesets.insert_one({"_id": "demo:2", "site": "demo", "ruleset": ruleset})
    home.database.control.update_one({"_id": "demo"}, {"$set": {"ruleset": 2}}, upsert=True)
    home.now = QUIET_ENDS
    assert home.sweep()["outcomes"] == {"suppressed": 2}
    assert home.state() == home.state("a2") == ("suppressed", "withdrawn")
    assert not home.calls


def test_a_failing_activation_is_given_up_after_a_day(home: Home) -> None:
    """The day starts at its first failure, not at its due time."""
    home.pause("campaign:quiet")
    home.deliver(activation("a1", "quiet", due=NOW + 30 * HOUR))
    home.pause()

    def missing(site: str, version: int) -> Ruleset:
        raise Unavailable(f"no ruleset {version} of {site}", code="ruleset_missing")

    home.deps = replace(home.deps, ports=replace(home.deps.ports, rulesets=Rulesets(missing)))
    for hours, state in ((30, "held"), (31, "held"), (54, "held"), (55, "failed_final")):
        home.now = NOW + hours * HOUR
        home.sweep()
        assert home.state() == (state, "ruleset_missing")


def test_a_pause_is_obeyed_and_lifted(home: Home) -> None:
    """A pause holds messages and suppresses popups. After it ends, the sweep sends those that are not too late."""
    home.pause("channel:email", "campaign:pop")
    assert home.deliver(activation("a1")) == []
    assert home.request(activation("p1", "pop")) == {}
    assert home.state() == ("held", "paused")
    assert home.state("p1") == ("suppressed", "paused")
    home.now += MINUTE
    assert home.sweep()["outcomes"] == {"held": 1}
    home.pause()
    assert home.sweep()["outcomes"] == {"sent": 1}
    home.pause("*")
    assert home.deliver(activation("a2")) == []
    home.now += 2 * HOUR
    home.pause()
    assert home.sweep()["outcomes"] == {"dropped_late": 1}
    assert home.calls == ["a1"]


@pytest.mark.parametrize("what", ["*", "channel:email", "campaign:mail"])
def test_a_pause_stops_the_very_next_message(home: Home, what: str) -> None:
    """Messages obey a pause at once, popups after the interval. So does what a sweep finds, and a resumption."""
    assert home.deliver(activation("a0")) == []
    home.database.control.update_one({"_id": "demo"}, {"$set": {"paused": [what]}}, upsert=True)
    assert home.deliver(activation("a1")) == []
    assert (home.calls, home.state()) == (["a0"], ("held", "paused"))
    home.now += MINUTE
    home.database.control.update_one({"_id": "demo"}, {"$set": {"paused": []}})
    home.deliver(activation("a2"))
    assert home.calls == ["a0", "a2"]


def test_pauses_and_opt_outs_of_odd_users_are_told_apart(home: Home) -> None:
    """Ids that look like a site, an expression or a field change nothing."""
    blocks = home.deps.ports.send_blocks
    opt_outs = OptOuts(home.database.optouts)
    for user in ("demo", "$channels", "a.b", ":", "{}"):
        given = replace_user(activation("a1"), user)
        assert blocks.read(given) == (False, False)
        opt_outs.add("demo", user, "email", "x")
        assert blocks.read(given) == (True, False)


def replace_user(given: Activation, user: str) -> Activation:
    """Return *given* for another user."""
    return msgspec.structs.replace(given, user=user)


def test_nothing_is_sent_before_the_pauses_are_known(home: Home) -> None:
    """Neither e-mails nor popups are sent before the controls were read once."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with MongoClient[dict[str, Any]]("127.0.0.1", port, serverSelectionTimeoutMS=200) as away:
            blind = Controls(away["x"], every_s=10, clock=lambda: home.now, observability=observe("engager"))
            home.deps = replace(home.deps, ports=replace(home.deps.ports, controls=blind))
            assert home.deliver(activation("a1"), activation("a2", "pop")) == ["a1", "a2"]
    assert not home.calls
    assert home.database.activations.count_documents({}) == 0


def test_an_opt_out_stops_what_is_held(home: Home) -> None:
    """A held activation passes all gates again."""
    home.deliver(activation("a1", "quiet"))
    OptOuts(home.database.optouts).add("demo", "ada", "email", "unsubscribed")
    home.now = QUIET_ENDS
    assert home.sweep()["outcomes"] == {"suppressed": 1}
    assert home.state() == ("suppressed", "opt_out")


def test_an_opt_out_is_of_one_channel(home: Home) -> None:
    """The first reason is kept, and so are channels that are added at the same moment."""
    opt_outs = OptOuts(home.database.optouts)
    added = together(8, lambda who: opt_outs.add("demo", "ada", "email" if who % 2 else "push", f"r{who}"))
    assert Counter(added) == {True: 2, False: 6}
    has = partial(has_opted_out, home.database)
    assert [has("demo", "ada", name) for name in ("email", "push", "sms")] == [True, True, False]
    assert not has("demo", "bob", "email")
    assert not has("other", "ada", "email")


def test_a_delayed_activation_is_checked_against_the_current_targets(home: Home) -> None:
    """The generation is the one that is live at the delivery."""
    home.database.control.insert_one({"_id": "demo", "generation": 2})
    for generation, groups in ((1, ["few"]), (2, ["others"])):
        name = targets_collection("demo", generation)
        create_generation(home.database, name)
        home.database[name].insert_one({"_id": "ada", "groups": groups})
    home.deliver(activation("a1", "groups", at=NOW - HOUR))
    assert home.state() == ("suppressed", "recheck")
    home.deliver(activation("a2", "groups"))
    assert home.state("a2") == ("sent", None)
    home.database[targets_collection("demo", 2)].update_one({"_id": "ada"}, {"$push": {"groups": "few"}})
    home.deliver(activation("a3", "groups", at=NOW - HOUR))
    assert home.state("a3") == ("sent", None)


def test_a_dropped_generation_says_nothing_about_a_user(home: Home) -> None:
    """The Engager holds an old pointer. It looks up the current one, and otherwise leaves the message in the queue."""
    home.database.control.insert_one({"_id": "demo", "generation": 1})
    create_generation(home.database, targets_collection("demo", 1))
    home.deliver(activation("a0", "groups", at=NOW - HOUR))
    assert home.state("a0") == ("suppressed", "recheck"), "not a target of this generation"
    home.database.drop_collection(targets_collection("demo", 1))
    assert home.deliver(activation("a1", "groups", at=NOW - HOUR)) == ["a1"], "back to the queue"
    assert home.database.activations.find_one({"_id": "a1"}) is None
    create_generation(home.database, targets_collection("demo", 2))
    home.database[targets_collection("demo", 2)].insert_one({"_id": "ada", "groups": ["few"]})
    home.database.control.update_one({"_id": "demo"}, {"$set": {"generation": 2}})
    assert home.deliver(activation("a1", "groups", at=NOW - HOUR)) == []
    assert home.state("a1") == ("sent", None)


def test_all_engagers_keep_the_rate_limit_together(home: Home) -> None:
    """Many Engagers and sweeps send five a minute in total; in the end all messages are sent."""
    names = [f"a{n}" for n in range(16)]
    together(16, lambda who: home.deliver(activation(names[who], "text")))
    assert len(home.calls) == RATE, "the limit is five"
    minute = 0
    while len(home.calls) < len(names) and minute < 12:
        before, minute = len(home.calls), minute + 1
        home.now = NOW - NOW % MINUTE + minute * MINUTE
        together(4, lambda _: home.sweep())
        # Two sweeps may count the same row for a moment, so that a third one finds the limit reached.
        assert len(home.calls) - before <= RATE
    assert sorted(home.calls) == sorted(names)
    assert {home.state(name) for name in names} == {("sent", None)}


def test_a_held_activation_that_is_throttled_is_not_lost(home: Home) -> None:
    """The queue has no message for it, so the ledger holds it until the provider accepts it."""
    home.deliver(activation("a1", "quiet"))
    home.now = QUIET_ENDS
    home.respond = lambda: DeliveryResult(State.FAILED_RETRYABLE, "Throttling")
    assert home.sweep()["outcomes"] == {"held": 1}
    assert home.state() == ("held", "Throttling")
    assert home.sweep()["outcomes"] == {}
    home.now += MINUTE
    home.respond = lambda: DeliveryResult(State.SENT)
    assert home.sweep()["outcomes"] == {"sent": 1}
    assert home.row()["attempts"] == 2


def test_a_sweep_that_dies_leaves_unknown(home: Home) -> None:
    """A sweep dies after the claim: the e-mail is not sent again, and counts as unknown after 15 minutes."""
    home.deliver(activation("a1", "quiet"))
    home.now = QUIET_ENDS
    (held,) = home.deps.sweep.backlog.due()
    assert home.deps.ports.ledger.claim(held.activation, held=held)
    home.now += MINUTE + 1
    assert home.sweep()["interrupted"] == 1
    assert home.state() == ("unknown", "interrupted")
    assert "held" not in home.row()
    home.now += 15 * MINUTE + 1
    assert home.sweep()["unknown_old"] == 1
    home.now += 24 * HOUR
    assert home.sweep()["unknown_old"] == 0
    assert not home.calls


def test_ses_settles_an_unknown_row(home: Home) -> None:
    """The handler gets an event about the e-mail with the activation's tag, as EventBridge delivers it."""
    home.respond = lambda: DeliveryResult(State.UNKNOWN, "ReadTimeoutError")
    home.deliver(activation())
    detail = {
        "eventType": "Complaint",
        "complaint": {"timestamp": "2026-09-21T14:14:00.000Z", "complainedRecipients": [{"emailAddress": "a@b.c"}]},
        "mail": {"messageId": "ses-1", "tags": {"activation_id": ["a1"], "ses:operation": ["SendRawEmail"]}},
    }
    event = {"version": "0", "source": "aws.ses", "detail-type": "Email Complaint Received", "detail": detail}
    for _ in range(2):
        recorded = create_handler(home.deps)(event, Context())
        assert recorded == {"event": "Complaint", "known": True, "opted_out": "complaint"}
    assert home.state() == ("sent", None)
    assert home.row()["provider_id"] == "ses-1"
    home.deliver(activation("a2"))
    assert home.state("a2") == ("suppressed", "opt_out")


def test_a_goal_may_come_before_its_row(home: Home) -> None:
    """The request succeeds, and a sweep marks the row once it exists. Repeats are harmless."""
    goal = Conversion("a1", NOW + 5)
    for _ in range(2):
        assert home.request(conversions=(goal,)) == {}
    assert home.sweep()["converted"] == 0
    home.deliver(activation())
    assert home.sweep()["converted"] == 1
    assert home.row()["converted"].timestamp() * 1000 == NOW + 5
    home.request(activation("h1", suppressed="holdout"), conversions=(Conversion("h1", NOW),))
    assert home.state("h1") == ("held_out", "holdout")
    assert home.row("h1")["converted"].timestamp() * 1000 == NOW


def test_a_forgotten_user_gets_no_popup_and_leaves_no_name(home: Home) -> None:
    """The page is still open: seconds later it shows no popup, and the row has a pseudonym."""
    assert set(home.request(activation("p1", "pop"))) == {"p1"}
    create_handler(home.deps)({"type": "forget_user", "site": "demo", "user": "ada"}, Context())
    home.now += MINUTE  # the cache is older than three polls, so it is refreshed first
    assert home.request(activation("p2", "pop"), activation("p3", "pop", suppressed="cap")) == {}
    assert set(home.request(activation("p4", "pop", user="bob"))) == {"p4"}
    assert home.state("p2") == ("suppressed", "forgotten")
    assert home.state("p3") == ("suppressed", "cap")
    assert "ada" not in str(list(home.database.activations.find()))


def test_later_tombstones_are_found_too(home: Home) -> None:
    """Each refresh loads new tombstones and keeps the known ones; a repeated one changes nothing."""
    for n, user in enumerate(("ada", "bob", "ada")):
        create_handler(home.deps)({"type": "forget_user", "site": "demo", "user": user}, Context())
        home.now += MINUTE
        home.request(*(activation(f"{name}-{n}", "pop", user=name) for name in ("ada", "bob", "cleo")))
    reasons = {name: [home.state(f"{name}-{n}")[1] for n in range(3)] for name in ("ada", "bob", "cleo")}
    assert reasons == {"ada": ["forgotten"] * 3, "bob": [None, "forgotten", "forgotten"], "cleo": [None] * 3}


def test_a_forgotten_user_gets_no_held_messages(home: Home) -> None:
    """Forgetting suppresses held rows, and a later copy is recorded under a pseudonym."""
    home.deliver(activation("a1", "quiet"))
    changed = create_handler(home.deps)({"type": "forget_user", "site": "demo", "user": "ada"}, Context())
    assert changed["ledger"] == 1
    home.now = QUIET_ENDS
    assert home.sweep()["outcomes"] == {}
    home.deliver(activation("a2", "quiet"))
    assert home.state("a1") == home.state("a2") == ("suppressed", "forgotten")
    assert "ada" not in str(list(home.database.activations.find()))
    assert not home.calls
