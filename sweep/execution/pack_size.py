"""How many lanes a pack should have. In: speeds measured for several sizes. Out: the size that ends a cycle soonest."""

from collections.abc import Mapping
from dataclasses import dataclass

EQUAL_WITHIN = 1.05
"""Times that differ by a smaller factor count as equal: two measurements of one size differ by as much."""


@dataclass(frozen=True)
class Measure:
    """A job besides packs: measure the speed of packs of several sizes, on a worker that will train them."""

    points: int
    """max_lr values of a cycle."""
    runs: int
    workers: int
    """Packs that train at the same time."""

    @property
    def sizes(self) -> list[int]:
        """The sizes to measure, smallest first: those that split a cycle's max_lr values into packs of equal size."""
        return sorted({-(-self.points // packs) for packs in (1, 2, 3, 4, 6, 8, 12, self.points)})

    def seconds(self, size: int, rate: float) -> float:
        """Return how long one step of a whole cycle takes in packs of `size`, at `rate` lane-steps per second.

        A worker trains one pack at a time, so a cycle takes as long as the worker with the most packs.
        """
        packs = -(-self.points // size) * self.runs
        return -(-packs // self.workers) * size / rate

    def best(self, rates: Mapping[int, float]) -> int:
        """Return the smallest size that is as fast as the fastest; `rates` are lane-steps per second, by size.

        Small packs have two advantages: a worker that dies loses less, and the mean of a max_lr over all runs is known
        earlier, so that states can be removed earlier.
        """
        fastest = min(self.seconds(size, rate) for size, rate in rates.items())
        return min(size for size, rate in rates.items() if self.seconds(size, rate) <= fastest * EQUAL_WITHIN)
