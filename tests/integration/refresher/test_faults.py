"""Refreshes that die, overlap, lose their lease or wake up late: readers always see one complete generation."""

import threading
from itertools import count
from typing import Any

import pytest

from refresher import lease
from refresher.lease import LeaseLost
from refresher.plan import ALL, CHANGED
from refresher.refresh import End, RefreshOptions, refresh
from shared.errors import OpportuneError
from tests.support.dying import Dying, Killed
from tests.support.sites import (
    NOW,
    Db,
    collections,
    control,
    crowd,
    customers,
    expire,
    listed,
    one,
    publish,
    retire,
    rule,
    run,
    targets,
)

PEOPLE = 35
PART = 10


def swap(database: Db, parity: int) -> dict[str, list[str]]:
    """Make every second customer a VIP, starting at *parity*, and return the expected targets."""
    for value in (0, 1):
        users = [f"demo:u{n:05}" for n in range(PEOPLE) if n % 2 == value]
        tier = "vip" if value == parity else "free"
        database.customers.update_many({"_id": {"$in": users}}, {"$set": {"attributes.tier": tier}})
    expected = {f"u{n:05}": ["vips"] for n in range(PEOPLE) if n % 2 == parity}
    for user in ("aaa", "u00003", "zzz"):
        expected[user] = sorted(["few", *expected.get(user, [])])
    return expected


@pytest.fixture(name="site")
def _site(mongodb: Db) -> Db:
    crowd(mongodb, PEOPLE)
    publish(mongodb, rule("vips", tier="vip"), listed(mongodb, "few", "aaa", "u00003", "zzz"))
    return mongodb


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_refresh_may_die_at_any_write_and_so_may_the_next_one(site: Db, after: bool) -> None:
    """It dies before or after each write in turn, and so does the next owner. The third one finishes the work."""
    old = swap(site, 0)
    one(site)
    deaths = 0
    for step in count(1):
        new = swap(site, step % 2)
        try:
            refresh(_dying(site, step, after=after), "demo", [ALL], _options("first"))
        except Killed:
            deaths += 1
        else:
            break
        assert targets(site) in (old, new)
        expire(site)
        try:
            refresh(_dying(site, 1 + step * 7 % 12, after=after), "demo", [], _options("second"))
        except Killed:
            deaths += 1
        assert targets(site) in (old, new)
        expire(site)
        run(site, *() if step > 1 else (ALL,), owner="third", part_size=PART)
        refresh(site, "demo", [], _options("third"))
        assert targets(site) == new or (step == 1 and not after), f"died at write {step}"
        assert not {"refresh", "requested"} & control(site).keys()
        row = control(site)
        known = [row["generation"], row["previous"]["generation"], *(each["generation"] for each in row["retired"])]
        assert set(collections(site)) <= {f"targets_demo_{number}" for number in known}, "abandoned ones are dropped"
        old = targets(site)
    assert deaths > 20
    retire(site, minutes=10)
    one(site)
    assert len(collections(site)) == 2


def _dying(database: Db, step: int, *, after: bool) -> Any:
    return Dying(database, [step], after=after)


def _options(owner: str, **options: Any) -> RefreshOptions:
    return RefreshOptions(owner, lambda: NOW, part_size=PART, **options)


def test_many_at_once_leave_one_whole_generation(site: Db) -> None:
    """One refresh does the work of all; no request remains."""
    expected = swap(site, 0)
    start = threading.Barrier(6)
    ends: list[End | str] = []

    def work(number: int) -> None:
        start.wait()
        try:
            ends.append(refresh(site, "demo", [ALL], _options(f"owner {number}")).end)
        except OpportuneError as error:
            ends.append(error.code)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert End.DONE in ends
    assert set(ends) <= {End.DONE, End.ELSEWHERE}
    assert not {"refresh", "requested"} & control(site).keys()
    assert targets(site) == expected


class Pause:
    """Runs *meanwhile* between the first and the second part, as if the function had been paused there."""

    def __init__(self, meanwhile: Any) -> None:
        self._meanwhile = meanwhile
        self.results: list[Any] = []

    def __call__(self) -> bool:
        """Run it once, and let the refresh continue."""
        if not self.results:
            self.results.append(self._meanwhile())
        return True


def test_a_refresh_that_wakes_up_too_late_changes_nothing(site: Db) -> None:
    """The other refresh has finished. The paused one writes where no reader looks, then loses its lease."""
    expected = swap(site, 0)

    def overtake() -> Any:
        expire(site)
        return refresh(site, "demo", [], _options("awake"))

    pause = Pause(overtake)
    with pytest.raises(LeaseLost):
        refresh(site, "demo", [ALL], _options("sleeper", has_time=pause))
    ((made,), end) = pause.results[0]
    assert (made.users, end) == (len(expected), End.DONE)
    assert (control(site)["generation"], targets(site)) == (made.generation, expected)
    one(site)
    one(site)
    assert collections(site) == [f"targets_demo_{made.generation + n}" for n in (0, 1, 2)], "the late writes are gone"


def test_a_refresh_that_wakes_up_during_another_one_changes_nothing(site: Db) -> None:
    """The collection was renamed. The paused refresh writes to the old name, which the other one ignores."""
    expected = swap(site, 0)

    def begin_to_take_over() -> Any:
        expire(site)
        return refresh(site, "demo", [], _options("in between", has_time=lambda: False))

    pause = Pause(begin_to_take_over)
    with pytest.raises(LeaseLost):
        refresh(site, "demo", [ALL], _options("sleeper", has_time=pause))
    assert pause.results[0].end is End.NO_TIME
    assert collections(site) == ["targets_demo_1", "targets_demo_2"]
    assert run(site, CHANGED, part_size=PART).generations[0].generation == 3
    assert targets(site) == expected


def test_a_request_during_a_refresh_is_done_afterwards(site: Db) -> None:
    """A publish during a refresh cannot acquire the lease. The lease's owner does its work."""
    expected = swap(site, 0)

    def publish_meanwhile() -> End:
        publish(site, rule("vips", tier="vip"), listed(site, "few", "new"), version=2)
        return refresh(site, "demo", [CHANGED], _options("publisher")).end

    pause = Pause(publish_meanwhile)
    made = refresh(site, "demo", [ALL], _options("daily", has_time=pause)).generations
    assert pause.results == [End.ELSEWHERE]
    assert [(each.found, each.kept) for each in made] == [(("vips", "few"), ()), (("few",), ("vips",))]
    vips = {user: ["vips"] for user, groups in expected.items() if "vips" in groups}
    assert targets(site) == {**vips, "new": ["few"]}


def test_a_refresh_that_was_abandoned_long_ago_starts_anew(site: Db) -> None:
    """Yesterday's users are not mixed with today's."""
    swap(site, 0)
    refresh(site, "demo", [ALL], _options("yesterday", has_time=lambda: False))
    expected = swap(site, 1)
    (made,) = run(site, CHANGED, part_size=PART, now=NOW + 7 * 3_600_000).generations
    assert targets(site) == expected
    assert collections(site) == [f"targets_demo_{made.generation}"]


def test_the_owner_and_the_progress_are_stored(site: Db) -> None:
    """The owner, the users done and their approximate total are stored."""
    assert lease.read_running(site, "demo") is None
    refresh(site, "demo", [ALL], _options("somebody", has_time=lambda: False))
    found = lease.read_running(site, "demo")
    assert found is not None
    assert (found.owner, found.users_done, found.users_total) == ("somebody", PART, PEOPLE)
    customers(site, ada={"tier": "vip"})
    run(site, CHANGED)
    assert lease.read_running(site, "demo") is None


def test_a_late_write_under_the_old_name_is_ignored(site: Db) -> None:
    """B renames A's collection and dies before recording that. A creates the old name again. C uses the right one."""
    expected = swap(site, 0)
    refresh(site, "demo", [ALL], _options("A", has_time=lambda: False))
    with pytest.raises(Killed):
        refresh(_dying(site, 3, after=True), "demo", [], _options("B"))  # the request, the lease, the new name
    assert (collections(site), control(site)["refresh"]["tokens"]) == (["targets_demo_2"], [1, 2])
    site["targets_demo_1"].insert_one({"_id": "ghost", "groups": ["vips"]})
    expire(site)
    assert run(site, CHANGED, part_size=PART).generations[0].generation == 3
    assert targets(site) == expected
    assert collections(site) == ["targets_demo_3"]


def test_a_request_during_an_abandoned_refresh_is_not_lost(site: Db) -> None:
    """The abandoned refresh is finished as planned, and changes since then follow in the next one."""
    swap(site, 0)
    refresh(site, "demo", [ALL], _options("first", has_time=lambda: False))
    publish(site, rule("vips", tier="vip"), listed(site, "few", "new"), version=2)
    made = run(site, CHANGED, part_size=PART).generations
    assert [each.found for each in made] == [("vips", "few"), ("few",)]
    assert targets(site)["new"] == ["few"]
