"""What the state store holds: the fields of a user's row, and the positions in packed lists.

Rows are small: their fields have names of one letter, and lists are packed by position. The Lua scripts use the names
below instead, such as ``ROW.counted`` or ``FIRING.gate``. `decider.scripts` replaces them by the stored field or the
position when it loads a script, so the names cost nothing at run time.
"""

from enum import IntEnum

from shared.clock import MAX_AHEAD_MS

ROW = {
    # name in the scripts → field of the hash `{pN}:u:<site>:<user>`
    "targets": "g",  # "<generation>:<ruleset>:<key>,<key>,": triggers that the user is a target of; "?": not looked up
    "time": "m",  # last effective time, ms
    "recent": "d",  # the newest message ids, see messages.lua
    "older": "b",  # of a busy user: message ids of the last 15 minutes that are not in `recent`
    "results": "r",  # the firings of recent messages, see messages.lua
    "progress": "t:",  # one field per trigger, followed by its key: a list of `RUN`
    "counted": "c",  # times of activations by limit, see gates.lua
    "open": "p",  # activations that later events can cancel or convert, see gates.lua: campaign → `ENTRY`
    "event_times": "e",  # times of recent events, see rate.lua
    "offers": "o",  # popups that are offered until they are seen: a list of `OFFER`
    "cancellations": "n",  # events that have ended something, see cancellations.lua: key → run → `CANCELLATION`
    "lost": "f",  # progress that went because the user was no longer a target: trigger key → `LOST`
    "became": "l",  # the user that this visitor has become
    "became_at": "k",  # when the site said so, ms
    "moving": "x",  # parts of this visitor that are on their way to the user's row
    "visitors": "v",  # the visitors that this user was: a list of `VISITOR`
}

PACKED = {
    # a match or a converted goal: `decider.user_state.Firing`
    "FIRING": (
        "key",
        "ref",
        "at",
        "reason",
        "since",
        "per",
        "note",
        "gate",
        "due",
        "state_epoch",
        "expires",
    ),
    # what a firing says about its campaign: `decider.activations.Reference`
    "REF": ("campaign", "ruleset", "channel", "trigger"),
    # what a match keeps of the event that completed it, in JSON: `decider.activations.Note`
    "NOTE": ("event", "message_id", "at", "received", "history", "attributes"),
    # the names in the key of a firing, in JSON. `last`: digest of the completing event, or the deadline. `about`:
    # "goal", or "" before `visitor`: the visitor that the user was when the activation matched
    "KEY": ("site", "user", "trigger", "per", "last", "about", "visitor"),
    # one run of a trigger: the values of `per`, and the state as `machine.freeze` returns it
    "RUN": ("per", "state"),
    # an activation that later events can cancel or convert, see gates.lua
    "ENTRY": ("key", "per", "due", "converts_until", "recall_until", "is_claimed", "began", "firing"),
    # a popup that is offered: activation id, when it expires and was offered last (ms), and its firing
    "OFFER": ("id", "expires", "offered", "firing"),
    # the newest event that has ended a run, ms, and until when that matters
    "CANCELLATION": ("at", "ends"),
    # when progress went, ms, and the generation of the targets
    "LOST": ("at", "generation"),
    # a visitor's id, and the token of the move that merged it
    "VISITOR": ("id", "token"),
    # a limit of a campaign's policy: `decider.policy.Limit`, and one of its rules: `decider.policy.Rule`
    "LIMIT": ("name", "keep", "rules"),
    "RULE": ("max", "per", "gate"),
}


class Outcome(IntEnum):
    """The return codes of ``apply-event-5.lua``."""

    DECIDED = 0
    SEEN = 1
    NO_TARGET = 2
    VISITOR_BECAME_USER = 3
    TARGETS_UNKNOWN = -1
    RULESET_OUTDATED = -2
    HISTORY_TOO_LATE = -3
    RATE_LIMITED = -4


# What the scripts' names stand for, as Lua: strings for fields, numbers for positions, codes and ms.
CONSTANTS: dict[str, dict[str, str]] = {
    "ROW": {name: f'"{stored}"' for name, stored in ROW.items()},
    "CLOCK": {"max_ahead": str(MAX_AHEAD_MS)},
    "OUTCOME": {outcome.name: str(outcome.value) for outcome in Outcome},
    **{table: {name: str(n) for n, name in enumerate(fields, 1)} for table, fields in PACKED.items()},
}
