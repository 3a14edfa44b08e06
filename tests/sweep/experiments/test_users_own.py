"""A network and a data set of the user's own, named on the command line: functions in a file, nothing edited here."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sweep
from sweep import load
from sweep.errors import FolderError
from sweep.execution.dataset import load_dataset
from sweep.execution.outcomes import CodeFailed, Trained
from sweep.execution.worker import Worker
from sweep.experiments.oracle.results import OracleResults
from sweep.store.manifest import digest_of
from trainables.spec import Lane, Pack
from trainables.states import load_state

pytestmark = pytest.mark.usefixtures("quick_pictures")
Run = Callable[..., subprocess.CompletedProcess[str]]

NETWORKS = """
import sys
import torch
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

class Dropping(nn.Sequential):
    def forward(self, x):
        return self[2](nn.functional.dropout(self[1](self[0](x)), 0.5, self.training))

def dropping(shape, classes):
    return Dropping(nn.Flatten(), nn.Linear(64, 16), nn.Linear(16, classes))

def tied(shape, classes):
    layer = nn.Linear(64, 64)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(64, classes))

def frozen(shape, classes):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, classes))
    network[1].requires_grad_(False)
    return network

def still(shape, classes):
    return frozen(shape, classes).requires_grad_(False)

SHARED = frozen((1, 8, 8), 10)

def shared(shape, classes):
    return SHARED

def fixed(shape, classes):
    torch.manual_seed(0)
    return frozen(shape, classes)

def normal(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))

class Exiting(nn.Sequential):
    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 10:
            sys.exit(0)
        return super().forward(x)

def exiting(shape, classes):
    return Exiting(nn.Flatten(), nn.Linear(64, classes))

def exiting_at_once(shape, classes):
    network = exiting(shape, classes)
    network.calls = 9
    return network

def exiting_in_a_run(shape, classes):
    if torch.initial_seed() > 1:
        sys.exit(0)
    return frozen(shape, classes)
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


def inline(*flags: str) -> list[str]:
    """`INLINE` with some of its flags, and others, as told."""
    told = dict(zip(INLINE[::2], INLINE[1::2], strict=True)) | dict(zip(flags[::2], flags[1::2], strict=True))
    return [part for flag in told.items() for part in flag]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with networks, and with 150 pictures of 2 x 6 x 7 bytes of three classes, the last 30 for the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    write_files(tmp_path)
    return tmp_path


def write_files(folder: Path) -> None:
    (folder / "nets.py").write_text(NETWORKS)
    (folder / "mine.py").write_text("from nets import small")
    (folder / "pics.py").write_text(PICTURES)
    (folder / "data").mkdir()
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    images = rng.integers(0, 156, (150, 2, 6, 7)) + 50 * labels.reshape(-1, 1, 1, 1)
    np.savez(folder / "data" / "pictures.npz", images=images.astype(np.uint8), labels=labels)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"__pycache__"}


def test_both_train_in_workers_of_ray_as_in_this_process_and_the_networks_source_is_part_of_every_lane(
    run: Run, here: Run, folder: Path
) -> None:
    for name in ("sweep", "trainables", "torch", "numpy", "ray", "cyclopts"):  # which no module of the user's replaces
        (folder / f"{name}.py").write_text("raise SystemExit('the file of the user')")
    arguments = ["oracle", "--model", "nets:small", "--dataset", "pics:load", "--split", "fixed_test", *FLAGS]
    for complete, engine in ((run, "ray"), (here, "inline")):
        result = complete(*arguments, "--engine", engine, "--out", engine, cwd=folder)
        assert result.returncode == 0, result.stderr
        for name in ("nets:small", "pics:load"):
            assert f" {name} is in {folder / name.split(':')[0]}.py\n" in result.stderr
    one, other = load(folder / "ray"), load(folder / "inline")
    assert isinstance(one, OracleResults) and isinstance(other, OracleResults)
    assert list(one.lanes["lane_id"]) == list(other.lanes["lane_id"])
    assert list(one.lanes["val_accuracy"]) == list(other.lanes["val_accuracy"])
    assert one.lanes["test_accuracy"].map(lambda accuracy: round(accuracy * 0.3, 9) % 1).eq(0).all()  # of 30 images
    (folder / "nets.py").write_text(NETWORKS.replace("ReLU", "Tanh"))
    changed = here(*arguments, "--engine", engine, "--out", engine, cwd=folder)
    assert changed.returncode == 2 and f"nets.py has changed since {engine} was begun" in changed.stderr


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
        ("nets:absent", "nets.py has no function absent; it has small, mixing, unstackable, raising,"),
        ("nets:dropping", "--lanes must be auto or 1 for nets:dropping, but got 2: stacked lanes do not train as"),
        ("nets:tied", "--pruning imp: 1.weight and 3.weight are the same weights: every layer must have its own"),
        ("nets:still", "--pruning imp: the network has no prunable weights: it trains no convolution or linear layer"),
        ("nets:shared", "nets:shared returns the same weights at every call; it must make a network anew"),
        ("nets:exiting_at_once", "the network raised SystemExit: 0, on images of shape (4, 1, 8, 8)"),
        ("sys:exit", "there is no module sys in the working folder"),
        ("nowhere.else:small", "--model nowhere.else:small: there is no module nowhere.else in the working folder"),
        ("nets.inner:small", "--model nets.inner:small: there is no module nets.inner in the working folder"),
        ("nowhere:small", "there is no module nowhere in the working folder"),
        ("nets small", "unknown network 'nets small'; known are mlp"),
    ],
)
def test_what_is_no_network_is_one_clear_line_before_anything_is_written(
    here: Run, folder: Path, name: str, message: str
) -> None:
    before = left_in(folder)
    for plan in ([], ["--plan"]):
        result = here("oracle", "--model", name, *INLINE, *plan, cwd=folder)
        assert result.returncode == 2, result.stderr
        assert message in result.stderr.strip().splitlines()[-1] and "Traceback" not in result.stderr
        assert left_in(folder) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", "1079"], "--batch-size must be at most 1078, a run's training images, but got 1079"),
        (["--images", "49"], "--images must lie in 50..1797 (5 a class, and all there are), but got 49"),
        (["--images", "1798"], "--images must lie in 50..1797 (5 a class, and all there are), but got 1798"),
        (
            ["--model", "nets:normal", "--batch-size", "359", "--steps", "4"],
            "--batch-size 359 makes a batch of 1 of the 1078 training images, on which the network raised ValueError: "
            "Expected more than 1 value per channel when training, got input size torch.Size([1, 8]), on images of "
            "shape (1, 1, 8, 8); give another",
        ),
        (["--model", "nets:normal", "--batch-size", "1"], "makes a batch of 1 of the 1078 training images"),
    ],
)
def test_batches_and_parts_that_cannot_be_are_one_clear_line_before_anything_is_written(
    here: Run, folder: Path, flags: list[str], message: str
) -> None:
    before = left_in(folder)
    for plan in ([], ["--plan"]):
        result = here("oracle", *inline(*flags), *plan, cwd=folder)
        assert result.returncode == 2, result.stderr
        assert message in result.stderr.strip().splitlines()[-1] and "Traceback" not in result.stderr
        assert left_in(folder) == before


def test_a_last_batch_of_one_image_that_is_never_met_or_harms_nothing_is_taken(here: Run, folder: Path) -> None:
    for name, steps in (("normal", "3"), ("frozen", "4")):
        flags = inline("--model", f"nets:{name}", "--batch-size", "359", "--steps", steps, "--out", name)
        result = here("oracle", *flags, "--schedule", "constant", cwd=folder)
        assert result.returncode == 0, result.stderr


def test_a_network_that_must_train_alone_does_so_and_is_said_to(
    here: Run, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = "nets:dropping trains in packs of one lane: stacked lanes do not train as the network does alone: "
    command = ["oracle", *inline("--model", "nets:dropping", "--lanes", "auto")]
    planned = here(*command, "--plan", "--json", cwd=folder)
    assert json.loads(planned.stdout)["lanes_per_pack"] == 1
    assert sum(line in said for said in planned.stderr.splitlines()) == 1
    trained = here(*command)
    assert trained.returncode == 0, trained.stderr
    assert sum(record.getMessage().startswith(line) for record in caplog.records) == 1
    auto = load(folder / "o")
    assert auto.manifest["lanes_per_pack"] == 1 and set(auto.lanes["lanes_in_pack"]) == {1}
    one = here("oracle", *inline("--model", "nets:dropping", "--lanes", "1", "--out", "one"))
    assert one.returncode == 0, one.stderr
    assert list(load(folder / "one").lanes["val_accuracy"]) == list(auto.lanes["val_accuracy"])


def test_a_part_of_a_network_that_is_not_trained_is_the_same_at_the_end(here: Run, folder: Path) -> None:
    assert here("oracle", *inline("--model", "nets:frozen"), cwd=folder).returncode == 0
    lanes = load(folder / "o").lanes
    first, last = (load_state(folder / "o" / "states", digest).tensors for digest in chain_of(lanes))
    assert torch.equal(first["1.weight"], last["1.weight"]) and torch.equal(first["1.bias"], last["1.bias"])
    assert not torch.equal(first["3.weight"], last["3.weight"])


def chain_of(lanes: pd.DataFrame) -> tuple[str, str]:
    """The digests of a chain's initial weights and of its last cycle's network."""
    first, last = (lanes[lanes["cycle"] == cycle].sort_values("val_accuracy") for cycle in (0, 1))
    return first["parent_state"].iloc[0], last["state"].iloc[-1]


@pytest.mark.parametrize(
    ("name", "engine", "message"),
    [
        ("exiting", "inline", "nets:exiting called sys.exit(0)"),
        ("exiting", "ray", "nets:exiting called sys.exit(0)"),
        ("exiting_in_a_run", "inline", "nets:exiting_in_a_run raised SystemExit: 0"),
    ],
)
def test_a_network_that_exits_in_training_is_one_line_and_status_1(
    here: Run, run: Run, folder: Path, name: str, engine: str, message: str
) -> None:
    complete = run if engine == "ray" else here
    result = complete("oracle", *inline("--model", f"nets:{name}", "--engine", engine), cwd=folder)
    assert result.returncode == 1, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"scyc-sweep: {message}") and "Traceback" not in result.stderr


def test_a_network_that_starts_alike_in_every_run_is_trained_and_named(
    here: Run, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = "nets:fixed starts from the same weights in every run"
    assert line in here("oracle", *inline("--model", "nets:fixed"), "--plan", cwd=folder).stderr
    assert here("oracle", *inline("--model", "nets:fixed")).returncode == 0
    assert line in caplog.text


def test_a_part_of_a_data_set_is_another_experiment(here: Run, folder: Path) -> None:
    assert here("oracle", *INLINE, "--images", "100", cwd=folder).returncode == 0
    tested = load(folder / "o").lanes["test_accuracy"]
    assert tested.map(lambda accuracy: round(accuracy * 0.2, 9) % 1).eq(0).all()  # of 20 images
    assert here("gradients", "o").returncode == 0
    for images in ([], ["--images", "101"]):
        other = here("oracle", *INLINE, *images)
        assert other.returncode == 2 and "images was 100, now" in other.stderr
    planned = here("oracle", *INLINE, "--images", "100", "--plan", "--json")
    assert json.loads(planned.stdout)["epochs"] == 17 / 2  # 60 training images in batches of 32
    own = inline("--dataset", "pics:load", "--images", "50", "--split", "fixed_test", "--batch-size", "30")
    planned = here("oracle", *own, "--plan", "--json")
    assert json.loads(planned.stdout)["epochs"] == 17  # 40 are no test images, of which 30 are training images


@pytest.mark.parametrize("plan", [[], ["--plan"]], ids=["trained", "planned"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pics:raising", "pics:raising raised OSError: no pictures there"),
        ("pics:nothing", "pics:nothing must return (images, labels) or (images, labels, test images), but returned"),
        ("pics:floats", "pics:floats: images must be bytes (uint8, 0 to 255), but are float64"),
        ("pics:absent", "pics.py has no function absent; it has load, raising, nothing, floats, changing"),
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
    command = ["oracle", "--dataset", "pics:changing", "--batch-size", "16", *INLINE]
    assert here(*command, cwd=folder).returncode == 0
    load_dataset.cache_clear()  # as in a new process
    again = here(*command, "--tolerance", "1")
    assert again.returncode == 2 and "the data of pics:changing have changed since o was begun" in again.stderr


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
        ("the data of pics:load have changed since o was", lambda: swap_labels(folder / "data" / "pictures.npz")),
        ("nets.py has changed since o was begun", lambda: (folder / "nets.py").write_text(NETWORKS + "x = 1")),
        ("--model nets:small: there is no module nets", lambda: (folder / "nets.py").unlink()),
    ]
    for message, change in changes[::-1]:
        before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
        change()
        load_dataset.cache_clear()  # as in a new process
        result = here("gradients", "o")
        assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr
        for path, content in before.items():
            path.write_bytes(content)


SCYC = ["--scyc", "0.05,0.05,0,4"]
BESIDE = {
    "oracle": ["oracle", "--model", "mine:small", "--dataset", "pics:load", *INLINE],
    "train": ["compare", "o", *SCYC, "--train"],
    "confirm": ["compare", "o", *SCYC, "--confirm", "2"],
    "control": ["control", "o"],
    "gradients": ["gradients", "o"],
    "tune": ["tune", "--model", "mine:small", "--dataset", "pics:load", *INLINE[:-1], "t", "--oracle", "o"],
}
BESIDE["joint"] = [*BESIDE["tune"], "--by", "joint"]
"""What trains beside a folder, or reads its networks; each is an own process, or begins as one does."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, made: Callable[..., str]) -> Path:
    """A working folder with an oracle `o` of a network whose module imports another, and of data of the user's."""
    folder = tmp_path_factory.mktemp("trained")
    write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.chdir(folder)
        made(*BESIDE["oracle"])
    return folder


@pytest.fixture
def own(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder to work in, in a new process but for what is imported of others."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    shutil.copytree(trained, tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    load_dataset.cache_clear()
    return tmp_path / "own"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CHANGES: dict[str, Callable[[], object]] = {
    "nets.py has changed since o was begun": lambda: Path("nets.py").write_text(NETWORKS.replace("ReLU", "Tanh")),
    "mine.py has changed since o was begun": lambda: Path("mine.py").write_text("from nets import mixing as small"),
    "the data of pics:load have changed since o was begun": lambda: swap_labels(Path("data/pictures.npz")),
}
ADVICE = {"oracle": "give another --out", "tune": "give another --oracle", "joint": "give another --oracle"}


@pytest.mark.parametrize("said", CHANGES)
@pytest.mark.parametrize("command", BESIDE)
def test_nothing_is_trained_or_measured_beside_another_network_or_other_data(
    here: Run, own: Path, command: str, said: str
) -> None:
    CHANGES[said]()
    before = contents(own)
    result = here(*BESIDE[command])
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"scyc-sweep: {said}; ") and "Traceback" not in result.stderr and result.stdout == ""
    assert last.endswith(ADVICE.get(command, "restore what it was, or begin another folder"))
    assert contents(own) == before


@pytest.mark.parametrize("command", BESIDE)
def test_what_is_laid_out_otherwise_is_the_same_and_each_command_says_which_files_it_runs(
    here: Run, own: Path, command: str
) -> None:
    (own / "nets.py").write_text(f'"""Networks."""\n# of mine\n\n\n{NETWORKS}')
    result = here(*BESIDE[command])
    assert result.returncode == 0, result.stderr
    said = [line.partition(" ")[2] for line in result.stderr.splitlines()]  # without the time of day
    for name in ("mine:small", "pics:load"):
        assert f"{name} is in {own / name.split(':')[0]}.py" in said


def test_a_worker_that_finds_other_code_than_the_settings_have_trains_nothing(own: Path) -> None:
    results = load("o")
    assert isinstance(results, OracleResults)
    worker = Worker(results.settings.training(), own / "s", "cpu", 1)
    pack = Pack(0, 0, 1, (Lane(0.1, None),))
    dataset = load_dataset("pics:load", own / "data", torch.device("cpu"), False)
    Path("nets.py").write_text(NETWORKS.replace("ReLU", "Tanh"))
    sys.modules.pop("mine", None)  # as in a new process
    outcome = worker.do(pack, dataset)
    assert isinstance(outcome, CodeFailed) and outcome.reason.startswith(f"{own / 'mine.py'}, or a module that")
    assert not (own / "s").exists()
    Path("nets.py").write_text(NETWORKS)
    assert isinstance(worker.do(pack, dataset), Trained)


def test_opening_results_runs_nothing_of_the_users_and_does_without_it(here: Run, own: Path) -> None:
    for command in ("train", "control"):
        assert here(*BESIDE[command]).returncode == 0
    commands = [
        ["show", "o", "--format", "json"],
        ["show", "o", "--trend", "--format", "json"],
        ["show", "o", "--rescore", "--format", "json"],
        ["show", "o/validation", "--format", "json"],
        ["compare", "o", *SCYC, "--json"],
        ["report", "o"],
        ["status", "--storage", ".", "--json"],
        ["collect", "o", "--storage", ".", "--to", "copied"],
        ["show", "copied", "--format", "json"],
    ]
    before = [here(*command) for command in commands]
    assert [result.returncode for result in before] == [0] * len(commands)
    for name in ("mine.py", "nets.py", "pics.py"):
        (own / name).unlink()
    shutil.rmtree("copied")
    after = [here(*command) for command in commands]
    untimed = re.compile(r"(?m)^\d\d:\d\d:\d\d ")  # of a message in a log
    assert [(each.returncode, each.stdout, untimed.sub("", each.stderr)) for each in after] == [
        (each.returncode, each.stdout, untimed.sub("", each.stderr)) for each in before
    ]
    result = here(*BESIDE["control"])
    assert result.returncode == 2 and "--model mine:small: there is no module mine" in result.stderr


@pytest.mark.parametrize("known", [True, False], ids=["with its digest", "without"])
def test_a_strangers_results_run_no_code_of_theirs_where_the_working_folder_is_theirs(
    here: Run, own: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    trace = own / "trace"
    monkeypatch.chdir(own / "o")
    Path("evil").mkdir()
    for name in ("evil/__init__.py", "evil/sub.py", "evil/data.py"):
        Path(name).write_text(f"open({str(trace)!r}, 'w').close()\ndef f(*_): open({str(trace)!r}, 'w').close()")
    manifest = json.loads(Path("manifest.json").read_text())
    evil = {"model": "evil.sub:f", "dataset": "evil.data:f"}
    manifest["settings"] |= evil
    manifest["identity"] |= evil if known else evil | {"model_source": "", "model_files": {}}
    Path("manifest.json").write_text(json.dumps(manifest | {"digest": digest_of(manifest)}))
    for command in (["show", "."], ["show", ".", "--trend"], ["report", "."], ["compare", ".", *SCYC]):
        result = here(*command)
        assert "Traceback" not in result.stderr and result.returncode in ((0, 2) if known else (2,)), result.stderr
    with suppress(FolderError):
        assert load(".").lanes.empty  # their lanes are of another network
    for command in ("train", "confirm", "control", "gradients"):
        result = here(*[word if word != "o" else "." for word in BESIDE[command]])
        assert result.returncode == 2 and len(result.stderr.splitlines()) == 1 + 2 * known
        assert not known or f"evil.sub:f is in {own / 'o' / 'evil' / 'sub.py'}\n" in result.stderr
    assert not trace.exists() and not [name for name in sys.modules if name.startswith("evil")]


@pytest.mark.parametrize("words", [["--model", "nets:small"], ["--dataset", "pics:load"], []], ids=" ".join)
def test_an_own_network_or_own_data_are_judged_by_s_cyc_only_if_asked_and_none_asks_for_none(
    here: Run, own: Path, words: list[str]
) -> None:
    oracle = ["oracle", *INLINE[:-1], "s", *words]
    without = here(*oracle, *([] if words else ["--scyc", "none"]))
    assert without.returncode == 0 and "S-Cyc" not in without.stdout
    assert not Path("s/comparison.parquet").exists()
    assert "S-Cyc" in here(*oracle, *SCYC).stdout and Path("s/comparison.parquet").exists()
    Path("c.toml").write_text('scyc = "none"')
    for again in ([*oracle, "--config", "c.toml"], ["compare", "s", "--scyc", "none"]):
        result = here(*again)
        assert result.returncode == 0 and result.stdout == without.stdout
        assert not Path("s/comparison.parquet").exists()
    assert here("compare", "s", "--scyc", "none", "--json").stdout.startswith('{"trajectory": [], ')
    refused = here("compare", "s", "--scyc", "none", "--train")
    assert refused.returncode == 2 and "--train and --confirm train what --scyc gives" in refused.stderr


def test_run_as_a_module_the_command_searches_the_working_folder_last_too(own: Path) -> None:
    (own / "cyclopts.py").write_text("raise SystemExit('the file of the user')")
    words = ["trajectory", "--epsilon", "0.1", "--delta", "0.1", "--q", "1", "--beta", "4"]
    env = os.environ | {"PYTHONPATH": str(Path(str(sweep.__file__)).parents[1])}
    done = subprocess.run([sys.executable, "-m", "sweep", *words], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def swap_labels(path: Path) -> None:
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    np.savez(path, images=images, labels=labels[::-1])
