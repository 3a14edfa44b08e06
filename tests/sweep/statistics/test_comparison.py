"""The oracle beside predictions: inside or how far off, and what the measured curve says there; all by hand."""

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.scyc import SCyc
from search_spaces.trajectories import Trajectory
from sweep.experiments.oracle.tables import COMPARISON, ORACLE
from sweep.statistics import comparison
from sweep.statistics.comparison import interpolate

FLAT = SCyc(epsilon=0.04, delta=0.0, q=0, beta=4)
"""Predicts 0.04 in every cycle."""


def oracle_row(cycle: int = 0, run: int | None = None, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(ORACLE.schema.names)
    return (
        row
        | {
            "cycle": cycle,
            "run": run,
            "percent_remaining": 100 * 0.8**cycle,
            "best_max_lr": 0.1,
            "val_accuracy_mean": 90.0,
            "test_accuracy_mean": 88.0,
            "feasible_low": 0.05,
            "feasible_high": 0.2,
        }
        | changes
    )


def curve(points: dict[float, tuple[float | None, float | None]], cycle: int = 0, run: int | None = None) -> Any:
    rows = [
        {"cycle": cycle, "run": run, "max_lr": lr, "val_accuracy_mean": val, "test_accuracy_mean": test}
        for lr, (val, test) in points.items()
    ]
    return pd.DataFrame(rows).astype({"run": "Int32", "val_accuracy_mean": float, "test_accuracy_mean": float})


def compare(oracle: Any, curves: Any, trajectories: dict[str, Trajectory], prune_rate: float) -> pd.DataFrame:
    rows = comparison.compare(oracle, curves, trajectories, prune_rate)
    assert all(list(row) == COMPARISON.schema.names for row in rows)  # a table has no room for others
    return COMPARISON.frame(rows)


CURVE = {0.01: (80.0, 79.0), 0.1: (90.0, 88.0), 1.0: (60.0, 62.0)}


def compared(scyc: SCyc = FLAT, oracle: Any = None, curves: Any = None) -> dict[str, Any]:
    table = ORACLE.frame([oracle or oracle_row()])
    (row,) = compare(table, curve(CURVE) if curves is None else curves, {"S-Cyc": scyc}, 0.2).to_dict("records")
    return row


@pytest.mark.parametrize(
    ("low", "high", "inside", "distance"),
    [
        (0.02, 0.05, True, 0.0),
        (0.04, 0.05, True, 0.0),
        (0.02, 0.04, True, 0.0),
        (0.04, 0.04, True, 0.0),
        (0.05, 0.2, False, 0.01),
        (0.01, 0.03, False, 0.01),
        (0.0401, 0.2, False, 0.0001),
        (0.04 * (1 + 1e-12), 0.2, True, 0.0),  # the bound but for rounding
    ],
)
def test_a_prediction_is_inside_or_as_far_off_as_the_nearer_bound(
    low: float, high: float, inside: bool, distance: float
) -> None:
    row = compared(oracle=oracle_row(feasible_low=low, feasible_high=high))
    assert (row["inside"], row["distance"]) == (inside, pytest.approx(distance, abs=1e-15))
    assert (row["scyc_max_lr"], row["feasible_low"], row["feasible_high"]) == (0.04, low, high)


def test_a_prediction_that_is_off_is_off_by_more_than_nothing() -> None:
    for epsilon in (0.0499, 0.2001):
        assert compared(SCyc(epsilon, 0.0, 0, 4))["distance"] > 0


@pytest.mark.parametrize(
    ("max_lr", "val", "test"),
    [
        (0.01, 80.0, 79.0),
        (0.1, 90.0, 88.0),
        (1.0, 60.0, 62.0),
        (0.1 * (1 + 1e-12), 90.0, 88.0),  # on the grid but for rounding
        (math.sqrt(0.01 * 0.1), 85.0, 83.5),  # half way in log max_lr; in max_lr itself it is a quarter
        (10**-0.5, 75.0, 75.0),
        (10**-1.25, 87.5, 85.75),
        (0.00999, None, None),
        (1.001, None, None),
    ],
)
def test_accuracy_at_a_prediction_is_linear_in_log_max_lr_and_empty_beyond_the_grid(
    max_lr: float, val: float | None, test: float | None
) -> None:
    for column, expected in (("val_accuracy_mean", val), ("test_accuracy_mean", test)):
        found = interpolate(curve(CURVE), max_lr, column)
        assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("max_lr", "expected"),
    [
        (0.01, 80.0),
        (0.05, None),
        (0.1, None),
        (0.5, None),
        (1.0, 60.0),
        (2.0, pytest.approx(60.0 + 20 * math.log10(2))),
        (10.0, 80.0),
    ],
)
def test_beside_a_diverged_point_there_is_nothing_to_read_off(max_lr: float, expected: float | None) -> None:
    points = {0.01: (80.0, 0.0), 0.1: (None, None), 1.0: (60.0, 0.0), 10.0: (80.0, 0.0)}
    assert interpolate(curve(points), max_lr, "val_accuracy_mean") == expected


@given(st.floats(0.011, 0.99), st.permutations(list(CURVE)))
def test_between_two_points_accuracy_lies_between_theirs_in_whatever_order_they_come(
    max_lr: float, order: list[float]
) -> None:
    found = interpolate(curve({point: CURVE[point] for point in order}), max_lr, "val_accuracy_mean")
    ends = (80.0, 90.0) if max_lr <= 0.1 else (60.0, 90.0)
    assert found is not None and ends[0] - 1e-9 <= found <= ends[1] + 1e-9


def test_a_gap_is_the_oracle_s_accuracy_minus_the_prediction_s() -> None:
    row = compared(SCyc(10**-0.5, 0.0, 0, 4))
    assert (row["val_accuracy_at_scyc"], row["test_accuracy_at_scyc"]) == (pytest.approx(75.0), pytest.approx(75.0))
    assert (row["accuracy_gap"], row["test_accuracy_gap"]) == (pytest.approx(15.0), pytest.approx(13.0))
    # On test images the prediction may do better than the oracle, which chose by validation.
    better = compared(SCyc(0.1, 0.0, 0, 4), oracle=oracle_row(test_accuracy_mean=87.0))
    assert (better["accuracy_gap"], better["test_accuracy_gap"]) == (0.0, -1.0)


def test_beyond_the_grid_accuracies_and_gaps_are_empty_and_the_distance_is_not() -> None:
    row = compared(SCyc(5.0, 0.0, 0, 4))
    empty = ["val_accuracy_at_scyc", "test_accuracy_at_scyc", "accuracy_gap", "test_accuracy_gap"]
    assert all(math.isnan(row[name]) for name in empty)
    assert (row["inside"], row["distance"]) == (False, pytest.approx(4.8))


def test_each_cycle_is_compared_with_its_own_prediction_and_its_own_curve() -> None:
    scyc = SCyc(epsilon=0.04, delta=0.06, q=1, beta=4)
    oracle = ORACLE.frame([oracle_row(cycle) for cycle in range(4)])
    curves = pd.concat([curve({0.01: (cycle, 0.0), 1.0: (cycle, 0.0)}, cycle) for cycle in range(4)])
    found = compare(oracle, curves, {"S-Cyc": scyc}, 0.2)
    assert found["cycle"].tolist() == [0, 1, 2, 3]
    assert found["scyc_max_lr"].tolist() == scyc.trajectory(3, 0.2)
    assert found["scyc_max_lr"].is_monotonic_increasing and found["scyc_max_lr"].nunique() == 3
    assert found["val_accuracy_at_scyc"].tolist() == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert found["percent_remaining"].tolist() == pytest.approx([100.0, 80.0, 64.0, 51.2])


def test_the_pruning_rate_enters_the_prediction() -> None:
    oracle = ORACLE.frame([oracle_row(3)])
    scyc = SCyc(epsilon=0.04, delta=0.06, q=1, beta=4)
    found = [compare(oracle, curve(CURVE, 3), {"S-Cyc": scyc}, rate)["scyc_max_lr"].item() for rate in (0.2, 0.5)]
    assert found == [scyc.max_lr(3, 0.2), scyc.max_lr(3, 0.5)] and found[0] < found[1]


def test_every_trajectory_is_compared_with_every_row() -> None:
    oracle = ORACLE.frame([oracle_row(cycle) for cycle in range(2)])
    curves = pd.concat([curve(CURVE, cycle) for cycle in range(2)])
    found = compare(oracle, curves, {"one": FLAT, "two": SCyc(0.05, 0.0, 0, 4)}, 0.2)
    assert found[["trajectory", "cycle", "scyc_max_lr"]].to_numpy().tolist() == [
        ["one", 0, 0.04],
        ["one", 1, 0.04],
        ["two", 0, 0.05],
        ["two", 1, 0.05],
    ]


def test_runs_that_decide_for_themselves_are_compared_with_their_own_curves() -> None:
    oracle = ORACLE.frame([oracle_row(run=0, val_accuracy_mean=50.0), oracle_row(run=1, feasible_low=0.03)])
    curves = pd.concat([curve({0.01: (40.0, 0.0), 1.0: (40.0, 0.0)}, run=0), curve(CURVE, run=1)])
    found = compare(oracle, curves, {"S-Cyc": SCyc(0.1, 0.0, 0, 4)}, 0.2)
    assert found["run"].tolist() == [0, 1]
    assert found["val_accuracy_at_scyc"].tolist() == pytest.approx([40.0, 90.0])
    assert found["accuracy_gap"].tolist() == pytest.approx([10.0, 0.0])
    assert compared()["run"] is None


def test_an_oracle_without_rows_compares_to_a_table_without_rows() -> None:
    found = compare(ORACLE.frame([]), pd.DataFrame(), {"S-Cyc": FLAT}, 0.2)
    assert found.empty and list(found.columns) == COMPARISON.schema.names
