"""The grid of max_lr values that the oracle searches.

In: the text of a grid (`LO:HI:STEP`, `LO:HI:xN` or a comma list), or its values. Out: the values in rising order, and
the same grid extended past an edge. Next stage: `sweep`, which trains one lane for each value.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

MAX_POINTS = 10_000
SIGNIFICANT_DIGITS = 6
_FORMS = "a max_lr grid is LO:HI:STEP (linear), LO:HI:xN (N geometric points) or a comma list"


@dataclass(frozen=True)
class MaxLrGrid:
    """Learning rates (dimensionless, positive, finite), strictly increasing, at most 10,000.

    Values are rounded to 6 significant digits, so that 0.1 + 0.2 never enters a table or a hash as 0.30000000000000004.
    Raises ValueError if the rounded values do not increase strictly.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        given = tuple(self.values)
        if not given:
            raise ValueError("a max_lr grid must have at least one value, but got none")
        _check_size(len(given))
        for value in given:
            _check_rate(value)
        rounded = tuple(_rounded(value) for value in given)
        for low, high in pairwise(rounded):
            if high <= low:
                digits = f"at {SIGNIFICANT_DIGITS} significant digits"
                raise ValueError(f"max_lr values must increase, but got {high:g} after {low:g} ({digits})")
        object.__setattr__(self, "values", rounded)

    @classmethod
    def parse(cls, text: str) -> "MaxLrGrid":
        """Read `LO:HI:STEP` (linear), `LO:HI:xN` (geometric, N >= 2) or a comma list; both ends are included.

        A linear grid ends at HI if HI - LO is a multiple of STEP (at 6 digits), else at the largest value not above HI.
        Raises ValueError for anything else, naming the broken rule and the value.
        """
        if not text.strip():
            raise ValueError(f"{_FORMS}, but got {text!r}")
        parts = [part.strip() for part in text.split(":")]
        if len(parts) == 1:
            return cls(tuple(_number(part, text) for part in text.split(",")))
        if len(parts) != 3:
            raise ValueError(f"{_FORMS}, but got {text!r}")
        low, high = (_number(part, text) for part in parts[:2])
        for end in (low, high):
            _check_rate(end)
        if low >= high:
            raise ValueError(f"LO < HI must hold in a max_lr grid, but got LO={parts[0]}, HI={parts[1]}")
        points = re.fullmatch(r"x\s*([+-]?[0-9]+)", parts[2])
        if points:
            return cls(_geometric(low, high, int(points[1])))
        step = _number(parts[2], text)
        if not (math.isfinite(step) and step > 0):
            raise ValueError(f"STEP of a max_lr grid must be positive and finite, but got {parts[2]}")
        return cls(_linear(Fraction(parts[0]), Fraction(parts[1]), Fraction(parts[2])))

    def points(self, below: int = 0, above: int = 0) -> tuple[float, ...]:
        """Return the grid with up to `below` and `above` further points beyond its edges, by its own spacing.

        A linear grid goes on by its step and a geometric one by its ratio. In a mixed grid the three outermost points
        decide, and where they have neither, the difference of the two outermost is the step. One point has no spacing
        and comes back alone. Fewer points come where the next one would be zero or below, or would no longer differ at
        6 significant digits. Raises ValueError if a count is negative or not an integer.
        """
        for name, count in (("below", below), ("above", above)):
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise ValueError(f"{name} must be an integer >= 0, but got {count!r}")
        lower = _beyond(self.values, below)
        upper = _beyond(self.values[::-1], above)
        return (*reversed(lower), *self.values, *upper)

    @property
    def floor(self) -> float:
        """The lowest point that the grid can be extended to by its spacing, however far; above 0."""
        return self.points(MAX_POINTS)[0]

    @property
    def growth(self) -> list[int]:
        """How many points come at a time where the grid grows as far as it may, on both sides."""
        growing, widths = GrowingGrid(self), []
        while new := growing.grow(low=True, high=True):
            widths.append(len(new))
        return widths

    def __str__(self) -> str:
        """Write the comma list that `parse` reads back to an equal grid."""
        return ",".join(f"{value:.{SIGNIFICANT_DIGITS}g}" for value in self.values)


class GrowingGrid:
    """A grid that goes on past its edges while what is looked for lies there: by 1, 3, 7, ... points at a time.

    So few lanes are spent where it lies just beyond the edge, and few rounds where it does not. The grid grows to at
    most `limit` times its points.
    """

    def __init__(self, grid: MaxLrGrid, limit: int = 4) -> None:
        self.grid, self.limit = grid, limit * len(grid.values)
        self._below = self._above = 0

    @property
    def points(self) -> tuple[float, ...]:
        """The grid as far as it has grown."""
        return self.grid.points(self._below, self._above)

    def grow(self, low: bool, high: bool) -> list[float]:
        """Go on below, above or both; return the new points, none where the grid may not or cannot grow."""
        before = self.points
        if len(before) < self.limit:
            self._below = 2 * self._below + 1 if low else self._below
            self._above = 2 * self._above + 1 if high else self._above
        while len(self.points) > self.limit:  # back to the limit, from the side that has more
            if self._above >= self._below:
                self._above -= 1
            else:
                self._below -= 1
        return [point for point in self.points if point not in before]


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _check_size(size: int) -> None:
    if size > MAX_POINTS:
        raise ValueError(f"a max_lr grid must have at most {MAX_POINTS:,} points, but got {size:,}")


def _check_rate(value: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"max_lr values must be numbers, but got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"max_lr values must be finite, but got {value}")
    if value <= 0:
        raise ValueError(f"max_lr values must be positive, but got {value:g}")


def _number(part: str, text: str) -> float:
    """Read one number of a grid; `text` is the whole grid, for the message."""
    try:
        # Python reads 1_0 as 10; in a grid it is more likely a slip than a wish.
        return float(part if "_" not in part else "")
    except ValueError:
        raise ValueError(f"{_FORMS}, but got {text!r}") from None


def _linear(low: Fraction, high: Fraction, step: Fraction) -> tuple[float, ...]:
    # Fractions: 0.1 + 45 * 0.002 in floats may miss HI by an ulp, and the count with it.
    steps = round((high - low) / step)
    if _rounded(float(low + steps * step)) != _rounded(float(high)):
        steps = (high - low) // step
    _check_size(steps + 1)
    return tuple(float(low + i * step) for i in range(steps + 1))


def _geometric(low: float, high: float, count: int) -> tuple[float, ...]:
    if count < 2:
        raise ValueError(f"xN of a max_lr grid must have N >= 2, but got x{count}")
    _check_size(count)
    # A product of powers, not low * (high / low) ** t: it gives both ends exactly and cannot overflow.
    shares = (i / (count - 1) for i in range(count))
    return tuple(low ** (1 - share) * high**share for share in shares)


def _beyond(from_edge: Sequence[float], count: int) -> list[float]:
    """Return up to `count` points past the edge `from_edge[0]`, nearest first; the rest of the grid lies behind it."""
    if len(from_edge) < 2:
        return []
    edge = from_edge[0]
    step, log_ratio = _spacing(from_edge)
    # What is left of a step at zero (0.4 - 4 * (0.6 - 0.5) = 1e-16) is rounding, not a rate.
    smallest = abs(step) * 1e-9
    found: list[float] = []
    for k in range(1, count + 1):
        point = _exp(math.log(edge) + k * log_ratio) if log_ratio else edge + k * step
        last = found[-1] if found else edge
        if not smallest < point < math.inf or _rounded(point) == last:
            break
        found.append(_rounded(point))
    return found


def _spacing(from_edge: Sequence[float]) -> tuple[float, float]:
    """Return (step, 0) or (0, logarithm of the ratio) from a point to the next one outward, past `from_edge[0]`."""
    edge = from_edge[0]
    # The whole grid comes first: over many points the rounding to 6 digits averages out of its step or ratio.
    for stretch in (from_edge, from_edge[:3]):
        gaps = len(stretch) - 1
        if gaps < 2:
            break
        step = (edge - stretch[-1]) / gaps
        # Equal steps come before equal ratios: in a long linear grid neighbouring ratios are nearly equal too.
        if all(math.isclose(edge - i * step, value, rel_tol=1e-5) for i, value in enumerate(stretch)):
            return step, 0.0
        ratios = [outer / inner for outer, inner in pairwise(stretch)]
        if max(ratios) <= min(ratios) * (1 + 1e-4):
            return 0.0, (math.log(edge) - math.log(stretch[-1])) / gaps
    return edge - from_edge[1], 0.0


def _exp(exponent: float) -> float:
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf
