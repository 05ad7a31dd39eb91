"""Refreshes that die, overlap, are overtaken or awake too late: readers see one whole generation or another."""

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
    rule,
    run,
    targets,
)

PEOPLE = 35
PART = 10


def swap(database: Db, parity: int) -> dict[str, list[str]]:
    """Make every second customer a VIP, beginning with *parity*; return what the targets are then."""
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
    """Before or after each write in turn, and who takes over dies too: then a third one finishes what is left."""
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
        assert len(collections(site)) <= 2
        old = targets(site)
    assert deaths > 20


def _dying(database: Db, step: int, *, after: bool) -> Any:
    return Dying(database, [step], after=after)


def _options(owner: str, **options: Any) -> RefreshOptions:
    return RefreshOptions(owner, lambda: NOW, part_size=PART, **options)


def test_many_at_once_leave_one_whole_generation(site: Db) -> None:
    """One does the work, the others leave what they want to it; nothing that was wanted is left."""
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
    """Does something between the first part and the second, as if the function had been frozen there."""

    def __init__(self, meanwhile: Any) -> None:
        self._meanwhile = meanwhile
        self.results: list[Any] = []

    def __call__(self) -> bool:
        """Let the refresh go on, after what happened meanwhile."""
        if not self.results:
            self.results.append(self._meanwhile())
        return True


def test_who_awakes_too_late_changes_nothing(site: Db) -> None:
    """The other one has finished; the sleeper's next part goes to where nobody reads, and then it is told."""
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
    assert collections(site) == [f"targets_demo_{made.generation + n}" for n in (1, 2)], (
        "what it wrote too late is gone"
    )


def test_who_awakes_while_another_is_in_the_middle_of_it(site: Db) -> None:
    """The collection was renamed: the sleeper writes to its old name, and who goes on does not see that."""
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


def test_what_is_wished_meanwhile_is_done_afterwards(site: Db) -> None:
    """A publish in the middle of a refresh finds the lock taken, and leaves; its owner sees to it."""
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


def test_a_refresh_that_lies_for_too_long_is_begun_anew(site: Db) -> None:
    """What was found yesterday is not mixed with today's."""
    swap(site, 0)
    refresh(site, "demo", [ALL], _options("yesterday", has_time=lambda: False))
    expected = swap(site, 1)
    (made,) = run(site, CHANGED, part_size=PART, now=NOW + 7 * 3_600_000).generations
    assert targets(site) == expected
    assert collections(site) == [f"targets_demo_{made.generation}"]


def test_who_is_at_it_and_how_far(site: Db) -> None:
    """For people: the owner, users passed, and about how many there are."""
    assert lease.read_running(site, "demo") is None
    refresh(site, "demo", [ALL], _options("somebody", has_time=lambda: False))
    found = lease.read_running(site, "demo")
    assert found is not None
    assert (found.owner, found.users_done, found.users_total) == ("somebody", PART, PEOPLE)
    customers(site, ada={"tier": "vip"})
    run(site, CHANGED)
    assert lease.read_running(site, "demo") is None


def test_what_a_sleeper_writes_is_not_taken_for_what_was_renamed(site: Db) -> None:
    """B renames A's collection and dies before it notes that; A makes one of the old name; C takes the right one."""
    expected = swap(site, 0)
    refresh(site, "demo", [ALL], _options("A", has_time=lambda: False))
    with pytest.raises(Killed):
        refresh(_dying(site, 3, after=True), "demo", [], _options("B"))  # the wish, the lock, the new name
    assert (collections(site), control(site)["refresh"]["tokens"]) == (["targets_demo_2"], [1, 2])
    site["targets_demo_1"].insert_one({"_id": "ghost", "groups": ["vips"]})
    expire(site)
    assert run(site, CHANGED, part_size=PART).generations[0].generation == 3
    assert targets(site) == expected
    assert collections(site) == ["targets_demo_3"]


def test_what_is_wished_of_what_was_left_behind_is_not_lost(site: Db) -> None:
    """What was begun is finished as it was planned, and what has changed since comes next."""
    swap(site, 0)
    refresh(site, "demo", [ALL], _options("first", has_time=lambda: False))
    publish(site, rule("vips", tier="vip"), listed(site, "few", "new"), version=2)
    made = run(site, CHANGED, part_size=PART).generations
    assert [each.found for each in made] == [("vips", "few"), ("few",)]
    assert targets(site)["new"] == ["few"]
