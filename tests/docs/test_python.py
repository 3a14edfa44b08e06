"""The Python of the pages runs, on sweeps that are tiny: what it calls and what it reads is there."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sweep
from sweep.config.resolve import resolve
from sweep.experiments import registry
from sweep.experiments.runner import run

TINY: dict[str, Any] = {"steps": 17, "max_lr": "0.01:1:x3", "lanes": 3, "engine": "inline"}
INLINE = ("--engine", "inline", "--lanes", "2", "--runs", "1", "--cycles", "1", "--steps", "8", "--max-lr", "0.1,0.2")


def shown(blocks: list, page: str) -> list[str]:
    return [block.text for block in blocks if block.language == "python" and block.page.name == page]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docs")


@pytest.fixture
def tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the calls of the API train almost nothing, in the folder of this module."""
    monkeypatch.chdir(folder)

    def less(call: Callable[..., Any], **given: Any) -> Callable[..., Any]:
        def called(*arguments: Any, **settings: Any) -> Any:
            if "cycles" in settings:
                settings["cycles"] = 1
            return call(*arguments, **settings, **given)

        return called

    quiet = {"progress": False}
    monkeypatch.setattr(sweep, "build_oracle", less(sweep.build_oracle, **TINY, **quiet))
    monkeypatch.setattr(sweep, "compare_schedules", less(sweep.compare_schedules, **TINY, **quiet))
    monkeypatch.setattr(sweep, "tune", less(sweep.tune, **TINY, trials=2, **quiet))
    for name in ("control", "confirm"):
        monkeypatch.setattr(sweep, name, partial(getattr(sweep, name), engine="inline", progress=False))


def test_the_api_of_readme_runs(blocks: list, tiny: None, folder: Path) -> None:
    [text] = shown(blocks, "README.md")
    names: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), names)
    assert set(re.findall(r"\w+", re.search(r"^from sweep import (.*)$", text, re.MULTILINE)[1])) == set(sweep.__all__)
    assert len(names["results"].lanes) == 12 and names["verdicts"]["held_out"].all()


def test_a_folder_is_opened_as_the_page_of_files_opens_it(blocks: list, tiny: None, folder: Path) -> None:
    if not (folder / "results" / "digits").exists():
        (folder / "results" / "digits").symlink_to("small")
    for text in shown(blocks, "files.md"):
        exec(compile(text, "files.md", "exec"), {})


def test_the_page_of_files_names_every_file_that_sweeps_write_and_no_other(
    here: Callable[..., Any], pages: dict[Path, str], root: Path, tiny: None, folder: Path
) -> None:
    """After the calls of README, in the folders that they left."""
    assert not here("gradients", "results/small").returncode
    assert not here("compare", "results/small", "--train", "--engine", "inline").returncode
    text = pages[root / "docs" / "files.md"]
    first = [
        row.split("|")[1] for row in text[text.index("| file |") : text.index("## Opening")].splitlines() if "|" in row
    ]
    named = {name.rstrip("/") for cell in first for name in re.findall(r"`([^`]+)`", cell)}
    folders = [path.parent for path in (folder / "results").rglob("manifest.json")]
    written = {path.name for each in folders for path in each.iterdir()}
    assert written - named == set()
    assert named - written <= {"superseded", ".lock", ".driver.json"}, "what is there at times only"


def test_own_networks_and_own_data_are_trained(here: Callable[..., Any], own_files: Callable[[], Path]) -> None:
    folder = own_files()
    (folder / "data").mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 1, 4, 4), dtype=np.uint8)
    np.savez(folder / "data" / "pictures.npz", images=images, labels=np.arange(60) % 3)
    result = here("oracle", "--model", "nets:small", "--dataset", "pics:clothes", "--preset", "digits", *INLINE)
    assert result.returncode == 0, result.stderr


def test_the_experiment_of_ones_own_runs_resumes_and_is_shown(
    here: Callable[..., Any], own_files: Callable[[], Path], blocks: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_files()
    monkeypatch.syspath_prepend(folder)
    [entry] = [block.text for block in blocks if block.text.startswith('"one-rate": Entry(')]
    entries = eval(f"{{{entry.replace('sweep.experiments.one_rate', 'one_rate')}}}", {"Entry": registry.Entry})
    for name, found in entries.items():
        monkeypatch.setitem(registry.EXPERIMENTS, name, found)
    experiment, kind = registry.experiment("one-rate"), registry.settings_class("one-rate")
    given = {"rate": 0.1, "runs": 2, "cycles": 1, "steps": 17, "engine": "inline", "lanes": 1, "out": str(folder / "o")}
    results = run(experiment, resolve(given, kind=kind))
    assert results.finished and list(results.accuracies["cycle"]) == [0, 1]
    again = run(experiment, resolve(given | {"cycles": 2}, kind=kind))
    assert len(again.lanes) == 6 and (folder / "o" / "accuracies.parquet").exists()
    assert results.lanes["lane_id"].isin(again.lanes["lane_id"]).all()
    result = here("show", folder / "o")
    assert result.returncode == 0, result.stderr
    assert "test accuracy" in result.stdout and "max_lr is 0.1" in result.stdout
