"""How many runs it takes: against a textbook's number, and by simulation."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from sweep.statistics.intervals import quantile
from sweep.statistics.power import POWER, runs_needed, spread_of_oracle, spread_of_points
from sweep.statistics.selection import ClosedCycle, choose, mean_scores


def test_two_points_take_the_runs_of_a_paired_t_test_of_medium_effect() -> None:
    # Cohen (1988): a paired difference of half its deviation, two-sided 5 %, power 0.8, takes 34 pairs.
    assert runs_needed(spread=1.0, difference=0.5, points=2, confidence=0.95) == 34


@pytest.mark.parametrize("points", [2, 25])
def test_so_many_runs_tell_a_difference_8_times_in_10_and_one_fewer_less_often(points: int) -> None:
    runs = runs_needed(0.6, 0.5, points, 0.95)
    assert runs is not None
    random = np.random.default_rng(0)

    def told(runs: int) -> float:
        pairs = 0.5 + 0.6 * random.standard_normal((20_000, runs))
        reach = quantile(0.025, 600 if points > 2 else 1, runs) * pairs.std(axis=1, ddof=1) / np.sqrt(runs)
        low = pairs.mean(axis=1) - reach
        return float((low > 0).mean())

    assert told(runs) == pytest.approx(POWER, abs=0.05) and told(runs) > POWER - 0.01
    assert told(runs - 2) < POWER


def test_more_noise_a_smaller_difference_and_more_points_take_more_runs() -> None:
    base = runs_needed(0.6, 0.5, 10, 0.95)
    others = [runs_needed(0.9, 0.5, 10, 0.95), runs_needed(0.6, 0.4, 10, 0.95), runs_needed(0.6, 0.5, 25, 0.95)]
    assert base is not None and all(other is not None and other > base for other in others)


@pytest.mark.parametrize(
    ("spread", "difference", "expected"),
    [
        pytest.param(0.0, 0.5, 2, id="no noise: two runs, of which there is a spread"),
        pytest.param(1.0, 0.0, None, id="no difference: never"),
        pytest.param(1000.0, 0.5, None, id="more runs than anybody trains"),
    ],
)
def test_the_ends_of_the_scale(spread: float, difference: float, expected: int | None) -> None:
    assert runs_needed(spread, difference, 25, 0.95) == expected


def test_the_spread_of_points_is_that_of_their_paired_differences() -> None:
    # What the runs share, 10 and 20 points, is not noise between points.
    assert spread_of_points([[80.0, 90.0, 100.0], [81.0, 93.0, 102.0]]) == pytest.approx(np.std([1, 3, 2], ddof=1))
    assert spread_of_points([[80.0], [81.0]]) is None
    assert spread_of_points([[80.0, 81.0]]) is None


def test_the_spread_of_an_oracle_is_that_within_its_regions() -> None:
    values: dict[float, list[float]] = {0.1: [10.0, 70.0], 0.2: [89.9, 90.1], 0.3: [90.0, 90.4]}
    rows: list[dict[str, Any]] = [
        {"run": run, "max_lr": max_lr, "val_accuracy": accuracy}
        for max_lr, both in values.items()
        for run, accuracy in enumerate(both)
    ]
    choice = choose(mean_scores(rows), 0.5, "absolute")
    assert choice is not None and choice.feasible_low == 0.2
    found = spread_of_oracle([ClosedCycle(0, None, 3, rows, choice)])
    assert found == pytest.approx(stats.tstd([0.1, 0.3]))  # the far point's 60 has no part in it


def test_the_spread_is_the_root_of_the_mean_square_and_stops_at_the_regions_upper_end() -> None:
    values: dict[float, list[float]] = {0.1: [90.0, 90.0], 0.2: [89.9, 90.1], 0.3: [89.6, 90.4], 0.4: [10.0, 70.0]}
    rows: list[dict[str, Any]] = [
        {"run": run, "max_lr": max_lr, "val_accuracy": accuracy}
        for max_lr, both in values.items()
        for run, accuracy in enumerate(both)
    ]
    choice = choose(mean_scores(rows), 0.5, "absolute")
    assert choice is not None and (choice.best_max_lr, choice.feasible_high) == (0.2, 0.3)
    # Against the best: differences of -0.1 and 0.1; of 0.3 and -0.3.
    expected = np.sqrt((0.2**2 / 2 + 0.6**2 / 2) / 2)
    assert spread_of_oracle([ClosedCycle(0, None, 4, rows, choice)]) == pytest.approx(expected)


def test_an_oracle_of_one_run_has_no_spread() -> None:
    rows = [{"run": 0, "max_lr": max_lr, "val_accuracy": 90.0} for max_lr in (0.1, 0.2)]
    choice = choose(mean_scores(rows), 0.5, "absolute")
    assert choice is not None and spread_of_oracle([ClosedCycle(0, None, 2, rows, choice)]) is None
