"""`scyc-sweep schedules` as a stranger meets it: real training, a kill, files, the screen, refusals."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sweep
from sweep import load
from sweep.experiments.schedules.results import SchedulesResults
from sweep.experiments.schedules.tables import RATES, RUNS, SCHEDULES

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

SETTINGS = {"max_lr": "0.02:0.2:x3", "cycles": 2, "runs": 2, "steps": 34, "lanes": 4, "engine": "inline"}
TIMES = ["wall_seconds", "finished_at"]


def arguments(*schedules: str, **flags: object) -> list[str]:
    parts = [part for name, value in (SETTINGS | flags).items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return ["schedules", *parts, *(part for name in schedules for part in ("--schedules", name))]


def compare(**flags: Any) -> SchedulesResults:
    """The same in this process, by the Python API."""
    return sweep.compare_schedules(**{**SETTINGS, **flags}, progress=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of the six schedules of Table 2."""
    folder = tmp_path_factory.mktemp("schedules") / "s"
    compare(out=folder)
    return folder


def assert_equal(one: Path, other: Path) -> None:
    """Everything measured and decided is equal, bit for bit; only times may differ."""
    ours, theirs = load(one), load(other)
    pd.testing.assert_frame_equal(ours.lanes.drop(columns=TIMES), theirs.lanes.drop(columns=TIMES), check_exact=True)
    for table in (SCHEDULES, RATES):
        found = (table.read(table.path(folder)) for folder in (one, other))
        pd.testing.assert_frame_equal(*found, check_exact=True)
    states = [{path.name for path in (folder / "states").iterdir()} for folder in (one, other)]
    assert states[0] == states[1]


def test_tables_picture_and_manifest_are_written_and_open_again(whole: Path) -> None:
    results = load(whole)
    assert isinstance(results, SchedulesResults) and results.finished
    table = SCHEDULES.read(SCHEDULES.path(whole))
    assert list(table.groupby("schedule", sort=False).size().items()) == [
        (name, 3) for name in ("constant", "decay", "cyclical", "warmup-1", "warmup-2", "scyc")
    ]
    assert (whole / "schedules.png").stat().st_size > 10_000
    assert results.manifest["kind"] == "schedules" and results.manifest["settings"]["schedules"][0] == "constant"
    chosen = results.rates[results.rates["chosen"]]
    assert list(zip(chosen["schedule"], chosen["cycle"], strict=True)) == [
        ("constant", 0),
        ("decay", 0),
        ("cyclical", 0),
        ("warmup", 0),
        ("warmup", 2),
    ]
    for row in chosen.itertuples():
        name = {("warmup", 0): "warmup-1", ("warmup", 2): "warmup-2"}.get((row.schedule, row.cycle), row.schedule)
        assert set(table[table["schedule"] == name]["max_lr"]) == {row.max_lr}
        grid = results.rates[(results.rates["schedule"] == row.schedule) & (results.rates["cycle"] == row.cycle)]
        assert row.val_accuracy_mean == grid["val_accuracy_mean"].max()


def test_the_table_is_that_of_lanes_each_of_which_starts_from_the_one_before(whole: Path) -> None:
    results = load(whole)
    assert isinstance(results, SchedulesResults)
    for _, rows in results.schedules.groupby("schedule"):
        starts: set[str] = set(results.lanes.query("cycle == 0")["parent_state"])
        for row in rows.itertuples():
            lanes = results.lanes.query("cycle == @row.cycle and schedule == @row.kind and max_lr == @row.max_lr")
            lanes = lanes[lanes["parent_state"].isin(starts)]
            assert sorted(lanes["run"]) == [0, 1]
            assert row.test_accuracy_mean == pytest.approx(lanes["test_accuracy"].mean())
            assert row.test_accuracy_std == pytest.approx(lanes["test_accuracy"].std())
            starts = set(lanes["state"])


def test_killed_it_goes_on_to_the_same_tables(start: Start, whole: Path, tmp_path: Path) -> None:
    process = start(*arguments(out=tmp_path / "s"))
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "s" / "lanes").glob("*.parquet"))) < 9:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not load(tmp_path / "s").finished
    before = load(tmp_path / "s").lanes.set_index("lane_id")
    after = compare(out=tmp_path / "s").lanes.set_index("lane_id")
    again = before["finished_at"] != after["finished_at"][before.index]
    assert set(before["cycle"][again]) <= {0}  # where a chain begins with what a grid let go of
    assert_equal(tmp_path / "s", whole)


def test_more_schedules_and_cycles_extend_a_folder_which_keeps_those_it_has(whole: Path, tmp_path: Path) -> None:
    compare(out=tmp_path / "s", schedules=("constant", "scyc"), cycles=1)
    before = load(tmp_path / "s").lanes
    results = compare(out=tmp_path / "s", schedules=("slr=0.1",))
    assert list(dict.fromkeys(results.schedules["schedule"])) == ["constant", "scyc", "slr=0.1"]
    assert set(results.schedules["cycle"]) == {0, 1, 2}
    assert set(before["lane_id"]) < set(results.lanes["lane_id"])
    kept = results.lanes[results.lanes["lane_id"].isin(before["lane_id"])]
    assert set(kept["finished_at"]) == set(before["finished_at"])
    ours = results.schedules.set_index(["schedule", "cycle"])
    theirs = SCHEDULES.read(SCHEDULES.path(whole)).set_index(["schedule", "cycle"])
    for name in ("constant", "scyc"):
        assert list(ours.loc[name]["test_accuracy_mean"]) == list(theirs.loc[name]["test_accuracy_mean"])


def test_the_screen_has_a_row_a_cycle_a_column_a_schedule_and_says_what_its_marks_mean(here: Run, whole: Path) -> None:
    result = here("show", whole)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("mlp on digits, pruning imp (rewound), 2 runs, seed 0")
    marked = here("show", whole, "--format", "markdown").stdout.splitlines()
    rows = [
        [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]
        for line in marked
        if line.startswith("|")
    ]
    headings = [heading.partition(" ")[0] for heading in rows[0][2:]]
    assert headings == ["constant", "decay", "cyclical", "warmup-1", "warmup-2", "scyc"]
    table = load(whole).schedules.set_index(["schedule", "cycle"])
    cells = next(row for row in rows if row[:2] == ["2", "64"])[2:]
    assert next(line for line in lines if line.split()[:2] == ["2", "64"]).split()[2:] == cells
    assert [float(cell.split("±")[0]) for cell in cells] == [
        round(table.loc[name, 2]["test_accuracy_mean"], 2) for name in headings
    ]
    assert [cell[-1] == "*" for cell in cells] == [bool(table.loc[name, 2]["best"]) for name in headings]
    said = " ".join(result.stdout.split())
    assert "*: the best mean test accuracy of the cycle; =: not significantly different from it (paired t-test" in said
    assert "with 2 runs the test finds only very large differences" in said
    assert "max_lr of scyc: epsilon 0.035, delta 0.05, q 1, beta 4 (the preset's)" in result.stdout
    assert "max_lr of warmup-2: grid at cycle 2, after warmup-1" in result.stdout


def test_lanes_are_in_an_order_that_does_not_depend_on_when_they_were_finished(whole: Path) -> None:
    lanes = load(whole).lanes
    keys = list(lanes[["cycle", "run", "max_lr", "schedule", "lane_id"]].itertuples(index=False, name=None))
    assert keys == sorted(keys)
    assert lanes.duplicated(["cycle", "run", "max_lr"]).any()  # several schedules at one max_lr


def test_runs_are_what_the_table_is_made_of(whole: Path) -> None:
    table = SCHEDULES.read(SCHEDULES.path(whole)).set_index(["schedule", "cycle"])
    runs = RUNS.read(RUNS.path(whole))
    means = runs.groupby(["schedule", "cycle"])["test_accuracy"].mean()
    assert means.to_dict() == pytest.approx(table["test_accuracy_mean"].to_dict())
    assert set(runs["lane_id"]) <= set(load(whole).lanes["lane_id"])


def test_a_rate_on_the_edge_of_its_grid_is_said_loudly(here: Run, tmp_path: Path) -> None:
    flags = {"max_lr": "0.001,0.002", "cycles": 0, "steps": 136, "out": tmp_path / "s"}
    shown = " ".join(here(*arguments("constant", **flags)).stdout.split())
    assert "max_lr 0.008 of constant lies at the edge of its grid at cycle 0, 0.001 to 0.008" in shown
    rates = RATES.read(RATES.path(tmp_path / "s"))
    assert rates["at_edge"].all()


def test_an_s_cyc_that_diverged_is_said_to_have(here: Run, tmp_path: Path) -> None:
    result = here(*arguments("constant=0.1", "scyc=1e9,0,1,1", cycles=1, out=tmp_path / "s"))
    assert "scyc=1e9,0,1,1 diverged at cycle 0" in result.stdout


def test_json_is_one_object_of_columns(here: Run, whole: Path) -> None:
    content = json.loads(here("show", whole, "--format", "json").stdout)
    assert set(content) == set(SCHEDULES.schema.names)
    assert len(content["schedule"]) == 18


def test_many_schedules_stand_in_several_tables(here: Run, tmp_path: Path) -> None:
    names = [f"{name}=0.1" for name in ("constant", "decay", "cyclical", "warmup-1", "warmup-2", "ft", "slr", "clr")]
    result = here(*arguments(*names, out=tmp_path / "s", cycles=1, runs=1))
    assert result.returncode == 0, result.stderr
    assert "warmup-1" in result.stdout and "clr" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 110
    assert "one run does not say how certain that is" in result.stdout


def test_a_plan_counts_what_is_trained(here: Run, whole: Path, tmp_path: Path) -> None:
    result = here(*arguments(out=tmp_path / "s"), "--plan", "--json")
    plan = json.loads(result.stdout)
    # Per run: four grids of 3 and S-Cyc's first lane, five chains of 2 more cycles, warmup-2's grid of 3 and its chain.
    assert plan["lanes"] == 2 * (12 + 1 + 10 + 3 + 3)
    assert plan["steps"] == plan["lanes"] * 34
    assert not (tmp_path / "s").exists()
    # A grid may grow.
    assert 0.5 * plan["lanes"] < len(load(whole).lanes) < 1.5 * plan["lanes"]


def test_retraining_of_another_length_is_planned_and_trained_so(here: Run, tmp_path: Path) -> None:
    flags = {"retrain_steps": 17, "pruning": "global_magnitude", "out": tmp_path / "s"}
    plan = json.loads(here(*arguments("slr=0.1", "clr=0.1", **flags), "--plan", "--json").stdout)
    assert plan["steps"] == 2 * (34 + 2 * 2 * 17)  # both begin alike
    results = compare(schedules=("slr=0.1", "clr=0.1"), **flags)
    assert set(zip(results.lanes["cycle"], results.lanes["steps"], strict=True)) == {(0, 34), (1, 17), (2, 17)}


def test_folders_of_other_kinds_are_refused(here: Run, whole: Path) -> None:
    for command in ("oracle", "tune"):
        flags = [part for name, value in SETTINGS.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        result = here(command, *flags, "--out", whole)
        assert result.returncode == 2
        assert f"holds the results of `schedules`, not of `{command}`" in result.stderr
    assert here("compare", whole).returncode == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--schedules", "cosine"], "unknown schedule 'cosine'"),
        (["--schedule", "constant"], "schedules has no flag --schedule; did you mean --schedules?"),
        (["--decide", "per_run"], "schedules has no flag --decide"),
        (["--schedules", "scyc", "--preset", "alexnet"], "this preset has no S-Cyc parameters"),
        (["--retrain-steps", "0"], "--retrain-steps must be at least 1, but got 0"),
        (["--rewind", "1000"], "rewind must be none, init or lie in 1..steps=510, but got 1000"),
        (["--milestones", "600"], "milestones must lie after the warmup and before the end"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    here: Run, tmp_path: Path, flags: list[str], message: str
) -> None:
    result = here("schedules", *flags, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
