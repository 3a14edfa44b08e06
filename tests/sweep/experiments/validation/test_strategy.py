"""Trajectories trained beside an oracle: on simulated training, where everything is known, and on digits."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import sweep
from search_spaces.scyc import SCyc
from search_spaces.trajectories import Trajectory
from sweep.errors import SweepError
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.experiments.runner import run
from sweep.experiments.validation.experiment import EXPERIMENT, settings_of
from sweep.experiments.validation.results import ValidationResults
from sweep.experiments.validation.settings import ValidationSettings
from sweep.experiments.validation.strategy import Validation
from sweep.experiments.validation.tables import verdict_table
from sweep.statistics.selection import Rules
from sweep.store.ledger import Ledger
from sweep.strategies.protocol import Context
from trainables.spec import derive_seed

MakeSweep = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]

GRID = (0.01, 0.0316228, 0.1, 0.316228, 1.0)
RATES = {"flat": (0.05, 0.05, 0.05), "rising": (0.0316228, 0.1, 0.316228)}
RULES = Rules(0.5, "absolute", 0.95)


def truth(cycle: int, run: int, max_lr: float) -> float | None:
    """Each cycle's best is 0.1; a quarter of a decade away costs about 2 points, a little more in later runs."""
    return 90 - cycle - 30 * abs(np.log10(max_lr) + 1) ** 2 * (1 + run / 10) + run


def swept(make_sweep: MakeSweep, truth: Any = truth, **settings: Any) -> tuple[Any, GreedyOracle]:
    """An oracle of three cycles and three runs, trained to its end."""
    made = make_sweep(truth, runs=3, **settings)
    return made, made.run()


def validated(results: OracleResults, scyc: dict[str, Trajectory], runs: int | None) -> ValidationResults:
    """Train trajectories beside an oracle, on so many held-out runs or on its own."""
    found: ValidationResults = run(EXPERIMENT, settings_of(results, scyc, runs, {}))
    return found


class Beside:
    """A trained comparison in a folder of its own, as a new process would make it."""

    def __init__(
        self, made: Any, oracle: GreedyOracle, held_out: bool = False, lanes_per_pack: int = 2, **rates: Any
    ) -> None:
        self.made, self.oracle, self.lanes_per_pack = made, oracle, lanes_per_pack
        self.folder = made.folder / ("validation-held-out" if held_out else "validation")
        self.settings = ValidationSettings.of(
            made.settings,
            {
                "oracle": str(made.folder),
                "held_out": held_out,
                "choices": tuple(c.choice.best_max_lr for c in oracle.closed),
                "trajectories": rates or RATES,
            },
        )
        rows = [] if held_out else [row for closed in oracle.closed for row in closed.best_rows]
        self.starts = frozenset(
            row[name] for row in rows for name in ("state", "parent_state", "rewind_state") if row[name]
        )
        self.simulation = type(made.simulation)(made.simulation.truth, made.settings.training(), self.folder / "states")
        self.sweep = replace(made, folder=self.folder, simulation=self.simulation, settings=self.settings)
        self.link()

    def link(self) -> None:
        (self.folder / "states").mkdir(parents=True, exist_ok=True)
        for digest in self.starts:
            (self.folder / "states" / f"{digest}.safetensors").touch()

    def strategy(self) -> Validation:
        ledger = Ledger(self.folder / "lanes")
        if not self.settings.held_out:
            ledger.rows = self.oracle.ledger.rows | ledger.rows
        has = self.simulation.has
        return Validation(
            Context(self.settings, "fingerprint of the data", ledger, self.lanes_per_pack, has, reused=self.starts)
        )

    def run(self, packs: int = 10_000) -> Validation:
        """Go on for so many packs; states that are not needed go, as in a real sweep."""
        strategy = self.strategy()
        while packs and (pack := strategy.ask()) is not None:
            self.sweep.train(strategy, pack)
            for digest in self.simulation.kept() - strategy.needed_states():
                self.simulation.lose(digest)
            packs -= 1
        return strategy

    def rows(self) -> dict[str, Any]:
        return {
            k: {n: v for n, v in r.items() if n != "finished_at"} for k, r in Ledger(self.folder / "lanes").rows.items()
        }


class TestWhatIsTrained:
    def test_of_the_oracles_lanes_only_those_whose_network_it_let_go_are_trained_again(
        self, make_sweep: MakeSweep
    ) -> None:
        made, oracle = swept(make_sweep)
        beside = Beside(made, oracle)
        assert beside.run().finished
        # rising begins with a point of the grid that lost: its own chain goes on from a network that is gone. As a
        # branch it is only measured, and the oracle has done that.
        again = {(row["cycle"], row["max_lr"]) for key, row in beside.rows().items() if key in oracle.ledger.rows}
        assert again == {(0, RATES["rising"][0])}

    def test_the_oracles_choice_is_never_trained_again(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        beside = Beside(made, oracle)
        beside.run()
        winners = {row["lane_id"] for closed in oracle.closed for row in closed.best_rows}
        assert not winners & set(beside.rows())

    def test_a_branch_starts_where_the_oracle_stands_and_an_own_chain_from_its_own(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        found = Beside(made, oracle).run()
        for cycle in (1, 2):
            winners = {row["run"]: row["state"] for row in oracle.closed[cycle - 1].best_rows}
            for name in RATES:
                branch = found.rows_of_cycle(found.branches[name, cycle])
                assert {row["run"]: row["parent_state"] for row in branch} == winners
                before = {row["run"]: row["state"] for row in found.rows_of_cycle(found.own[name][:cycle])}
                own = found.rows_of_cycle(found.own[name][: cycle + 1])
                assert {row["run"]: row["parent_state"] for row in own} == before
                assert {row["max_lr"] for row in [*branch, *own]} == {RATES[name][cycle]}

    def test_fresh_runs_share_no_seed_with_the_oracle_and_train_its_choices_too(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        beside = Beside(made, oracle, held_out=True)
        found = beside.run()
        seeds = {row["seed"] for row in beside.rows().values()}
        assert len(seeds) == 3 and not seeds & {row["seed"] for row in oracle.ledger.rows.values()}
        assert [row["max_lr"] for row in found.rows_of_cycle(found.oracle)] == [oracle.closed[2].choice.best_max_lr] * 3

    @pytest.mark.parametrize("rewind", ["none", "init"])
    @pytest.mark.parametrize("held_out", [False, True])
    def test_killed_after_any_pack_it_ends_as_undisturbed(
        self, make_sweep: MakeSweep, held_out: bool, rewind: str
    ) -> None:
        made, oracle = swept(make_sweep, rewind=rewind, pruning="global_magnitude")
        whole = Beside(made, oracle, held_out)
        whole.run()
        expected, packs = whole.rows(), len(whole.simulation.trained)
        lanes = sum(len(pack.lanes) for pack in whole.simulation.trained)
        for killed in range(1, packs):
            shutil.rmtree(whole.folder)
            again = Beside(made, oracle, held_out)
            again.run(killed)
            again.link()  # as every start of the command does
            again.run()
            assert again.rows() == expected
            assert sum(len(pack.lanes) for pack in again.simulation.trained) == lanes

    def test_a_trajectory_that_diverges_ends_its_own_chain_and_is_outside(self, make_sweep: MakeSweep) -> None:
        def diverging(cycle: int, run: int, max_lr: float) -> float | None:
            return None if max_lr == 0.05 and cycle == 1 and run == 2 else truth(cycle, run, max_lr)

        made, oracle = swept(make_sweep, diverging)
        found = Beside(made, oracle).run()
        assert found.finished and len(found.own["flat"]) == 2 and len(found.own["rising"]) == 3
        table = verdict_table(found, oracle.closed, RULES)
        flat = table[table["trajectory"] == "flat"]
        assert flat["verdict"].tolist()[1] == "outside" and flat["own_test_gap"].isna().tolist()[1:] == [True] * 3
        assert not flat["equivalent"].iloc[-1]

    def test_where_the_oracles_choice_diverges_on_fresh_runs_nothing_is_said_of_the_prediction(
        self, make_sweep: MakeSweep
    ) -> None:
        made, oracle = swept(make_sweep)
        beside = Beside(made, oracle, held_out=True)
        beside.simulation.truth = lambda cycle, run, max_lr: (
            None if (cycle, run, max_lr) == (1, 2, 0.1) else truth(cycle, run, max_lr)
        )
        found = beside.run()
        assert found.finished and len(found.oracle) == 2
        flat = verdict_table(found, oracle.closed, RULES).query("trajectory == 'flat'")
        assert flat["verdict"].tolist()[1] == "undecided" and flat["val_gap"].isna().tolist() == [False, True, True]


class TestVerdicts:
    def test_a_branch_is_judged_as_one_more_point_beside_the_grid(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        found = verdict_table(Beside(made, oracle).run(), oracle.closed, RULES)
        row = found[(found["trajectory"] == "flat") & (found["cycle"] == 1)].iloc[0]
        # Gap of run r at cycle 1, 0.05 against 0.1, by the truth; of 6 points 30 may be called worse, 5 fall short.
        gaps = [truth(1, run, 0.1) - truth(1, run, 0.05) for run in range(3)]  # type: ignore[operator]
        assert row["val_gap"] == pytest.approx(np.mean(gaps))
        lower = stats.ttest_1samp(gaps, 0).confidence_interval(1 - 0.05 / 30)
        upper = stats.ttest_1samp(gaps, 0).confidence_interval(1 - 0.05 / 5)
        assert (row["val_gap_low"], row["val_gap_high"]) == pytest.approx((max(0.0, lower.low), upper.high))

    def test_on_fresh_runs_it_is_a_paired_interval(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        found = verdict_table(Beside(made, oracle, held_out=True).run(), oracle.closed, RULES)
        row = found[(found["trajectory"] == "flat") & (found["cycle"] == 1)].iloc[0]
        gaps = [truth(1, run, 0.1) - truth(1, run, 0.05) for run in range(3)]  # type: ignore[operator]
        expected = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
        assert (row["val_gap_low"], row["val_gap_high"]) == pytest.approx((expected.low, expected.high))
        assert row["verdict"] == "outside" and row["held_out"]

    def test_the_mean_over_cycles_takes_each_run_as_one_witness(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        beside = Beside(made, oracle, held_out=True)
        beside.simulation.test_accuracy = lambda cycle, run, max_lr: 80 - cycle + run - max_lr * (1 + run)
        found = verdict_table(beside.run(), oracle.closed, RULES)
        last = found[(found["trajectory"] == "rising") & found["cycle"].isna()].iloc[0]
        chain = np.array([c.choice.best_max_lr for c in oracle.closed])
        gaps = [(1 + run) * (np.array(RATES["rising"]) - chain).mean() for run in range(3)]
        assert last["own_test_gap"] == pytest.approx(np.mean(gaps))
        tests = (
            stats.ttest_1samp(gaps, -0.5, alternative="greater").pvalue,
            stats.ttest_1samp(gaps, 0.5, alternative="less").pvalue,
        )
        assert last["equivalence_p"] == pytest.approx(max(tests))
        cycles = found[(found["trajectory"] == "rising") & found["cycle"].notna()]
        assert (cycles["holm_p"] >= cycles["equivalence_p"]).all()

    def test_the_oracles_own_choices_are_equivalent_to_themselves(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        same = tuple(c.choice.best_max_lr for c in oracle.closed)
        beside = Beside(made, oracle, same=same)
        found = verdict_table(beside.run(), oracle.closed, RULES)
        assert beside.simulation.trained == []
        assert found["val_gap"].tolist() == [0.0] * 4 and found["equivalent"].all()

    def test_one_run_gives_gaps_and_no_verdict(self, make_sweep: MakeSweep) -> None:
        made = make_sweep(truth, runs=1)
        oracle = made.run()
        found = verdict_table(Beside(made, oracle).run(), oracle.closed, RULES)
        assert found["val_gap"].notna().all()
        assert found[["verdict", "val_gap_low", "equivalent", "equivalence_p"]].isna().all(axis=None)

    def test_validation_verdicts_do_not_hang_on_test_accuracies(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        tables = []
        for accuracy in (lambda *_: 50.0, lambda cycle, run, max_lr: 99 - 70 * max_lr - run):
            shutil.rmtree(made.folder / "validation", ignore_errors=True)
            beside = Beside(made, oracle)
            beside.simulation.test_accuracy = accuracy
            tables.append(
                verdict_table(beside.run(), oracle.closed, RULES)[["cycle", "val_gap", "val_gap_low", "verdict"]]
            )
        pd.testing.assert_frame_equal(*tables)


def p_of(gaps: list[float], margin: float) -> float:
    """SciPy's two one-sided tests."""
    lower = stats.ttest_1samp(gaps, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(gaps, margin, alternative="less").pvalue
    return float(max(lower, upper))


class TestRules:
    @pytest.mark.parametrize(
        ("rules", "margin"),
        [
            (RULES, 0.5),
            (Rules(0.5, "absolute", 0.8), 0.5),
            (Rules(0.5, "relative", 0.8), 0.3),  # 0.5 % of a test accuracy of 60
        ],
    )
    def test_confidence_margin_and_holms_correction_are_those_of_the_rules(
        self, make_sweep: MakeSweep, rules: Rules, margin: float
    ) -> None:
        made, oracle = swept(make_sweep)
        beside = Beside(made, oracle, held_out=True)
        noise = np.array([[0.2, -0.2, 0.1], [0.3, 0.1, 0.2], [-0.1, 0.1, 0.05]])
        beside.simulation.test_accuracy = lambda cycle, run, max_lr: 60 + noise[cycle, run] * (max_lr != 0.1)
        rows = verdict_table(beside.run(), oracle.closed, rules).query("trajectory == 'flat'")
        cycles, last = rows[rows["cycle"].notna()], rows.iloc[-1]
        for cycle, row in enumerate(cycles.itertuples()):
            gaps = list(-noise[cycle])
            assert row.equivalence_p == pytest.approx(p_of(gaps, margin))
            ends = stats.ttest_1samp(gaps, 0).confidence_interval(2 * rules.confidence - 1)
            # As wide as both tests take it: within the margin and equivalent are the same.
            assert (row.equivalence_p < 1 - rules.confidence) == (-margin < ends.low and ends.high < margin)
            assert (row.own_test_gap_low, row.own_test_gap_high) == pytest.approx((ends.low, ends.high))
        ordered = np.sort(cycles["equivalence_p"]) * [3, 2, 1]
        assert np.sort(cycles["holm_p"]) == pytest.approx(np.minimum(1, np.maximum.accumulate(ordered)))
        assert cycles["equivalent"].tolist() == (cycles["holm_p"] < 1 - rules.confidence).tolist()
        assert last["equivalence_p"] == pytest.approx(p_of(list(-noise.mean(axis=0)), margin))

    def test_on_the_oracles_runs_the_mean_gap_has_no_interval(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        found = verdict_table(Beside(made, oracle).run(), oracle.closed, RULES)
        last = found[found["cycle"].isna()]
        assert last[["val_gap_low", "val_gap_high", "verdict"]].isna().all(axis=None) and last["val_gap"].notna().all()

    def test_validation_gaps_are_judged_by_a_relative_tolerance(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        found = Beside(made, oracle, held_out=True).run()
        rows = verdict_table(found, oracle.closed, Rules(5.0, "relative", 0.95))  # 4.5 points of 90: gaps are near 3
        assert rows[rows["trajectory"] == "flat"]["verdict"].tolist() == ["inside"] * 4

    def test_an_unfinished_comparison_has_no_mean_over_cycles(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        found = verdict_table(Beside(made, oracle, held_out=True).run(packs=7), oracle.closed, RULES)
        assert len(found) and found["cycle"].notna().all()

    def test_seeds_of_fresh_runs_are_none_that_more_runs_of_the_oracle_will_have(self, make_sweep: MakeSweep) -> None:
        made, oracle = swept(make_sweep)
        found = Beside(made, oracle, held_out=True).run()
        later = {derive_seed("run", made.settings.seed, run) for run in range(1000)}
        assert not later & {found.run_seed(run) for run in range(1000)}


SMALL: dict[str, Any] = {
    "max_lr": "0.02:0.5:x4",
    "cycles": 2,
    "runs": 2,
    "steps": 68,
    "lanes": 4,
    "engine": "inline",
    "scyc": "0.05,0.05,1,4",
    "progress": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep.build_oracle(**SMALL, out=tmp_path_factory.mktemp("validation") / "o").folder.path


class TestOnDigits:
    def test_the_command_trains_and_prints_verdicts(self, here: Run, folder: Path) -> None:
        result = here("compare", folder, "--train", "--confirm", "2")
        assert result.returncode == 0, result.stderr
        assert "S-Cyc, trained on 2 runs of the oracle" in result.stdout
        assert "S-Cyc, trained on 2 runs with held-out seeds" in result.stdout
        results = OracleResults(folder)
        for found, held_out in ((results.validation, False), (results.held_out_validation, True)):
            assert found.finished and found.settings.held_out is held_out
            written = pd.read_parquet(found.folder.path / "verdicts.parquet")
            assert written["cycle"].fillna(-1).tolist() == [0, 1, 2, -1]
            assert (found.folder.path / "gaps.png").exists()
        assert here("show", folder).returncode == 0  # the oracle is as it was
        shown = json.loads(here("show", folder / "validation-held-out", "--format", "json").stdout)
        assert shown["held_out"] == [True] * 4

    def test_again_it_trains_nothing_and_says_the_same(self, here: Run, folder: Path) -> None:
        before = here("compare", folder, "--train", "--json").stdout
        files = sorted(path.stat().st_mtime_ns for path in (folder / "validation" / "lanes").iterdir())
        assert here("compare", folder, "--train", "--json").stdout == before
        assert sorted(path.stat().st_mtime_ns for path in (folder / "validation" / "lanes").iterdir()) == files

    def test_at_a_point_of_the_grid_it_finds_what_the_oracle_found(self, folder: Path) -> None:
        results = OracleResults(folder)
        first = results.oracle.iloc[0]
        other = next(p for p in results.curves[results.curves["cycle"] == 0]["max_lr"] if p != first["best_max_lr"])
        found = validated(results, {"point": SCyc(other, 0.0, 0, 1.0)}, None).verdicts
        for row in found[found["cycle"].notna() & (found["trajectory"] == "point")].itertuples():
            curve = results.curves[(results.curves["cycle"] == row.cycle) & (results.curves["max_lr"] == other)].iloc[0]
            assert row.val_gap == pytest.approx(curve["shortfall"], abs=1e-6)

    def test_a_folder_keeps_its_trajectories_and_runs(self, folder: Path) -> None:
        results, one, other = OracleResults(folder), SCyc(0.05, 0.0, 0, 1.0), SCyc(0.08, 0.0, 0, 1.0)
        first = validated(results, {"one": one}, 3).verdicts
        both = validated(results, {"other": other}, 2).verdicts
        assert list(dict.fromkeys(both["trajectory"]))[-2:] == ["one", "other"] and set(both["runs"]) == {3}
        pd.testing.assert_frame_equal(
            both[both["trajectory"] == "one"].reset_index(drop=True),
            first[first["trajectory"] == "one"].reset_index(drop=True),
        )

    def test_a_name_is_of_its_newest_rates_even_if_nothing_is_left_to_train(self, folder: Path) -> None:
        results, one, other = OracleResults(folder), SCyc(0.05, 0.0, 0, 1.0), SCyc(0.08, 0.0, 0, 1.0)
        for rates in (one, other, one):
            found = validated(results, {"name": rates}, None).verdicts
            assert found[found["trajectory"] == "name"]["scyc_max_lr"].iloc[0] == rates.epsilon

    def test_settings_of_where_it_trains_may_be_others(self, here: Run, folder: Path) -> None:
        result = here("compare", folder, "--confirm", "2", "--engine", "inline", "--cpus-per-worker", "1", "--json")
        assert set(json.loads(result.stdout)["runs"]) == {3}  # a folder keeps its runs

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--confirm", "0"], "--confirm must be at least 1, but got 0"),
            (["--train", "--device", "tpu"], "unknown device 'tpu'"),
            (["--train", "--workers", "0"], "--workers must be auto or at least 1, but got 0"),
            (["--engine", "ray"], "--engine belongs to --train and --confirm"),
        ],
    )
    def test_bad_input_is_one_line_and_leaves_everything_as_it_is(
        self, here: Run, folder: Path, arguments: list[str], message: str
    ) -> None:
        before = (folder / "comparison.parquet").stat().st_mtime_ns
        result = here("compare", folder, *arguments)
        assert result.returncode == 2 and message in result.stderr and result.stdout == ""
        assert (folder / "comparison.parquet").stat().st_mtime_ns == before

    def test_runs_that_decide_for_themselves_have_no_chain_in_common(self, tmp_path: Path) -> None:
        results = sweep.build_oracle(**SMALL | {"cycles": 0, "decide": "per_run"}, out=tmp_path / "o")
        with pytest.raises(SweepError, match="--decide shared"):
            validated(results, {"S-Cyc": SCyc(0.05, 0.0, 0, 1.0)}, None)

    def test_a_tolerance_of_nothing_is_drawn_too(self, tmp_path: Path) -> None:
        results = sweep.build_oracle(**SMALL | {"cycles": 0, "tolerance": 0.0}, out=tmp_path / "o")
        found = validated(results, {"S-Cyc": SCyc(0.05, 0.05, 1, 4)}, None)  # a warning would be an error
        assert (found.folder.path / "gaps.png").exists()

    def test_within_its_folder_it_can_be_shown(self, here: Run, folder: Path) -> None:
        validated(OracleResults(folder), {"S-Cyc": SCyc(0.05, 0.05, 1, 4)}, 2)
        assert here("show", ".", cwd=folder / "validation-held-out").returncode == 0


def test_an_oracle_with_more_runs_leaves_what_was_trained_as_it_was_and_says_so(here: Run, tmp_path: Path) -> None:
    folder = sweep.build_oracle(**SMALL | {"cycles": 1}, out=tmp_path / "o").folder.path
    before = validated(OracleResults(folder), {"one": SCyc(0.05, 0.05, 1, 4)}, None)
    assert not before.stale
    sweep.build_oracle(**SMALL | {"cycles": 1, "runs": 3}, out=folder)
    after = OracleResults(folder).validation
    assert after.stale
    pd.testing.assert_frame_equal(after.verdicts, before.verdicts)
    assert (
        "the oracle has changed since (other choices or more runs): run compare again"
        in here("show", folder / "validation").stdout
    )
    assert here("report", folder, "-o", tmp_path / "r.html").returncode == 0
