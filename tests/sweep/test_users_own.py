"""A network of the user's own, named on the command line: one function in a file, nothing edited here."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep import load
from sweep.results import Results

Run = Callable[..., subprocess.CompletedProcess[str]]

NETWORKS = """
from torch import nn

def small(shape, classes):
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * height * width, classes),
    )

def mixing(shape, classes):
    return nn.Sequential(nn.Conv2d(shape[0], 4, 3, padding=1), nn.Softmax(1), nn.Flatten(), nn.Linear(256, classes))

def unstackable(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Bilinear(1, 1, 1), nn.Linear(64, classes))

def raising(shape, classes):
    raise KeyError("no such width")

def nothing(shape, classes):
    return "a network"

def narrow(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes - 3))

def elsewhere(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(63, classes))

class Pair(nn.Sequential):
    def forward(self, x):
        return super().forward(x), x

def pair(shape, classes):
    return Pair(nn.Flatten(), nn.Linear(64, classes))
"""
FLAGS = ["--preset", "digits", "--cycles", "1", "--runs", "1", "--steps", "17", "--max-lr", "0.05,0.1", "--lanes", "2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nets", raising=False)  # another test's
    importlib.invalidate_caches()
    (tmp_path / "nets.py").write_text(NETWORKS)
    return tmp_path


def test_it_trains_in_workers_of_ray_as_in_this_process_and_its_source_is_part_of_every_lane(
    run: Run, folder: Path
) -> None:
    for engine in ("ray", "inline"):
        arguments = ["oracle", "--model", "nets:small", *FLAGS, "--engine", engine, "--out", engine]
        result = run(*arguments, cwd=folder)
        assert result.returncode == 0, result.stderr
    one, other = load(folder / "ray"), load(folder / "inline")
    assert isinstance(one, Results) and isinstance(other, Results)
    assert list(one.trials["trial_id"]) == list(other.trials["trial_id"])
    assert list(one.trials["val_accuracy"]) == list(other.trials["val_accuracy"])
    (folder / "nets.py").write_text(NETWORKS.replace("ReLU", "Tanh"))
    changed = run(*arguments, cwd=folder)
    assert changed.returncode == 2 and "model_source was" in changed.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nets:mixing", "stacked lanes do not compute what the network computes alone"),
        ("nets:unstackable", "Bilinear has no stacked form"),
        ("nets:raising", "nets:raising raised KeyError: 'no such width'"),
        ("nets:nothing", "nets:nothing must return a torch module, but returned str"),
        (
            "nets:narrow",
            "nets:narrow, --dataset digits, --pruning imp: the network must return one logit for each image and class, "
            "(4, 10), but returned (4, 7)",
        ),
        ("nets:elsewhere", "nets:elsewhere, --dataset digits, --pruning imp: the network raised RuntimeError: "),
        ("nets:pair", "(4, 10), but returned tuple"),
        ("nets:absent", "nets:absent raised AttributeError"),
        ("sys:exit", "there is no module sys in the working folder"),
        (
            "nowhere.else:small",
            "--model nowhere.else:small cannot be found: ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("nowhere:small", "there is no module nowhere in the working folder"),
        ("nets small", "--model: input should be 'mlp'"),
    ],
)
def test_what_is_no_network_is_one_clear_line_before_anything_is_written(
    here: Run, folder: Path, name: str, message: str
) -> None:
    result = here("oracle", "--model", name, *FLAGS, "--engine", "inline", "--out", "o", cwd=folder)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr.strip().splitlines()[-1] and "Traceback" not in result.stderr
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"nets.py"}


def test_it_needs_a_preset_to_start_from(here: Run, folder: Path) -> None:
    result = here("oracle", "--model", "nets:small", cwd=folder)
    assert result.returncode == 2 and "--model nets:small needs a --preset to start from" in result.stderr


def test_results_open_where_its_file_is_not_and_after_it_has_changed(here: Run, folder: Path) -> None:
    result = here("oracle", "--model", "nets:small", *FLAGS, "--engine", "inline", "--out", "o", cwd=folder)
    assert result.returncode == 0, result.stderr
    before = here("show", folder / "o", "--json")
    assert len(json.loads(before.stdout)["cycle"]) == 2
    (folder / "nets.py").write_text("")
    assert here("show", folder / "o", "--json").stdout == before.stdout
    (folder / "nets.py").unlink()
    assert here("show", folder / "o", "--json").stdout == before.stdout
    assert here("compare", folder / "o", "--scyc", "0.04,0.02,0,4", cwd=folder / "o").returncode == 0
