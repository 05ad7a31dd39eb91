"""The port to the targets, read once per user and generation; the row in Redis keeps what follows from it."""

from typing import Protocol


class Targets(Protocol):
    """Returns the target groups whose rule or list a user was found in; see `shared.targets`."""

    def groups(self, site: str, generation: int, user: str) -> list[str]: ...
