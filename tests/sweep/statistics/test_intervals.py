"""How sure a cycle is: against SciPy, by hand, and on simulated cycles whose truth is known."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sweep.experiments.oracle.tables import CURVES, ORACLE
from sweep.statistics.intervals import (
    above_zero_p,
    equivalence_p,
    holm,
    interval,
    judge,
    note_corrected,
    quantile,
    shortfalls,
    step,
    verdict,
)
from sweep.statistics.selection import (
    ClosedCycle,
    Rules,
    accuracies_by_run,
    choose,
    mean_scores,
)
from sweep.statistics.summaries import curve_rows, oracle_rows

Array = NDArray[np.float64]

RULES = Rules(0.5, "absolute", 0.95)
POINTS = [round(0.001 * 10 ** (index / 8), 6) for index in range(25)]
MEANS = np.concatenate(
    [
        [
            85.6,
            87.1,
            88.3,
            89.6,
            90.8,
            92.2,
            93.6,
            94.8,
            95.6,
            96.0,
            96.3,
            96.6,
            96.8,
            96.8,
            96.9,
            96.9,
            96.8,
            96.6,
            95.0,
        ],
        [86.6, 64.2, 37.3, 21.6, 15.1, 12.3],
    ]
)
"""Validation accuracy of digits at the grid's 25 max_lr, mean over 16 cycles of 10 runs."""
DEVIATIONS = np.concatenate(
    [
        [
            4.6,
            4.17,
            3.73,
            3.45,
            3.08,
            3.12,
            2.92,
            2.14,
            1.42,
            1.2,
            1.12,
            1.09,
            1.11,
            1.13,
            1.07,
            1.06,
            0.99,
            0.99,
            2.58,
        ],
        [8.12, 14.47, 13.17, 7.7, 4.91, 2.59],
    ]
)
"""Its standard deviation over runs."""
COMMON = 0.95
"""The part of it that all max_lr of a run share, as it is between the middle points."""
IMAGE = 100 / 359
"""One validation image of digits, in percent points."""

Truth = tuple[str, Array]
FLAT: Truth = "flat", np.full(25, 96.0)
PEAKED: Truth = "peaked", MEANS
SHIFTED: Truth = "shifted", np.roll(MEANS, 4)


def simulated(means: Array, runs: int, random: np.random.Generator) -> Array:
    """One cycle of digits with these true means: accuracies of shape (runs, points), in steps of an image."""
    own = np.sqrt(DEVIATIONS**2 - COMMON**2)
    noise = COMMON * random.standard_normal((runs, 1)) + own * random.standard_normal((runs, len(means)))
    return np.round((means + noise) / IMAGE) * IMAGE


def by_point(values: Array) -> dict[float, list[float]]:
    return {point: list(column) for point, column in zip(POINTS, values.T, strict=True)}


def rows_of(values: Array) -> list[dict[str, Any]]:
    return [
        {
            "run": run,
            "max_lr": point,
            "val_accuracy": float(values[run, index]),
            "test_accuracy": 50.0,
            "percent_remaining": 80.0,
            "status": "ok",
            "steps": 1,
            "wall_seconds": 0.0,
        }
        for run in range(len(values))
        for index, point in enumerate(POINTS[: values.shape[1]])
    ]


def closed(rows: list[dict[str, Any]]) -> ClosedCycle:
    choice = choose(mean_scores(rows), 0.5, "absolute")
    assert choice is not None
    return ClosedCycle(0, None, 25, rows, choice)


def share(wrong: Callable[[Array, Array], bool], truth: Truth, runs: int, cycles: int = 1000) -> float:
    """The share of simulated cycles in which something is wrong."""
    random = np.random.default_rng(runs)
    return float(np.mean([wrong(truth[1], simulated(truth[1], runs, random)) for _ in range(cycles)]))


class TestIntervals:
    def test_of_two_points_the_ends_are_those_of_scipys_paired_intervals(self) -> None:
        ours, theirs = [90.0, 91.5, 92.0, 90.5], [88.0, 89.0, 90.0, 88.75]
        # Half of 5 % to the upper end; half to the lower, of which there are two: either may be called worse.
        upper = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        lower = stats.ttest_rel(ours, theirs).confidence_interval(0.975)
        found = judge({0.1: theirs, 0.2: ours}, 0.2, 0.5, 0.95)[0.1]
        assert found.shortfall == pytest.approx(2.0625)
        assert (found.low, found.high) == pytest.approx((lower.low, upper.high))

    def test_of_three_points_six_may_be_called_worse_and_two_fall_short(self) -> None:
        values = np.array([[90.0, 80.1, 60.2], [91.5, 81.0, 61.0], [92.0, 82.4, 62.3], [90.5, 80.6, 60.1]])
        lower = stats.ttest_rel(values[:, 0], values[:, 1]).confidence_interval(1 - 0.05 / 6)
        upper = stats.ttest_rel(values[:, 0], values[:, 1]).confidence_interval(1 - 0.05 / 2)
        low, high = shortfalls(values, 0.95)
        assert (low[1], high[1]) == pytest.approx((lower.low, upper.high))

    def test_by_hand_with_two_runs(self) -> None:
        # Differences 1 and 3: mean 2, deviation sqrt(2), standard error 1; t of one degree of freedom, 0.975: 12.706.
        found = judge({0.1: [89.0, 88.0], 0.2: [90.0, 91.0]}, 0.2, 0.5, 0.95)
        assert found[0.1].shortfall == 2.0
        assert (found[0.1].low, found[0.1].high) == pytest.approx((0.0, 14.706), abs=1e-3)
        assert not found[0.1].worse and found[0.1].verdict == "undecided"

    def test_the_correction_divides_the_error_among_statements(self) -> None:
        assert quantile(0.025, 600, 5) == pytest.approx(stats.t.ppf(1 - 0.025 / 600, 4))
        assert quantile(0.025, 1, 5) == pytest.approx(stats.t.ppf(0.975, 4))

    def test_nothing_falls_short_by_more_than_all(self) -> None:
        _, high = shortfalls(np.array([[90.0, 10.0], [91.0, 60.0]]), 0.95)
        assert high[1] == 100.0

    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [(0.0, 0.5, "inside"), (0.0, 0.51, "undecided"), (0.5, 2.0, "undecided"), (0.51, 2.0, "outside")],
    )
    def test_the_tolerance_itself_is_inside(self, low: float, high: float, expected: str) -> None:
        assert verdict(low, high, 0.5) == expected

    def test_one_run_gives_a_shortfall_and_nothing_that_is_sure(self) -> None:
        found = judge({0.1: [89.0], 0.2: [90.0]}, 0.2, 0.5, 0.95)
        assert found[0.1].shortfall == 1.0
        assert all(point.low is point.high is point.worse is point.verdict is None for point in found.values())

    def test_a_single_point_is_the_best_for_certain(self) -> None:
        assert judge({0.1: [89.0, 90.0]}, 0.1, 0.5, 0.95)[0.1].verdict == "inside"

    def test_runs_that_differ_by_the_same_image_make_nothing_sure(self) -> None:
        # Both runs are better by exactly two images: no spread at all, which is an accident of counting images.
        found = judge({0.1: [320 * IMAGE, 324 * IMAGE], 0.2: [322 * IMAGE, 326 * IMAGE]}, 0.2, 0.5, 0.95)
        assert not found[0.1].worse

    def test_what_cannot_be_best_does_not_widen_what_falls_short(self) -> None:
        # The last point is surely worse, but so noisy that its interval against the second reaches above the first's.
        quiet = np.array([[90.0, 89.9], [90.1, 89.8], [89.9, 89.95], [90.05, 90.0], [90.0, 89.9], [89.95, 89.9]])
        noisy = np.array([[60.0], [85.0], [62.0], [86.0], [61.0], [84.0]])
        alone = stats.ttest_rel(noisy[:, 0], quiet[:, 1]).confidence_interval(0.975)
        assert alone.high > -5 and shortfalls(np.hstack([quiet, noisy]), 0.95)[1][1] < 1.0

    @given(st.lists(st.lists(st.floats(0, 100), min_size=4, max_size=4), min_size=2, max_size=5))
    def test_the_shortfall_lies_below_the_upper_end_and_the_best_is_never_worse(
        self, values: list[list[float]]
    ) -> None:
        accuracies = {0.1 * (index + 1): [run[index] for run in values] for index in range(4)}
        best = max(accuracies, key=lambda point: np.mean(accuracies[point]))
        found = judge(accuracies, best, 0.5, 0.95)
        assert not found[best].worse
        for point in found.values():
            assert point.low is not None and point.high is not None
            assert 0 <= point.low <= point.high + 1e-9
            assert -1e-9 <= point.shortfall <= point.high + 1e-9


class TestKnownTruth:
    @pytest.mark.parametrize("runs", [3, 5, 10])
    @pytest.mark.parametrize("truth", [FLAT, PEAKED, SHIFTED], ids=lambda truth: truth[0])
    def test_all_intervals_of_a_cycle_hold_at_once_as_often_as_stated(self, truth: Truth, runs: int) -> None:
        def misses(means: Array, values: Array) -> bool:
            low, high = shortfalls(values, 0.95)
            short = means.max() - means
            return bool(((short < low - 1e-9) | (short > high + 1e-9)).any())

        assert share(misses, truth, runs) <= 0.05

    @pytest.mark.parametrize("runs", [2, 5, 10])
    def test_of_25_equal_points_none_is_called_outside_or_worse_than_the_best(self, runs: int) -> None:
        def decided(means: Array, values: Array) -> bool:
            best = POINTS[int(values.mean(axis=0).argmax())]
            found = judge(by_point(values), best, 0.5, 0.95)
            return any(point.worse or point.verdict == "outside" for point in found.values())

        assert share(decided, FLAT, runs) <= 0.05

    def test_uncorrected_intervals_would_be_wrong_in_most_cycles(self) -> None:
        # Why the correction is there: the best of 25 equal points looks better than some other nearly always.
        def fooled(means: Array, values: Array) -> bool:
            best = values[:, values.mean(axis=0).argmax()]
            pairs = [best - column for column in values.T if not np.array_equal(column, best)]
            return any(stats.ttest_1samp(pair, 0).pvalue < 0.05 and pair.mean() > 0 for pair in pairs)

        assert share(fooled, FLAT, 5, cycles=60) > 0.5

    def test_what_is_far_off_is_outside_in_most_cycles_with_ten_runs(self) -> None:
        def missed(means: Array, values: Array) -> bool:
            low, _ = shortfalls(values, 0.95)
            return bool(low[0] <= 0.5 or low[-1] <= 0.5)

        assert share(missed, PEAKED, 10) <= 0.35

    def test_verdicts_on_the_region_are_wrong_at_most_as_often_as_stated(self) -> None:
        def wrong(means: Array, values: Array) -> bool:
            truly = means >= means.max() - 0.5
            found = [verdict(low, high, 0.5) for low, high in zip(*shortfalls(values, 0.95), strict=True)]
            return any(said == ("outside" if inside else "inside") for said, inside in zip(found, truly, strict=True))

        assert share(wrong, PEAKED, 10) <= 0.05


class TestEquivalence:
    def test_it_is_the_larger_of_scipys_two_one_sided_tests(self) -> None:
        values = np.array([0.3, -0.1, 0.2, 0.25, -0.2])
        lower = stats.ttest_1samp(values, -0.5, alternative="greater").pvalue
        upper = stats.ttest_1samp(values, 0.5, alternative="less").pvalue
        assert equivalence_p(values, 0.5) == pytest.approx(max(lower, upper))

    @pytest.mark.parametrize("side", [-1, 1])
    def test_chains_that_differ_by_the_tolerance_are_called_equivalent_in_5_percent(self, side: int) -> None:
        random = np.random.default_rng(1)
        found = [equivalence_p(side * 0.5 + 0.3 * random.standard_normal(10), 0.5) < 0.05 for _ in range(1000)]
        assert 0.03 <= np.mean(found) <= 0.07

    def test_equal_chains_are_called_equivalent_when_there_are_runs_enough(self) -> None:
        random = np.random.default_rng(2)
        found = [equivalence_p(0.3 * random.standard_normal(10), 0.5) < 0.05 for _ in range(200)]
        assert np.mean(found) > 0.95

    @pytest.mark.parametrize(("difference", "expected"), [(0.0, 0.0), (0.49, 0.0), (0.5, 1.0), (-0.6, 1.0)])
    def test_without_any_spread_the_difference_itself_decides(self, difference: float, expected: float) -> None:
        assert equivalence_p(np.full(5, difference), 0.5) == expected

    def test_holms_correction_is_that_of_his_rule(self) -> None:
        rows: list[dict[str, Any]] = [{"p": p} for p in (0.01, 0.04, None, 0.03)]
        note_corrected(rows, "p", "corrected")
        # Smallest times 3; next times 2; the largest times 1 but never below the one before it.
        assert [row["corrected"] for row in rows] == [
            pytest.approx(0.03),
            pytest.approx(0.06),
            None,
            pytest.approx(0.06),
        ]

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
    def test_holms_correction_is_that_of_statsmodels_to_the_last_bit(self, p: list[float]) -> None:
        assert holm(np.array(p)).tolist() == multipletests(p, method="holm")[1].tolist()

    def test_nothing_tested_has_nothing_to_correct(self) -> None:
        assert holm(np.array([])).tolist() == []

    def test_the_mean_of_one_value_again_and_again_has_no_width(self) -> None:
        assert interval(np.full(4, 0.25), 0.95) == (0.25, 0.25)

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([100 * 3 / 359, 100 * 350 / 359, 100.0], 100 / 359),
            ([90.0, 91.0], 1.0),
            ([90.123456789123, 87.3141592653589], 0.0),
            ([100 * 9876 / 14000, 100 * 9877 / 14000], 100 / 14000),
        ],
    )
    def test_the_step_of_accuracies_is_one_image(self, values: list[float], expected: float) -> None:
        assert step(np.array(values)) == pytest.approx(expected)

    @pytest.mark.parametrize(("error", "runs"), [(0.025, 2), (0.05, 5), (1e-9, 3), (0.4, 1000)])
    def test_a_quantile_is_scipys_to_the_last_bit(self, error: float, runs: int) -> None:
        assert quantile(error, 7, runs) == stats.t.ppf(1 - error / 7, runs - 1)

    def test_an_interval_is_scipys(self) -> None:
        values = np.array([0.3, -0.1, 0.2])
        assert interval(values, 0.9) == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(0.9)))

    def test_a_spread_below_one_image_is_taken_for_one_image(self) -> None:
        both = np.full(2, 0.25)
        assert interval(both, 0.95, 0.28) == pytest.approx(
            (0.25 - 12.706 * 0.28 / 2**0.5, 0.25 + 12.706 * 0.28 / 2**0.5), abs=1e-3
        )
        assert equivalence_p(both, 0.5) == 0.0 and equivalence_p(both, 0.5, 0.28) > 0.05

    def test_images_counted_in_two_runs_do_not_make_equivalence_of_a_difference(self) -> None:
        random = np.random.default_rng(8)
        pairs = np.round((0.5 + 0.6 * random.standard_normal((2000, 2))) / IMAGE) * IMAGE
        assert np.mean([equivalence_p(pair, 0.5, IMAGE) < 0.05 for pair in pairs]) <= 0.05

    @pytest.mark.parametrize(("values", "expected"), [([0.1] * 3, 0.25), ([-0.1] * 3, 1.0), ([0.0] * 3, 1.0)])
    def test_a_mean_without_spread_is_positive_as_surely_as_its_signs_say(
        self, values: list[float], expected: float
    ) -> None:
        assert above_zero_p(np.array(values)) == expected

    def test_a_mean_is_positive_by_scipys_two_sided_test(self) -> None:
        values = np.array([0.3, -0.1, 0.2])
        assert above_zero_p(values) == stats.ttest_1samp(values, 0).pvalue
        assert above_zero_p(-values) == 1.0


class TestTables:
    def test_bounds_of_the_region_say_of_each_neighbour_what_is_sure(self) -> None:
        random = np.random.default_rng(3)
        means = np.array([80.0, 95.0, 96.0, 95.9, 80.0])
        rows = rows_of(means + 0.02 * random.standard_normal((8, 5)))
        (found,) = ORACLE.frame(oracle_rows([closed(rows)], RULES)).to_dict("records")
        assert (found["feasible_low"], found["feasible_high"]) == (POINTS[2], POINTS[3])
        assert [found[name] for name in ("below_low", "low_bound", "high_bound", "above_high")] == [
            "outside",
            "inside",
            "inside",
            "outside",
        ]
        assert (found["possible_low"], found["possible_high"]) == (POINTS[2], POINTS[3])
        assert (found["points"], found["n_not_worse"]) == (5, 1)

    def test_of_noise_alone_every_point_may_be_feasible(self) -> None:
        rows = rows_of(simulated(FLAT[1], 5, np.random.default_rng(4)))
        (found,) = ORACLE.frame(oracle_rows([closed(rows)], RULES)).to_dict("records")
        assert (found["possible_low"], found["possible_high"], found["n_not_worse"]) == (POINTS[0], POINTS[-1], 25)
        assert {found[name] for name in ("low_bound", "high_bound")} == {"undecided"}

    def test_a_relative_tolerance_is_turned_into_points_of_the_best(self) -> None:
        rows = rows_of(np.array([[50.0, 48.8], [50.0, 48.8], [50.0, 48.8], [50.02, 48.8]]))
        verdicts = {
            kind: CURVES.frame(curve_rows([closed(rows)], Rules(3.0, kind, 0.95)))["verdict"].tolist()
            for kind in ("absolute", "relative")
        }
        assert verdicts["absolute"] == ["inside", "inside"]
        assert verdicts["relative"] == ["inside", "inside"]
        assert CURVES.frame(curve_rows([closed(rows)], Rules(2.0, "relative", 0.95)))["verdict"].tolist() == [
            "inside",
            "outside",
        ]

    def test_what_diverged_is_outside_and_worse_than_the_best(self) -> None:
        rows = rows_of(simulated(FLAT[1], 3, np.random.default_rng(5)))
        rows[-1] |= {"val_accuracy": None, "test_accuracy": None, "status": "diverged"}
        last = CURVES.frame(curve_rows([closed(rows)], RULES)).iloc[-1]
        assert last["worse_than_best"] and last["verdict"] == "outside" and np.isnan(last["shortfall"])

    def test_a_higher_confidence_decides_less(self) -> None:
        rows = rows_of(simulated(PEAKED[1], 10, np.random.default_rng(6)))
        worse = [
            CURVES.frame(curve_rows([closed(rows)], Rules(0.5, "absolute", level)))["worse_than_best"].sum()
            for level in (0.6, 0.95, 0.999)
        ]
        assert all(more >= fewer for more, fewer in pairwise(worse)) and worse[0] > worse[-1]

    def test_test_accuracies_have_no_part_in_what_is_sure(self) -> None:
        rows = rows_of(simulated(PEAKED[1], 5, np.random.default_rng(7)))
        turned = [row | {"test_accuracy": 100 * row["run"] / 7 - row["max_lr"]} for row in rows]
        reported = ["test_accuracy_mean", "test_accuracy_std"]
        for table, made in ((ORACLE, oracle_rows), (CURVES, curve_rows)):
            ours, theirs = (table.frame(made([closed(each)], RULES)).drop(columns=reported) for each in (rows, turned))
            assert ours.equals(theirs)

    def test_at_the_grids_edge_and_of_one_run_nothing_is_said(self) -> None:
        rows = rows_of(np.array([[90.0, 80.0], [91.0, 82.0], [90.5, 81.5]]))
        (found,) = ORACLE.frame(oracle_rows([closed(rows)], RULES)).to_dict("records")
        assert pd.isna(found["below_low"]) and found["low_bound"] == "inside"
        one = closed(rows_of(np.array([[90.0, 80.0]])))
        one.rows[1]["val_accuracy"], one.rows[1]["status"] = None, "diverged"  # type: ignore[index]
        (found,) = ORACLE.frame(oracle_rows([one], RULES)).to_dict("records")
        assert pd.isna(found["n_not_worse"]) and pd.isna(found["possible_low"]) and pd.isna(found["low_bound"])
        assert CURVES.frame(curve_rows([one], RULES))[["worse_than_best", "verdict"]].isna().all(axis=None)

    def test_runs_are_paired_whatever_the_order_of_rows(self) -> None:
        rows = rows_of(simulated(PEAKED[1], 5, np.random.default_rng(9)))
        assert accuracies_by_run(rows[::-1]) == accuracies_by_run(rows)

    def test_a_relative_tolerance_is_of_the_mean_of_the_best(self) -> None:
        # 2 % of the mean 50 is 1 point; of the highest, 60, it would be 1.2.
        rows = rows_of(np.array([[40.0, 38.9, 39.999], [60.0, 58.9, 59.998], [50.0, 48.88, 49.999]]))
        verdicts = CURVES.frame(curve_rows([closed(rows)], Rules(2.0, "relative", 0.95)))["verdict"].tolist()
        assert verdicts == ["inside", "outside", "inside"]
