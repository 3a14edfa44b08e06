"""Controls: the same oracle with other pruning, and what they make of a rise."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sweep
from sweep.config.resolve import resolve
from sweep.experiments.oracle.control import controls_of
from sweep.experiments.oracle.results import OracleResults

Run = Callable[..., subprocess.CompletedProcess[str]]

SMALL: dict[str, Any] = {
    "max_lr": "0.02:0.5:x3",
    "cycles": 2,
    "runs": 2,
    "steps": 68,
    "lanes": 3,
    "engine": "inline",
    "pruning": "global_magnitude",
    "progress": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep.build_oracle(**SMALL, out=tmp_path_factory.mktemp("control") / "o").folder.path


def test_controls_share_all_settings_runs_and_data_with_the_oracle(here: Run, folder: Path) -> None:
    result = here("control", folder)
    assert result.returncode == 0, result.stderr
    own = OracleResults(folder)
    assert list(own.controls) == ["none", "random"]
    for name, control in own.controls.items():
        ours, theirs = (each.settings.model_dump(exclude={"out"}) for each in (own, control))
        assert theirs == ours | {"pruning": name}
        assert control.finished and set(control.lanes["seed"]) == set(own.lanes["seed"])
        assert control.lanes[control.lanes["cycle"] == 0]["val_accuracy"].tolist() == pytest.approx(
            own.lanes[own.lanes["cycle"] == 0]["val_accuracy"].tolist()
        )
    assert own.controls["none"].oracle["percent_remaining"].tolist() == [100.0] * 3
    assert own.controls["random"].oracle["percent_remaining"].tolist() == own.oracle["percent_remaining"].tolist()


def test_the_table_says_of_each_control_whether_the_rise_exceeds_it(here: Run, folder: Path) -> None:
    content = json.loads(here("control", folder, "--json").stdout)
    assert content["chain"] == [name for name in ("global_magnitude", "none", "random") for _ in range(4)]
    assert content["quantity"][:4] == ["best", "low", "high", "middle"]
    assert content["exceeds_control"][:4] == [None] * 4 and None not in content["exceeds_control"][4:]
    written = pd.read_parquet(folder / "trend.parquet")
    assert written["factor"].tolist() == pytest.approx(content["factor"])
    assert (folder / "controls.png").read_bytes().startswith(b"\x89PNG")
    shown = here("show", folder, "--trend").stdout
    assert "none (no pruning: the effect of retraining alone): " in " ".join(shown.split())


def test_again_it_trains_nothing(here: Run, folder: Path) -> None:
    def files() -> list[int]:
        return sorted(path.stat().st_mtime_ns for path in folder.glob("controls/*/lanes/*"))

    before = files()
    assert here("control", folder).returncode == 0
    assert files() == before and before


def test_one_control_alone_can_be_asked_for(here: Run, tmp_path: Path) -> None:
    results = sweep.build_oracle(**SMALL | {"cycles": 0}, out=tmp_path / "o")
    assert here("control", tmp_path / "o", "--pruning", "layer_magnitude").returncode == 0
    assert list(OracleResults(results.folder.path).controls) == ["layer_magnitude"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pruning": "imp"}, ["random"]),
        ({"pruning": "global_magnitude"}, ["none", "random"]),
        ({"pruning": "layer_gradient", "rewind": "init"}, ["random"]),
        ({"pruning": "global_magnitude", "rewind": 5}, ["random"]),
        ({"pruning": "random"}, ["none"]),
        ({"pruning": "none"}, ["random"]),
    ],
)
def test_by_default_those_run_that_control_something(settings: dict[str, Any], expected: list[str]) -> None:
    assert controls_of(resolve(settings)) == expected


def test_filters_are_controlled_by_filters() -> None:
    assert controls_of(resolve({"model": "resnet20", "pruning": "l1_filter"})) == ["none", "random_filter"]


@pytest.mark.parametrize(
    ("pruning", "message"),
    [
        ("none", "is no control where every cycle rewinds"),
        ("imp", "is the pruning of the oracle in"),
        ("magic", "unknown pruning 'magic'"),
    ],
)
def test_what_controls_nothing_is_one_line_and_trains_nothing(
    here: Run, tmp_path: Path, pruning: str, message: str
) -> None:
    sweep.build_oracle(**SMALL | {"cycles": 0, "pruning": "imp"}, out=tmp_path / "o")
    result = here("control", tmp_path / "o", "--pruning", pruning)
    assert result.returncode == 2 and len(result.stderr.strip().splitlines()) == 1
    assert pd.Series([" ".join(result.stderr.split())]).str.contains(message).all()
    assert not (tmp_path / "o" / "controls").exists()


def test_of_several_controls_none_is_trained_where_one_is_wrong(here: Run, tmp_path: Path) -> None:
    sweep.build_oracle(**SMALL | {"cycles": 0}, out=tmp_path / "o")
    for wrong in ("magic", "l1_filter"):  # an mlp has no filters
        result = here("control", tmp_path / "o", "--pruning", "random", "--pruning", wrong)
        assert result.returncode == 2 and not (tmp_path / "o" / "controls").exists()


def test_an_oracle_of_one_run_says_nothing_for_certain(here: Run, tmp_path: Path) -> None:
    sweep.build_oracle(**SMALL | {"runs": 1}, out=tmp_path / "o")
    assert "whether max_lr rises is unknown" in here("show", tmp_path / "o", "--trend").stdout
    assert "there is no confidence interval of best max_lr and region" in here("show", tmp_path / "o").stdout
