"""How many runs detect a difference. Pure. In: accuracies run by run. Out: their spread, runs.

The spread is the standard deviation of paired differences between max_lr values: what runs share cancels out.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from sweep.statistics.intervals import Array
from sweep.statistics.selection import ClosedCycle, accuracies_by_run

POWER = 0.8
"""Probability with which a difference as large as the tolerance is to be detected."""
MOST_RUNS = 10_000


def spread_of_oracle(closed: Iterable[ClosedCycle]) -> float | None:
    """Return the spread of an oracle in percent points: of the best max_lr against the others in its feasible region.

    Root mean square over cycles and points; None for one run, or where no region has a second point.
    """
    found: list[Array] = []
    for cycle in closed:
        by_run = accuracies_by_run(cycle.rows)
        best = np.array(by_run[cycle.choice.best_max_lr])
        found += [
            best - np.array(values)
            for max_lr, values in by_run.items()
            if cycle.choice.feasible_low <= max_lr <= cycle.choice.feasible_high and max_lr != cycle.choice.best_max_lr
        ]
    return _root_mean_square(found)


def spread_of_points(points: Sequence[Sequence[float]]) -> float | None:
    """Return the spread of a pilot in percent points: of all pairs of its points, each with one accuracy a run."""
    return _root_mean_square([np.subtract(ours, theirs) for ours, theirs in combinations(points, 2)])


def runs_needed(spread: float, difference: float, points: int, confidence: float) -> int | None:
    """Return the fewest runs with which a max_lr worse by `difference` is significantly worse with power 0.8.

    `spread` and `difference` in percent points. `points` max_lr values are judged together, as the lower ends of
    `intervals.shortfalls` are; of two there is one comparison, two-sided. None where no number of runs that
    anybody trains will do.
    """
    if difference <= 0:
        return None
    if spread == 0:
        return 2
    from statsmodels.stats.power import TTestPower  # takes a second that only plans need

    test, low, high = TTestPower(), 2, MOST_RUNS
    alpha = (1 - confidence) / 2 / (points * (points - 1) if points > 2 else 1)

    def enough(runs: int) -> bool:
        return bool(test.power(difference / spread, runs, alpha, alternative="larger") >= POWER)

    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _root_mean_square(differences: Sequence[Array]) -> float | None:
    variances = [values.var(ddof=1) for values in differences if len(values) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else None
