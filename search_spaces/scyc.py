"""S-Cyc: max_lr of each pruning cycle, from four parameters (S-Cyc paper, Liu, Tan, Motani).

In: epsilon, delta, q and beta, as numbers or as "EPS,DELTA,Q,BETA". Out: gamma, max_lr and phase of a cycle, and the
trajectory over all cycles. Next stage: `sweep` trains under the trajectory, or compares it with the oracle's.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

_FORM = "S-Cyc parameters are EPS,DELTA,Q,BETA, such as 0.04,0.06,1,4"


@dataclass(frozen=True)
class SCyc:
    """The parameters of S-Cyc: max_lr rises in an S from epsilon to epsilon + delta.

    epsilon: max_lr before the growth, a learning rate > 0. delta: the whole growth, a learning rate >= 0.
    q: the last cycle without growth, an integer >= 0. beta: steepness of the S, > 0. The paper searches q in [0, 3] and
    beta in [3, 6]; other values are allowed. Raises ValueError for a value out of range or not finite.
    """

    epsilon: float
    delta: float
    q: int
    beta: float

    def __post_init__(self) -> None:
        for name in ("epsilon", "delta", "beta"):
            value, low = getattr(self, name), ">= 0" if name == "delta" else "> 0"
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0 or (value == 0 and name != "delta"):
                raise ValueError(f"{name} must be finite and {low}, but got {value!r}")
            object.__setattr__(self, name, float(value))
        _check_count("q", self.q)

    @classmethod
    def parse(cls, text: str) -> "SCyc":
        """Read "EPS,DELTA,Q,BETA". Raises ValueError if there are not four numbers or one is out of range."""
        parts = [part.strip() for part in text.split(",")]
        try:
            # Python reads 1_0 as 10; here it is more likely a slip than a wish.
            numbers = [float(part if "_" not in part else "") for part in parts]
        except ValueError:
            numbers = []
        if len(numbers) != 4:
            raise ValueError(f"{_FORM}, but got {text!r}")
        epsilon, delta, _, beta = numbers
        if not re.fullmatch(r"[+-]?[0-9]+", parts[2]):
            raise ValueError(f"q must be an integer >= 0, but got {parts[2]}")
        return cls(epsilon, delta, int(parts[2]), beta)

    def gamma(self, cycle: int, prune_rate: float) -> float:
        """Return 1 - (1 - prune_rate)^(cycle - q), in [0, 1]: the share pruned since cycle q; zero while cycle <= q.

        cycle: prunings done, an integer >= 0. prune_rate: in (0, 1). Raises ValueError outside these ranges.
        """
        return -math.expm1(_log_surviving(cycle, self.q, prune_rate))

    def max_lr(self, cycle: int, prune_rate: float) -> float:
        """Return epsilon + delta / (1 + (gamma / (1 - gamma))^(-beta)), a learning rate; epsilon while cycle <= q.

        Its limit for many cycles is epsilon + delta. cycle: an integer >= 0. prune_rate: in (0, 1). Raises ValueError
        outside these ranges.
        """
        return self.epsilon + self.delta * self._growth(cycle, prune_rate)

    def phase(self, cycle: int, prune_rate: float) -> str:
        """Return "no growth" (cycle <= q), "slow growth I", "fast growth" or "slow growth II".

        The paper names these four phases and draws no exact boundary between the last three. Here the share of delta
        that is reached decides: below 0.1 slow growth I, up to 0.9 fast growth, above it slow growth II.
        cycle: an integer >= 0. prune_rate: in (0, 1). Raises ValueError outside these ranges.
        """
        growth = self._growth(cycle, prune_rate)
        if cycle <= self.q:
            return "no growth"
        if growth < 0.1:
            return "slow growth I"
        return "fast growth" if growth <= 0.9 else "slow growth II"

    def trajectory(self, cycles: int, prune_rate: float) -> list[float]:
        """Return max_lr of the cycles 0..cycles, so cycles + 1 learning rates.

        cycles: prunings, an integer >= 0. prune_rate: in (0, 1). Raises ValueError outside these ranges.
        """
        _check_count("cycles", cycles)
        return [self.max_lr(cycle, prune_rate) for cycle in range(cycles + 1)]

    def __str__(self) -> str:
        """Write "EPS,DELTA,Q,BETA", which `parse` reads back to equal parameters."""
        return f"{_shortest(self.epsilon)},{_shortest(self.delta)},{self.q},{_shortest(self.beta)}"

    def _growth(self, cycle: int, prune_rate: float) -> float:
        """Return the share of delta that is reached at the cycle, in [0, 1]."""
        log_odds = _log_odds(cycle, self.q, prune_rate)
        if log_odds is None:
            return 0.0
        # (gamma / (1 - gamma))^beta = e^x. The power itself divides by zero once gamma rounds to 1, or overflows.
        x = self.beta * log_odds
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _log_surviving(cycle: int, q: int, prune_rate: float) -> float:
    """Return log(1 - gamma), which stays exact where 1 - gamma itself would round to zero or one."""
    _check_count("cycle", cycle)
    _check_prune_rate(prune_rate)
    return max(cycle - q, 0) * math.log1p(-prune_rate)


@lru_cache(maxsize=4096, typed=True)
def _log_odds(cycle: int, q: int, prune_rate: float) -> float | None:
    """Return log(gamma / (1 - gamma)), or None before the growth. A fit asks for the same few many thousand times."""
    log_surviving = _log_surviving(cycle, q, prune_rate)
    return math.log(-math.expm1(log_surviving)) - log_surviving if log_surviving else None


def percent_remaining(cycle: int, prune_rate: float) -> float:
    """Return 100 * (1 - prune_rate)^cycle: the nominal surviving weights in percent, before any rounding to whole ones.

    cycle: prunings done, an integer >= 0. prune_rate: in (0, 1). Raises ValueError outside these ranges. The labels
    that the paper prints differ from it (`search_spaces.paper.LABELS`).
    """
    _check_count("cycle", cycle)
    _check_prune_rate(prune_rate)
    return 100.0 * math.pow(1 - prune_rate, cycle)


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be an integer >= 0, but got {value!r}")


def _check_prune_rate(prune_rate: float) -> None:
    if not 0 < prune_rate < 1:
        raise ValueError(f"0 < prune_rate < 1 must hold, but got {prune_rate!r}")


def _shortest(value: float) -> str:
    """Write 4.0 as 4, and any value with as many digits as it takes to read it back."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
