"""The Python API and the notebook, on a small sweep of their own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import sweep
from search_spaces.scyc import SCyc
from sweep.errors import SettingsError
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.tuning.results import TuningResults

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "oracle.ipynb"
SMALL: dict[str, Any] = {"cycles": 1, "runs": 2, "steps": 34, "max_lr": "0.01:1:x4", "lanes": 2, "engine": "inline"}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleResults]:
    yield sweep.build_oracle(**SMALL, out=tmp_path_factory.mktemp("api") / "oracle", progress=False)


def test_an_oracle_is_built_with_the_flags_as_arguments_and_shows_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], oracle: OracleResults
) -> None:
    assert oracle.finished and list(oracle.oracle["cycle"]) == [0, 1]
    assert capsys.readouterr().out == ""
    again = sweep.build_oracle(**SMALL | {"runs": 1, "cycles": 0}, out=tmp_path / "o")
    assert len(again.lanes) == 4
    assert "cycle 0 of 0: 0 of 4 lanes" in capsys.readouterr().out


def test_a_config_file_counts_less_than_arguments(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("runs = 3\ncycles = 0\n")
    flags = {name: value for name, value in SMALL.items() if name != "cycles"}
    results = sweep.build_oracle(tmp_path / "s.toml", **flags | {"runs": 1}, out=tmp_path / "o", progress=False)
    assert len(results.lanes) == 4


def test_a_wrong_argument_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown setting 'cycels'; did you mean cycles"):
        sweep.build_oracle(cycels=3)


def test_a_tuning_a_fit_and_a_comparison_need_no_command_line(oracle: OracleResults, tmp_path: Path) -> None:
    tuned = sweep.tune(**SMALL, trials=3, out=tmp_path / "t", progress=False)
    assert isinstance(tuned, TuningResults) and tuned.scyc is not None
    assert isinstance(sweep.load(tmp_path / "t"), TuningResults)
    fits = sweep.fit_scyc(oracle.folder.path, out=tmp_path / "f")
    assert (tmp_path / "f" / "fit.parquet").exists()
    compared = oracle.compare({"tuned": tuned.scyc, "fitted": fits.scyc, "own": SCyc(0.1, 0.0, 0, 4)})
    assert list(dict.fromkeys(compared["trajectory"])) == ["tuned", "fitted", "own"]
    inside = compared[compared["trajectory"] == "fitted"]["inside"].sum()
    assert inside == fits.table["inside"].iloc[0]


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_the_notebook_runs_from_top_to_bottom(oracle: OracleResults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCYC_RESULTS", str(oracle.folder.path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # it is kept without outputs
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    kinds = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert kinds.count("image/png") == 2 and kinds.count("text/html") == 2
    text = "".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    for value in oracle.oracle["best_max_lr"]:
        assert f"{value:.6f}".rstrip("0") in text


def test_a_fit_takes_an_oracle_in_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.experiments.tuning.fitting.run_fit", lambda settings: (None, settings.oracle))
    assert sweep.fit_scyc("s3://bucket/digits") == "s3://bucket/digits"
    assert sweep.fit_scyc(Path("results/digits")) == "results/digits"
