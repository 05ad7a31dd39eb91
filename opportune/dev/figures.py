"""A measurement and its floor."""

from typing import NamedTuple


class Figure(NamedTuple):
    """A measurement beside its floor, in the same unit."""

    name: str
    value: float
    floor_name: str
    floor: float
    unit: str

    @property
    def ratio(self) -> float:
        """The measurement divided by its floor."""
        return self.value / self.floor
