"""The invariants that hold under every fault, checked over the whole history of a trial.

Pure: records in, violations out. docs/faults.md states the promises in words.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.support.faults.history import (
    Backlog,
    Called,
    Dead,
    Expected,
    Killed,
    Limit,
    Lost,
    Posted,
    Record,
    Remains,
    Revoked,
    Row,
)

R = TypeVar("R")
Decided = tuple[str, str, str]  # user, campaign, message id

TERMINAL = frozenset({"sent", "failed_final", "unknown", "suppressed", "held_out", "dropped_late"})
DELIVERED = frozenset({"sent", "unknown"})
AMBIGUOUS = frozenset({"error", "reset", "accept_then_timeout", "accept_then_reset"})
NAMELESS = "forgotten:"
TEXT = "text of "  # what a text message carries instead of an activation, before its message id
DEDUPLICATING = frozenset({"webhook", "push"})
# The only failure that a caller may get is a retryable one. A 4xx has no decision.
LATER = frozenset({429, 503})
MAX_RESPONSE_S = 30.0
# The campaigns of `tests.support.faults.site` whose matches need more than one event.
PROGRESS = frozenset({"wins"})
SLACK_S = 1.0
FORGETTING_S = 60.0  # the passes of `opportune forget` are older than its answer


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
        *_nothing_remains(records),
        *_ambiguous_is_unknown(records),
        *_clear_answers(records),
        *_drained(_of(records, Backlog)),
        *_limits_kept(records),
    ]


def _touched(records: Sequence[Record]) -> set[str]:
    """Return the users of whom the state store may have lost something: they sent events in the lost time.

    A forgotten user is in it under the pseudonym, too.
    """
    losses = _of(records, Lost)
    touched = {
        post.user
        for post in _of(records, Posted)
        if any(post.at > loss.began - SLACK_S and post.at - post.elapsed_s < loss.ended + SLACK_S for loss in losses)
    }
    return touched | {each.pseudonym for each in _of(records, Revoked) if each.user in touched and each.pseudonym}


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
    decisions = Counter((row.user, row.campaign, row.message_id) for row in rows)
    expected = {(each.user, each.campaign, each.message_id) for each in _of(records, Expected)}
    # A store that loses data forgets progress.
    touched = {(user, campaign) for user in _touched(records) for campaign in PROGRESS}
    yield from _nothing_missing(records, decisions, {each for each in expected if each[:2] not in touched})
    for decision, count in decisions.items():
        if decision[0].startswith(NAMELESS):
            continue
        if count > 1:
            yield Violation("I2", f"{decision} was decided {count} times")
        if decision not in expected and decision[:2] not in touched:
            yield Violation("I2", f"{decision} was decided, but nothing matched")
    for row in rows:
        if row.state not in TERMINAL and row.activation not in dead:
            yield Violation("I2", f"{row.activation} ended as {row.state}")


def _nothing_missing(
    records: Sequence[Record], decisions: Container[Decided], expected: Iterable[Decided]
) -> Iterator[Violation]:
    taken = {post.message_id for post in _of(records, Posted) if 200 <= post.status < 300}
    dead = {(letter.campaign, letter.message_id) for letter in _of(records, Dead)}
    forgotten = {revoked.user for revoked in _of(records, Revoked) if revoked.what == "forget"}
    for user, campaign, message_id in expected:
        if user in forgotten:
            continue  # the ledger has a pseudonym
        if message_id in taken and (user, campaign, message_id) not in decisions and (campaign, message_id) not in dead:
            yield Violation("I2", f"{message_id} was taken, but {campaign} has no decision for {user}")


def _nothing_after_revocation(records: Sequence[Record]) -> Iterator[Violation]:
    rows = {row.activation: row for row in _of(records, Row)}
    accepted = [call for call in _of(records, Called) if call.accepted]
    for revoked in _of(records, Revoked):
        if revoked.what == "cancel" and _forgot_what_can_be_cancelled(revoked, records):
            continue
        if revoked.what == "forget" and any(row.user == revoked.user for row in rows.values()):
            yield Violation("I3", f"the ledger still names {revoked.user}")
        for call in accepted:
            row = rows.get(call.activation)
            concerns = (
                call.activation == revoked.activation
                if revoked.activation
                else row is not None
                and revoked.message_id in ("", row.message_id)
                and _is_of(row, revoked)
                and revoked.channel in ("", row.channel)
            )
            # A request that was in transit at that time could not be called back.
            if concerns and call.began > revoked.at:
                yield Violation("I3", f"{call.provider} accepted {call.activation} after the {revoked.what}")


def _is_of(row: Row, revoked: Revoked) -> bool:
    names = row.user == revoked.pseudonym if revoked.pseudonym else row.user.startswith(NAMELESS)
    return row.user == revoked.user or (revoked.what == "forget" and names)


def _forgot_what_can_be_cancelled(revoked: Revoked, records: Sequence[Record]) -> bool:
    """Return whether the store lost the message, and the cancellation came only afterwards."""
    posts = [post for post in _of(records, Posted) if post.message_id == revoked.message_id]
    return any(
        revoked.at > loss.ended - SLACK_S
        and any(post.at > loss.began - SLACK_S and post.at - post.elapsed_s < loss.ended + SLACK_S for post in posts)
        for loss in _of(records, Lost)
    )


def _nothing_remains(records: Sequence[Record]) -> Iterator[Violation]:
    """Find what is left of forgotten users. A store that goes back to before `opportune forget` has them again."""
    losses = _of(records, Lost)
    forgotten = {each.user: each.at for each in _of(records, Revoked) if each.what == "forget"}
    for each in _of(records, Remains):
        at = forgotten.get(each.user, 0.0)
        if any(post.user == each.user and post.at > at for post in _of(records, Posted)):
            continue  # a later event leaves something; the next pass erases it
        if not any(loss.began < at + SLACK_S and at - FORGETTING_S < loss.ended for loss in losses):
            yield Violation("I3", f"{each.where} still has something of {each.user}")


def stopped_without_cause(records: Sequence[Record]) -> Iterator[Violation]:
    """Find messages that were stopped by something that did not happen to their user.

    *records*: of a trial that records every loss, cancellation and opt-out, and whose targets stay the same.
    """
    touched = _touched(records)
    names = {each.pseudonym: each.user for each in _of(records, Revoked) if each.pseudonym}
    causes = {(each.what, each.user) for each in _of(records, Revoked)}
    for row in _of(records, Row):
        user = names.get(row.user, row.user)
        if row.reason == "state_lost" and user not in touched:
            yield Violation("I2", f"{row.activation} ended as state_lost, and nothing of {user} was lost")
        if row.reason == "cancelled" and ("cancel", user) not in causes:
            yield Violation("I2", f"{row.activation} was cancelled, and {user} cancelled nothing")
        if row.reason == "opt_out" and ("opt-out", user) not in causes:
            yield Violation("I2", f"{row.activation} was stopped, and {user} did not opt out")
        if row.reason == "recheck":
            yield Violation("I2", f"{row.activation} ended as recheck, and {user} is a target all the time")


def _ambiguous_is_unknown(records: Sequence[Record]) -> Iterator[Violation]:
    rows = {row.activation: row for row in _of(records, Row)}
    calls: dict[str, list[Called]] = defaultdict(list)
    for call in _of(records, Called):
        calls[call.activation].append(call)
    for activation in _texts_of_forgotten(records) & calls.keys():
        del calls[activation]
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
    yield from _sent_means_offered(rows.values(), calls)


def _texts_of_forgotten(records: Sequence[Record]) -> set[str]:
    """Return what text messages to forgotten users carry: their rows have no message id any more."""
    forgotten = {each.user for each in _of(records, Revoked) if each.what == "forget"}
    return {TEXT + each.message_id for each in _of(records, Expected) if each.user in forgotten}


def _sent_means_offered(rows: Iterable[Row], calls: Container[str]) -> Iterator[Violation]:
    for row in rows:
        is_unnamed_text = row.channel == "sms" and row.user.startswith(NAMELESS)
        if row.state == "sent" and row.channel != "popup" and not is_unnamed_text and row.activation not in calls:
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


def _limits_kept(records: Sequence[Record]) -> Iterator[Violation]:
    touched = _touched(records)  # a store that loses data forgets what it has counted
    passed = [
        row for row in _of(records, Row) if row.state not in ("suppressed", "held_out") and row.user not in touched
    ]
    for limit in _of(records, Limit):
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
