"""`scyc-sweep tune` as a stranger meets it: real training, kills, files, refusals."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

import sweep
from search_spaces.scyc import SCyc
from sweep.cli.main import app
from sweep.config.named_scyc import read
from sweep.errors import SweepError
from sweep.experiments.tuning.results import TuningResults
from sweep.experiments.tuning.settings import TuningSettings
from sweep.experiments.tuning.tables import CHAIN, TUNING
from sweep.store.folder import Folder
from trainables.storage import copy

Small = Callable[..., list[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

SETTINGS = {"cycles": "3", "runs": "2", "steps": "34", "trials": "6", "lanes": "2", "engine": "inline"}


def arguments(**flags: object) -> list[str]:
    """The arguments of a small tuning: 6 trials, 3 cycles, 2 runs, an epoch each."""
    settings = SETTINGS | {name.replace("_", "-"): str(value) for name, value in flags.items()}
    return ["tune", *(part for name, value in settings.items() for part in (f"--{name}", value))]


def tune(**flags: Any) -> TuningResults:
    """The same in this process."""
    return sweep.tune(**{**SETTINGS, **flags}, progress=False)


@pytest.fixture(scope="module")
def tuned(made: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tuning by stages."""
    folder = tmp_path_factory.mktemp("tuned") / "t"
    (folder / "stdout").write_text(made(*arguments(out=folder)))
    return folder


@pytest.fixture(scope="module")
def oracle(made: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished oracle of the same lanes."""
    folder = tmp_path_factory.mktemp("oracle") / "o"
    flags = {name: value for name, value in SETTINGS.items() if name != "trials"}
    parts = [part for name, value in flags.items() for part in (f"--{name}", value)]
    made("oracle", *parts, "--max-lr", "0.01:1:x5", "--out", folder)
    return folder


def load(folder: Path) -> TuningResults:
    found = sweep.load(folder)
    assert isinstance(found, TuningResults)
    return found


def timeless(folder: Path) -> tuple[pd.DataFrame, ...]:
    results = load(folder)
    lanes = results.lanes.drop(columns=["wall_seconds", "finished_at"])
    return results.tuning.drop(columns="seconds"), results.chain, lanes


def assert_equal_tables(one: Path, other: Path) -> None:
    for ours, theirs in zip(timeless(one), timeless(other), strict=True):
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert (one / "scyc.toml").read_text() == (other / "scyc.toml").read_text()


def studies(folder: Path) -> dict[str, list[str]]:
    """The states of the trials of each study in the journal."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna-journal.log"))
    storage = optuna.storages.JournalStorage(backend)
    names = optuna.get_all_study_names(storage)
    return {
        name.split("-")[0]: [t.state.name for t in optuna.load_study(study_name=name, storage=storage).trials]
        for name in names
    }


def test_a_tuning_leaves_tables_winner_journal_and_picture(tuned: Path) -> None:
    names = {path.name for path in tuned.iterdir()} - {".lock", "stdout"}
    assert names == {
        "manifest.json",
        "lanes",
        "states",
        "tuning.parquet",
        "chain.parquet",
        "scyc.toml",
        "tuning.png",
        "optuna-journal.log",
    }
    assert (tuned / "tuning.png").read_bytes().startswith(b"\x89PNG")
    table = TUNING.read(TUNING.path(tuned))
    assert list(table["stage"]) == ["epsilon"] * 2 + ["delta"] * 2 + ["shape"] * 2
    assert table["new_steps"].sum() == load(tuned).lanes["steps"].sum()
    pd.testing.assert_frame_equal(table, load(tuned).tuning)
    chain = CHAIN.read(CHAIN.path(tuned))
    assert list(chain["cycle"]) == [0, 1, 2, 3] and set(chain["runs"]) == {2}


def test_the_winner_is_the_best_trial_and_its_chain_follows_its_curve(tuned: Path) -> None:
    scyc = read(tuned / "scyc.toml")
    results = load(tuned)
    assert results.scyc == scyc
    assert f"mean validation accuracy {results.winner.value:.2f} % over 2 runs" in (tuned / "scyc.toml").read_text()
    shape = results.tuning[results.tuning["stage"] == "shape"]
    best = shape.loc[shape["value"].idxmax()]
    assert scyc == SCyc(best["epsilon"], best["delta"], int(best["q"]), best["beta"])
    assert list(results.chain["max_lr"]) == scyc.trajectory(3, 0.2)
    assert results.chain["val_accuracy_mean"].iloc[-1] == pytest.approx(best["value"])


def test_optuna_s_own_tools_open_the_journal(tuned: Path) -> None:
    assert studies(tuned) == {stage: ["COMPLETE"] * 2 for stage in ("epsilon", "delta", "shape")}


def test_the_screen_shows_trials_winner_and_cost(tuned: Path) -> None:
    text = (tuned / "stdout").read_text()
    for row in load(tuned).tuning.to_dict("records"):
        assert f"{row['value']:.2f}" in text and f"{row['new_steps']:,}" in text
    assert f"winner: S-Cyc {read(tuned / 'scyc.toml')} (epsilon, delta, q, beta); " in " ".join(text.split())


def test_show_prints_the_table_of_trials_as_json(here: Run, tuned: Path) -> None:
    shown = json.loads(here("show", tuned, "--format", "json").stdout)
    assert list(shown) == TUNING.schema.names
    assert shown["value"] == list(load(tuned).tuning["value"])


@pytest.mark.parametrize("flags", [{}, {"by": "joint", "pruner": "median", "sampler": "random", "at_once": 2}])
def test_killed_it_goes_on_to_the_same_study_and_trains_nothing_twice(
    start: Start, here: Run, tuned: Path, tmp_path: Path, flags: dict[str, object]
) -> None:
    whole = tuned
    if flags:
        whole = tmp_path / "whole"
        assert here(*arguments(out=whole, **flags)).returncode == 0
    count = len(list((whole / "lanes").iterdir()))
    for packs in (count // 2,) if flags else (1, count - 2):
        folder = tmp_path / str(packs)
        process = start(*arguments(out=folder, **flags))
        deadline = time.monotonic() + 120
        while len(list((folder / "lanes").glob("*.parquet"))) < packs:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        before = {path.name: path.stat().st_mtime_ns for path in (folder / "lanes").glob("*.parquet")}
        assert len(before) < count
        assert not (folder / "scyc.toml").exists()
        result = here(*arguments(out=folder, **flags))
        assert result.returncode == 0, result.stderr
        after = {path.name: path.stat().st_mtime_ns for path in (folder / "lanes").glob("*.parquet")}
        assert {name: after[name] for name in before} == before and len(after) == count
        assert_equal_tables(folder, whole)
        ended = {name: [s for s in states if s != "FAIL"] for name, states in studies(folder).items()}
        assert ended == studies(whole)
        assert {p.name for p in (folder / "states").iterdir()} == {p.name for p in (whole / "states").iterdir()}


@pytest.mark.ray
def test_on_ray_the_tables_are_those_of_one_process(run: Run, tuned: Path, tmp_path: Path) -> None:
    result = run(*arguments(out=tmp_path / "t", engine="ray", workers=2))
    assert result.returncode == 0, result.stderr
    assert_equal_tables(tmp_path / "t", tuned)


def test_an_oracle_in_hand_gives_cycle_0_and_nothing_of_it_is_trained(here: Run, oracle: Path, tmp_path: Path) -> None:
    result = here(*arguments(out=tmp_path / "t", oracle=oracle, max_lr="0.01:1:x5"))
    assert result.returncode == 0, result.stderr
    results, first = load(tmp_path / "t"), sweep.load(oracle).oracle.iloc[0]  # type: ignore[union-attr]
    given = results.tuning[results.tuning["stage"] == "epsilon"]
    assert given["new_steps"].sum() == 0 and len(given) >= 5
    assert set(results.tuning["epsilon"][len(given) :]) == {first["best_max_lr"]}
    theirs = sweep.load(oracle).lanes
    assert set(results.lanes.query("cycle == 0")["lane_id"]) == set(theirs.query("cycle == 0")["lane_id"])
    assert "the oracle's" in result.stdout
    again = here(*arguments(out=tmp_path / "t", oracle=oracle, max_lr="0.01:1:x5"))
    assert again.returncode == 0, again.stderr


def test_a_take_over_that_is_interrupted_goes_on(oracle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[Path] = []

    def interrupt(source: Path, target: Path) -> None:
        copy(source, target)
        copied.append(target)
        if len(copied) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("sweep.experiments.states.copy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune(out=tmp_path / "t", oracle=oracle, max_lr="0.01:1:x5")
    monkeypatch.undo()
    results = tune(out=tmp_path / "t", oracle=oracle, max_lr="0.01:1:x5")
    assert results.winner is not None
    kept = {path.stem for path in (tmp_path / "t" / "states").iterdir()}
    assert kept == results.replay.needed_states()  # nothing else is left at the end


def test_beside_other_ways_an_oracle_is_only_shown(oracle: Path, tmp_path: Path) -> None:
    results = tune(out=tmp_path / "t", oracle=oracle, by="joint", trials=2)
    assert set(results.tuning["stage"]) == {"joint"}
    assert len(results.lanes) == results.tuning["new_steps"].sum() / 34


def test_where_everything_diverges_an_earlier_winner_is_not_shown_as_the_result(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="no trial of max_lr reached its end"):
        tune(out=tmp_path / "t", schedule="warmup", trials=2, cycles=1, max_lr="1e20:1e25:x3")
    assert not (tmp_path / "t" / "warmup.toml").exists()


def test_a_fit_reaches_the_grid_s_extensions_and_keeps_to_ranges_and_folders(
    oracle: Path, tuned: Path, tmp_path: Path
) -> None:
    flags = {name: value for name, value in SETTINGS.items() if name != "trials"} | {"cycles": "1", "steps": "102"}
    sweep.build_oracle(**flags, max_lr="0.001:0.004:x3", out=tmp_path / "o", progress=False)
    table = sweep.load(tmp_path / "o").oracle  # type: ignore[union-attr]
    assert table["extended"].any() and table["feasible_low"].max() > 0.004
    fits = sweep.fit_scyc(tmp_path / "o", out=tmp_path / "f")
    assert fits.table["inside"].max() > 0
    assert sweep.fit_scyc(oracle, out=tmp_path / "g", epsilon="0.2:0.3").scyc.epsilon >= 0.2
    with pytest.raises(SweepError, match="holds the results of `tune`, not of `oracle`"):
        sweep.fit_scyc(oracle, out=tuned)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(SweepError, match="has other files"):
        sweep.fit_scyc(oracle, out=tmp_path / "other")
    with pytest.raises(SweepError, match="use fit_scyc"):
        tune(by="fit", oracle=oracle)


def test_another_schedule_is_tuned_by_one_rate_into_a_file_of_its_name(here: Run, tmp_path: Path) -> None:
    results = tune(out=tmp_path / "t", schedule="cyclical", trials=2, cycles=1)
    assert results.tuning["epsilon"].isna().all() and results.tuning["max_lr"].notna().all()
    assert (tmp_path / "t" / "cyclical.toml").exists() and not (tmp_path / "t" / "scyc.toml").exists()
    shown = here("show", tmp_path / "t")
    assert shown.returncode == 0
    assert f"winner: cyclical, max_lr {results.winner.params['max_lr']:.4g}; " in shown.stdout


def test_a_fit_writes_the_winner_beside_its_oracle_and_compare_takes_it(
    here: Run, oracle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "o"
    shutil.copytree(oracle, folder)
    result = here("tune", "--by", "fit", "--oracle", folder, "--json")
    assert result.returncode == 0, result.stderr
    table = json.loads(result.stdout)
    assert table["curve"] == ["scyc", "constant", "line", "exponential", "preset"]
    assert {"fit.parquet", "fit.png", "scyc.toml"} <= {path.name for path in folder.iterdir()}
    assert str(read(folder / "scyc.toml")) == table["parameters"][0]
    compared = here("compare", folder, "--scyc", folder / "scyc.toml", "--scyc", "0.05,0,0,4", "--json")
    rows = json.loads(compared.stdout)
    assert list(dict.fromkeys(rows["trajectory"])) == ["o/scyc.toml", "0.05,0,0,4"]
    inside = [i for name, i in zip(rows["trajectory"], rows["inside"], strict=True) if name == "o/scyc.toml"]
    assert sum(inside) == table["inside"][0]
    assert "0.05,0,0,4: inside the feasible region in " in here("show", folder).stdout


def test_the_paper_s_table_stands_beside_an_oracle_of_its_network_with_its_contradictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ResNet-20 on digits stands in for CIFAR-10's: the comparison reads names alone."""
    flags = {"steps": 17, "runs": 1, "cycles": 0, "max_lr": "0.05", "lanes": 1, "engine": "inline", "progress": False}
    sweep.build_oracle(**flags, model="resnet20", dataset="digits", scyc="0.04,0.06,1,4", out=tmp_path / "o")

    def compare(*arguments: str) -> str:
        app(["compare", str(tmp_path / "o"), *arguments], exit_on_error=False, print_error=False)
        return " ".join(capsys.readouterr().out.split())

    for arguments, message in (
        (["--scyc", "paper"], "not for resnet20 on digits"),
        (["--paper"], "prints no oracle of"),
    ):
        with pytest.raises(SweepError, match=message):
            compare(*arguments)
    path = tmp_path / "o" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["settings"]["dataset"] = "cifar10"
    Folder(tmp_path / "o").write_manifest(manifest)
    text = compare("--scyc", "paper", "--scyc", "silo", "--paper")
    assert "the paper's Table 7 beside this oracle" in text
    assert "[0.028, 0.036]" in text and "Table 7: the text says global gradient" in text
    assert "0.032 at cycle 3 lies below" in text


REFUSED = {
    "fewer trials than stages": (["--trials", "2"], r"--trials must be at least the 3 stages, but got 2"),
    "a reversed range": (["--epsilon", "0.1:0.01"], r"--epsilon: LO <= HI must hold.*0\.1:0\.01"),
    "an empty range": (["--q", ""], r"--q: a range is LO:HI"),
    "an oracle that is none": (["--oracle", "nowhere"], r"nowhere holds no sweep"),
    "a fit without oracle": (["--by", "fit"], r"--by fit needs a finished oracle"),
    "a fit to nothing": (["--by", "fit", "--oracle", "nowhere"], r"nowhere holds no sweep"),
    "an unknown sampler": (["--sampler", "cma"], r"unknown sampler 'cma'; known are tpe, gp and random$"),
}


@pytest.mark.parametrize("flags, message", REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_one_clear_line_status_2_and_nothing_written(
    here: Run, tmp_path: Path, flags: list[str], message: str
) -> None:
    result = here("tune", *flags, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("scyc-sweep: ") and re.search(message, last), last
    assert "Traceback" not in result.stderr and result.stdout == ""
    assert list(tmp_path.iterdir()) == []


class TestRefusedOracles:
    def refused(self, folder: Path, tmp_path: Path, **flags: Any) -> str:
        with pytest.raises(SweepError) as error:
            tune(out=tmp_path / "t", oracle=folder, **{"max_lr": "0.01:1:x5", **flags})
        assert not (tmp_path / "t").exists() and "\n" not in str(error.value)
        return str(error.value)

    def changed(self, oracle: Path, tmp_path: Path, **changes: object) -> Path:
        shutil.copytree(oracle, tmp_path / "o")
        path = tmp_path / "o" / "manifest.json"
        Folder(tmp_path / "o").write_manifest(json.loads(path.read_text()) | changes)
        return tmp_path / "o"

    def test_an_unfinished_one(self, oracle: Path, tmp_path: Path) -> None:
        line = self.refused(self.changed(oracle, tmp_path, finished_at=None), tmp_path)
        assert re.search("is unfinished; its own command goes on with it: scyc-sweep oracle --cycles 3", line)

    def test_one_of_a_newer_schema(self, oracle: Path, tmp_path: Path) -> None:
        assert "schema version 99" in self.refused(self.changed(oracle, tmp_path, schema_version=99), tmp_path)

    def test_one_in_which_each_run_decided_for_itself(self, tmp_path: Path) -> None:
        flags = {name: value for name, value in SETTINGS.items() if name != "trials"} | {"cycles": "1"}
        sweep.build_oracle(**flags, max_lr="0.1,0.2", decide="per_run", out=tmp_path / "o", progress=False)
        assert "has an oracle for each run" in self.refused(tmp_path / "o", tmp_path, cycles=1)

    def test_one_without_the_cycles_or_runs_asked_for(self, oracle: Path, tmp_path: Path) -> None:
        assert re.search(r"cycles up to 3, .* cycle 4: give --cycles 3,", self.refused(oracle, tmp_path, cycles=4))
        assert re.search(r"has 2 runs .* takes 3 runs .*: give --runs 2,", self.refused(oracle, tmp_path, runs=3))
        assert re.search(r"has 2 runs .* takes 1 runs .*: give --runs 2,", self.refused(oracle, tmp_path, runs=1))

    def test_one_of_other_lanes(self, oracle: Path, tmp_path: Path) -> None:
        line = self.refused(oracle, tmp_path, batch_size=16)
        assert "--batch-size was 32, now 16" in line and "give another --oracle" in line

    def test_a_tuning_is_no_oracle_nor_the_other_way_round(self, oracle: Path, tuned: Path, tmp_path: Path) -> None:
        assert "holds the results of `tune`, not of `oracle`" in self.refused(tuned, tmp_path)
        with pytest.raises(SweepError, match="holds the results of `tune`, not of `oracle`"):
            app(["compare", str(tuned), "--scyc", "0.1,0.1,1,4"], exit_on_error=False, print_error=False)
        with pytest.raises(SweepError, match="holds the results of `oracle`, not of `tune`"):
            tune(out=oracle)


def test_a_study_of_another_experiment_is_left_untouched(tmp_path: Path) -> None:
    tune(out=tmp_path / "t", trials=3)
    tune(out=tmp_path / "other", trials=3, seed=5)
    journal = tmp_path / "t" / "optuna-journal.log"
    shutil.copy(tmp_path / "other" / "optuna-journal.log", journal)
    before = journal.read_bytes()
    with pytest.raises(SweepError, match=r"optuna-journal\.log has a study of another experiment"):
        tune(out=tmp_path / "t", trials=6)
    assert journal.read_bytes() == before


def test_every_setting_that_means_something_to_a_tuning_is_a_flag_with_help(here: Run) -> None:
    text = here("tune", "--help", env={"COLUMNS": "200"}).stdout
    meaningless = {"scyc", "decide", "tolerance", "tolerance_kind", "confidence", "histograms"}
    assert {*meaningless, "given"} == TuningSettings.NOT_FLAGS
    for name, field in TuningSettings.model_fields.items():
        if name in TuningSettings.NOT_FLAGS:
            continue
        assert re.search(rf"--{name.replace('_', '-')}\b", text), name
        assert field.description and " ".join(field.description.split()[:3]) in " ".join(text.split())
