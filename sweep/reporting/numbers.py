"""How numbers are written. In: values; None, NA or NaN where there is none. Out: text, the same in every format."""

import math
from collections.abc import Callable
from itertools import pairwise

NONE = "-"
"""What stands where a table has no value."""


def missing(value: object) -> bool:
    """Whether a value is None, pandas' NA or NaN."""
    # NA is the only value that is neither equal nor unequal to itself; pandas need not be imported to know it.
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value))


def rate_format(*rates: float) -> Callable[[float], str]:
    """Return how learning rates that are compared are written: three digits, or as many more as tell them apart.

    Two that differ by one in the last digit could differ by less than the rounding: they get another digit.
    """
    different = sorted({float(f"{rate:.9g}") for rate in rates if not missing(rate)})  # nine digits alike: the same
    for digits in range(3, 10):
        if all(
            high - low > 1.5 * 10 ** (math.floor(math.log10(max(high, 1e-9))) + 1 - digits)
            for low, high in pairwise(different)
        ):
            break
    return lambda rate: f"{rate:.{digits}g}"


def with_std(mean: float, std: float) -> str:
    """Return a mean in percent with its standard deviation over runs, where there is one: 95.60±0.42."""
    return f"{mean:.2f}" if missing(std) else f"{mean:.2f}±{std:.2f}"


def signed(value: float) -> str:
    """Return a difference in percentage points with its sign: +0.12."""
    return NONE if missing(value) else f"{value:+.2f}"


def interval(low: float, high: float, digits: int = 2) -> str:
    """Return an interval: [0.12, 0.34]."""
    return NONE if missing(low) or missing(high) else f"[{low:.{digits}f}, {high:.{digits}f}]"


def factor(value: float) -> str:
    """Return how many times as large something is: 2.37, 1,000."""
    return NONE if missing(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def percent_remaining(value: float) -> str:
    """Return the share of weights that remain, in percent: 51.2."""
    return f"{value:.3g}"


def p_value(value: float) -> str:
    """Return a p-value: 0.012."""
    return NONE if missing(value) else f"{value:.2g}"


def yes_no(value: object) -> str:
    """Return whether a claim holds, or that nothing is known of it."""
    return NONE if missing(value) else "yes" if value else "no"


def count(number: int, what: str) -> str:
    """Return a number of things: 1 run, 2 runs, 3 processes."""
    plural = "" if number == 1 else "es" if what.endswith("s") else "s"
    return f"{number:,} {what}{plural}"


def duration(seconds: float) -> str:
    """Return a duration: 48 s, 12 min, 3.5 h, 2.1 days."""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.{1 if unit == 'h' else 0}f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def size(bytes_: float) -> str:
    """Return a number of bytes: 812 bytes, 1.4 MB."""
    if bytes_ < 1000:
        return f"{bytes_:.0f} bytes"
    for unit in ("kB", "MB"):
        bytes_ /= 1000
        if bytes_ < 1000:
            return f"{bytes_:.3g} {unit}"
    return f"{bytes_ / 1000:.3g} GB"
