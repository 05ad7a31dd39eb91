"""A measurement, and what it is measured against."""

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
        """Return the measurement in floors."""
        return self.value / self.floor
