"""The dependencies of Preferences."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from shared.observability import Observability


class OptOuts(Protocol):
    """Stores opt-outs; see `shared.optouts`. Adding one twice changes nothing. Raises `Unavailable`."""

    def add(self, site: str, user: str, channel: str, reason: str) -> object: ...


@dataclass(frozen=True)
class Deps:
    """What the handler works with.

    site_name: returns the name of a site by its id; empty if it is unknown.
    secret: signs the tokens in unsubscribe links.
    """

    opt_outs: OptOuts
    site_name: Callable[[str], str]
    secret: str
    observability: Observability
