"""The embedded default, whole, as `make demo` runs it: no options, Ray, 2,000 lanes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweep import load
from sweep.tables import COMPARISON, ORACLE, TRIALS


@pytest.fixture(scope="module")
def digits(run: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder in which `scyc-sweep oracle --json` ran."""
    folder = tmp_path_factory.mktemp("digits")
    result = run("oracle", "--json", cwd=folder, timeout=600)
    assert result.returncode == 0, result.stderr
    (folder / "stdout").write_text(result.stdout)
    return folder


@pytest.mark.ray
def test_the_default_is_the_whole_oracle_of_design(digits: Path) -> None:
    results = load(digits / "results" / "digits")
    assert list(results.oracle["cycle"]) == list(range(16))
    base = results.trials[results.trials["max_lr"].between(0.001, 1)]
    assert len(base) == 25 * 5 * 16
    assert set(results.oracle["runs"]) == {5}
    remaining = 12_928
    for cycle, percent in enumerate(results.oracle["percent_remaining"]):
        assert percent == pytest.approx(100 * remaining / 12_928, abs=1e-12), cycle
        remaining -= remaining // 5
    assert set(results.trials["seed"].groupby(results.trials["run"]).nunique()) == {1}
    assert results.trials["seed"].nunique() == 5


@pytest.mark.ray
def test_stdout_is_the_oracle_table_and_the_files_are_its_schema(digits: Path) -> None:
    results = load(digits / "results" / "digits")
    printed = json.loads((digits / "stdout").read_text())
    assert list(printed) == [name for name, *_ in ORACLE]
    assert printed["best_max_lr"] == list(results.oracle["best_max_lr"])
    assert list(results.trials.columns) == [name for name, *_ in TRIALS]
    assert list(results.comparison.columns) == [name for name, *_ in COMPARISON]
    assert results.comparison["scyc_max_lr"].iloc[[0, -1]].tolist() == pytest.approx([0.035, 0.085], rel=1e-4)


@pytest.mark.ray
def test_max_lr_rises_as_the_paper_says(digits: Path) -> None:
    oracle = load(digits / "results" / "digits").oracle
    middle = np.sqrt(oracle["hull_low"] * oracle["hull_high"])
    assert middle.tail(5).median() > middle.head(5).median()
