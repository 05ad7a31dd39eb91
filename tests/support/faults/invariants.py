"""The invariants that hold under every fault, checked over the whole history of a trial.

Pure: records in, violations out. docs/faults.md states the promises in words.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.support.faults.history import Backlog, Called, Dead, Expected, Killed, Limit, Posted, Record, Revoked, Row

R = TypeVar("R")

TERMINAL = frozenset({"sent", "failed_final", "unknown", "suppressed", "held_out", "dropped_late"})
DELIVERED = frozenset({"sent", "unknown"})
AMBIGUOUS = frozenset({"error", "reset", "accept_then_timeout", "accept_then_reset"})
NAMELESS = "forgotten:"
DEDUPLICATING = frozenset({"webhook", "push"})
# The only failure that a caller may get is a retryable one. A 4xx has no decision.
LATER = frozenset({429, 503})
MAX_RESPONSE_S = 30.0


@dataclass(frozen=True)
class Violation:
    """A violated invariant, and what violates it."""

    invariant: str
    what: str


def check(records: Sequence[Record]) -> list[Violation]:
    """Return all violations in *records*, those of I1 first."""
    return [
        *_accepted_once(_of(records, Called)),
        *_decided_once(records),
        *_nothing_after_revocation(records),
        *_ambiguous_is_unknown(records),
        *_clear_answers(records),
        *_drained(_of(records, Backlog)),
        *_limits_kept(_of(records, Limit), _of(records, Row)),
    ]


def _of(records: Sequence[Record], kind: type[R]) -> list[R]:
    return [record for record in records if isinstance(record, kind)]


def _accepted_once(calls: Sequence[Called]) -> Iterator[Violation]:
    accepted = [call for call in calls if call.accepted]
    once = Counter((call.provider, call.activation) for call in accepted if call.provider not in DEDUPLICATING)
    for (provider, activation), count in once.items():
        if count > 1:
            yield Violation("I1", f"{provider} accepted {activation} {count} times")
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for call in accepted:
        if call.provider in DEDUPLICATING:
            keys[call.provider, call.activation].add(call.key)
    for (provider, activation), seen in keys.items():
        if len(seen) > 1 or "" in seen:
            yield Violation("I1", f"{provider} cannot see that {activation} is one: keys {sorted(seen)}")


def _decided_once(records: Sequence[Record]) -> Iterator[Violation]:
    rows = _of(records, Row)
    dead = {letter.activation for letter in _of(records, Dead)}
    taken = {post.message_id for post in _of(records, Posted) if 200 <= post.status < 300}
    decisions = Counter((row.user, row.campaign, row.message_id) for row in rows)
    lost = {(letter.campaign, letter.message_id) for letter in _of(records, Dead)}
    expected = {(each.user, each.campaign, each.message_id) for each in _of(records, Expected)}
    forgotten = {revoked.user for revoked in _of(records, Revoked) if revoked.what == "forget"}
    for user, campaign, message_id in expected:
        count = decisions[user, campaign, message_id]
        if user in forgotten:
            continue  # the ledger has a pseudonym
        if message_id in taken and not count and (campaign, message_id) not in lost:
            yield Violation("I2", f"{message_id} was taken, but {campaign} has no decision for {user}")
    for decision, count in decisions.items():
        if decision[0].startswith(NAMELESS):
            continue
        if count > 1:
            yield Violation("I2", f"{decision} was decided {count} times")
        if decision not in expected:
            yield Violation("I2", f"{decision} was decided, but nothing matched")
    for row in rows:
        if row.state not in TERMINAL and row.activation not in dead:
            yield Violation("I2", f"{row.activation} ended as {row.state}")


def _nothing_after_revocation(records: Sequence[Record]) -> Iterator[Violation]:
    rows = {row.activation: row for row in _of(records, Row)}
    accepted = [call for call in _of(records, Called) if call.accepted]
    for revoked in _of(records, Revoked):
        if revoked.what == "forget" and any(row.user == revoked.user for row in rows.values()):
            yield Violation("I3", f"the ledger still names {revoked.user}")
        for call in accepted:
            row = rows.get(call.activation)
            concerns = (
                call.activation == revoked.activation
                if revoked.activation
                else row is not None and _is_of(row, revoked) and revoked.channel in ("", row.channel)
            )
            # A request that was in transit at that time could not be called back.
            if concerns and call.began > revoked.at:
                yield Violation("I3", f"{call.provider} accepted {call.activation} after the {revoked.what}")


def _is_of(row: Row, revoked: Revoked) -> bool:
    return row.user == revoked.user or (revoked.what == "forget" and row.user.startswith(NAMELESS))


def _ambiguous_is_unknown(records: Sequence[Record]) -> Iterator[Violation]:
    rows = {row.activation: row for row in _of(records, Row)}
    calls: dict[str, list[Called]] = defaultdict(list)
    for call in _of(records, Called):
        calls[call.activation].append(call)
    for activation, made in calls.items():
        row = rows.get(activation)
        # A receiver that deduplicates may be called until it accepts.
        accepted = any(call.accepted and not (call.key and call.mode in AMBIGUOUS) for call in made)
        if row is None:
            if accepted:
                yield Violation("I4", f"{activation} was accepted, and the ledger does not know it")
            continue
        if accepted and row.state not in DELIVERED:
            yield Violation("I4", f"{activation} was accepted, and the ledger says {row.state}")
        if row.state == "sent" and not any(call.accepted for call in made):
            yield Violation("I4", f"{activation} was never accepted, and the ledger says sent")
        if made[-1].mode in AMBIGUOUS and row.channel not in DEDUPLICATING and row.state != "unknown":
            yield Violation("I4", f"{activation} ended in {made[-1].mode}, and the ledger says {row.state}")
    for row in rows.values():
        if row.state == "sent" and row.channel != "popup" and row.activation not in calls:
            yield Violation("I4", f"{row.activation} was never offered, and the ledger says sent")


def _clear_answers(records: Sequence[Record]) -> Iterator[Violation]:
    # If the Gateway dies, API Gateway responds, without one of our error codes.
    anothers = {500, 503} if any(kill.function == "gateway" for kill in _of(records, Killed)) else set()
    allowed = LATER | anothers
    for post in _of(records, Posted):
        if post.elapsed_s > MAX_RESPONSE_S:
            yield Violation("I5", f"{post.message_id} was answered after {post.elapsed_s:.1f} s")
        if not 200 <= post.status < 300 and not 400 <= post.status < 500 and post.status not in allowed:
            yield Violation("I5", f"{post.message_id} was answered with {post.status} {post.code!r}")
        if post.status >= 400 and not post.code and post.status not in anothers:
            yield Violation("I5", f"{post.message_id} was refused with {post.status} and no code")


def _drained(backlogs: Sequence[Backlog]) -> Iterator[Violation]:
    if not backlogs:
        yield Violation("I6", "no check whether work is left")
    for backlog in backlogs:
        if backlog != Backlog(0, 0, 0, 0, 0):
            yield Violation("I6", f"still to be done: {backlog}")


def _limits_kept(limits: Sequence[Limit], rows: Sequence[Row]) -> Iterator[Violation]:
    passed = [row for row in rows if row.state not in ("suppressed", "held_out")]
    for limit in limits:
        times: dict[str, list[int]] = defaultdict(list)
        for row in passed:
            if limit.campaign in ("", row.campaign) and limit.channel in ("", row.channel):
                times[row.user].append(row.at)
        for user, counted in times.items():
            counted.sort()
            for first, last in zip(counted, counted[limit.most :], strict=False):
                if last - first < limit.per_ms:
                    yield Violation("I7", f"{user} got more than {limit.most} within {limit.per_ms} ms: {limit}")
                    break
