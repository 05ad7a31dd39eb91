"""The example campaigns do what they say: in a replay, in the Decider and through the whole system."""

import re
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys
from definitions.compiler.ruleset import compile_campaign
from opportune.authoring import publishing
from opportune.events.send import Endpoint, SendFailed
from opportune.events.streams import Recorded
from opportune.replay.engine import Replay
from shared.ruleset import Campaign
from tests.integration.decider.test_wake import GRACE, T0, Shop
from tests.support.definitions import load_definitions
from tests.support.paths import ROOT
from tests.support.whole_system import System

EXAMPLES = ROOT / "campaigns" / "examples"
ENV = {"OPPORTUNE_EXAMPLES_SECRET_KEY": "examples-secret-of-the-tests"}
DAY_S = 24 * 3600
PROBES = 4

Does = tuple[int, str, dict[str, Any]]
Fired = tuple[int, tuple[Any, ...] | None]


class Case(NamedTuple):
    """What one user does (seconds, event, attributes), and when which run fires."""

    title: str
    campaign: str
    does: list[Does]
    fires: list[Fired]


def does(event: str, *at: int, **attributes: Any) -> list[Does]:
    """Return *event* at each of the seconds in *at*."""
    return [(second, event, attributes) for second in at]


def add(*at: int, cart: str = "c1") -> list[Does]:
    """Return additions of a product to a cart."""
    return does("product_added", *at, cart_id=cart, product="Hat")


def order(*at: int, cart: str = "c1") -> list[Does]:
    """Return orders of a cart."""
    return does("order_completed", *at, cart_id=cart)


def fail(*at: int) -> list[Does]:
    """Return failed payments."""
    return does("payment_failed", *at, amount=20, order_id="o1")


def paid(*at: int) -> list[Does]:
    """Return successful payments."""
    return does("payment_succeeded", *at)


def view(*at: int, of: str = "hats") -> list[Does]:
    """Return views of products."""
    return does("product_viewed", *at, category=of)


def buy(*at: int, of: str = "hats") -> list[Does]:
    """Return purchases."""
    return does("product_bought", *at, category=of)


CART, PAYMENT, CATEGORY = "abandoned-cart", "payment-trouble", "browsed-category"
CASES = [
    Case("left behind", CART, add(0), [(1800, ("c1",))]),
    Case("the wait begins with the last product", CART, add(0, 1700), [(3500, ("c1",))]),
    Case("ordered a second before", CART, [*add(0), *order(1799)], []),
    Case("ordered too late", CART, [*add(0), *order(1800)], [(1800, ("c1",))]),
    Case("each cart by itself", CART, [*add(0), *add(10, cart="c2"), *order(60, cart="c2")], [(1800, ("c1",))]),
    Case("an order that names no cart", CART, [*add(0), *does("order_completed", 60)], [(1800, ("c1",))]),
    Case("emptied", CART, [*add(0), *does("cart_cleared", 60, cart_id="c1")], []),
    Case("left, reminded, left again", CART, add(0, 5000), [(1800, ("c1",)), (6800, ("c1",))]),
    Case("three failures", PAYMENT, fail(0, 100, 299), [(419, None)]),
    Case("three failures in too long a time", PAYMENT, fail(0, 100, 300), []),
    Case("success in time", PAYMENT, [*fail(0, 1, 2), *paid(121)], []),
    Case("success too late", PAYMENT, [*fail(0, 1, 2), *paid(122)], [(122, None)]),
    Case("a fourth failure does not prolong", PAYMENT, fail(0, 1, 2, 60), [(122, None)]),
    Case("success forgets the failures before it", PAYMENT, [*fail(0, 1, 2), *paid(60), *fail(90)], []),
    Case("success between the failures", PAYMENT, [*fail(0, 1), *paid(2), *fail(3)], []),
    Case("five views", CATEGORY, view(0, 1, 2, 3, 899), [(1799, ("hats",))]),
    Case("four views", CATEGORY, view(0, 1, 2, 3), []),
    Case("five views in too long a time", CATEGORY, view(0, 1, 2, 3, 900), []),
    Case("any five within the time", CATEGORY, view(0, 901, 902, 903, 904, 905), [(1805, ("hats",))]),
    Case("five views, two categories", CATEGORY, [*view(0, 1, 2), *view(3, 4, of="shoes")], []),
    Case("bought after it", CATEGORY, [*view(0, 1, 2, 3, 4), *buy(903)], []),
    Case("bought too late", CATEGORY, [*view(0, 1, 2, 3, 4), *buy(904)], [(904, ("hats",))]),
    Case("bought among the views", CATEGORY, [*view(0, 1, 2), *buy(3), *view(4, 5, 6, 7)], []),
    Case("bought another category", CATEGORY, [*view(0, 1, 2, 3, 4), *buy(9, of="shoes")], [(904, ("hats",))]),
    Case("views beyond the fifth", CATEGORY, view(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), [(904, ("hats",))]),
]


@pytest.fixture(name="campaigns", scope="module")
def _campaigns() -> list[Campaign]:
    return [compile_campaign(campaign) for campaign in load_definitions(EXAMPLES, ENV).campaigns]


def test_every_example_is_there(campaigns: list[Campaign]) -> None:
    """Each example has cases, and each case has an example."""
    assert {campaign.id for campaign in campaigns} == {case.campaign for case in CASES}
    assert {campaign.channel for campaign in campaigns} == {"email"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.campaign}: {case.title}")
def test_examples_in_a_replay(case: Case, campaigns: list[Campaign]) -> None:
    """A replay finds the expected firings and no others."""
    replay = Replay(campaigns)
    events = [
        Recorded(
            user="anna",
            event=event,
            at=T0 + at * 1000,
            message_id=f"m{n}",
            attributes=attributes,
            file="case",
            line=n,
        )
        for n, (at, event, attributes) in enumerate(sorted(case.does, key=lambda done: done[0]))
    ]
    fires = [*replay.run(events), *replay.finish(T0 + DAY_S * 1000)]
    assert {fire.campaign for fire in fires} <= {case.campaign}
    assert {fire.reason for fire in fires} <= {"absence"}
    assert [((fire.at - T0) // 1000, _run(fire.per)) for fire in fires] == case.fires


def test_examples_in_the_decider(
    redis_client: Redis, mongodb: Database[dict[str, Any]], campaigns: list[Campaign]
) -> None:
    """All cases together, with one user each, on real servers with wakes in between: the same firings."""
    shop = Shop(redis_client, mongodb, campaigns)
    doing = [(at, n, event, attributes) for n, case in enumerate(CASES) for at, event, attributes in case.does]
    for number, (at, n, event, attributes) in enumerate(sorted(doing, key=lambda each: each[:2])):
        shop.wake(at * 1000, user=f"user-{n}")
        shop.send(f"user-{n}", event, at * 1000, message_id=f"m{number}", **attributes)
    shop.wake(DAY_S * 1000 + GRACE)
    assert shop.wake(DAY_S * 1000 + GRACE).absences == 0
    for n, case in enumerate(CASES):
        mails = [mail for mail in shop.post.queued if mail.user == f"user-{n}"]
        assert {mail.campaign for mail in mails} <= {case.campaign}
        assert [((mail.at - T0) // 1000, _run(mail.per)) for mail in mails] == case.fires, case.title
        assert shop.clean(f"user-{n}")


def _run(per: str | None) -> tuple[Any, ...] | None:
    return None if per is None else tuple(msgspec.json.decode(per))


def test_examples_through_the_whole_system(system: System, tmp_path: Path) -> None:
    """With waits of a second, users who do nothing more get one e-mail each; the others get none."""
    assert publishing.publish_folder(system.database, EXAMPLES, ENV).changed
    publishing.publish_folder(system.database, _hurried(tmp_path / "examples"), ENV)
    run = uuid.uuid4().hex[:8]
    users = {name: f"{name}-{run}" for name in ("left", "bought", "unpaid", "paid", "looked", "took")}
    system.database.customers.insert_many(
        [
            {
                "_id": f"examples:{user}",
                "site": "examples",
                "user": user,
                "attributes": {"first_name": name.title(), "email": f"{user}@shop.example"},
            }
            for name, user in users.items()
        ]
    )
    site = Endpoint(system.stack.http_url, "wk_examples_public")
    with Redis.from_url(system.stack.redis_url) as redis:
        _wait_for_rules(site, redis, run)
        for name, happens in {
            "left": add(0),
            "bought": [*add(0), *order(0)],
            "unpaid": fail(0, 0, 0),
            "paid": [*fail(0, 0, 0), *paid(0)],
            "looked": view(0, 0, 0, 0, 0),
            "took": [*view(0, 0, 0, 0, 0), *buy(0)],
        }.items():
            _track(site, users[name], happens)
        assert {name for name, user in users.items() if _waiting(redis, user)} == {"left", "unpaid", "looked"}
        started = time.monotonic()
        while any(_waiting(redis, user) for user in users.values()):
            assert time.monotonic() - started < 20, "the absences did not fire"
            time.sleep(0.1)
    system.stack.drain()
    mails = [mail for mail in system.stack.outbox() if run in mail["to"][0]]
    assert {mail["to"][0].split("-")[0]: mail["subject"] for mail in mails} == {
        "left": "You left something behind, Left",
        "unpaid": "Can we help with your payment?",
        "looked": "Still looking for hats?",
    }
    assert len(mails) == 3
    rows = list(system.database.activations.find({"site": "examples", "user": {"$in": list(users.values())}}))
    assert sorted((row["user"], row["state"]) for row in rows) == sorted(
        (users[name], "sent") for name in ("left", "unpaid", "looked")
    )


def _hurried(folder: Path) -> Path:
    """Copy the examples with waits of a second and a sender that the local SES knows; return the copy."""
    for path in EXAMPLES.rglob("*.yaml"):
        text = re.sub(r"^( +for:) \d+m$", r"\1 1s", path.read_text(), flags=re.MULTILINE)
        copy = folder / path.relative_to(EXAMPLES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text.replace("hello@shop.example", "hello@casino.example"))
    return folder


def _track(site: Endpoint, user: str, happens: list[Does]) -> None:
    batch = [
        {"type": "track", "userId": user, "event": event, "messageId": uuid.uuid4().hex, "properties": attributes}
        for _, event, attributes in happens
    ]
    answer, _ = site.post_until_taken("/v1/batch", {"batch": batch})
    assert not answer.get("rejected")


def _wait_for_rules(site: Endpoint, redis: Redis, run: str) -> None:
    """Wait until all functions use the changed examples: the absences of the probes are then due within seconds."""
    started, good = time.monotonic(), 0
    while good < PROBES:
        assert time.monotonic() - started < 15, "the examples do not become live"
        time.sleep(0.3)
        user = f"probe-{run}-{time.monotonic_ns()}"
        try:
            _track(site, user, add(0))
        except SendFailed:
            continue  # the Gateway does not know the site yet
        due = _waiting(redis, user)
        good = good + 1 if due and due[0] < (time.time() + 60) * 1000 else 0


def _waiting(redis: Redis, user: str) -> list[float]:
    """Return when the absences and unacknowledged messages of *user* are due, in ms."""
    entries: Any = redis.zrange(keys.timers(keys.partition("examples", user)), 0, -1, withscores=True)
    return [due for member, due in entries if user.encode() in member]
