"""Confidence intervals and tests for the max_lr values of a cycle. Pure.

In: accuracies of each max_lr, run by run. Out: shortfalls with intervals, verdicts.
All max_lr values of a run share its split, batches, augmentation and dropout, so comparisons are paired by run. Next:
`sweep.statistics.summaries` puts the results beside the best max_lr and the feasible region.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Verdict = Literal["inside", "outside", "undecided"]
Array = NDArray[np.float64]

ROUNDING = 1e-9
"""Percent points below which two accuracies count as equal."""
MOST_IMAGES = 1_000_000
"""The largest validation or test part."""


@dataclass(frozen=True)
class Point:
    """What is known of one max_lr of a cycle. All in percent points of validation accuracy."""

    shortfall: float
    """Mean accuracy of the best max_lr minus that of this one."""
    low: float | None
    """Lower end of the interval of its shortfall from the truly best max_lr, whichever that is; None for one run."""
    high: float | None
    """Upper end of that interval."""
    worse: bool | None
    """Whether it is significantly worse than the best; None for one run."""
    verdict: Verdict | None
    """Whether it lies within the tolerance of the best; None for one run."""


def judge(
    accuracies: Mapping[float, Sequence[float]], best_max_lr: float, tolerance: float, confidence: float
) -> dict[float, Point]:
    """Return what is known of each max_lr: its shortfall with an interval, and the verdict that follows.

    `accuracies` has for each max_lr one value per run, all in the same order; `tolerance` is in percent points. The
    intervals of a cycle hold simultaneously with probability `confidence`, whichever max_lr is truly best: of 25 equal
    points none is called worse, although one of them always has the highest mean. One run gives no interval.
    """
    points = sorted(accuracies)
    values = np.array([accuracies[point] for point in points], dtype=float).T
    shortfall = values[:, points.index(best_max_lr)].mean() - values.mean(axis=0)
    if len(values) < 2:
        return {
            point: Point(float(each), None, None, None, None) for point, each in zip(points, shortfall, strict=True)
        }
    low, high = shortfalls(values, confidence)
    return {
        point: Point(float(each), float(a), float(b), bool(a > 0), verdict(a, b, tolerance))
        for point, each, a, b in zip(points, shortfall, low, high, strict=True)
    }


def verdict(low: float, high: float, tolerance: float) -> Verdict:
    """Return what an interval of a shortfall says of a point: within the tolerance, beyond it, or neither."""
    return "outside" if low > tolerance else "inside" if high <= tolerance else "undecided"


def shortfalls(values: Array, confidence: float) -> tuple[Array, Array]:
    """Return intervals for how far each point's mean falls short of the highest: lower ends, upper ends.

    `values` has shape (runs, points), in percent, at least two runs. With probability `confidence` or more all
    intervals are right at once, whichever point is the highest: multiple comparisons with the best (Hsu, 1984). They
    are made of paired t intervals (n-1) with Bonferroni's correction. Half of the error goes to the lower ends, for
    which any point may be called worse than any other; half to the upper ends, for which only the truly highest counts,
    whichever it is. Narrower intervals that pool the spread of all points (Tukey's) were wrong
    in 15 to 36 % of cycles with the noise of digits, where rates too low or too high vary most over runs, and
    uncorrected ones in 45 to 90 % (tests/benchmarks/intervals.py).
    """
    runs, points = values.shape
    differences = values[:, :, None] - values[:, None, :]  # run, q, p: by how much q is better than p
    spread = np.maximum(differences.std(axis=0, ddof=1), step(values))
    np.fill_diagonal(spread, 0.0)
    mean, error = differences.mean(axis=0), spread / np.sqrt(runs)
    half = (1 - confidence) / 2
    low = (mean - quantile(half, points * (points - 1), runs) * error).max(axis=0)
    reach = quantile(half, points - 1, runs) * error
    return np.maximum(low, 0.0), np.minimum((mean + reach).max(axis=0), 100.0)


def quantile(error: float, statements: int, runs: int) -> float:
    """Return the standard errors to allow for so that one-sided statements are all right but for a share of `error`."""
    return float(stdtrit(runs - 1, 1 - error / max(1, statements)))


def step(values: Array) -> float:
    """Return the step that accuracies come in: one image; 0 where they come in none.

    Of few runs, differences are now and then the same to the image; that says nothing of their spread, which is
    therefore never taken for less than this.
    """
    shares = [float(value) / 100 for value in np.unique(values)]
    counted = [Fraction(share).limit_denominator(MOST_IMAGES) for share in shares]
    images = math.lcm(*(each.denominator for each in counted))
    whole = all(abs(each - share) < ROUNDING for each, share in zip(counted, shares, strict=True))
    return 100 / images if whole and images <= MOST_IMAGES else 0.0


def interval(values: Array, confidence: float, least: float = 0.0) -> tuple[float, float]:
    """Return the t interval of the mean of `values`, at least two; their spread is taken for `least` if it is less."""
    reach = stdtrit(len(values) - 1, (1 + confidence) / 2) * _error(values, least)
    return float(values.mean() - reach), float(values.mean() + reach)


def equivalence_p(differences: Array, margin: float, least: float = 0.0) -> float:
    """Return the p of two one-sided t-tests that the mean difference lies within `margin` on both sides."""
    error = _error(differences, least)
    if error == 0:  # the same networks
        return float(abs(differences.mean()) >= margin)
    return float(stdtr(len(differences) - 1, -(margin - abs(differences.mean())) / error))


def both_sides(confidence: float) -> float:
    """Return the confidence of the interval that two one-sided tests, each at `confidence`, take: 0.9 of 0.95."""
    return 2 * confidence - 1


def above_zero_p(values: Array) -> float:
    """Return the p of a two-sided t-test of the mean of `values`, or 1 where it is not positive.

    Two-sided, so that nothing is claimed whose interval holds zero. Where all are one, it is that of a sign test.
    """
    if values.mean() <= 0:
        return 1.0
    if np.ptp(values) < ROUNDING:
        return float(2 * 0.5 ** len(values))
    from scipy import stats  # takes half a second that most tables need not

    return float(stats.ttest_1samp(values, 0).pvalue)


def _error(values: Array, least: float) -> float:
    spread = 0.0 if np.ptp(values) < ROUNDING else float(values.std(ddof=1))
    return max(spread, least) / float(np.sqrt(len(values)))


def note_corrected(rows: Sequence[dict[str, Any]], name: str, corrected: str) -> None:
    """Note the p values of one claim with Holm's correction; None where there are none."""
    tested = [row for row in rows if row[name] is not None]
    for row in rows:
        row[corrected] = None
    for row, p in zip(tested, holm(np.array([row[name] for row in tested], dtype=float)), strict=True):
        row[corrected] = float(p)


def holm(p: Array) -> Array:
    """Return p values with Holm's step-down correction, in the same order (Holm, 1979)."""
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted
