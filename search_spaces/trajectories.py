"""max_lr as a function of the cycle: what a trajectory is, and two simple ones. `search_spaces.scyc` has S-Cyc's."""

from dataclasses import dataclass
from typing import Protocol


class Trajectory(Protocol):
    """Anything that predicts the max_lr of each cycle."""

    def max_lr(self, cycle: int, prune_rate: float) -> float:
        """Return the max_lr of a cycle."""


@dataclass(frozen=True)
class Line:
    """max_lr linear in the cycle, between its values at the first and the last."""

    first: float
    last: float
    cycles: int

    def max_lr(self, cycle: int, prune_rate: float) -> float:
        """Return the curve at a cycle."""
        return self.first + (self.last - self.first) * cycle / max(1, self.cycles)

    def __str__(self) -> str:
        return f"{self.first:.6g},{self.last:.6g}"


@dataclass(frozen=True)
class Exponential(Line):
    """max_lr multiplied by the same factor from cycle to cycle."""

    def max_lr(self, cycle: int, prune_rate: float) -> float:
        """Return the curve at a cycle."""
        return float(self.first * (self.last / self.first) ** (cycle / max(1, self.cycles)))
