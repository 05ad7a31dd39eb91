"""Query the ledger: its rows, the newest first, and counts by state."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.database import Database
from pymongo.errors import OperationFailure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from definitions.model.fields import parse_duration
from engager.forget import BY_USER
from engager.ledger.states import State
from opportune.operations import pauses
from opportune.replay.explain import words
from shared.errors import InvalidRequest
from shared.mongodb import Document, translate_errors

STATES = tuple(state.value for state in State)
STYLES = {"sent": "green", "failed_final": "red", "unknown": "bold red", "failed_retryable": "yellow", "held": "yellow"}
BY_TIME = IndexModel([("site", ASCENDING), ("at", DESCENDING), ("state", ASCENDING)], name="by_time")


class Query(NamedTuple):
    """A filter of the ledger.

    ``since``: ms.
    ``states``, ``reasons``: any of these; empty means all.
    ``limit``: the number of rows.
    """

    site: str
    since: int
    user: str | None = None
    campaign: str | None = None
    channel: str | None = None
    states: Sequence[str] = ()
    reasons: Sequence[str] = ()
    limit: int = 20


# What the tag reports of a popup, in words. The first one present counts.
REPORTED = {"clicked": "clicked", "dismissed": "dismissed", "seen": "seen", "failed": "not shown"}


class Delivery(msgspec.Struct):
    """One row of the ledger; times and durations in ms.

    ``age``: how long its state has been ``unknown``; otherwise ``None``.
    ``seen``, ``clicked``, ``dismissed``, ``failed``: when the tag first reported it of a popup.
    """

    id: str
    site: str
    user: str
    campaign: str
    channel: str
    state: str
    at: int
    updated: int
    reason: str | None = None
    until: int | None = None
    attempts: int = 0
    provider_id: str | None = None
    age: int | None = None
    seen: int | None = None
    clicked: int | None = None
    dismissed: int | None = None
    failed: int | None = None


class DeliveryList(msgspec.Struct):
    """Rows of the ledger, and totals that ignore the query's states, reasons and limit.

    ``counts``: rows by state.
    ``reasons``: suppressed rows by reason.
    ``oldest_unknown``: the age of the oldest ``unknown`` row, ms.
    ``popups``: how many popups were sent, seen, clicked and dismissed.
    """

    site: str
    since: int
    counts: dict[str, int]
    reasons: dict[str, int]
    oldest_unknown: int | None
    popups: dict[str, int]
    deliveries: list[Delivery]


def list_deliveries(database: Database[Document], query: Query, now: int) -> DeliveryList:
    """Return the rows and totals of *query* at *now* (ms).

    Raises `InvalidRequest` for an unknown state or channel, and `Unavailable`.
    """
    if query.channel is not None:
        pauses.check_channel(query.channel)
    unknown = [state for state in query.states if state not in STATES]
    if unknown:
        raise InvalidRequest(f"unknown state {unknown[0]!r}; known: {', '.join(STATES)}", code="unknown_state")
    ledger = database.activations
    everything = conditions(query)
    some = dict(everything)
    if query.states:
        some["state"] = {"$in": list(query.states)}
    if query.reasons:
        some["reason"] = {"$in": list(query.reasons)}
    with translate_errors():
        index(database)
        rows = list(ledger.find(some, sort=[("at", DESCENDING)], limit=query.limit))
        groups = list(
            ledger.aggregate([{"$match": everything}, {"$group": {"_id": {"s": "$state", "r": "$reason"}, **_SUMS}}])
        )
        lost = ledger.find_one({**everything, "state": "unknown"}, sort=[("at", ASCENDING)])
    counts: dict[str, int] = {}
    popups = {name: sum(group[name] for group in groups if group["_id"]["s"] == "sent") for name in _POPUPS}
    reasons: dict[str, int] = {}
    for group in groups:
        state, reason = group["_id"]["s"], group["_id"].get("r")
        counts[state] = counts.get(state, 0) + group["n"]
        if state == "suppressed" and reason:
            reasons[reason] = reasons.get(reason, 0) + group["n"]
    return DeliveryList(
        query.site,
        query.since,
        {state: counts[state] for state in (*STATES, *sorted(set(counts) - set(STATES))) if state in counts},
        dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        max(0, now - delivery(lost, now).updated) if lost else None,
        popups if popups["sent"] else {},
        [delivery(row, now) for row in rows],
    )


def _popups(field: str | None = None) -> Document:
    """Return the aggregation that counts popups with *field*."""
    of_popups: Document = {"$eq": ["$channel", "popup"]}
    has = of_popups if field is None else {"$and": [of_popups, {"$gt": [f"${field}", None]}]}
    return {"$sum": {"$cond": [has, 1, 0]}}


_POPUPS = ("sent", "seen", "clicked", "dismissed")
_SUMS: Document = {"n": {"$sum": 1}, "sent": _popups(), **{name: _popups(name) for name in _POPUPS[1:]}}


def index(database: Database[Document]) -> None:
    """Create the indexes of these queries. A role without the right to create them runs without."""
    try:
        database.activations.create_indexes([BY_TIME, BY_USER])
    except OperationFailure as error:
        if error.code != 13:
            raise


def conditions(query: Query) -> Document:
    """Return the MongoDB filter of *query*, without its states and reasons."""
    since = datetime.fromtimestamp(query.since / 1000, UTC)
    named = {"user": query.user, "campaign": query.campaign, "channel": query.channel}
    return {"site": query.site, "at": {"$gte": since}} | {name: value for name, value in named.items() if value}


def delivery(row: Document, now: int) -> Delivery:
    """Return a row of the ledger; ages are computed at *now* (ms)."""
    updated = ms(row.get("updated") or row.get("created") or row["at"])
    return Delivery(
        id=row["_id"],
        site=row["site"],
        user=row["user"],
        campaign=row["campaign"],
        channel=row["channel"],
        state=row["state"],
        at=ms(row["at"]),
        updated=updated,
        reason=row.get("reason"),
        until=ms(row["until"]) if row.get("until") else None,
        attempts=row.get("attempts", 0),
        provider_id=row.get("provider_id"),
        age=max(0, now - updated) if row["state"] == "unknown" else None,
        **{name: ms(row[name]) for name in REPORTED if row.get(name)},
    )


def ms(at: datetime) -> int:
    """Return a datetime of the database in ms."""
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def parse_since(text: str, now: int) -> int:
    """Return the time (ms) of ``24h`` or ``7d`` before *now*, or of an ISO-8601 time. Raises `InvalidRequest`."""
    if text[:1].isdigit() and text[-1:] in "smhd":
        try:
            return now - parse_duration(text)
        except ValueError as error:
            raise InvalidRequest(f"--since: {error}", code="invalid_since") from None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        message = f"--since: {text!r} is neither a duration such as 24h nor an ISO-8601 time"
        raise InvalidRequest(message, code="invalid_since") from None
    return ms(at if at.tzinfo else at.replace(tzinfo=UTC))


def outcome(row: Delivery, now: int) -> Text:
    """Return a delivery's state and reason in words, with the times that matter."""
    text = Text(row.state, style=STYLES.get(row.state, ""))
    if row.reason:
        text.append(f" {row.reason}", style="default not bold")
    if row.age is not None:
        text.append(f", {words.about(row.age)} old", style="default not bold")
    if row.state == "sent" and row.channel == "popup":
        told = next((word for name, word in REPORTED.items() if getattr(row, name)), "not seen")
        text.append(f", {told}", style="default not bold")
    if row.state == "held" and row.until is not None:
        text.append(f", until {words.stamp(row.until, near=now)}", style="default not bold")
    return text


def print_deliveries(listed: DeliveryList, now: int, console: Console) -> None:
    """Print the totals, then one line per delivery."""
    console.print(_counts(listed))
    if not listed.deliveries:
        console.print("no deliveries", style="dim")
        return
    table = Table(expand=False)
    table.add_column("UTC", no_wrap=True)
    table.add_column("user", overflow="fold")
    table.add_column("campaign", overflow="fold")
    table.add_column("channel", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    today = ""
    for row in listed.deliveries:
        if words.day(row.at) != today:
            today = words.day(row.at)
            table.add_row(Text(today, style="bold"))
        time = Text(words.stamp(row.at // 1000 * 1000, near=row.at))
        table.add_row(time, Text(row.user), Text(row.campaign), row.channel, outcome(row, now))
    console.print(table)
    total = sum(listed.counts.values())
    if total > len(listed.deliveries):
        console.print(
            f"{len(listed.deliveries)} of {total:,} shown; filter with --state, --reason, --since, or raise --limit",
            style="dim",
        )


def _counts(listed: DeliveryList) -> Text:
    text = Text(f"{listed.site} since {words.stamp(listed.since // 1000 * 1000)} UTC: ", style="bold")
    if not listed.counts:
        text.append("no activations", style="not bold")
    for number, (state, count) in enumerate(listed.counts.items()):
        text.append("   " if number else "", style="not bold")
        text.append(f"{state} {count:,}", style=f"not bold {STYLES.get(state, 'default')}")
        details = ""
        if state == "suppressed" and listed.reasons:
            details = ", ".join(f"{reason} {n:,}" for reason, n in listed.reasons.items())
        elif state == "unknown" and listed.oldest_unknown is not None:
            details = f"the oldest {words.about(listed.oldest_unknown)}"
        elif state == "sent" and listed.popups:
            details = "popups: " + ", ".join(f"{n:,} {name}" for name, n in listed.popups.items())
        text.append(f" ({details})" if details else "", style="not bold dim")
    return text
