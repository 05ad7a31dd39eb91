"""Popups that are offered until they are seen, and the limit of events per user, on real servers."""

from collections.abc import Callable
from typing import Any

import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys
from decider.activations import activation_id
from decider.keys import message_digest
from decider.store import Unreadable
from shared.contracts import Decide, Decision, Event
from shared.identities import PopupEvent
from shared.ruleset import Campaign, Quota
from tests.integration.decider.test_gates import ADD, DAY, House, campaign
from tests.integration.decider.test_user_state import together
from tests.integration.decider.test_wake import MINUTE, SECOND, T0

pytestmark = pytest.mark.both_engines

HALF_HOUR = 30 * MINUTE
AGAIN = 10 * SECOND


class Fair(House):
    """A published site that accepts popup events, and a limited number of events per user."""

    limit: Quota | None = None

    def publish(self, campaigns: Any, *, generation: int) -> None:
        """Make *campaigns* the current ruleset, with the site's limit."""
        super().publish(campaigns, generation=generation)
        if self.limit is not None:
            changes = {"ruleset.events_per_user": {"max": self.limit.max, "per": self.limit.per}}
            self.database.rulesets.update_one({"_id": f"demo:{self.version}"}, {"$set": changes})

    def decide(self, event: str, at: int, message_id: str = "", **fields: Any) -> Decision:
        """Decide one event of anna; return the decision."""
        one = Event("anna", event, message_id or f"{event} {at}", T0 + at, T0 + at, **fields)
        (decision,) = self.ingest(Decide("demo", [one], T0 + at + 2000)).decisions
        return decision

    def ids(self, event: str, at: int, **fields: Any) -> list[str]:
        """Return the ids of the popups in the response to one event of anna."""
        return [each["id"] for each in self.decide(event, at, **fields).messages]

    def report(self, activation: str, what: str, at: int) -> None:
        """Report what happened to a popup of anna."""
        reports = [PopupEvent("anna", activation, what, T0 + at)]
        self.ingest(Decide("demo", list(reports), T0 + at))


FairMaker = Callable[..., Fair]


@pytest.fixture(name="fair")
def _fair(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> FairMaker:
    def make(*campaigns: Campaign, limit: Quota | None = None, **caps: Quota) -> Fair:
        Fair.limit = limit
        return Fair(redis_client, mongodb, campaigns or [popup()], caps)

    return make


def popup(name: str = "a", **changes: Any) -> Campaign:
    """Return a campaign with a popup after `pay`, offered for half an hour until it is seen."""
    return campaign(channel="popup", name=name, **{"until_seen": HALF_HOUR, **changes})


def test_a_popup_is_offered_again_until_its_impression(fair: FairMaker) -> None:
    """The next event of any kind offers the same activation again. After that it is not offered."""
    home = fair(popup(limits=None), campaign(ADD, name="b"))
    (first,) = home.ids("pay", 0)
    assert home.ids("add", AGAIN) == [first]
    home.report(first, "seen", AGAIN + SECOND)
    assert home.ids("add", 3 * AGAIN) == []
    assert {each.id for each in home.post.shown if each.channel == "popup"} == {first}


def test_an_offer_is_lost_with_its_store(fair: FairMaker) -> None:
    """A limit: only the store knows of it. A repeated event is the same activation, and is offered again."""
    home = fair(popup(limits=None), campaign(ADD, name="b"))
    (first,) = home.ids("pay", 0, message_id="m")
    home.redis.flushall()
    assert home.ids("add", AGAIN) == []
    assert home.ids("pay", 2 * AGAIN, message_id="m") == [first]
    assert home.ids("add", 4 * AGAIN) == [first]


@pytest.mark.parametrize(("what", "ends"), [("seen", True), ("clicked", True), ("dismissed", True), ("failed", False)])
def test_what_ends_an_offer(fair: FairMaker, what: str, ends: bool) -> None:
    """A click or a dismissal means that it was seen. A tag that failed to show it has not shown it."""
    home = fair(popup(), campaign(ADD, name="b"))
    (first,) = home.ids("pay", 0)
    home.report(first, what, SECOND)
    assert home.ids("add", AGAIN) == ([] if ends else [first])


def test_a_row_that_cannot_be_read_keeps_no_offer_of_others_alive(fair: FairMaker) -> None:
    """Bob's row is garbage, and his popup event comes first. It fails, but anna's counts all the same."""
    home = fair(popup(limits=None), campaign(ADD, name="b"))
    (first,) = home.ids("pay", 0)
    home.redis.set(keys.row(keys.partition("demo", "bob"), "demo", "bob"), "a row of another type")
    reports = [PopupEvent(user, first, "seen", T0 + SECOND) for user in ("bob", "anna")]
    with pytest.raises(Unreadable):
        home.ingest(Decide("demo", list(reports), T0 + SECOND))
    assert home.ids("add", AGAIN) == []


def test_an_offer_ends_by_itself(fair: FairMaker) -> None:
    """After half an hour, to the millisecond."""
    for at, ends in ((HALF_HOUR - 1, False), (HALF_HOUR, True)):
        home = fair(popup(), campaign(ADD, name="b"))
        home.redis.flushall()
        (first,) = home.ids("pay", 0, message_id=str(at))
        assert home.ids("add", at) == ([] if ends else [first])
        home.database.rulesets.drop()
        home.database.control.drop()


def test_it_is_not_offered_while_its_impression_is_in_progress(fair: FairMaker) -> None:
    """For ten seconds after a response has it, no other response does: the tag needs time to report it."""
    home = fair(popup(), campaign(ADD, name="b"))
    (first,) = home.ids("pay", 0)
    shown = [home.ids("add", at) for at in (1, AGAIN - 1, AGAIN, AGAIN + 1, 2 * AGAIN)]
    assert shown == [[], [], [first], [], [first]]


def test_caps_count_an_offer_once(fair: FairMaker) -> None:
    """However often it is offered."""
    home = fair(popup(), campaign(ADD, name="b"), popup(name="c", trigger=ADD), popup=Quota(2, DAY))
    (first,) = home.ids("pay", 0)
    (second,) = home.ids("add", 1)
    for n in range(1, 6):
        assert home.ids("pay", n * AGAIN + 1) in ([first], [second])
    assert {each.suppressed for each in home.post.recorded} == {"cap"}


def test_one_popup_an_answer_and_what_is_new_goes_first(fair: FairMaker) -> None:
    """An offer waits for the next response."""
    home = fair(popup(), popup(name="b", trigger=ADD, until_seen=0), campaign(name="c"))
    (first,) = home.ids("pay", 0)
    (second,) = home.ids("add", AGAIN)
    assert first != second
    new = home.ids("pay", AGAIN + 1)
    assert len(new) == 1
    assert home.ids("pay", AGAIN + 2, message_id="pay 0") == [first], "a repeated event gets its own popup"


def test_only_a_live_answer_offers(fair: FairMaker) -> None:
    """Not to history, not to late events, not to a browser with privacy control."""
    home = fair(popup(), campaign(ADD, name="b"))
    home.ids("pay", 0)
    late = Event("anna", "add", "late", T0 + AGAIN, T0 + 2 * AGAIN + 1)
    history = Event("anna", "add", "history", T0 + AGAIN, T0 + 2 * AGAIN, history=True)
    private = Event("anna", "add", "private", T0 + 2 * AGAIN, T0 + 2 * AGAIN, popup_block_reason="gpc")
    for event in (late, history, private):
        assert home.ingest(Decide("demo", [event], T0 + DAY)).decisions[0].messages == []
    assert len(home.ids("add", 2 * AGAIN + 2)) == 1


def test_an_offer_whose_answer_was_lost_comes_all_the_same(fair: FairMaker) -> None:
    """The Decider dies after the decision: a wake records it as delivered, and the next response has it."""
    home = fair(popup(), campaign(ADD, name="b"))
    home.post.broken = True
    with pytest.raises(Exception, match="broken"):
        home.ids("pay", 0)
    home.post.broken = False
    home.wake(MINUTE)
    (known,) = home.post.shown
    assert known.suppressed is None
    assert home.ids("add", 2 * MINUTE) == [known.id]


def test_the_offer_of_a_campaign_that_is_gone_ends(fair: FairMaker) -> None:
    """A popup of a campaign that has ended is not shown."""
    home = fair(popup(), campaign(ADD, name="b"))
    home.ids("pay", 0)
    home.publish([campaign(ADD, name="b")], generation=1)
    home.deps.rulesets.reload()
    assert home.ids("add", AGAIN) == []


def test_offers_of_a_row_are_bounded(fair: FairMaker) -> None:
    """Five, the newest."""
    home = fair()
    for n in range(9):
        home.ids("pay", n)
    wanted = []
    for n in range(9):
        last = message_digest(f"pay {n}").hex()
        wanted.append(
            activation_id("demo", "anna", home.rulesets.get()["demo"].index.ruleset.campaigns[0].trigger.key, last)
        )
    for activation in wanted[4:]:
        home.report(activation, "seen", 10)
    assert b"o" not in home.row("anna")


def test_reports_reach_the_ledger_and_the_first_time_stays(fair: FairMaker) -> None:
    """Seen, clicked, dismissed, in any order and however often; of this site and of popups only."""
    home = fair()
    rows = home.database.activations
    rows.insert_many(
        [
            {"_id": "a" * 32, "site": "demo", "channel": "popup", "state": "sent"},
            {"_id": "b" * 32, "site": "other", "channel": "popup"},
            {"_id": "c" * 32, "site": "demo", "channel": "email"},
        ]
    )

    def report(*reports: PopupEvent) -> None:
        home.ingest(Decide("demo", list(reports), T0))

    report(PopupEvent("anna", "a" * 32, "clicked", T0 + 5000, action="1"))
    report(PopupEvent("anna", "a" * 32, "clicked", T0 + 9000, action="0"))
    report(PopupEvent("anna", "a" * 32, "seen", T0 + 3000), PopupEvent("anna", "a" * 32, "seen", T0 + 4000))
    report(PopupEvent("anna", "a" * 32, "dismissed", T0 + 6000, reason="close"))
    report(PopupEvent("anna", "a" * 32, "dismissed", T0 + 6000, reason="escape"))
    report(*[PopupEvent("anna", each * 32, "seen", T0) for each in "bcd"])
    row = rows.find_one({"_id": "a" * 32}) or {}
    at = {name: round(row[name].timestamp() * 1000) - T0 for name in ("seen", "clicked", "dismissed")}
    assert at == {"seen": 3000, "clicked": 5000, "dismissed": 6000}
    assert {n: round(time.timestamp() * 1000) - T0 for n, time in row["actions"].items()} == {"0": 9000, "1": 5000}
    assert row["dismissed_reason"] == "close"
    assert [list(each) for each in rows.find({"_id": {"$ne": "a" * 32}})] == [
        ["_id", "site", "channel", "state"][:3]
    ] * 2


def test_what_a_report_costs(fair: FairMaker) -> None:
    """One call of MongoDB. One command of Redis if popups are offered until they are seen, else none."""
    for until_seen, scripts in ((0, 0), (HALF_HOUR, 1)):
        home = fair(popup(until_seen=until_seen))
        home.redis.flushall()
        home.ids("pay", 0)
        home.report("f" * 32, "seen", 1)
        asked, called = home.redis_requests()[0], home.mongo_calls()
        home.report("f" * 32, "seen", 1)
        assert (home.redis_requests()[0] - asked, home.mongo_calls() - called) == (scripts, 1)
        home.database.rulesets.drop()
        home.database.control.drop()


def test_a_user_may_send_so_many_events_and_no_more(fair: FairMaker) -> None:
    """Within any minute, to the millisecond. A refused event leaves no trace, and may be sent again."""
    home = fair(campaign(), limit=Quota(3, MINUTE))
    codes = [home.decide("pay", at).code for at in (0, 1, 30 * SECOND, 31 * SECOND, MINUTE - 1)]
    assert codes == [None, None, None, "rate_limited", "rate_limited"]
    refused = home.decide("pay", MINUTE - 1)
    assert refused.retry_after_s == 1
    assert home.decide("pay", 31 * SECOND + 500).retry_after_s == 29
    assert home.decide("pay", MINUTE).code is None, "the first one is a minute ago"
    assert home.decide("pay", MINUTE, message_id="pay 31000").code == "rate_limited"
    assert home.decide("pay", MINUTE + 1, message_id="pay 31000").code is None, "it was not taken, so it may come again"
    assert len(home.mails()) == 5


def test_a_repeated_event_costs_nothing_and_history_has_no_limit(fair: FairMaker) -> None:
    """An accepted event may be repeated any number of times. Every user has a separate limit."""
    home = fair(campaign(), limit=Quota(1, MINUTE))
    for _ in range(5):
        assert home.decide("pay", 0).code is None
    assert home.decide("pay", 1).code == "rate_limited"
    assert home.send("berta", "pay", 1) == []
    assert home.mails("berta")
    for n in range(5):
        assert home.decide("pay", MINUTE + n, history=True).code is None


def test_no_race_exceeds_the_limit(fair: FairMaker) -> None:
    """16 concurrent events of one user, ten rounds: five are accepted each time."""
    home = fair(campaign(), limit=Quota(5, DAY))
    for n in range(10):
        together(16, lambda m, n=n: home.send(f"user-{n}", "pay", 0, message_id=f"{n}-{m}"))
        assert len(home.mails(f"user-{n}")) == 5


def test_the_limit_takes_no_command_of_its_own_and_a_bounded_place(fair: FairMaker) -> None:
    """One command per event as before, and six bytes per event of the limit."""
    home = fair(campaign(), limit=Quota(10, MINUTE))
    home.decide("pay", 0)
    before = home.redis_requests()
    home.decide("other", 1)
    assert home.redis_requests()[0] == before[0], "an event without a trigger costs no command"
    for n in range(30):
        home.decide("pay", n * MINUTE)
    assert len(home.row("anna")[b"e"]) == 60
