"""The states of the delivery protocol, small enough that all of them can be visited.

    event ─▶ match: activation, timer ─▶ doorbell or wake ─▶ claim ─▶ queue ─▶ ledger ─▶ provider ─▶ ledger
                    └─ one script ─┘                        └─ acknowledge ─┘

Events of one user are numbered. Each matches by itself, and its activation has the number of its event. A cancelling
event has a number too, but no activation. All values are immutable, so a state can be a key of a dictionary.
"""

from typing import NamedTuple, TypeVar

V = TypeVar("V")

EVENT, BELL, WAKE, DELIVERY = "event", "bell", "wake", "delivery"
DELAYED, IMMEDIATE, CANCEL = "delayed", "immediate", "cancel"
FINAL = ("sent", "unknown", "cancelled", "state_lost")
OLD_EPOCH, NEW_EPOCH = 1, 2
FIRST_GENERATION = 1


class Rules(NamedTuple):
    """What the protocol does. The defaults are the design; each field set to ``False`` takes one part out.

    Targets:
    ``drop_by_age``: an old generation is dropped once no pointer to it is in use; else all but two, immediately.
    ``missing_is_unavailable``: a missing collection makes the reader look up the pointer again; else: "not a target".

    Lost state:
    ``ring_again``: a doorbell that finds nothing rings again, then hands over the activation that it carries.
    ``send_if_lost``: the campaign's policy; ``False`` records `state_lost`.
    ``copy_replaces_lost``: a copy from the queue replaces a row `state_lost` and is sent.
    ``cancel_replaces_lost``: the record of a cancellation replaces a row `state_lost`.

    ``cancel_marks_sending``: a cancellation during a provider call stops the retry if the provider refuses.
    ``doorbell_before_answer``: an event is answered once its doorbell exists; else a doorbell that fails is skipped.

    The order of steps:
    ``ledger_first``: the ledger has the row before the provider is called.
    ``insert_if_absent``: a row that exists stops a second copy.
    ``acknowledge_last``: an activation is acknowledged after the hand-over.
    """

    drop_by_age: bool = True
    missing_is_unavailable: bool = True
    ring_again: bool = True
    send_if_lost: bool = False
    copy_replaces_lost: bool = True
    cancel_replaces_lost: bool = True
    cancel_marks_sending: bool = True
    doorbell_before_answer: bool = True
    ledger_first: bool = True
    insert_if_absent: bool = True
    acknowledge_last: bool = True


class Budget(NamedTuple):
    """What may still go wrong, and how often.

    ``faults``: deaths of a process and calls that fail, executed or not.
    ``losses``: the state store goes back to any earlier state, and keeps its epoch.
    ``wipes``: the state store becomes empty, and gets a new epoch.
    ``copies``: a queue delivers a message twice.
    ``refusals``: the provider refuses for now.
    ``refreshes``: the pointer moves to a new generation of the targets.
    """

    faults: int = 0
    losses: int = 0
    wipes: int = 0
    copies: int = 0
    refusals: int = 0
    refreshes: int = 0


class Scenario(NamedTuple):
    """What happens: the kinds of the user's events, what may go wrong, and the rules.

    ``in_order``: each event is sent once the one before it is answered; else all at the same time.
    ``remember_cancels``: check cancellations, too, that come after the store has lost their activation.
    """

    events: tuple[str, ...]
    budget: Budget
    rules: Rules = Rules()
    in_order: bool = False
    remember_cancels: bool = False


class Store(NamedTuple):
    """The state store: one user's row and the activations of its partition.

    ``targets``: generation of the cached answer, negative for "not a target"; 0: unknown.
    ``seen``: per event, the activations that it cancelled; ``None``: not applied.
    ``unacknowledged``: per activation `deliver`, `cancelled`, or nothing. Its timer exists as long as it does.
    ``open``: per activation `waiting` or `claimed` while a later event can cancel it.
    ``epoch``: when the partition's counters were created; 0: there are none.
    """

    targets: int
    seen: tuple[tuple[int, ...] | None, ...]
    unacknowledged: tuple[str, ...]
    open: tuple[str, ...]
    epoch: int


class Task(NamedTuple):
    """A message that waits for a process (step `start`), or a process that has begun one.

    ``role``: `event` (a request), `bell`, `wake` or `delivery`.
    ``number``: of the event, or of the activation.
    ``rings``: how often a bell has rung.
    ``epoch``: of the state that a bell's activation was written to.
    ``about``: what the next step needs.
    """

    role: str
    step: str
    number: int
    rings: int = 0
    epoch: int = 0
    about: tuple[str | int | bool, ...] = ()

    def restart(self) -> "Task | None":
        """Return what is left after the process has died or failed: its message. A wake has none."""
        if self.role == WAKE:
            return None
        return self if self.step == "start" else Task(self.role, "start", self.number, self.rings, self.epoch)


class State(NamedTuple):
    """Everything at one moment.

    ``tasks``: sorted, because their order means nothing.
    ``saved``: the state to which the store may go back.
    ``ledger``: per activation, the state of its row; empty: no row.
    ``accepted``: per activation, how many times the provider accepted it.
    ``cancels``: per activation: 1 cancelled before it was sent; 2 claimed after that; 3 accepted after that.
    ``missed``: per event, whether it was answered 200 without a match.
    ``pointer``: the current generation of the targets.
    ``generations``: those whose collections exist.
    ``decider_pointer``, ``engager_pointer``: as each function has it cached.
    """

    store: Store
    saved: Store | None
    tasks: tuple[Task, ...]
    ledger: tuple[str, ...]
    accepted: tuple[int, ...]
    cancels: tuple[int, ...]
    missed: tuple[bool, ...]
    pointer: int
    generations: tuple[int, ...]
    decider_pointer: int
    engager_pointer: int
    left: Budget


class Step(NamedTuple):
    """A transition. ``is_due``: it happens sooner or later; faults and other chances need not happen."""

    label: str
    state: State
    is_due: bool = True


def initial(scenario: Scenario) -> State:
    """Return the first state: nothing has happened, and all events are about to be sent."""
    count = len(scenario.events)
    known = 0 if scenario.budget.refreshes else FIRST_GENERATION
    store = Store(known, (None,) * count, ("",) * count, ("",) * count, OLD_EPOCH)
    return State(
        store=store,
        saved=None,
        tasks=tuple(Task(EVENT, "start", number) for number in range(count)),
        ledger=("",) * count,
        accepted=(0,) * count,
        cancels=(0,) * count,
        missed=(False,) * count,
        pointer=FIRST_GENERATION,
        generations=(FIRST_GENERATION,),
        decider_pointer=FIRST_GENERATION,
        engager_pointer=FIRST_GENERATION,
        left=scenario.budget,
    )


def put(values: tuple[V, ...], index: int, value: V) -> tuple[V, ...]:
    """Return *values* with *value* at *index*."""
    return (*values[:index], value, *values[index + 1 :])
