"""Fit S-Cyc, and simpler curves, to an oracle. No training. In: a finished oracle. Out: the table of fits.

A fit lies in the feasible region at as many cycles as possible; of equals, nearest to the region, then to the best
max_lr, in widths of the region. Next: `sweep.analyses.views` shows it, `sweep.config.named_scyc` keeps the winner.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import differential_evolution
from scipy.stats import qmc

from search_spaces.ranges import Range
from search_spaces.scyc import SCyc
from search_spaces.trajectories import Exponential, Line, Trajectory
from sweep.statistics.comparison import ON_BOUND, compare
from sweep.statistics.selection import ClosedCycle, Rules, choose, mean_scores
from sweep.statistics.summaries import curve_rows, oracle_rows
from sweep.store.tables import Table
from trainables.spec import derive_seed

FIT = Table(
    "fit",
    (
        (
            "curve",
            pa.string(),
            "",
            "the family that was fitted (scyc, constant, line, exponential), or the source of given parameters",
        ),
        ("parameters", pa.string(), "", "for S-Cyc EPS,DELTA,Q,BETA; else max_lr at the first and the last cycle"),
        ("free", pa.int32(), "", "number of fitted parameters; 0 if they were given"),
        ("cycles", pa.int32(), "", "rows of the oracle table"),
        ("inside", pa.int32(), "", "of these, rows whose feasible region contains the curve"),
        (
            "widths_outside",
            pa.float64(),
            "widths",
            "mean distance to the region in log max_lr, divided by the region's width",
        ),
        ("widths_to_best", pa.float64(), "widths", "likewise to the best max_lr"),
        (
            "left_out_inside",
            pa.float64(),
            "",
            "leave-one-run-out: mean share of cycles inside, fitted to all other runs, scored on the run left out",
        ),
        (
            "left_out_gap",
            pa.float64(),
            "percent points",
            "likewise the oracle's validation accuracy minus that of the curve",
        ),
    ),
)

CANDIDATES, GENERATIONS, OWN_RATES = 40, 80, 14
"""Of the search for each curve: enough that S-Cyc's own parameters are found again."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Family:
    """A kind of curve: its parameters and their ranges."""

    ranges: tuple[Range, ...]
    build: Callable[[Sequence[float]], Trajectory]
    between: Callable[[float, float], tuple[float, ...]]
    """The first parameters of a curve from one rate to another."""


@dataclass(frozen=True)
class Region:
    """The feasible regions that a curve should lie in; arrays of one value a row of the oracle table."""

    cycle: tuple[int, ...]
    low: Array
    high: Array
    best: Array
    width: Array
    """Of a region in log max_lr; at least the gap between its best max_lr and the next one on the grid."""

    def scores(self, max_lr: Array) -> tuple[Array, Array, Array]:
        """Return rows inside, mean distance to the region and to the best max_lr, of curves (curves, rows)."""
        inside = (max_lr >= self.low * (1 - ON_BOUND)) & (max_lr <= self.high * (1 + ON_BOUND))
        log = np.log(max_lr)
        outside = np.maximum(np.log(self.low) - log, log - np.log(self.high))
        distance = np.where(inside, 0.0, outside) / self.width
        to_best = np.abs(log - np.log(self.best)) / self.width
        return inside.sum(-1), distance.mean(-1), to_best.mean(-1)


@dataclass(frozen=True)
class Fits:
    """What was fitted: trajectories by name, and the table."""

    curves: Mapping[str, Trajectory]
    table: pd.DataFrame
    evaluations: int
    """Curves that were tried, for all fits together."""

    @property
    def scyc(self) -> SCyc:
        """The fitted S-Cyc."""
        found = self.curves["scyc"]
        assert isinstance(found, SCyc)
        return found


def fit(
    closed: Sequence[ClosedCycle],
    rules: Rules,
    prune_rate: float,
    ranges: Mapping[str, Range],
    given: Mapping[str, SCyc],
    seed: int,
) -> Fits:
    """Fit S-Cyc, a constant, a line and an exponential to an oracle, and score them beside parameters that are given.

    `closed` are the oracle's decided cycles. `ranges` has those of epsilon, delta, q and beta; the other curves' rates
    lie in epsilon's. Each fit is made again without each of the runs, and scored on that run's own region and curve.
    """
    cycles = max(cycle.cycle for cycle in closed)
    families = _families(ranges, cycles)
    evaluations = 0

    def best(name: str, region: Region) -> Trajectory:
        nonlocal evaluations
        found, tried = _fit(families[name], region, prune_rate, derive_seed(seed, "fit", name))
        evaluations += tried
        return found

    region = region_of(*_frames(closed, rules))
    curves: dict[str, Trajectory] = {name: best(name, region) for name in families}
    left_out = _left_out(closed, rules)
    rows = []
    for name, curve in [*curves.items(), *given.items()]:
        values = np.array([curve.max_lr(cycle, prune_rate) for cycle in region.cycle])
        inside, distance, to_best = region.scores(values)
        others = []
        for without, oracle, curve_of_run in left_out:
            again = best(name, without) if name in families else curve
            others.append(pd.DataFrame(compare(oracle, curve_of_run, {name: again}, prune_rate)))
        gaps = [other["accuracy_gap"].astype(float).mean() for other in others]
        rows.append(
            {
                "curve": name,
                "parameters": str(curve),
                "free": len(families[name].ranges) if name in families else 0,
                "cycles": len(region.cycle),
                "inside": int(inside),
                "widths_outside": float(distance),
                "widths_to_best": float(to_best),
                "left_out_inside": float(np.mean([other["inside"].mean() for other in others])) if others else None,
                "left_out_gap": float(np.mean(gaps)) if others else None,
            }
        )
    return Fits({**curves, **given}, FIT.frame(rows), evaluations)


def region_of(oracle: pd.DataFrame, curves: pd.DataFrame) -> Region:
    """Return the regions of an oracle table; `curves` are the curves behind it."""
    widths = []
    for row in oracle.to_dict("records"):
        same_run = curves["run"].isna() if pd.isna(row["run"]) else curves["run"] == row["run"]
        points = sorted(curves[(curves["cycle"] == row["cycle"]) & same_run]["max_lr"])
        gaps = [math.log(b / a) for a, b in pairwise(points) if row["best_max_lr"] in (a, b)]
        widths.append(max(math.log(row["feasible_high"] / row["feasible_low"]), *gaps, 1e-6))
    low, high, best = (oracle[name].to_numpy(float) for name in ("feasible_low", "feasible_high", "best_max_lr"))
    return Region(tuple(int(cycle) for cycle in oracle["cycle"]), low, high, best, np.array(widths))


def _families(ranges: Mapping[str, Range], cycles: int) -> dict[str, Family]:
    rate = ranges["epsilon"]
    return {
        "scyc": Family(
            (rate, ranges["delta"], ranges["q"], ranges["beta"]),
            lambda x: SCyc(float(x[0]), float(x[1]), int(x[2]), float(x[3])),
            lambda a, b: (a, max(0.0, b - a)),
        ),
        "constant": Family((rate,), lambda x: Line(float(x[0]), float(x[0]), cycles), lambda a, b: (a,)),
        "line": Family((rate, rate), lambda x: Line(float(x[0]), float(x[1]), cycles), lambda a, b: (a, b)),
        "exponential": Family(
            (rate, rate), lambda x: Exponential(float(x[0]), float(x[1]), cycles), lambda a, b: (a, b)
        ),
    }


def _fit(family: Family, region: Region, prune_rate: float, seed: int) -> tuple[Trajectory, int]:
    """Return the family's best curve, and how many were tried."""

    def build(point: Array) -> Trajectory:
        values = [math.exp(x) if r.log else x for x, r in zip(point, family.ranges, strict=True)]
        return family.build([r.rounded(min(max(x, r.low), r.high)) for x, r in zip(values, family.ranges, strict=True)])

    def cost(points: Array) -> Array:
        curves = [build(point) for point in points.T]
        max_lr = np.array([[curve.max_lr(cycle, prune_rate) for cycle in region.cycle] for curve in curves])
        inside, distance, to_best = region.scores(max_lr)
        # Both distances squeezed below 1, the second far below the first: a row inside counts more than any distance.
        return -inside + distance / (1 + distance) + 1e-4 * to_best / (1 + to_best)

    # Where regions touch in a single rate, only a curve through just that rate lies in all of them, and chance would
    # never hit it: the search begins with pairs of the regions' own rates, and with chance for the rest. Regions of a
    # fine grid have many rates, and do not need it.
    rates = sorted({*region.low, *region.high, *region.best})
    rates = rates[:: -(-len(rates) // OWN_RATES)]
    pairs = [family.between(a, b) for a, b in product(rates, rates)]
    begin = qmc.LatinHypercube(len(family.ranges), rng=seed).random(CANDIDATES + len(pairs))
    begin = np.array([[r.at(share) for r, share in zip(family.ranges, point, strict=True)] for point in begin])
    begin[: len(pairs), : len(pairs[0])] = pairs
    for index, r in enumerate(family.ranges):
        begin[:, index] = np.clip(begin[:, index], r.low, r.high)
        if r.log:
            begin[:, index] = np.log(begin[:, index])
    begin = np.unique(begin, axis=0)
    begin = np.resize(begin, (max(5, len(begin)), begin.shape[1]))  # the fewest that the search takes
    found = differential_evolution(
        cost,
        [(math.log(r.low), math.log(r.high)) if r.log else (r.low, r.high) for r in family.ranges],
        integrality=[r.integer for r in family.ranges],
        init=begin,
        maxiter=GENERATIONS,
        tol=0,
        atol=0,
        polish=False,
        vectorized=True,
        updating="deferred",
        rng=seed,
    )
    return build(found.x), len(begin) * (int(found.nit) + 1)


def _left_out(closed: Sequence[ClosedCycle], rules: Rules) -> list[tuple[Region, pd.DataFrame, pd.DataFrame]]:
    """For each run: the regions of all other runs; that run's own oracle table and curves. Nothing for a single run."""
    runs = sorted({row["run"] for cycle in closed for row in cycle.rows})
    if len(runs) < 2:
        return []
    parts = []
    for run in runs:
        without, alone = (
            [found for cycle in closed if (found := _rechosen(cycle, keep, rules)) is not None]
            for keep in (lambda of, run=run: of != run, lambda of, run=run: of == run)
        )
        parts.append((region_of(*_frames(without, rules)), *_frames(alone, rules)))
    return parts


def _frames(closed: Sequence[ClosedCycle], rules: Rules) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the oracle table and the curves of these cycles."""
    return pd.DataFrame(oracle_rows(closed, rules)), pd.DataFrame(curve_rows(closed, rules))


def _rechosen(cycle: ClosedCycle, keep: Callable[[int], bool], rules: Rules) -> ClosedCycle | None:
    """Return a cycle as the runs kept alone would have decided it; None where none of them has a score."""
    rows = [row for row in cycle.rows if keep(row["run"])]
    choice = choose(mean_scores(rows), rules.tolerance, rules.kind) if rows else None
    return ClosedCycle(cycle.cycle, cycle.run, cycle.base_points, rows, choice) if choice else None
