"""The embedded default, whole, as `make demo` runs it: no options, Ray, 2,000 lanes."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweep import load
from sweep.experiments.oracle.tables import COMPARISON, ORACLE
from sweep.store.lanes import LANES


@pytest.fixture(scope="module")
def digits(start: Callable[..., subprocess.Popen[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder in which `scyc-sweep oracle --json` ran."""
    folder = tmp_path_factory.mktemp("digits")
    process = start("oracle", "--json", cwd=folder)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    (folder / "stdout").write_text(out)
    (folder / "pid").write_text(str(process.pid))
    return folder


@pytest.mark.ray
def test_the_default_is_the_whole_oracle_of_design(digits: Path) -> None:
    results = load(digits / "results" / "digits")
    assert list(results.oracle["cycle"]) == list(range(16))
    base = results.lanes[results.lanes["max_lr"].between(0.001, 1)]
    assert len(base) == 25 * 5 * 16
    assert set(results.oracle["runs"]) == {5}
    remaining = 12_928
    for cycle, percent in enumerate(results.oracle["percent_remaining"]):
        assert percent == pytest.approx(100 * remaining / 12_928, abs=1e-12), cycle
        remaining -= remaining // 5
    assert set(results.lanes["seed"].groupby(results.lanes["run"]).nunique()) == {1}
    assert results.lanes["seed"].nunique() == 5


@pytest.mark.ray
def test_stdout_is_the_oracle_table_and_the_files_are_its_schema(digits: Path) -> None:
    results = load(digits / "results" / "digits")
    printed = json.loads((digits / "stdout").read_text())
    assert list(printed) == ORACLE.schema.names
    assert printed["best_max_lr"] == list(results.oracle["best_max_lr"])
    assert list(results.lanes.columns) == LANES.schema.names
    assert list(results.comparison.columns) == COMPARISON.schema.names
    assert results.comparison["scyc_max_lr"].iloc[[0, -1]].tolist() == pytest.approx([0.035, 0.085], rel=1e-4)


@pytest.mark.ray
def test_max_lr_rises_as_the_paper_says(digits: Path) -> None:
    oracle = load(digits / "results" / "digits").oracle
    middle = np.sqrt(oracle["hull_low"] * oracle["hull_high"])
    assert middle.tail(5).median() > middle.head(5).median()


@pytest.mark.ray
def test_workers_are_kept_from_the_first_pack_to_the_last(digits: Path) -> None:
    # Tune ends idle workers and starting ones when it can; each new one costs seconds and has a log of its own.
    logs = Path(tempfile.gettempdir()) / "ray"
    started = list(logs.glob(f"session_*_{(digits / 'pid').read_text()}/logs/worker-*-01000000-*.out"))
    assert 1 <= len(started) <= 2 * len(os.sched_getaffinity(0))
