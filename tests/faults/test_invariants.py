"""The checker finds violations: each case takes a good history and breaks one thing."""

from dataclasses import replace

import pytest

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
from tests.support.faults.invariants import check, stopped_without_cause

MATCH = Expected("m1", "anna", "mail")
TAKEN = Posted("m1", "anna", 200, "", 0.1)
CALL = Called("ses", "a1", "ok", accepted=True, began=10.0, at=10.1)
ROW = Row("a1", "anna", "mail", "email", "m1", "sent", "", 1000)
DONE = Backlog(0, 0, 0, 0, 0)
GOOD: list[Record] = [MATCH, TAKEN, CALL, ROW, DONE]

HOOK = replace(CALL, provider="webhook", key="a1")
HOOK_ROW = replace(ROW, channel="webhook")
REFUSED = Posted("m1", "anna", 503, "state_unavailable", 0.1)
SUPPRESSED = replace(ROW, state="suppressed", reason="cap")
DEAD = Dead("deliveries-dead", "a1", "m1", "mail")
FORGET = Revoked("forget", "anna", at=20)
NAMELESS = replace(ROW, user="forgotten:1", message_id="")
CANCEL = Revoked("cancel", "anna", at=9, message_id="m1")
LATER = replace(TAKEN, at=10.0)
LOST = Lost(8.0, 12.0)
STATE_LOST = replace(SUPPRESSED, reason="state_lost")
THIRD = replace(MATCH, campaign="wins")
REMAINS = Remains("anna", "MongoDB")
OF_ANOTHER = replace(FORGET, user="bob", at=9, pseudonym="forgotten:2")
TEXT = replace(CALL, provider="sms", activation="text of m1")
TWICE = Limit(2, 1000, campaign="mail")


def instead(old: Record, *new: Record) -> list[Record]:
    """Return the good history with *new* in place of *old*."""
    place = GOOD.index(old)
    return [*GOOD[:place], *new, *GOOD[place + 1 :]]


def many(count: int, apart: int, state: str = "sent") -> list[Record]:
    """Return the history of *count* activations of one user, *apart* ms apart."""
    records: list[Record] = [DONE]
    for n in range(count):
        records += [
            replace(MATCH, message_id=f"m{n}"),
            replace(CALL, activation=f"a{n}"),
            replace(ROW, activation=f"a{n}", message_id=f"m{n}", at=n * apart, state=state),
        ]
    return records


CLEAN: dict[str, list[Record]] = {
    "one e-mail": GOOD,
    "a refused event without a decision": [MATCH, REFUSED, DONE],
    "a refused event that was decided all the same": instead(TAKEN, REFUSED),
    "a webhook that came twice under one key": [MATCH, TAKEN, HOOK, HOOK, HOOK_ROW, DONE],
    "suppressed": [MATCH, TAKEN, SUPPRESSED, DONE],
    "a dead letter instead of a row": [MATCH, TAKEN, DEAD, DONE],
    "a dead letter of what is to be tried again": [MATCH, TAKEN, DEAD, replace(ROW, state="failed_retryable"), DONE],
    "on its way when it was revoked": [*GOOD, Revoked("opt-out", "anna", at=10.05)],
    "revoked on another channel": [*GOOD, Revoked("opt-out", "anna", at=9, channel="sms")],
    "somebody else's opt-out": [*GOOD, Revoked("opt-out", "bob", at=9)],
    "forgotten, and its row has no name": [*instead(ROW, replace(ROW, user="forgotten:1")), FORGET],
    "ambiguous and unknown": [MATCH, TAKEN, replace(CALL, mode="reset"), replace(ROW, state="unknown"), DONE],
    "never called and unknown": [MATCH, TAKEN, replace(ROW, state="unknown"), DONE],
    "a popup": [MATCH, TAKEN, replace(ROW, channel="popup"), DONE],
    "500 of a Gateway that was killed": [MATCH, replace(REFUSED, status=500), Killed("gateway", "before_reply"), DONE],
    "another message of the user was cancelled": [*GOOD, replace(CANCEL, message_id="m2")],
    "cancelled after the store had lost it": [MATCH, LATER, CALL, ROW, DONE, LOST, replace(CANCEL, at=12)],
    "its state was lost": [MATCH, LATER, STATE_LOST, DONE, LOST],
    "its progress was lost": [THIRD, LATER, DONE, LOST],
    "progress that came back": [
        MATCH,
        LATER,
        CALL,
        ROW,
        replace(ROW, activation="a2", campaign="wins", state="suppressed", message_id="m2"),
        DONE,
        LOST,
    ],
    "another user was forgotten": [*instead(ROW, NAMELESS), OF_ANOTHER, replace(FORGET, pseudonym="forgotten:1")],
    "forgotten, and the store went back": [MATCH, TAKEN, CALL, NAMELESS, DONE, FORGET, Lost(19, 22), REMAINS],
    "forgotten, and came back": [MATCH, replace(TAKEN, at=21), CALL, NAMELESS, DONE, FORGET, REMAINS],
    "a text to a forgotten user": [MATCH, TAKEN, TEXT, replace(NAMELESS, channel="sms"), DONE, FORGET],
    "cancelled": [MATCH, TAKEN, replace(SUPPRESSED, reason="cancelled"), DONE, CANCEL],
    "a forgotten user's counts were lost": [
        TWICE,
        LATER,
        LOST,
        replace(FORGET, pseudonym="forgotten:1"),
        *[
            replace(r, user="forgotten:1") if isinstance(r, Row) else r
            for r in many(3, 1)
            if not isinstance(r, Expected)
        ],
    ],
    "as often as allowed": [TWICE, *many(2, 1)],
    "slowly enough": [TWICE, *many(5, 500)],
    "suppressed ones do not count": [TWICE, *[r for r in many(9, 1, "suppressed") if not isinstance(r, Called)]],
}

BROKEN: dict[str, tuple[str, list[Record]]] = {
    "accepted twice": ("I1", instead(CALL, CALL, CALL)),
    "accepted twice, once without an answer": ("I1", instead(CALL, replace(CALL, mode="accept_then_timeout"), CALL)),
    "a webhook under two keys": ("I1", [MATCH, TAKEN, HOOK, replace(HOOK, key="a1-2"), HOOK_ROW, DONE]),
    "a webhook without a key": ("I1", [MATCH, TAKEN, replace(HOOK, key=""), HOOK_ROW, DONE]),
    "taken and forgotten": ("I2", [MATCH, TAKEN, DONE]),
    "decided twice": ("I2", instead(ROW, ROW, replace(ROW, activation="a2", state="suppressed"))),
    "decided out of nothing": ("I2", [TAKEN, CALL, ROW, DONE]),
    "decided for somebody else": ("I2", instead(ROW, replace(ROW, user="bob"))),
    "still being sent": ("I2", instead(ROW, replace(ROW, state="sending"))),
    "held for ever": ("I2", [MATCH, TAKEN, replace(ROW, state="held"), DONE]),
    "to be tried again, and nobody will": ("I2", [MATCH, TAKEN, replace(ROW, state="failed_retryable"), DONE]),
    "sent after the opt-out": ("I3", [*GOOD, Revoked("opt-out", "anna", at=9)]),
    "sent after the opt-out of its channel": ("I3", [*GOOD, Revoked("opt-out", "anna", at=9, channel="email")]),
    "sent after it was cancelled": ("I3", [*GOOD, Revoked("cancel", "anna", at=9, activation="a1")]),
    "forgotten, and its row has the name": ("I3", [*GOOD, FORGET]),
    "sent after it was forgotten": ("I3", [*instead(ROW, replace(ROW, user="forgotten:1")), replace(FORGET, at=9)]),
    "its message was cancelled": ("I3", [*GOOD, CANCEL]),
    "cancelled before the store lost it": ("I3", [MATCH, LATER, CALL, ROW, DONE, LOST, CANCEL]),
    "lost, but its message is another's": ("I3", [*GOOD, LOST, replace(CANCEL, at=9)]),
    "forgotten, and a store has the name": ("I3", [*instead(ROW, NAMELESS), FORGET, REMAINS]),
    "forgotten long after the store went back": (
        "I3",
        [*instead(ROW, NAMELESS), replace(FORGET, at=100), LOST, REMAINS],
    ),
    "sent after it was forgotten, by its pseudonym": (
        "I3",
        [*instead(ROW, NAMELESS), replace(FORGET, at=9, pseudonym="forgotten:1")],
    ),
    "nothing was lost": ("I2", [MATCH, TAKEN, STATE_LOST, DONE]),
    "lost at another time": ("I2", [MATCH, LATER, STATE_LOST, DONE, Lost(20, 22)]),
    "lost, and no progress": ("I2", [MATCH, LATER, DONE, LOST]),
    "nothing cancelled it": ("I2", [MATCH, TAKEN, replace(SUPPRESSED, reason="cancelled"), DONE]),
    "no opt-out": ("I2", [MATCH, TAKEN, replace(SUPPRESSED, reason="opt_out"), DONE]),
    "no target any more": ("I2", [MATCH, TAKEN, replace(SUPPRESSED, reason="recheck"), DONE]),
    "ambiguous and sent": ("I4", instead(CALL, replace(CALL, mode="accept_then_timeout"))),
    "ambiguous and given up": ("I4", [MATCH, TAKEN, replace(CALL, mode="error", accepted=False), SUPPRESSED, DONE]),
    "accepted and suppressed": ("I4", instead(ROW, SUPPRESSED)),
    "accepted and unheard of": ("I4", [*GOOD, replace(CALL, activation="a2")]),
    "sent, but never accepted": ("I4", instead(CALL, replace(CALL, mode="throttle", accepted=False))),
    "sent, but never offered": ("I4", [MATCH, TAKEN, ROW, DONE]),
    "500": ("I5", [MATCH, replace(REFUSED, status=500), DONE]),
    "no answer": ("I5", [MATCH, replace(REFUSED, status=0), DONE]),
    "refused without a code": ("I5", [MATCH, replace(REFUSED, code=""), DONE]),
    "answered too late": ("I5", instead(TAKEN, replace(TAKEN, elapsed_s=31))),
    "no check": ("I6", GOOD[:-1]),
    **{f"left: {n}": ("I6", instead(DONE, Backlog(*(int(n == k) for k in range(5))))) for n in range(5)},
    "once too often": ("I7", [TWICE, *many(3, 1)]),
    "once too often, at the very end": ("I7", [TWICE, *many(3, 499)]),
    "once too often, nobody knows": ("I7", [TWICE, *many(3, 1, "unknown")]),
    "too often on a channel": ("I7", [Limit(2, 1000, channel="email"), *many(3, 1)]),
    "too often altogether": ("I7", [Limit(2, 1000), *many(3, 1)]),
}


@pytest.mark.parametrize("records", CLEAN.values(), ids=CLEAN)
def test_what_is_right_passes(records: list[Record]) -> None:
    """A good history has no violation."""
    assert [*check(records), *stopped_without_cause(records)] == []


@pytest.mark.parametrize(("invariant", "records"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_found(invariant: str, records: list[Record]) -> None:
    """The checker names the broken invariant."""
    found = [*check(records), *stopped_without_cause(records)]
    assert invariant in {violation.invariant for violation in found}


def test_every_invariant_can_fail() -> None:
    """Each of the seven invariants has a broken history."""
    assert {invariant for invariant, _ in BROKEN.values()} == {f"I{n}" for n in range(1, 8)}
