"""A chain that has nothing left to prune: it ends, its rows say so, and nothing is trained or written again."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep import load
from sweep.execution.worker import Worker

Run = Callable[..., subprocess.CompletedProcess[str]]

COMMAND = (
    "oracle --engine inline --hidden 4 --prune-rate 0.9 --cycles 8 --max-lr 0.05,0.1 --steps 60 --lanes 2 --out e "
    "--runs {runs} --decide {decide}"
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


@pytest.mark.parametrize(("runs", "decide"), [(1, "shared"), (2, "shared"), (2, "per_run")])
def test_it_ends_once_and_the_same_command_again_starts_nothing_and_writes_nothing(
    here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int, decide: str
) -> None:
    words = COMMAND.format(runs=runs, decide=decide).split()
    first = here(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    results = load(tmp_path / "e")
    ended = results.lanes[results.lanes["status"] == "ended"]
    assert results.finished and not ended.empty and ended["cycle"].nunique() <= runs
    assert 0 < ended["cycle"].max() < 8 and results.lanes["cycle"].max() == ended["cycle"].max()
    assert ended["state"].isna().all() and ended["val_accuracy"].isna().all() and (ended["steps"] == 0).all()
    assert results.manifest["lanes"] == results.lanes.groupby("cycle").size().tolist()
    which = [f"cycle {cycle}, run {run}" for cycle, run in sorted({*zip(ended["cycle"], ended["run"], strict=True)})]
    assert results.manifest["ended_early"] == [f"{each}: nothing was left to prune" for each in which]
    before = files(tmp_path / "e")

    def start(*arguments: object) -> None:
        raise AssertionError("an engine was started")

    monkeypatch.setattr("sweep.experiments.runner.make_engine", start)
    monkeypatch.setattr(Worker, "do", start)
    again = here(*words)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    now = files(tmp_path / "e")
    assert now["manifest.json"] == before["manifest.json"]
    assert {name: content for name, content in now.items() if "/" in name} == {
        name: content for name, content in before.items() if "/" in name
    }
    shown = here("show", "e").stdout
    assert all(f"ended early: {each}: nothing was left to prune" in shown for each in which)


def test_more_cycles_are_no_reason_to_try_again(here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = COMMAND.format(runs=1, decide="shared").split()
    assert here(*words, cwd=tmp_path).returncode == 0
    lanes = load(tmp_path / "e").lanes
    monkeypatch.setattr("sweep.experiments.runner.make_engine", lambda settings: pytest.fail("an engine was started"))
    longer = here(*["9" if word == "8" else word for word in words])
    assert longer.returncode == 0, longer.stderr
    assert load(tmp_path / "e").lanes.equals(lanes) and load(tmp_path / "e").settings.cycles == 9
