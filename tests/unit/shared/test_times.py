"""Times as clients, servers, files and forwarders write them: one reader for all.

The class: a time in another unit, another type or another notation than ISO-8601 in UTC, read as something else without
a word; and a time that no event of today can have. Such a time counts as now, and the sender is told.
"""

from typing import Any

import pytest

from shared.times import parse_ms
from tests.support.gateway_site import NOW, POPUP, Site, win

OCTOBER = 1_569_888_000_000  # 2019-10-01T00:00:00Z
HOUR = 3_600_000


@pytest.mark.parametrize(
    "stamp",
    [
        1_569_888_000, 1_569_888_000_000, 1_569_888_000_000_000, 1_569_888_000_000_000_000,
        1_569_888_000.0, 1_569_888_000_000.0, 1_569_888_000_000_000.0,
        "1569888000", "1569888000000", "1569888000000000", "1569888000000000000", "1569888000.000", " 1569888000 ",
        "1.569888e9", "1.569888E+12", "1569888000000.0",
        "2019-10-01T00:00:00Z", "2019-10-01 00:00:00 UTC", "2019-10-01 00:00:00 GMT", "2019-10-01T00:00:00 UTC",
        "2019-10-01 00:00:00+00", "2019-10-01 02:00:00 +0200", "2019-10-01 02:00:00 +02:00",
        "2019-10-01T02:00:00+02:00",
        "2019-10-01 00:00:00 +0000 UTC", "2019-10-01 02:00:00 +0200 CEST", "2019-10-01 00:00:00", "2019-10-01",
        "20191001", "2019-10-01t00:00:00z", "2019-10-01 00:00:00.000000 UTC", "2019-9-30 14:00:00 -1000",
        "2019-10-01 00:00:00 UTC+00:00", "2019-10-01T00:00:00.000000000Z", " 2019-10-01T00:00:00Z",
        "2019-10-01 02:00:00 GMT+0200 (Central European Summer Time)",
    ],
)  # fmt: skip
def test_all_notations_of_a_time_are_one_time(stamp: Any) -> None:
    """Seconds, milliseconds, microseconds and nanoseconds, as whole numbers, fractions and text."""
    assert parse_ms(stamp) == OCTOBER


@pytest.mark.parametrize("stamp", [1_569_888_000.5, "1569888000.5", 1_569_888_000_500_000, "2019-10-01 00:00:00.5 UTC"])
def test_fractions_are_kept(stamp: Any) -> None:
    """To the millisecond."""
    assert parse_ms(stamp) == OCTOBER + 500


@pytest.mark.parametrize(
    "stamp",
    [True, None, "", "soon", "NaN", "Infinity", float("nan"), float("inf"), 10**20, 10**30, "9" * 21, "1e99", [], {},
     "2019-10-01 25:00:00 UTC", "2019-13-01 00:00:00", "10/01/2019",
     "2019-10-01 02:00:00 CEST", "2019-10-01 02:00:00 PST", "1569888000s", "\u0661\u0665\u0666\u0669"],
)  # fmt: skip
def test_what_is_not_a_time_is_none(stamp: Any) -> None:
    """It is neither an error nor another time."""
    assert parse_ms(stamp) is None


def send(site: Site, key: str = "secret", **fields: Any) -> tuple[int, dict[str, Any]]:
    """Post one call; return when the event happened, and the response."""
    status, body = site.post("/v1/track", win(messageId="m", **fields), key=key)
    assert status == 200
    (event,) = site.decider.decided[-1].events
    return event.at, body


@pytest.mark.parametrize(
    "stamp",
    ["soon", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", 0.5, 12, NOW + HOUR, NOW // 1000 + 3600,
     "9999-12-31T00:00:00Z", NOW - 11 * 365 * 24 * HOUR, True, ["x"]],
)  # fmt: skip
def test_a_time_that_cannot_be_meant_counts_as_now_and_is_told(stamp: Any) -> None:
    """A secret key gets the warning; a page could do nothing with it."""
    site = Site()
    for field in ("timestamp", "originalTimestamp"):
        at, body = send(site, **{field: stamp})
        (warning,) = body["warnings"]
        assert (at, warning["code"], warning["messageId"]) == (NOW, "unreadable_time", "m")
        assert field in warning["message"]
        at, body = send(site, "public", **{field: stamp})
        assert (at, body) == (NOW, {"success": True, "messages": [POPUP]})


@pytest.mark.parametrize("stamp", [NOW - HOUR, (NOW - HOUR) // 1000, NOW + 30_000, NOW - 9 * 365 * 24 * HOUR, None, ""])
def test_an_ordinary_time_needs_no_warning(stamp: Any) -> None:
    """Neither does a missing one, nor a clock that is ahead by seconds."""
    assert "warnings" not in send(Site(), timestamp=stamp)[1]


def test_a_clock_that_is_wrong_by_years_is_corrected_without_a_warning() -> None:
    """`sentAt` is of the same clock, so the time is known."""
    wrong = NOW + 20 * 365 * 24 * HOUR
    at, body = send(Site(), timestamp=wrong - 5000, sentAt=wrong)
    assert (at, "warnings" in body) == (NOW - 5000, False)


def test_a_batch_names_the_item_of_a_warning() -> None:
    """By its index and its message id."""
    items = [win(type="track", messageId=str(n), timestamp=stamp) for n, stamp in enumerate([NOW, "soon", NOW, 7])]
    status, body = Site().post("/v1/batch", {"batch": items}, key="secret")
    assert status == 200
    assert [(each["index"], each["messageId"]) for each in body["warnings"]] == [(1, "1"), (3, "3")]


AGO = NOW - 2 * HOUR


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"originalTimestamp": AGO, "sentAt": AGO, "receivedAt": AGO}, AGO),
        ({"originalTimestamp": AGO, "sentAt": AGO, "receivedAt": AGO, "timestamp": AGO}, AGO),
        # The client's clock was an hour ahead, and the first receiver has corrected it.
        (
            {"originalTimestamp": AGO + HOUR, "sentAt": AGO + HOUR + 5, "receivedAt": AGO + 9, "timestamp": AGO + 4},
            AGO + 4,
        ),
        ({"originalTimestamp": AGO + HOUR, "sentAt": AGO + HOUR + 5, "receivedAt": AGO + 9}, AGO + 4),
        ({"timestamp": AGO, "receivedAt": AGO}, AGO),
        ({"receivedAt": AGO}, AGO),
        ({"receivedAt": 7}, NOW),
        ({"receivedAt": NOW + HOUR}, NOW),
        ({"receivedAt": AGO, "timestamp": "soon"}, NOW),
        ({"originalTimestamp": AGO // 1000, "sentAt": AGO // 1000, "receivedAt": AGO // 1000}, AGO),
        # Without `receivedAt`, the difference of the client's two times counts.
        ({"originalTimestamp": AGO, "sentAt": AGO}, NOW),
        ({"originalTimestamp": AGO, "sentAt": AGO, "receivedAt": "soon"}, NOW),
    ],
)
def test_a_forwarded_event_keeps_the_time_of_its_first_receiver(fields: dict[str, Any], at: int) -> None:
    """It is old, so it shows no popup, however fast it was forwarded."""
    assert send(Site(), **fields)[0] == at
