"""The oracle beside predicted trajectories. Pure. In: oracle table, curves, trajectories. Out: the comparison table.

Next: views and figures of the oracle show it.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from search_spaces.trajectories import Trajectory

ON_BOUND = 1e-9
"""Relative difference in max_lr below which a prediction counts as equal to a bound; a grid has six digits."""


def compare(
    oracle: pd.DataFrame, curves: pd.DataFrame, trajectories: Mapping[str, Trajectory], prune_rate: float
) -> list[dict[str, Any]]:
    """Return the comparison table: a row for each trajectory and row of the oracle table.

    `curves` are those of `selection.curve_table`. Accuracies at a prediction are read off the measured curve,
    linearly in log max_lr between its two neighbours on the grid; where one of them diverged, or beyond the grid, they
    are empty. A gap is the oracle's accuracy minus the prediction's, in percent points: positive where the oracle is
    better.
    """
    rows = []
    for name, trajectory in trajectories.items():
        for row in oracle.to_dict("records"):
            predicted = trajectory.max_lr(int(row["cycle"]), prune_rate)
            low, high = row["feasible_low"], row["feasible_high"]
            inside = low * (1 - ON_BOUND) <= predicted <= high * (1 + ON_BOUND)
            same_run = curves["run"].isna() if pd.isna(row["run"]) else curves["run"] == row["run"]
            curve = curves[(curves["cycle"] == row["cycle"]) & same_run]
            val, test = (interpolate(curve, predicted, f"{part}_accuracy_mean") for part in ("val", "test"))
            rows.append(
                {
                    "trajectory": name,
                    "cycle": row["cycle"],
                    "run": None if pd.isna(row["run"]) else row["run"],
                    "percent_remaining": row["percent_remaining"],
                    "best_max_lr": row["best_max_lr"],
                    "feasible_low": low,
                    "feasible_high": high,
                    "scyc_max_lr": predicted,
                    "inside": inside,
                    "distance": 0.0 if inside else max(low - predicted, predicted - high),
                    "val_accuracy_at_scyc": val,
                    "test_accuracy_at_scyc": test,
                    "accuracy_gap": None if val is None else row["val_accuracy_mean"] - val,
                    "test_accuracy_gap": None if test is None else row["test_accuracy_mean"] - test,
                }
            )
    return rows


def fits(comparison: pd.DataFrame, oracle: pd.DataFrame) -> bool:
    """Return whether a comparison is one with this oracle, for each of its trajectories."""
    shared = ["cycle", "run", "percent_remaining", "best_max_lr", "feasible_low", "feasible_high"]
    wanted = oracle[shared].astype("Float64").reset_index(drop=True)
    found = [part[shared].astype("Float64").reset_index(drop=True) for _, part in comparison.groupby("trajectory")]
    return bool(found) and all(part.equals(wanted) for part in found)


def interpolate(curve: pd.DataFrame, max_lr: float, column: str) -> float | None:
    """Return a column of one cycle's curve at `max_lr`, linear in log max_lr; None beyond the grid or beside a hole."""
    points: list[tuple[float, Any]] = sorted(zip(curve["max_lr"], curve[column], strict=True))
    for point, value in points:
        if math.isclose(point, max_lr, rel_tol=ON_BOUND):
            return None if pd.isna(value) else float(value)
    for (left, left_value), (right, right_value) in itertools.pairwise(points):
        if left < max_lr < right:
            if pd.isna(left_value) or pd.isna(right_value):
                return None
            share = math.log(max_lr / left) / math.log(right / left)
            return float(left_value + share * (right_value - left_value))
    return None
