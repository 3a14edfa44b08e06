"""How often intervals of a cycle are wrong somewhere, by three methods, on the noise of an oracle that was run.

The noise is that of its runs, over all cycles; the truth is known, since it is put in: a flat curve, and the oracle's
mean curve. `python tests/benchmarks/intervals.py results/digits-10`; of ten runs and a grid of 25 it takes a minute.
"""

import functools
import sys

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sweep.experiments.oracle.results import OracleResults
from sweep.statistics.intervals import shortfalls

Array = NDArray[np.float64]

CYCLES = 1000
TOLERANCE = 0.5
METHODS = ("sweep.statistics.intervals", "Tukey, pooled spread", "paired t, uncorrected")


def main() -> None:
    """Print for each truth and number of runs the share of cycles with a wrong interval, and verdicts a cycle."""
    mean, covariance = noise(OracleResults(sys.argv[1]))
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance)))
    random = np.random.default_rng(0)
    print(f"{len(mean)} max_lr; wrong somewhere, % of {CYCLES} cycles (points decided, mean)")
    print(f"{'truth':8}{'runs':>5}" + "".join(f"{name:>40}" for name in METHODS))
    for name, truth in (("flat", np.full(len(mean), mean.max())), ("measured", mean)):
        for runs in (5, 10, 20):
            wrong, decided = np.zeros(3), np.zeros(3)
            for _ in range(CYCLES):
                values = truth + random.standard_normal((runs, len(truth))) @ root.T
                for index, (low, high) in enumerate(intervals(values)):
                    short = truth.max() - truth
                    wrong[index] += ((short < low - 1e-9) | (short > high + 1e-9)).any()
                    decided[index] += ((low > TOLERANCE) | (high <= TOLERANCE)).sum()
            cells = (f"{100 * w / CYCLES:.1f} ({d / CYCLES:.1f})" for w, d in zip(wrong, decided, strict=True))
            print(f"{name:8}{runs:5}" + "".join(f"{cell:>40}" for cell in cells))


def noise(results: OracleResults) -> tuple[Array, Array]:
    """Return the mean curve of an oracle's first grid, and the covariance of its points over runs, all cycles pooled.

    Points at which a run diverged in any cycle are left out.
    """
    trials, runs = results.lanes, results.settings.runs
    counts = trials.groupby("max_lr")["val_accuracy"].count()
    points = counts[counts == counts.max()].index
    table = trials[trials["max_lr"].isin(points)].pivot_table("val_accuracy", ["cycle", "run"], "max_lr")
    centred = table - table.groupby("cycle").transform("mean")
    return table.mean().to_numpy(), (centred.T @ centred).to_numpy() / len(table) * runs / (runs - 1)


def intervals(values: Array) -> list[tuple[Array, Array]]:
    """Return every point's shortfall by each method: lower ends, upper ends."""
    runs, points = values.shape
    spread = (values[:, :, None] - values[:, None, :]).std(axis=0, ddof=1) / np.sqrt(runs)
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    freedom = (runs - 1) * (points - 1)
    pooled = np.sqrt(2 * (residuals**2).sum() / freedom / runs)
    return [
        shortfalls(values, 0.95),
        ends(values, np.full_like(spread, tukey(points, freedom) * pooled)),
        ends(values, stats.t.ppf(0.975, runs - 1) * spread),
    ]


@functools.cache
def tukey(points: int, freedom: int) -> float:
    """Return how many standard errors a difference must reach: seconds to compute, and the same for all cycles."""
    return float(stats.studentized_range.ppf(0.95, points, freedom) / np.sqrt(2))


def ends(values: Array, half: Array) -> tuple[Array, Array]:
    """Return both ends of every point's shortfall, as `sweep.statistics.intervals.shortfalls` makes them of pairs."""
    mean = values.mean(axis=0)[:, None] - values.mean(axis=0)[None, :]
    low = np.maximum((mean - half).max(axis=0), 0.0)
    return low, (mean + half)[low == 0].max(axis=0)


if __name__ == "__main__":
    main()
