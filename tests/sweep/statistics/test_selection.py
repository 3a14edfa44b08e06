"""The oracle's reduction against tables worked out by hand, and what must hold for every table."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sweep.statistics.selection import Choice, ClosedCycle, Rules, choose, curve_table, mean_scores, oracle_table

Scores = dict[float, float | None]

RULES = Rules(0.5, "absolute", 0.95)

SCORES = st.dictionaries(
    st.integers(1, 1000).map(lambda n: n / 1000),
    st.none() | st.sampled_from([88.0, 89.25, 89.5, 89.75, 90.0]) | st.floats(1, 100),
    min_size=1,
    max_size=12,
)
KINDS = st.sampled_from(["absolute", "relative"])
TOLERANCES = st.sampled_from([0.0, 0.25, 0.5]) | st.floats(0, 20)


def table(*scores: float | None) -> Scores:
    """Scores at max_lr 0.1, 0.2, 0.3, ..."""
    return {round(0.1 * (i + 1), 1): score for i, score in enumerate(scores)}


def chosen(scores: Mapping[float, float | None], tolerance: float = 0.5, kind: str = "absolute") -> Choice:
    choice = choose(scores, tolerance, kind)  # type: ignore[arg-type]
    assert choice is not None
    return choice


@pytest.mark.parametrize(
    ("scores", "best", "feasible", "hull", "edges"),
    [
        pytest.param(
            table(80.0, 89.6, 90.0, 89.5, 89.4), 0.3, (0.2, 0.4), (0.2, 0.4), (False, False), id="a plain hill"
        ),
        pytest.param(table(80.0, 90.0, 80.0), 0.2, (0.2, 0.2), (0.2, 0.2), (False, False), id="a lone peak"),
        pytest.param(table(90.0, 89.7, 80.0), 0.1, (0.1, 0.2), (0.1, 0.2), (True, False), id="best at the low edge"),
        pytest.param(table(80.0, 89.7, 90.0), 0.3, (0.2, 0.3), (0.2, 0.3), (False, True), id="best at the high edge"),
        pytest.param(table(89.5, 90.0, 80.0), 0.2, (0.1, 0.2), (0.1, 0.2), (True, False), id="a bound at the low edge"),
        pytest.param(
            table(80.0, 90.0, 89.5), 0.2, (0.2, 0.3), (0.2, 0.3), (False, True), id="a bound at the high edge"
        ),
        pytest.param(
            table(80.0, 90.0, 89.0, 89.7, 80.0), 0.2, (0.2, 0.2), (0.2, 0.4), (False, False), id="a gap above the best"
        ),
        pytest.param(
            table(80.0, 89.7, 89.0, 90.0, 80.0), 0.4, (0.4, 0.4), (0.2, 0.4), (False, False), id="a gap below the best"
        ),
        pytest.param(
            table(89.9, 80.0, 90.0, 80.0, 89.9), 0.3, (0.3, 0.3), (0.1, 0.5), (False, False), id="edges beyond gaps"
        ),
        pytest.param(
            table(80.0, 90.0, None, 89.9, 80.0), 0.2, (0.2, 0.2), (0.2, 0.4), (False, False), id="a diverged gap"
        ),
        pytest.param(
            table(None, 89.8, 90.0, None), 0.3, (0.2, 0.3), (0.2, 0.3), (False, False), id="diverged at both edges"
        ),
        pytest.param(table(None, None, 12.0), 0.3, (0.3, 0.3), (0.3, 0.3), (False, True), id="one that did not"),
        pytest.param({0.07: 55.0}, 0.07, (0.07, 0.07), (0.07, 0.07), (True, True), id="a grid of one point"),
        pytest.param(
            table(90.0, 90.0, 90.0, 80.0), 0.2, (0.1, 0.3), (0.1, 0.3), (True, False), id="the middle of three tied"
        ),
        pytest.param(
            table(80.0, 90.0, 90.0, 80.0), 0.2, (0.2, 0.3), (0.2, 0.3), (False, False), id="of two tied the lower"
        ),
        pytest.param(
            table(80.0, 90.0, 90.0, 90.0, 90.0, 80.0), 0.3, (0.2, 0.5), (0.2, 0.5), (False, False), id="of four tied"
        ),
        pytest.param(
            table(90.0, 80.0, 80.0, 90.0, 90.0), 0.4, (0.4, 0.5), (0.1, 0.5), (False, True), id="tied across a gap"
        ),
        pytest.param(
            table(80.0, 90.0 - 1e-13, 90.0, 90.0 + 1e-13, 80.0),
            0.3,
            (0.2, 0.4),
            (0.2, 0.4),
            (False, False),
            id="tied but for rounding",
        ),
    ],
)
def test_best_region_hull_and_edges_come_out_as_by_hand(
    scores: Scores, best: float, feasible: tuple[float, float], hull: tuple[float, float], edges: tuple[bool, bool]
) -> None:
    choice = chosen(scores)
    assert choice.best_max_lr == best
    assert (choice.feasible_low, choice.feasible_high) == feasible
    assert (choice.hull_low, choice.hull_high) == hull
    assert (choice.low_at_edge, choice.high_at_edge) == edges
    assert choice.contiguous == (feasible == hull)


def test_there_is_no_choice_where_everything_diverged() -> None:
    assert choose(table(None, None, None), 0.5, "absolute") is None
    assert choose({}, 0.5, "absolute") is None


@pytest.mark.parametrize(
    ("kind", "tolerance", "low", "high"),
    [
        ("absolute", 0.5, 0.3, 0.3),
        ("relative", 0.5, 0.3, 0.3),
        ("absolute", 1.0, 0.2, 0.4),
        ("relative", 1.0, 0.2, 0.3),  # 1 % of 60 is 0.6 points
        ("relative", 2.0, 0.2, 0.4),
        ("absolute", 0.0, 0.3, 0.3),
        ("relative", 0.0, 0.3, 0.3),
    ],
)
def test_relative_tolerance_is_a_percentage_of_the_best(kind: str, tolerance: float, low: float, high: float) -> None:
    choice = chosen(table(50.0, 59.45, 60.0, 59.0, 50.0), tolerance, kind)
    assert (choice.feasible_low, choice.feasible_high) == (low, high)


def test_a_score_exactly_at_the_tolerance_is_feasible_and_one_just_below_is_not() -> None:
    assert 88.01 - 0.3 > 87.71 and 20.01 * (1 - 0.5 / 100) > 19.90995  # in floats; the choice must not hang on that
    assert chosen(table(80.0, 87.71, 88.01), 0.3).feasible_low == 0.2
    assert chosen(table(10.0, 19.90995, 20.01), 0.5, "relative").feasible_low == 0.2
    assert chosen(table(80.0, 87.70999, 88.01), 0.3).feasible_low == 0.3


def test_with_tolerance_zero_only_tied_points_are_feasible() -> None:
    choice = chosen(table(90.0, 90.0, 89.99, 90.0), 0.0)
    assert (choice.best_max_lr, choice.feasible_low, choice.feasible_high) == (0.2, 0.1, 0.2)
    assert (choice.hull_low, choice.hull_high, choice.contiguous) == (0.1, 0.4, False)


@given(SCORES, TOLERANCES, KINDS)
def test_the_best_lies_in_the_region_and_the_region_in_the_hull(scores: Scores, tolerance: float, kind: str) -> None:
    assume(any(score is not None for score in scores.values()))
    choice = chosen(scores, tolerance, kind)
    assert choice.hull_low <= choice.feasible_low <= choice.best_max_lr <= choice.feasible_high <= choice.hull_high
    assert {choice.best_max_lr, choice.feasible_low, choice.hull_high} <= set(scores)
    assert scores[choice.best_max_lr] == pytest.approx(max(s for s in scores.values() if s is not None), abs=1e-8)
    assert choice.contiguous == (choice.feasible_low == choice.hull_low and choice.feasible_high == choice.hull_high)


@given(SCORES, TOLERANCES, KINDS)
def test_the_region_reaches_from_the_best_as_far_as_every_point_is_good_enough(
    scores: Scores, tolerance: float, kind: str
) -> None:
    assume(any(score is not None for score in scores.values()))
    choice = chosen(scores, tolerance, kind)
    top = max(score for score in scores.values() if score is not None)
    floor = top - tolerance if kind == "absolute" else top * (1 - tolerance / 100)
    # Points within rounding of the floor may fall either way.
    assume(all(score is None or score == top or abs(score - floor) > 1e-6 for score in scores.values()))
    good = {point for point, score in scores.items() if score is not None and score >= floor}
    stretch = {p for p in scores if choice.feasible_low <= p <= choice.feasible_high}
    assert stretch <= good
    below = [p for p in scores if p < choice.feasible_low]
    above = [p for p in scores if p > choice.feasible_high]
    assert choice.low_at_edge == (not below) and choice.high_at_edge == (not above)
    assert not below or max(below) not in good
    assert not above or min(above) not in good
    assert (choice.hull_low, choice.hull_high) == (min(good), max(good))


@given(SCORES, TOLERANCES, TOLERANCES, KINDS)
def test_a_wider_tolerance_never_shrinks_region_or_hull(scores: Scores, one: float, other: float, kind: str) -> None:
    assume(any(score is not None for score in scores.values()))
    narrow, wide = (chosen(scores, tolerance, kind) for tolerance in sorted((one, other)))
    assert narrow.best_max_lr == wide.best_max_lr
    assert wide.feasible_low <= narrow.feasible_low and narrow.feasible_high <= wide.feasible_high
    assert wide.hull_low <= narrow.hull_low and narrow.hull_high <= wide.hull_high


@given(st.data(), SCORES, TOLERANCES, KINDS)
def test_the_order_in_which_scores_are_given_changes_nothing(
    data: st.DataObject, scores: Scores, tolerance: float, kind: str
) -> None:
    shuffled = dict(data.draw(st.permutations(list(scores.items()))))
    assert choose(shuffled, tolerance, kind) == choose(scores, tolerance, kind)  # type: ignore[arg-type]


@given(st.integers(1, 40), st.integers(0, 6), st.integers(0, 6))
def test_a_plateau_is_represented_by_its_middle_wherever_it_lies(width: int, left: int, right: int) -> None:
    scores = table(*[80.0] * left, *[90.0] * width, *[80.0] * right)
    points = sorted(scores)
    position = points.index(chosen(scores).best_max_lr) - left
    assert position in {(width - 1) / 2, (width - 2) / 2}


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
    return ClosedCycle(cycle, run, base_points, rows, chosen(mean_scores(rows)))


def test_a_max_lr_scores_the_mean_of_its_runs_and_nothing_if_one_diverged() -> None:
    rows = [row(0.1, 80.0), row(0.2, 70.0), row(0.1, 83.0, 1), row(0.2, None, 1), row(0.1, 86.0, 2), row(0.2, 99.0, 2)]
    assert mean_scores(rows) == {0.1: 83.0, 0.2: None}


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
