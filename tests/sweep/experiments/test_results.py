"""Results open as DataFrames, of a sweep that goes on as of one that is done. The sweep here is real, and tiny."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sweep
from search_spaces.scyc import SCyc
from sweep.config.settings import Settings
from sweep.errors import FolderError, TrainingError
from sweep.experiments.oracle.experiment import EXPERIMENT
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.runner import run
from sweep.store.folder import Folder
from sweep.store.lanes import LANES
from sweep.store.provenance import new_manifest
from sweep.strategies.progress import Progress


@pytest.fixture(scope="module")
def tiny(make_spec: Callable[..., Settings]) -> Callable[..., Settings]:
    """3 max_lr values x 2 runs x 2 cycles in packs of 2, 20 steps each: 8 packs."""

    def make(out: Path, **changes: object) -> Settings:
        settings: dict[str, object] = {
            "max_lr": "0.01,0.1,1",
            "hidden": (8,),
            "cycles": 1,
            "runs": 2,
            "steps": 20,
            "lanes": 2,
            "tolerance": 0.0,
            "engine": "inline",
            "device": "cpu",
            "out": out,
        }
        return make_spec(**(settings | changes))

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Settings]) -> OracleResults:
    return run(EXPERIMENT, tiny(tmp_path_factory.mktemp("finished") / "out"))


@pytest.fixture(scope="module")
def unfinished(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Settings], finished: OracleResults
) -> OracleResults:
    """Interrupted when two lanes were missing."""
    out = tmp_path_factory.mktemp("unfinished") / "out"
    lanes = len(finished.lanes)

    def interrupt(progress: Progress) -> None:
        if progress.cycle == 1 and progress.lanes_done >= lanes - 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(EXPERIMENT, tiny(out), interrupt)
    return sweep.load(out)


class TestFinished:
    def test_load_takes_a_path_or_its_name(self, finished: OracleResults) -> None:
        path = finished.folder.path
        pd.testing.assert_frame_equal(sweep.load(str(path)).oracle, sweep.load(path).oracle)

    def test_lanes_have_a_row_for_every_lane_in_order(self, finished: OracleResults) -> None:
        lanes = finished.lanes
        assert list(lanes.columns) == LANES.schema.names
        keys = lanes[["cycle", "run", "max_lr"]].to_numpy().tolist()
        assert keys == sorted(keys) and not lanes[["cycle", "run", "max_lr"]].duplicated().any()
        assert lanes["lane_id"].is_unique and lanes["lane_id"].str.fullmatch("[0-9a-f]{64}").all()
        assert {(0, 0, 0.01), (0, 1, 0.1), (1, 0, 0.1), (1, 1, 1.0)} <= {tuple(key) for key in keys}

    def test_scores_are_the_first_best_evaluations_after_the_warmup(self, finished: OracleResults) -> None:
        warmup = finished.settings.warmup_steps
        for row in finished.lanes.to_dict("records"):
            after = [
                (val, -step, test)
                for step, val, test in zip(
                    row["eval_steps"], row["eval_val_accuracy"], row["eval_test_accuracy"], strict=True
                )
                if step >= warmup
            ]
            val, step, test = max(after)
            assert (row["val_accuracy"], row["best_step"], row["test_accuracy"]) == (val, -step, test)

    def test_the_oracle_has_a_row_for_every_cycle_and_equals_the_file(self, finished: OracleResults) -> None:
        assert finished.oracle["cycle"].tolist() == [0, 1]
        assert finished.oracle["runs"].tolist() == [2, 2]
        assert finished.oracle["lanes"].sum() == len(finished.lanes)
        pd.testing.assert_frame_equal(
            pd.read_parquet(finished.folder.path / "oracle.parquet"), finished.oracle, check_dtype=False
        )

    def test_the_curve_agrees_with_a_plain_group_by_of_the_lanes(self, finished: OracleResults) -> None:
        expected = finished.lanes.groupby(["cycle", "max_lr"])["val_accuracy"].agg(["mean", "std"]).reset_index()
        curves = finished.curves
        assert curves[["cycle", "max_lr"]].to_numpy().tolist() == expected[["cycle", "max_lr"]].to_numpy().tolist()
        assert curves["val_accuracy_mean"].tolist() == pytest.approx(expected["mean"].tolist())
        assert curves["val_accuracy_std"].tolist() == pytest.approx(expected["std"].tolist())

    def test_the_oracle_chooses_the_curve_s_highest_point(self, finished: OracleResults) -> None:
        for row in finished.oracle.to_dict("records"):
            curve = finished.curves[finished.curves["cycle"] == row["cycle"]]
            best = curve[curve["max_lr"] == row["best_max_lr"]]
            assert best["val_accuracy_mean"].item() == curve["val_accuracy_mean"].max() == row["val_accuracy_mean"]

    def test_the_comparison_is_that_of_the_settings_parameters(self, finished: OracleResults) -> None:
        scyc = SCyc.parse("0.035,0.05,1,4")
        assert finished.comparison["scyc_max_lr"].tolist() == scyc.trajectory(1, 0.2)
        pd.testing.assert_frame_equal(finished.compare({"S-Cyc": scyc}), finished.comparison, check_dtype=False)

    def test_it_says_that_it_is_finished(self, finished: OracleResults) -> None:
        assert finished.finished
        progress = finished.progress
        assert progress.lanes_done == progress.lanes_planned == len(finished.lanes)

    def test_opening_writes_nothing(self, finished: OracleResults) -> None:
        def files() -> dict[Path, int]:
            return {path: path.stat().st_mtime_ns for path in finished.folder.path.rglob("*")}

        before = files()
        opened = sweep.load(finished.folder.path)
        assert len(opened.lanes) and len(opened.oracle) and len(opened.curves) and len(opened.comparison)
        assert files() == before


class TestUnfinished:
    def test_the_cycles_decided_so_far_are_those_of_the_finished_sweep(
        self, unfinished: OracleResults, finished: OracleResults
    ) -> None:
        assert not unfinished.finished
        assert unfinished.oracle["cycle"].tolist() == [0]
        columns = [name for name in unfinished.oracle.columns if name != "wall_seconds"]
        pd.testing.assert_frame_equal(unfinished.oracle[columns], finished.oracle[columns].iloc[:1], check_dtype=False)
        assert unfinished.curves["cycle"].unique().tolist() == [0]

    def test_all_finished_lanes_are_there(self, unfinished: OracleResults, finished: OracleResults) -> None:
        assert len(finished.lanes) - 2 == len(unfinished.lanes)
        columns = ["lane_id", "cycle", "run", "max_lr", "val_accuracy", "test_accuracy", "state"]
        theirs = finished.lanes[finished.lanes["lane_id"].isin(unfinished.lanes["lane_id"])]
        pd.testing.assert_frame_equal(unfinished.lanes[columns], theirs[columns].reset_index(drop=True))

    def test_progress_says_how_far_it_is(self, unfinished: OracleResults, finished: OracleResults) -> None:
        progress = unfinished.progress
        assert (progress.cycle, progress.cycles, progress.lanes_done) == (1, 1, len(finished.lanes) - 2)
        assert progress.best_max_lr == finished.oracle["best_max_lr"][0]

    def test_without_a_comparison_it_says_how_to_get_one(self, unfinished: OracleResults) -> None:
        with pytest.raises(FolderError, match=r"no comparison yet: run `scyc-sweep compare .*out`"):
            _ = unfinished.comparison

    def test_it_can_be_compared_as_far_as_it_is(self, unfinished: OracleResults, finished: OracleResults) -> None:
        scyc = {"S-Cyc": SCyc.parse("0.035,0.05,1,4")}
        ours = unfinished.compare(scyc)
        pd.testing.assert_frame_equal(ours, finished.comparison.iloc[:1], check_dtype=False)

    def test_a_sweep_that_has_only_begun_has_empty_tables(self, tmp_path: Path, tiny: Callable[..., Settings]) -> None:
        Folder(tmp_path).write_manifest(new_manifest("oracle", tiny(tmp_path), "fingerprint", [], None))
        begun = sweep.load(tmp_path)
        assert begun.lanes.empty and begun.oracle.empty and begun.curves.empty and not begun.finished


class TestGoingOn:
    def test_the_same_sweep_goes_on_to_the_same_tables(
        self, unfinished: OracleResults, finished: OracleResults, tmp_path: Path, tiny: Callable[..., Settings]
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(unfinished.folder.path, out)
        lanes: list[int] = []
        done = run(EXPERIMENT, tiny(out), lambda progress: lanes.append(progress.lanes_done))
        assert lanes[0] == len(unfinished.lanes) and lanes[-1] == len(finished.lanes)
        before = unfinished.lanes.set_index("lane_id")["finished_at"]
        assert done.lanes.set_index("lane_id")["finished_at"][before.index].equals(before)  # none trained again
        timeless = [name for name in finished.oracle.columns if name != "wall_seconds"]
        pd.testing.assert_frame_equal(done.oracle[timeless], finished.oracle[timeless])
        times = ["wall_seconds", "finished_at"]
        pd.testing.assert_frame_equal(done.lanes.drop(columns=times), finished.lanes.drop(columns=times))
        pd.testing.assert_frame_equal(done.comparison, finished.comparison)

    def test_cycles_before_one_in_which_everything_diverged_can_still_be_shown(self, make_sweep: Any) -> None:
        simulated = make_sweep(
            lambda cycle, run, max_lr: None if cycle == 1 else 90.0 - 100 * abs(max_lr - 0.1), max_lr="0.05,0.1,0.15"
        )
        with pytest.raises(TrainingError, match="cycle 1"):
            simulated.run()
        manifest = new_manifest("oracle", simulated.settings, "fingerprint of the data", [], None)
        Folder(simulated.folder).write_manifest(manifest)
        results = sweep.load(simulated.folder)
        assert results.oracle["cycle"].tolist() == [0]
        assert results.lanes["status"].value_counts().to_dict() == {"ok": 6, "diverged": 6}
        assert (results.progress.cycle, results.progress.diverged) == (1, 6)


class TestRefused:
    @pytest.mark.parametrize("name", ["", "none"])
    def test_a_folder_without_a_sweep_is_named(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(FolderError, match=r"holds no sweep: there is no manifest\.json") as raised:
            sweep.load(tmp_path / name)
        assert str(tmp_path / name) in str(raised.value)

    def test_a_newer_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.json").write_text('{"schema_version": 4}')
        with pytest.raises(FolderError, match="use a newer scyc-sweep"):
            sweep.load(tmp_path)

    def test_a_foreign_file_among_the_lanes_is_named(self, tmp_path: Path, make_spec: Callable[..., Settings]) -> None:
        Folder(tmp_path).write_manifest(new_manifest("oracle", make_spec(), "fingerprint", [], None))
        (tmp_path / "lanes").mkdir()
        pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "lanes" / "mine.parquet")
        with pytest.raises(FolderError, match=r"mine\.parquet was not written by scyc-sweep"):
            sweep.load(tmp_path)
