"""A database whose caller dies in the middle of its work."""

from typing import Any


class Killed(BaseException):
    """The process has died: no handler catches it."""


class Dying:
    """A database, or a part of one, that counts writes and dies just before or after the n-th."""

    WRITES = frozenset(
        {
            "aggregate",
            "bulk_write",
            "create_collection",
            "delete_many",
            "drop_collection",
            "find_one_and_update",
            "insert_many",
            "insert_one",
            "rename",
            "replace_one",
            "update_one",
        }
    )

    def __init__(self, real: Any, fate: list[int], *, after: bool) -> None:
        self._real, self._fate, self._after = real, fate, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name in self.WRITES:
            return lambda *args, **options: self._write(found, *args, **options)
        if name == "with_options":
            return lambda **options: Dying(found(**options), self._fate, after=self._after)
        return Dying(found, self._fate, after=self._after) if hasattr(found, "insert_one") else found

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def _write(self, write: Any, *args: Any, **options: Any) -> Any:
        self._fate[0] -= 1
        if self._fate[0] == 0 and not self._after:
            raise Killed
        done = write(*args, **options)
        if self._fate[0] == 0:
            raise Killed
        return done
