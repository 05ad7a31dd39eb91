"""The scenarios in which the design keeps every promise, by name."""

from tests.model.state import CANCEL, DELAYED, IMMEDIATE, Budget, Rules, Scenario

ORDER = (DELAYED, CANCEL)
TWO_AND_CANCEL = (IMMEDIATE, DELAYED, CANCEL)

# Seconds each.
QUICK = {
    "two events and a cancellation, one death or failed call": Scenario(
        TWO_AND_CANCEL, Budget(faults=1), in_order=True
    ),
    "a message delivered twice": Scenario(ORDER, Budget(copies=1)),
    "a message delivered twice, and a refusal": Scenario(ORDER, Budget(copies=1, refusals=1)),
    "the store loses its tail": Scenario(ORDER, Budget(losses=1)),
    "the store loses its tail, and the campaign sends": Scenario(ORDER, Budget(losses=1), Rules(send_if_lost=True)),
    "the store is emptied": Scenario(ORDER, Budget(wipes=1)),
    "a lost tail and a death or failed call": Scenario((DELAYED,), Budget(faults=1, losses=1)),
    "two refreshes": Scenario((IMMEDIATE, IMMEDIATE), Budget(refreshes=2)),
    "two refreshes, and a death or failed call": Scenario((IMMEDIATE,), Budget(faults=1, refreshes=2)),
    "a refresh and a cancellation": Scenario(ORDER, Budget(refreshes=1)),
    "a refresh during a delay, and a death or failed call": Scenario((DELAYED,), Budget(faults=1, refreshes=1)),
}

# About half a minute each.
DEEP = {
    "two events and a cancellation in any order, one death or failed call": Scenario(TWO_AND_CANCEL, Budget(faults=1)),
    "two events and a cancellation, the store loses its tail": Scenario(
        TWO_AND_CANCEL, Budget(losses=1), in_order=True
    ),
    "two deaths or failed calls": Scenario(ORDER, Budget(faults=2)),
    "a death or failed call, and a message delivered twice": Scenario(ORDER, Budget(faults=1, copies=1)),
    "a death or failed call, and a refusal": Scenario(ORDER, Budget(faults=1, refusals=1)),
    "a lost tail, a message delivered twice, and a refusal": Scenario(ORDER, Budget(losses=1, copies=1, refusals=1)),
    "a lost tail, a death or failed call, and a cancellation": Scenario(ORDER, Budget(faults=1, losses=1)),
    "an emptied store, a death or failed call, and a cancellation": Scenario(ORDER, Budget(faults=1, wipes=1)),
    "two events, two refreshes, and a death or failed call": Scenario(
        (IMMEDIATE, IMMEDIATE), Budget(faults=1, refreshes=2)
    ),
    "a refresh, a death or failed call, and a cancellation": Scenario(ORDER, Budget(faults=1, refreshes=1)),
    "two refreshes and a cancellation": Scenario(ORDER, Budget(refreshes=2)),
}
