"""Ranges of parameters to tune, and S-Cyc's own.

In: the text of a range (`LO:HI`). Out: a `Range`, as points of it or as a distribution of Optuna. Next stage: `sweep`
asks Optuna for parameters within them.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.max_lr import SIGNIFICANT_DIGITS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SCYC_Q, SCYC_BETA = "0:3", "3:6"
"""Where the S-Cyc paper searches q (an integer) and beta (section 4.3)."""


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, both included: whole numbers (`integer`), by ratio (`log`) or by difference.

    Raises ValueError if an end is not finite, `low` is above `high`, a logarithmic range reaches 0, or the ends of an
    integer range are no whole numbers >= 0.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        for end in (self.low, self.high):
            if not math.isfinite(end):
                raise ValueError(f"a range must be finite, but got {end}")
            if self.log and end <= 0:
                raise ValueError(f"a range must lie above 0, but got {end:g}")
            if self.integer and (end < 0 or end != int(end)):
                raise ValueError(f"a range of whole numbers must have ends 0, 1, 2, ..., but got {end:g}")
        if self.low > self.high:
            raise ValueError(f"LO <= HI must hold in a range, but got {self.low:g}:{self.high:g}")

    @classmethod
    def parse(cls, text: str, log: bool = False, integer: bool = False) -> "Range":
        """Read `LO:HI`. Raises ValueError if there are not two numbers, or as the class does."""
        parts = text.split(":")
        try:
            # Python reads 1_0 as 10; here it is more likely a slip than a wish.
            low, high = (float(part if "_" not in part else "") for part in parts)
        except ValueError:
            raise ValueError(f"a range is LO:HI, such as 0.01:0.1, but got {text!r}") from None
        return cls(low, high, log, integer)

    def at(self, share: float) -> float:
        """Return the value that `share`, in [0, 1), of the range lies below; whole numbers take equal shares."""
        if self.integer:
            return min(self.high, math.floor(self.low + share * (self.high - self.low + 1)))
        if self.log:
            return min(self.high, max(self.low, float(self.low ** (1 - share) * self.high**share)))
        return min(self.high, self.low + share * (self.high - self.low))

    def rounded(self, value: float) -> float:
        """Return a value of the range as whole number or with six significant digits, as `MaxLrGrid` has them."""
        return int(value) if self.integer else float(f"{value:.{SIGNIFICANT_DIGITS}g}")

    def distribution(self) -> "BaseDistribution":
        """Return the range as Optuna has it."""
        from optuna.distributions import FloatDistribution, IntDistribution  # takes half a second that help need not

        if self.integer:
            return IntDistribution(int(self.low), int(self.high))
        return FloatDistribution(self.low, self.high, log=self.log)
