"""Whether max_lr rises: by hand, and on simulated chains whose truth is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from sweep.experiments.oracle.tables import TREND
from sweep.statistics import trend
from sweep.statistics.selection import ClosedCycle, Rules, choose, mean_scores
from sweep.statistics.trend import QUANTITIES, Series, per_run, slopes, trend_rows

Array = NDArray[np.float64]

RULES = Rules(0.5, "absolute", 0.95)
GRID = [round(0.001 * 10 ** (index / 8), 6) for index in range(25)]


def trends(series: Mapping[str, Series], confidence: float) -> pd.DataFrame:
    return table(trend.trends(series, confidence))


def trend_table(chains: Mapping[str, Sequence[ClosedCycle]], rules: Rules) -> pd.DataFrame:
    return table(trend_rows(chains, rules))


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    assert {name for row in rows for name in row} <= set(TREND.schema.names)  # a table has no room for others
    return TREND.frame(rows)


def cycle(number: int, accuracies: dict[int, dict[float, float | None]]) -> ClosedCycle:
    """A closed cycle from each run's accuracy by max_lr."""
    rows: list[dict[str, Any]] = [
        {"run": run, "max_lr": max_lr, "val_accuracy": accuracy, "test_accuracy": 50.0, "cycle": number}
        for run, curve in accuracies.items()
        for max_lr, accuracy in curve.items()
    ]
    choice = choose(mean_scores(rows), 0.5, "absolute")
    assert choice is not None
    return ClosedCycle(number, None, len(GRID), rows, choice)


def hills(tops: Array) -> list[ClosedCycle]:
    """Cycles in which run r's best max_lr is the grid point next to exp(tops[r, cycle]), its region one point wide."""
    points = np.log(GRID)
    return [
        cycle(
            number, {run: dict(zip(GRID, 95 - 4 * np.abs(points - top), strict=True)) for run, top in enumerate(column)}
        )
        for number, column in enumerate(tops.T)
    ]


def noisy(random: np.random.Generator, growth: float, runs: int = 5, cycles: int = 14, spread: float = 0.6) -> Array:
    """The logarithm of each run's best max_lr, which grows a cycle by `growth`, with noise over runs and cycles."""
    return np.log(0.05) + growth * (np.arange(cycles) - cycles / 2) + spread * random.standard_normal((runs, cycles))


def series(tops: Array, random: np.random.Generator) -> dict[str, Array]:
    """The four quantities of runs whose best max_lr is exp(tops), each with some noise of its own."""
    return {name: tops + 0.2 * random.standard_normal(tops.shape) for name in QUANTITIES}


def rises(tops: Array, random: np.random.Generator) -> bool:
    return bool(trends({"imp": series(tops, random)}, 0.95)["rises"].any())


class TestByHand:
    def test_each_run_is_judged_by_its_own_curve(self) -> None:
        closed = cycle(
            0,
            {
                0: {0.1: 90.0, 0.2: 89.6, 0.4: 80.0, 0.8: None},
                1: {0.1: 80.0, 0.2: 89.8, 0.4: 90.0, 0.8: 89.7},
            },
        )
        found = {name: np.exp(values[:, 0]) for name, values in per_run([closed], RULES).items()}
        assert found["best"] == pytest.approx([0.1, 0.4])
        assert found["low"] == pytest.approx([0.1, 0.2])
        assert found["high"] == pytest.approx([0.2, 0.8])
        assert found["middle"] == pytest.approx([np.sqrt(0.02), 0.4])

    def test_a_cycle_in_which_a_run_has_no_score_is_left_out(self) -> None:
        closed = [cycle(m, {0: {0.1: 90.0, 0.2: 80.0}, 1: {0.1: 90.0, 0.2: 80.0}}) for m in range(3)]
        hole = ClosedCycle(
            3,
            None,
            2,
            [*closed[0].rows[:2], *({**r, "val_accuracy": None} for r in closed[0].rows[2:])],
            closed[0].choice,
        )
        assert per_run([*closed, hole], RULES)["best"].shape == (2, 3)

    def test_the_slope_is_that_of_scipys_line(self) -> None:
        values = np.array([[1.0, 2.5, 3.0, 5.0], [0.0, 0.0, 1.0, 0.5]])
        assert slopes(values) == pytest.approx([stats.linregress(range(4), row).slope for row in values])

    def test_exact_growth_has_its_factor_and_pages_largest_l(self) -> None:
        # Every run takes the grid points 0, 8, 16, 24 one after another: tenfold a cycle, no spread over runs.
        closed = hills(np.log([[GRID[0], GRID[8], GRID[16], GRID[24]]] * 3))
        best = trend_table({"imp": closed}, RULES).iloc[0]
        assert (best["factor"], best["factor_low"], best["factor_high"]) == pytest.approx((10.0, 10.0, 10.0), rel=1e-3)
        assert best["page_l"] == 3 * (1 + 4 + 9 + 16)  # three runs, ranks 1 to 4
        assert best["page_p"] == pytest.approx(24.0**-3)  # one of 24 orders in each of three runs
        # Equal slopes have no spread: they are as sure as three equal signs.
        assert best["rise_p"] == 0.25 and best["holm_p"] == 1.0 and not best["rises"]

    def test_the_larger_of_both_p_counts_with_holms_correction(self) -> None:
        random = np.random.default_rng(9)
        found = trends({"imp": series(noisy(random, 0.04), random)}, 0.95)
        slope_p = [found["rise_p"].iloc[index] for index in range(4)]
        assert (found["rise_p"] >= found["page_p"]).all() and (found["rise_p"] > found["page_p"]).any()
        ordered = np.sort(slope_p) * [4, 3, 2, 1]
        assert np.sort(found["holm_p"]) == pytest.approx(np.minimum(1, np.maximum.accumulate(ordered)))
        for level in (0.6, 0.95):
            claimed = trends({"imp": series(noisy(np.random.default_rng(9), 0.04), np.random.default_rng(9))}, level)
            assert claimed["rises"].tolist() == (claimed["holm_p"] < 1 - level).tolist()

    def test_the_interval_is_that_of_the_runs_slopes(self) -> None:
        tops = np.log([[GRID[0], GRID[4], GRID[8]], [GRID[0], GRID[5], GRID[10]], [GRID[0], GRID[6], GRID[12]]])
        found = trend_table({"imp": hills(tops)}, RULES).iloc[0]
        expected = stats.ttest_1samp(slopes(tops), 0).confidence_interval(0.95)
        assert (found["factor_low"], found["factor_high"]) == pytest.approx(
            (np.exp(expected.low), np.exp(expected.high)), rel=1e-3
        )

    @pytest.mark.parametrize(("runs", "cycles"), [(1, 5), (5, 2), (5, 1)])
    def test_one_run_or_two_cycles_say_nothing(self, runs: int, cycles: int) -> None:
        found = trend_table({"imp": hills(np.full((runs, cycles), np.log(0.1)))}, RULES)
        assert found["quantity"].tolist() == list(QUANTITIES)
        assert found[["factor_low", "page_p", "rises"]].isna().all(axis=None)

    def test_an_oracle_without_cycles_is_a_table_that_says_nothing(self) -> None:
        assert trend_table({"imp": []}, RULES)["rises"].isna().all()

    def test_nothing_rises_whose_interval_holds_no_growth(self) -> None:
        random = np.random.default_rng(12)
        tables = [trends({"imp": series(noisy(random, 0.05), random)}, 0.95) for _ in range(50)]
        rising = pd.concat([table[table["rises"]] for table in tables])
        assert len(rising) > 10 and (rising["factor_low"] > 1).all()

    def test_a_fall_is_no_rise(self) -> None:
        falling = hills(np.log([[GRID[16], GRID[8], GRID[4], GRID[0]]] * 3))
        assert not trend_table({"imp": falling}, RULES)["rises"].any()


class TestKnownTruth:
    def test_a_chain_without_a_rise_is_called_one_in_at_most_5_percent(self) -> None:
        random = np.random.default_rng(0)
        assert np.mean([rises(noisy(random, 0.0), random) for _ in range(600)]) <= 0.05

    def test_runs_that_drift_each_for_itself_are_no_rise_either(self) -> None:
        # Page's test alone takes a run's cycles for exchangeable, and is fooled by such runs far more often.
        random = np.random.default_rng(1)
        walks = [np.log(0.03) + 0.4 * random.standard_normal((5, 14)).cumsum(axis=1) for _ in range(200)]
        assert np.mean([stats.page_trend_test(walk).pvalue < 0.05 for walk in walks]) > 0.1
        assert np.mean([rises(walk, random) for walk in walks]) <= 0.05

    def test_quantities_that_drift_each_for_itself_are_no_rise_either(self) -> None:
        random = np.random.default_rng(10)

        def walks() -> dict[str, Array]:
            return {name: 0.4 * random.standard_normal((5, 14)).cumsum(axis=1) for name in QUANTITIES}

        found = [trends({"imp": walks()}, 0.95)["rises"].any() for _ in range(600)]
        assert np.mean(found) <= 0.05 + 3 * 0.009

    def test_a_rise_is_found(self) -> None:
        random = np.random.default_rng(2)
        assert np.mean([rises(noisy(random, 0.15), random) for _ in range(50)]) >= 0.9

    def test_intervals_of_the_growth_cover_it_as_often_as_stated(self) -> None:
        random = np.random.default_rng(3)
        found = [trends({"imp": series(noisy(random, 0.1), random)}, 0.95).iloc[0] for _ in range(200)]
        inside = [row["factor_low"] <= np.exp(0.1) <= row["factor_high"] for row in found]
        assert 0.9 <= np.mean(inside) <= 0.99


class TestControls:
    def test_a_control_that_rises_alike_is_not_exceeded(self) -> None:
        tops = noisy(np.random.default_rng(4), 0.2)
        found = trend_table({"imp": hills(tops), "none": hills(tops)}, RULES)
        control = found[found["chain"] == "none"]
        assert control["rises"].all() and control["excess"].tolist() == pytest.approx([1.0] * 4)
        assert not control["exceeds_control"].any()
        assert found[found["chain"] == "imp"]["exceeds_control"].isna().all()

    def test_a_control_that_stays_is_exceeded(self) -> None:
        random = np.random.default_rng(5)
        found = trend_table({"imp": hills(noisy(random, 0.25)), "none": hills(noisy(random, 0.0))}, RULES)
        control = found[found["chain"] == "none"]
        assert control["exceeds_control"].all() and not control["rises"].any()
        assert (control["excess_low"] > 1).all()

    def test_without_a_rise_no_control_is_exceeded(self) -> None:
        random = np.random.default_rng(11)
        found = trends({"imp": series(noisy(random, 0.0), random), "none": series(noisy(random, -0.5), random)}, 0.95)
        control = found[found["chain"] == "none"]
        assert (control["excess_low"] > 1).all() and not control["exceeds_control"].any()

    def test_without_a_difference_a_control_is_exceeded_in_at_most_5_percent(self) -> None:
        random = np.random.default_rng(6)
        tables = [
            trends({name: series(noisy(random, 0.1), random) for name in ("imp", "none")}, 0.95) for _ in range(600)
        ]
        assert np.mean([table["exceeds_control"].fillna(False).any() for table in tables]) <= 0.05 + 3 * 0.009

    def test_runs_are_paired_so_what_they_share_does_not_count(self) -> None:
        random, cycles = np.random.default_rng(7), np.arange(14)
        shared = np.outer(np.linspace(0.1, 0.3, 5), cycles)  # each run has a slope of its own, whatever is pruned
        own = shared + 0.05 * cycles + 0.1 * random.standard_normal((5, 14))
        control = shared + 0.1 * random.standard_normal((5, 14))
        found = trends({"imp": dict.fromkeys(QUANTITIES, own), "none": dict.fromkeys(QUANTITIES, control)}, 0.95)
        assert found["exceeds_control"].tolist()[4:] == [True] * 4
        unpaired = stats.ttest_ind(slopes(own), slopes(control), alternative="greater")
        assert unpaired.pvalue > 0.05

    def test_only_the_runs_and_cycles_that_both_have_are_compared(self) -> None:
        tops = noisy(np.random.default_rng(8), 0.2)
        found = trend_table({"imp": hills(tops), "none": hills(tops[:3, :6])}, RULES)
        assert found[found["chain"] == "none"]["excess"].tolist() == pytest.approx([1.0] * 4)
