"""The rows of the oracle table and of its curves, worked out by hand."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sweep.experiments.oracle.tables import CURVES, ORACLE
from sweep.experiments.tuning.tables import CHAIN
from sweep.statistics.selection import ClosedCycle, Rules, choose, mean_scores
from sweep.statistics.summaries import chain_rows, curve_rows, oracle_rows

RULES = Rules(0.5, "absolute", 0.95)


def oracle_table(closed: list[ClosedCycle], rules: Rules) -> pd.DataFrame:
    return ORACLE.frame(oracle_rows(closed, rules))


def curve_table(closed: list[ClosedCycle], rules: Rules) -> pd.DataFrame:
    return CURVES.frame(curve_rows(closed, rules))


def row(max_lr: float, val: float | None, run: int = 0, **changes: Any) -> dict[str, Any]:
    ok = val is not None
    return {
        "max_lr": max_lr,
        "run": run,
        "percent_remaining": 80.0,
        "val_accuracy": val,
        "test_accuracy": val - 1.0 if val is not None else None,
        "status": "ok" if ok else "diverged",
        "steps": 10,
        "wall_seconds": 0.5,
    } | changes


def closed(rows: list[dict[str, Any]], cycle: int = 0, run: int | None = None, base_points: int = 3) -> ClosedCycle:
    choice = choose(mean_scores(rows), 0.5, "absolute")
    assert choice is not None
    return ClosedCycle(cycle, run, base_points, rows, choice)


SMALL = [
    row(0.1, 80.0, 0, percent_remaining=64.0),
    row(0.1, 82.0, 1, percent_remaining=64.5),
    row(0.2, 90.0, 0, percent_remaining=64.0, test_accuracy=85.0),
    row(0.2, 93.0, 1, percent_remaining=64.5, test_accuracy=88.0, wall_seconds=1.5),
    row(0.3, 91.0, 0, percent_remaining=64.0),
    row(0.3, 91.2, 1, percent_remaining=64.5),
    row(0.4, 99.0, 0, percent_remaining=64.0),
    row(0.4, None, 1, percent_remaining=64.5, steps=3),
]


def test_rows_have_the_columns_of_their_tables() -> None:
    """What a table has no column for would be lost without a word."""
    assert [list(row) for row in oracle_rows([closed(SMALL)], RULES)] == [ORACLE.schema.names]
    assert [list(row) for row in curve_rows([closed(SMALL)], RULES)] == [CURVES.schema.names] * 4
    assert [list(row) for row in chain_rows(r | {"cycle": 0} for r in SMALL[:2])] == [CHAIN.schema.names]


def test_every_column_of_the_oracle_table_comes_out_as_by_hand() -> None:
    (found,) = oracle_table([closed(SMALL, cycle=2)], RULES).to_dict("records")
    assert found.pop("run") is None
    assert found == {
        "cycle": 2,
        "percent_remaining": 64.25,
        "best_max_lr": 0.2,
        "val_accuracy_mean": 91.5,
        "val_accuracy_std": pytest.approx(math.sqrt(4.5)),  # deviations of 1.5, n - 1 = 1
        "test_accuracy_mean": 86.5,
        "test_accuracy_std": pytest.approx(math.sqrt(4.5)),
        "feasible_low": 0.2,
        "feasible_high": 0.3,
        "hull_low": 0.2,
        "hull_high": 0.3,
        "contiguous": True,
        "points": 4,
        "n_not_worse": 3,  # two runs tell nothing; the fourth diverged
        "possible_low": 0.1,
        "possible_high": 0.3,
        "low_bound": "undecided",
        "below_low": "undecided",
        "high_bound": "undecided",
        "above_high": "outside",
        "grid_low": 0.1,
        "grid_high": 0.4,
        "extended": True,  # four points, the grid has three
        "low_at_edge": False,
        "high_at_edge": False,
        "runs": 2,
        "lanes": 8,
        "diverged": 1,
        "trained_steps": 73,
        "wall_seconds": 5.0,
    }


def test_a_single_run_has_a_mean_but_no_standard_deviation() -> None:
    (found,) = oracle_table([closed([row(0.1, 80.0), row(0.2, 90.0), row(0.3, 85.0)])], RULES).to_dict("records")
    assert (found["val_accuracy_mean"], found["test_accuracy_mean"], found["runs"]) == (90.0, 89.0, 1)
    assert math.isnan(found["val_accuracy_std"]) and math.isnan(found["test_accuracy_std"])
    assert found["extended"] is False


def test_a_grid_is_extended_when_it_has_more_points_than_were_given_however_many_runs_there_are() -> None:
    rows = [row(0.1 * (point + 1), 80.0 + point, run) for run in range(3) for point in range(3)]
    found = oracle_table([closed(rows, 0, base_points=3), closed(rows, 1, base_points=2)], RULES)
    assert found["extended"].tolist() == [False, True]


def test_rows_are_ordered_by_cycle_and_run_and_name_the_run_that_decided() -> None:
    cycles = [closed([row(0.1, 80.0, run)], cycle, run) for run in (1, 0) for cycle in (1, 0)]
    found = oracle_table(cycles, RULES)
    assert found[["cycle", "run"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_an_oracle_without_closed_cycles_is_a_table_without_rows() -> None:
    assert oracle_table([], RULES).empty and curve_table([], RULES).empty
    assert "best_max_lr" in oracle_table([], RULES).columns


def test_the_curve_has_mean_and_std_at_every_max_lr_and_a_hole_where_a_run_diverged() -> None:
    found = curve_table([closed(list(reversed(SMALL)), cycle=2)], RULES)
    assert found["max_lr"].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert found["cycle"].tolist() == [2] * 4 and found["run"].isna().all()
    assert found["percent_remaining"].tolist() == [64.25] * 4
    assert found["val_accuracy_mean"].tolist()[:3] == [81.0, 91.5, pytest.approx(91.1)]
    assert found["val_accuracy_std"].tolist()[:2] == pytest.approx([math.sqrt(2), math.sqrt(4.5)])
    assert found["test_accuracy_mean"].tolist()[:2] == [80.0, 86.5]
    hole = found.iloc[3]
    assert hole[["val_accuracy_mean", "val_accuracy_std", "test_accuracy_mean", "test_accuracy_std"]].isna().all()
    assert (found["runs"].tolist(), found["diverged"].tolist()) == ([2] * 4, [0, 0, 0, 1])


def test_curves_of_runs_that_decide_for_themselves_stay_apart() -> None:
    found = curve_table([closed([row(0.1, 80.0, run), row(0.2, 70.0 + run, run)], 0, run) for run in (1, 0)], RULES)
    assert found["run"].tolist() == [0, 0, 1, 1]
    assert found["val_accuracy_mean"].tolist() == [80.0, 70.0, 80.0, 71.0]


def permuted(rows: list[dict[str, Any]], change: Callable[[float], float]) -> list[dict[str, Any]]:
    return [r | {"test_accuracy": r["test_accuracy"] and change(r["test_accuracy"])} for r in rows]


@pytest.mark.parametrize("change", [lambda a: 100 - a, lambda a: 0.0, lambda a: a * 7 % 90], ids=["turned", "0", "mix"])
def test_test_accuracies_have_no_part_in_any_choice(change: Callable[[float], float]) -> None:
    rows = [row(0.1, 89.8), row(0.2, 90.0), row(0.3, 80.0)]
    ours, theirs = (oracle_table([closed(r)], RULES) for r in (rows, permuted(rows, change)))
    reported = ["test_accuracy_mean", "test_accuracy_std"]
    pd.testing.assert_frame_equal(ours.drop(columns=reported), theirs.drop(columns=reported))
    assert theirs["test_accuracy_mean"].item() == change(89.0)
