"""Where the demo looks for results: the local stack's ledger and outbox."""

from typing import Any

from pymongo.database import Database

from opportune.local.stack import Stack
from shared.channels import Outbound
from shared.mongodb import Document


class StackObserver:
    """Implement `scenario.model.Observer` with the local stack."""

    def __init__(self, stack: Stack, database: Database[Document]) -> None:
        self._stack = stack
        self.speed = stack.speed
        self._database = database

    def matches(self, user: str, campaign: str) -> list[dict[str, Any]]:
        """Return the ledger's rows of *user* and *campaign*."""
        return list(self._database.activations.find({"user": user, "campaign": campaign}))

    def arrived(self, channel: Outbound, to: str) -> int:
        """Return how many messages of *channel* have *to* as recipient or in their text."""
        return sum(any(to in text for text in (*each.to, each.text)) for each in self._stack.accepted(channel))

    def settle(self) -> None:
        """Wait until the queue of deliveries is empty."""
        self._stack.drain()
