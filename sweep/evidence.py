"""How sure a cycle's table is, and what such statements are made of. Pure.

In: accuracies of each max_lr, run by run. Out: leads with intervals, verdicts.
All max_lr values of a run share its split, batches, augmentation and dropout: they are compared run by run. Next:
`sweep.oracle` sets what comes out beside the best max_lr and the feasible region.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

Verdict = Literal["inside", "outside", "undecided"]
Array = NDArray[np.float64]

ROUNDING = 1e-9
"""Percent points below which two accuracies are one."""


@dataclass(frozen=True)
class Point:
    """What is known of one max_lr of a cycle. All in percent points of validation accuracy."""

    lead: float
    """Mean of the best max_lr minus this one's."""
    low: float | None
    """How far it falls short of the best one there is, whichever that may be: at least so far; None for one run."""
    high: float | None
    """At most so far."""
    told: bool | None
    """Whether it is told from the best; None for one run."""
    verdict: Verdict | None
    """Whether it lies within the tolerance of the best; None for one run."""


def judge(
    accuracies: Mapping[float, Sequence[float]], best_max_lr: float, tolerance: float, confidence: float
) -> dict[float, Point]:
    """Return what is known of each max_lr: its shortfall with an interval, and the verdict that follows.

    `accuracies` has for each max_lr one value a run, all in the same order; `tolerance` is in percent points. With
    `confidence` all statements of a cycle hold at once, and the best one may be any: of 25 equal points none is called
    worse, although one of them always has the highest mean. One run gives no interval.
    """
    points = sorted(accuracies)
    values = np.array([accuracies[point] for point in points], dtype=float).T
    leads = values[:, points.index(best_max_lr)].mean() - values.mean(axis=0)
    if len(values) < 2:
        return {point: Point(float(lead), None, None, None, None) for point, lead in zip(points, leads, strict=True)}
    low, high = shortfalls(values, confidence)
    return {
        point: Point(float(lead), float(a), float(b), bool(a > 0), verdict(a, b, tolerance))
        for point, lead, a, b in zip(points, leads, low, high, strict=True)
    }


def verdict(low: float, high: float, tolerance: float) -> Verdict:
    """Return what an interval of a shortfall says of a point: within the tolerance, beyond it, or neither."""
    return "outside" if low > tolerance else "inside" if high <= tolerance else "undecided"


def shortfalls(values: Array, confidence: float) -> tuple[Array, Array]:
    """Return intervals for how far each point's mean falls short of the highest: lower ends, upper ends.

    `values` has shape (runs, points), at least two runs. With probability `confidence` or more all intervals are right
    at once, whichever point is the highest: multiple comparisons with the best (Hsu, 1984) from intervals of all pairs.
    These are paired t intervals (n-1) with Bonferroni's correction: narrower ones that pool the spread of all points
    (Tukey's) were wrong in 14 to 36 % of cycles with the noise of digits, where rates too low or too high vary most
    over runs, and uncorrected ones in 35 to 90 %.
    """
    runs, points = values.shape
    differences = values[:, :, None] - values[:, None, :]  # run, q, p: by how much q is better than p
    # Accuracies come in steps of one image. Two runs that differ by the same step say nothing of the spread.
    steps = np.diff(np.unique(np.round(values / ROUNDING) * ROUNDING))
    spread = np.maximum(differences.std(axis=0, ddof=1), steps.min(initial=np.inf) if len(steps) else 0.0)
    np.fill_diagonal(spread, 0.0)
    half = critical(runs, points, confidence) * spread / np.sqrt(runs)
    mean = differences.mean(axis=0)
    low = np.maximum((mean - half).max(axis=0), 0.0)
    # The highest is among those that nothing is surely better than; only from these can anything fall short.
    return low, (mean + half)[low == 0].max(axis=0)


def critical(runs: int, points: int, confidence: float) -> float:
    """Return how many standard errors an interval of one of all pairs of points reaches to each side."""
    return float(stats.t.ppf(1 - tail(points, confidence), runs - 1)) if points > 1 else 0.0


def tail(points: int, confidence: float) -> float:
    """Return the chance of error that each side of each pair may have, so that all pairs together keep `confidence`."""
    return (1 - confidence) / max(1, points * (points - 1))


def interval(values: Array, confidence: float) -> tuple[float, float]:
    """Return the t interval of the mean of `values`, at least two; their value where all are one."""
    if np.ptp(values) < ROUNDING:
        return float(values.mean()), float(values.mean())
    found = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    return float(found.low), float(found.high)


def equivalence_p(differences: Array, margin: float) -> float:
    """Return the p of two one-sided tests that the mean difference lies within `margin` on both sides."""
    if np.ptp(differences) < ROUNDING:  # no spread to blame
        return float(abs(differences.mean()) >= margin)
    return float(ttost_paired(differences, np.zeros_like(differences), -margin, margin)[0])


def note_corrected(rows: Sequence[dict[str, Any]], name: str, corrected: str) -> None:
    """Note the p values of one claim with Holm's correction; None where there are none."""
    tested = [row for row in rows if row[name] is not None]
    adjusted = multipletests([row[name] for row in tested], method="holm")[1] if tested else []
    for row in rows:
        row[corrected] = None
    for row, p in zip(tested, adjusted, strict=True):
        row[corrected] = float(p)
