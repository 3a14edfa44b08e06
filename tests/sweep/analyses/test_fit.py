"""Fitting curves to oracles whose true curve is known."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from search_spaces.ranges import Range
from search_spaces.scyc import SCyc
from search_spaces.trajectories import Exponential, Line
from sweep.analyses import fit as fitting
from sweep.analyses.fit import Fits, region_of
from sweep.experiments.oracle.tables import CURVES, ORACLE
from sweep.statistics.selection import ClosedCycle, Rules, choose, mean_scores
from sweep.statistics.summaries import curve_rows, oracle_rows

RULES = Rules(0.5, "absolute", 0.95)

CYCLES = 15
GRID = [float(f"{0.001 * 1000 ** (i / 96):.6g}") for i in range(97)]
"""7.5 % from one to the next."""
RANGES = {
    "epsilon": Range(0.001, 1.0, log=True),
    "delta": Range(0.0, 1.0),
    "q": Range(0, 3, integer=True),
    "beta": Range(3.0, 6.0),
}
TRUTH = SCyc(epsilon=0.04, delta=0.08, q=2, beta=4.0)

Curve = Callable[[int], float]


def oracle(
    best: Curve,
    runs: int = 3,
    noise: float = 0.0,
    seed: int = 0,
    of_run: Callable[[int], float] = lambda run: 1.0,
) -> Any:
    """An oracle with peaks on a curve, times a factor of each run: half a point is lost 16 % off the peak."""
    random = np.random.default_rng(seed)
    closed = []
    for cycle in range(CYCLES + 1):
        rows = [
            {
                "cycle": cycle,
                "run": run,
                "max_lr": max_lr,
                "percent_remaining": 100 * 0.8**cycle,
                "val_accuracy": 95
                - 120 * math.log10(max_lr / best(cycle) / of_run(run)) ** 2
                + noise * random.normal(),
                "test_accuracy": 50 + max_lr,
                "status": "ok",
                "steps": 1,
                "wall_seconds": 0.0,
            }
            for run in range(runs)
            for max_lr in GRID
        ]
        choice = choose(mean_scores(rows), 0.5, "absolute")
        assert choice is not None
        closed.append(ClosedCycle(cycle, None, len(GRID), rows, choice))
    table, curves = ORACLE.frame(oracle_rows(closed, RULES)), CURVES.frame(curve_rows(closed, RULES))
    return SimpleNamespace(closed=closed, oracle=table, curves=curves)


def fit(found: Any, ranges: dict[str, Range], given: dict[str, SCyc], seed: int) -> Fits:
    """Fit to the cycles of an oracle, with its table as the test has it."""
    closed, frames = found.closed, fitting._frames
    with pytest.MonkeyPatch.context() as patch:
        own = found.oracle, found.curves
        patch.setattr(fitting, "_frames", lambda of, rules: own if of is closed else frames(of, rules))
        return fitting.fit(closed, RULES, 0.2, ranges, given, seed)


def of(table: pd.DataFrame, curve: str) -> dict[str, Any]:
    return table[table["curve"] == curve].to_dict("records")[0]


@pytest.fixture(scope="module")
def s_shaped() -> Any:
    return fit(
        oracle(lambda m: TRUTH.max_lr(m, 0.2)), RANGES, {"truth": TRUTH, "half": SCyc(0.02, 0.04, 2, 4.0)}, seed=0
    )


def test_it_recovers_the_parameters_of_an_oracle_made_from_s_cyc(s_shaped: Any) -> None:
    found = s_shaped.scyc
    assert found.q == TRUTH.q
    assert found.epsilon == pytest.approx(TRUTH.epsilon, rel=0.05)
    assert found.epsilon + found.delta == pytest.approx(TRUTH.epsilon + TRUTH.delta, rel=0.05)
    assert found.beta == pytest.approx(TRUTH.beta, abs=0.6)
    for cycle in range(CYCLES + 1):
        assert found.max_lr(cycle, 0.2) == pytest.approx(TRUTH.max_lr(cycle, 0.2), rel=0.075)  # a step of the grid
    assert of(s_shaped.table, "scyc")["inside"] == of(s_shaped.table, "truth")["inside"] == CYCLES + 1


@pytest.mark.parametrize("truth", [SCyc(0.03, 0.05, 0, 3.0), SCyc(0.05, 0.2, 3, 6.0), SCyc(0.01, 0.02, 1, 5.0)])
def test_whatever_the_parameters_their_curve_is_found_again(truth: SCyc) -> None:
    fits = fit(oracle(lambda m: truth.max_lr(m, 0.2), runs=1), RANGES, {}, seed=1)
    assert of(fits.table, "scyc")["inside"] == CYCLES + 1
    assert fits.scyc.q == truth.q


def test_where_it_takes_an_s_the_simpler_curves_lie_inside_less_often(s_shaped: Any) -> None:
    inside = {row["curve"]: row["inside"] for row in s_shaped.table.to_dict("records")}
    assert max(inside["constant"], inside["line"], inside["exponential"]) < CYCLES
    assert inside["half"] == 0
    left_out = {row["curve"]: row["left_out_inside"] for row in s_shaped.table.to_dict("records")}
    assert left_out["scyc"] == 1.0 and left_out["line"] < 1


@pytest.mark.parametrize(
    ("curve", "truth"),
    [
        ("constant", lambda m: 0.05),
        ("line", lambda m: 0.02 + 0.01 * m),
        ("exponential", lambda m: 0.02 * 1.2**m),
    ],
)
def test_each_simpler_curve_is_found_where_it_is_true(curve: str, truth: Curve) -> None:
    fits = fit(oracle(truth, runs=2), RANGES, {}, seed=0)
    row = of(fits.table, curve)
    assert (row["inside"], row["widths_outside"], row["left_out_inside"]) == (CYCLES + 1, 0.0, 1.0)
    found = fits.curves[curve]
    for cycle in (0, 7, CYCLES):
        assert found.max_lr(cycle, 0.2) == pytest.approx(truth(cycle), rel=0.075)


def test_a_curve_that_contains_another_is_never_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sweep.analyses.fit._left_out", lambda *_: []
    )  # these fits are told from each other by all runs
    for seed in range(3):
        table = fit(oracle(lambda m: 0.05, noise=0.6, seed=seed), RANGES, {}, seed).table
        constant = of(table, "constant")
        for name in ("scyc", "line", "exponential"):
            row = of(table, name)
            better = (
                (-row["inside"], round(row["widths_outside"], 6)),
                (-constant["inside"], round(constant["widths_outside"], 6)),
            )
            assert better[0] <= better[1], name


def test_regions_that_touch_in_one_rate_are_all_reached() -> None:
    found = oracle(lambda m: 0.05, runs=1)
    touching = found.oracle.copy()
    touching.loc[touching["cycle"] % 2 == 0, ["feasible_low", "feasible_high"]] = [0.0204978, 0.0501187]
    touching.loc[touching["cycle"] % 2 == 1, ["feasible_low", "feasible_high"]] = [0.0501187, 0.2]
    touching["best_max_lr"] = [0.0204978, 0.2] * 8
    found.oracle = touching
    table = fit(found, RANGES, {}, seed=0).table
    assert [of(table, name)["inside"] for name in ("scyc", "constant", "line", "exponential")] == [16] * 4


def test_ties_go_to_the_curve_nearest_to_the_best_rates() -> None:
    # All regions alike and wide: everything within lies inside, and the best rates decide.
    found = oracle(lambda m: 0.05, runs=1)
    found.oracle["feasible_low"], found.oracle["feasible_high"] = 0.01, 0.5
    row = of(fit(found, RANGES, {}, seed=0).table, "constant")
    assert float(row["parameters"].split(",")[0]) == pytest.approx(
        float(found.oracle["best_max_lr"].median()), rel=1e-3
    )


def test_scores_are_those_of_a_small_example_by_hand() -> None:
    found = oracle(lambda m: 0.05, runs=1)
    found.oracle = found.oracle[found.oracle["cycle"] < 2].copy()
    found.oracle["feasible_low"], found.oracle["feasible_high"] = [0.01, 0.1], [0.1, 1.0]
    found.oracle["best_max_lr"] = [0.1, 0.1]
    region = region_of(found.oracle, found.curves)
    assert region.width.tolist() == pytest.approx([math.log(10)] * 2)
    inside, distance, to_best = region.scores(np.array([[0.1, 0.1], [0.01, 0.01], [0.001, 0.01]]))
    assert inside.tolist() == [2, 1, 0]
    assert distance.tolist() == pytest.approx([0, 0.5, 1.0])
    assert to_best.tolist() == pytest.approx([0, 1.0, 1.5])


def test_a_single_run_leaves_none_out(s_shaped: Any) -> None:
    table = fit(oracle(lambda m: 0.05, runs=1), RANGES, {"given": TRUTH}, seed=0).table
    assert table["left_out_inside"].isna().all() and table["left_out_gap"].isna().all()
    assert s_shaped.table["left_out_inside"].notna().all()
    assert list(table["free"]) == [4, 1, 2, 2, 0]


def test_a_run_left_out_is_scored_on_its_own_region_and_curve_by_a_fit_to_the_others() -> None:
    # Runs 0 and 1 want 0.05, run 2 twice that: fitted without it the constant is 0.05, outside of run 2's region by a
    # factor of 2, which costs it 120 log10(2)^2 = 10.9 points. With it, and one of the others, it lies between.
    found = oracle(lambda m: 0.05, of_run=lambda run: 2.0 if run == 2 else 1.0)
    row = of(fit(found, RANGES, {"given": SCyc(0.05, 0.0, 0, 4)}, seed=0).table, "given")
    assert row["left_out_inside"] == pytest.approx(2 / 3)
    assert row["left_out_gap"] == pytest.approx((0 + 0 + 10.87) / 3, abs=0.15)
    constant = of(fit(found, RANGES, {}, seed=0).table, "constant")
    between = math.log10(math.sqrt(2)) ** 2 * 120  # fitted to one run of each kind: the middle, by symmetry
    assert constant["left_out_inside"] == 0.0
    assert constant["left_out_gap"] == pytest.approx((2 * between + 10.87) / 3, abs=0.4)


def test_a_region_of_one_point_is_as_wide_as_the_gap_beside_it() -> None:
    found = oracle(lambda m: 0.05, runs=1)
    table = found.oracle[found.oracle["cycle"] == 0].copy()
    table["feasible_low"] = table["feasible_high"] = table["best_max_lr"] = GRID[54]
    region = region_of(table, found.curves)
    assert region.width.item() == pytest.approx(math.log(GRID[55] / GRID[54]), rel=1e-3)


def test_regions_of_runs_that_decide_for_themselves_have_their_own_grids() -> None:
    found = oracle(lambda m: 0.05, runs=1)
    tables_ = [found.oracle.assign(run=run) for run in (0, 1)]
    coarse = found.curves[found.curves["max_lr"].isin(GRID[::8])]
    curves = pd.concat([found.curves.assign(run=0), coarse.assign(run=1)]).astype({"run": "Int32"})
    both = pd.concat(tables_).astype({"run": "Int32"})
    both["feasible_low"] = both["feasible_high"] = both["best_max_lr"] = GRID[48]
    width = region_of(both, curves).width
    assert width[: CYCLES + 1] == pytest.approx(math.log(10) * 3 / 96, rel=1e-3)
    assert width[CYCLES + 1 :] == pytest.approx(8 * math.log(10) * 3 / 96, rel=1e-3)


def test_a_row_inside_counts_more_than_any_distance() -> None:
    found = oracle(lambda m: 0.05, runs=1)
    far = found.oracle["cycle"] >= 2
    found.oracle["feasible_low"], found.oracle["feasible_high"] = 0.9, 1.0
    found.oracle.loc[far, ["feasible_low", "feasible_high"]] = [0.001, 0.0011]
    found.oracle.loc[found.oracle["cycle"] >= 9, ["feasible_low", "feasible_high"]] = [0.9, 1.0]
    row = of(fit(found, RANGES, {}, seed=0).table, "constant")
    assert row["inside"] == 9  # seven rows at 0.001, nine at 0.9, and nothing for being between


def test_parameters_have_six_digits_and_lie_in_their_ranges() -> None:
    narrow = RANGES | {"epsilon": Range(0.06, 0.07, log=True), "beta": Range(4.0, 4.0), "q": Range(1, 1, integer=True)}
    found = fit(oracle(lambda m: 0.05, runs=1), narrow, {}, seed=0)
    scyc = found.scyc
    assert (scyc.epsilon, scyc.q, scyc.beta) == (0.06, 1, 4.0)
    assert SCyc.parse(str(scyc)) == scyc and len(str(scyc.delta)) <= 10
    one = {name: Range(r.low, r.low, r.log, r.integer) for name, r in narrow.items()}
    assert of(fit(oracle(lambda m: 0.05, runs=1), one, {}, seed=0).table, "constant")["parameters"] == "0.06,0.06"


def test_the_same_seed_fits_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.analyses.fit.GENERATIONS", 10)  # all that is drawn by chance is drawn in any of them
    found = oracle(lambda m: TRUTH.max_lr(m, 0.2), noise=0.5)
    one, other = (fit(found, RANGES, {}, seed=3).table for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_a_line_and_an_exponential_go_through_their_ends() -> None:
    for curve in (Line(0.01, 0.09, 8), Exponential(0.01, 0.09, 8)):
        assert (curve.max_lr(0, 0.2), curve.max_lr(8, 0.2)) == (0.01, pytest.approx(0.09))
    assert Line(0.01, 0.09, 8).max_lr(4, 0.2) == pytest.approx(0.05)
    assert Exponential(0.01, 0.09, 8).max_lr(4, 0.2) == pytest.approx(0.03)
