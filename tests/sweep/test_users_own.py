"""A network and a data set of the user's own, named on the command line: functions in a file, nothing edited here."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sweep import load
from sweep.results import Results
from sweep.worker import load_dataset

Run = Callable[..., subprocess.CompletedProcess[str]]

README = Path(__file__).parents[2] / "README.md"
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
PICTURES = """
import numpy as np

def load(data_dir):
    pictures = np.load(data_dir / "pictures.npz")
    return pictures["images"], pictures["labels"], 30

def raising(data_dir):
    raise OSError("no pictures there")

def nothing(data_dir):
    pass

def floats(data_dir):
    images, labels, _ = load(data_dir)
    return images / 255, labels

def changing(data_dir):
    return np.random.randint(0, 256, (40, 1, 8, 8), dtype=np.uint8), np.arange(40) % 3
"""
FLAGS = ["--preset", "digits", "--cycles", "1", "--runs", "1", "--steps", "17", "--max-lr", "0.05,0.1", "--lanes", "2"]
INLINE = [*FLAGS, "--engine", "inline", "--out", "o"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with networks, and with 150 pictures of 2 x 6 x 7 bytes of three classes, the last 30 for the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("nets", "pics"):
        monkeypatch.delitem(sys.modules, name, raising=False)  # another test's
    importlib.invalidate_caches()
    (tmp_path / "nets.py").write_text(NETWORKS)
    (tmp_path / "pics.py").write_text(PICTURES)
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    images = rng.integers(0, 156, (150, 2, 6, 7)) + 50 * labels.reshape(-1, 1, 1, 1)
    np.savez(tmp_path / "data" / "pictures.npz", images=images.astype(np.uint8), labels=labels)
    return tmp_path


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"__pycache__"}


def test_both_train_in_workers_of_ray_as_in_this_process_and_the_networks_source_is_part_of_every_lane(
    run: Run, here: Run, folder: Path
) -> None:
    arguments = ["oracle", "--model", "nets:small", "--dataset", "pics:load", "--split", "fixed_test", *FLAGS]
    for complete, engine in ((run, "ray"), (here, "inline")):
        result = complete(*arguments, "--engine", engine, "--out", engine, cwd=folder)
        assert result.returncode == 0, result.stderr
    one, other = load(folder / "ray"), load(folder / "inline")
    assert isinstance(one, Results) and isinstance(other, Results)
    assert list(one.trials["trial_id"]) == list(other.trials["trial_id"])
    assert list(one.trials["val_accuracy"]) == list(other.trials["val_accuracy"])
    assert one.trials["test_accuracy"].map(lambda accuracy: round(accuracy * 0.3, 9) % 1).eq(0).all()  # of 30 images
    (folder / "nets.py").write_text(NETWORKS.replace("ReLU", "Tanh"))
    changed = here(*arguments, "--engine", engine, "--out", engine, cwd=folder)
    assert changed.returncode == 2 and "the code of --model has changed since" in changed.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nets:mixing", "stacked lanes do not compute what the network computes alone"),
        ("nets:unstackable", "(Bilinear) has no stacked form"),
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
        ("nets small", "unknown network 'nets small'; known are mlp"),
    ],
)
def test_what_is_no_network_is_one_clear_line_before_anything_is_written(
    here: Run, folder: Path, name: str, message: str
) -> None:
    before = left_in(folder)
    result = here("oracle", "--model", name, *INLINE, cwd=folder)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr.strip().splitlines()[-1] and "Traceback" not in result.stderr
    assert left_in(folder) == before


@pytest.mark.parametrize("plan", [[], ["--plan"]], ids=["trained", "planned"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pics:raising", "pics:raising raised OSError: no pictures there"),
        ("pics:nothing", "pics:nothing must return (images, labels) or (images, labels, test images), but returned"),
        ("pics:floats", "pics:floats: images must be bytes (uint8, 0 to 255), but are float64"),
        ("pics:absent", "pics:absent raised AttributeError"),
        ("nowhere:load", "nowhere:load: there is no module nowhere in the working folder"),
        ("pics load", "unknown data set 'pics load'"),
    ],
)
def test_what_is_no_data_set_is_one_clear_line_and_nothing_is_written(
    here: Run, folder: Path, name: str, message: str, plan: list[str]
) -> None:
    before = left_in(folder)
    result = here("oracle", "--dataset", name, *INLINE, *plan, cwd=folder)
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("scyc-sweep: ") and message in last
    assert "Traceback" not in result.stderr and result.stdout == ""
    assert left_in(folder) == before


def test_a_plan_knows_the_sizes_of_a_users_data_and_writes_nothing(here: Run, folder: Path) -> None:
    before = left_in(folder)
    result = here("oracle", "--dataset", "pics:load", *INLINE, "--plan", "--json", cwd=folder)
    plan = json.loads(result.stdout)
    widths = [2 * 6 * 7, 64, 64, 64, 3]
    assert plan["parameters"] == sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths))
    assert plan["epochs"] == 17 / 3  # 90 training images in batches of 32
    assert left_in(folder) == before


def test_a_function_whose_data_change_is_called_once_a_sweep_and_stops_the_next(here: Run, folder: Path) -> None:
    command = ["oracle", "--dataset", "pics:changing", *INLINE]
    assert here(*command, cwd=folder).returncode == 0
    load_dataset.cache_clear()  # as in a new process
    again = here(*command, "--tolerance", "1")
    assert again.returncode == 2 and "o holds lanes of another experiment (data was" in again.stderr


def test_a_network_needs_a_preset_to_start_from(here: Run, folder: Path) -> None:
    result = here("oracle", "--model", "nets:small", cwd=folder)
    assert result.returncode == 2 and "--model nets:small needs a --preset to start from" in result.stderr


def test_results_open_where_the_files_are_not_and_after_they_have_changed(here: Run, folder: Path) -> None:
    result = here("oracle", "--model", "nets:small", "--dataset", "pics:load", *INLINE, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert here("gradients", "o").returncode == 0
    before = here("show", folder / "o", "--format", "json")
    assert len(json.loads(before.stdout)["cycle"]) == 2
    for name in ("nets.py", "pics.py"):
        (folder / name).write_text("")
    assert here("show", folder / "o", "--format", "json").stdout == before.stdout
    for name in ("nets.py", "pics.py"):
        (folder / name).unlink()
    assert here("show", folder / "o", "--format", "json").stdout == before.stdout
    assert here("compare", folder / "o", "--scyc", "0.04,0.02,0,4", cwd=folder / "o").returncode == 0


def test_nothing_is_measured_with_another_network_or_other_data_than_was_trained(here: Run, folder: Path) -> None:
    assert here("oracle", "--model", "nets:small", "--dataset", "pics:load", *INLINE, cwd=folder).returncode == 0
    changes = [
        ("pics:load has changed since o was trained", lambda: swap_labels(folder / "data" / "pictures.npz")),
        ("nets:small has changed since o was trained", lambda: (folder / "nets.py").write_text(NETWORKS + "#")),
        ("--model nets:small: there is no module nets", lambda: (folder / "nets.py").unlink()),
    ]
    for message, change in changes[::-1]:
        before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
        change()
        load_dataset.cache_clear()  # as in a new process
        sys.modules.pop("nets", None)
        importlib.invalidate_caches()
        result = here("gradients", "o")
        assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr
        for path, content in before.items():
            path.write_bytes(content)


def swap_labels(path: Path) -> None:
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    np.savez(path, images=images, labels=labels[::-1])


def test_the_examples_of_the_readme_run(here: Run, folder: Path) -> None:
    examples = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README.read_text(), re.DOTALL))
    assert set(examples) == {"nets.py", "pics.py"}
    for name, text in examples.items():
        (folder / name).write_text(text)
    result = here("oracle", "--model", "nets:small", "--dataset", "pics:clothes", *INLINE, cwd=folder)
    assert result.returncode == 0, result.stderr
