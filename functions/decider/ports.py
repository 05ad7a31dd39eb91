"""What the Decider works with: the frozen dependencies of its use cases, and the ports that tests replace."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from decider.rulesets import Rulesets
from decider.stats import Stats
from decider.user_state import UserStateStore
from shared.clock import Clock
from shared.contracts import Activation, Conversion, Doorbell
from shared.identities import Identification, PopupEvent
from shared.observability import Observability
from shared.refreshing_cache import RefreshingCache


class Targets(Protocol):
    """The target groups that the last refresh found a user in."""

    def groups(self, site: str, generation: int, user: str) -> list[str]: ...


class Deliveries(Protocol):
    """The two routes to the Engager: a synchronous call and the queue. Both raise `Unavailable`."""

    def engage(
        self, activations: Sequence[Activation], conversions: Sequence[Conversion], deadline: int
    ) -> dict[str, dict[str, Any]]: ...
    def enqueue(self, activations: Sequence[Activation]) -> None: ...


class Doorbells(Protocol):
    """Calls of the Decider at a given time. Only scheduling raises `Unavailable`."""

    def schedule_doorbell(self, doorbell: Doorbell, at: int, now: int) -> None: ...
    def cancel_doorbell(self, key: str) -> None: ...


class Records(Protocol):
    """What the Decider writes about users to MongoDB. Both raise `Unavailable`."""

    def write_traits(self, site: str, identifications: Sequence[Identification]) -> list[str]: ...
    def record_popup_events(self, site: str, popup_events: Sequence[PopupEvent]) -> None: ...


@dataclass(frozen=True)
class Deps:
    """The dependencies of the handler and of every use case.

    ``log_warning``: takes a sentence and ``extra`` fields.
    ``invoke_async``: invokes a function (ARN) with a payload and does not wait for the result.
    ``db_deadline(seconds)``: limits the time that MongoDB may take inside a ``with`` block.
    """

    rulesets: RefreshingCache[Rulesets]
    states: UserStateStore
    targets: Targets
    deliveries: Deliveries
    doorbells: Doorbells
    records: Records
    stats: Stats
    clock: Clock
    observability: Observability
    log_warning: Callable[..., None]
    invoke_async: Callable[[str, dict[str, Any]], None]
    db_deadline: Callable[[float], AbstractContextManager[Any]]
