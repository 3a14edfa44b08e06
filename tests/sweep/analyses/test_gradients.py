"""`scyc-sweep gradients` on an oracle's winners and on chains that were kept for it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sweep
from sweep import load
from sweep.analyses.gradient_tables import HISTOGRAMS, TAILS
from sweep.analyses.gradients import gradients
from sweep.experiments.oracle.results import OracleResults
from trainables.data import datasets
from trainables.gradients import mean_gradients
from trainables.networks import models
from trainables.spec import derive_seed
from trainables.states import load_state

Run = Callable[..., subprocess.CompletedProcess[str]]

SMALL = {"max_lr": "0.05,0.1,0.2", "cycles": 2, "runs": 2, "steps": 34, "lanes": 3, "engine": "inline"}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> OracleResults:
    return sweep.build_oracle(**SMALL, out=tmp_path_factory.mktemp("gradients") / "o", histograms=True, progress=False)


def test_an_oracle_s_winners_are_measured_in_every_cycle_and_run(oracle: OracleResults) -> None:
    tails = TAILS.read(TAILS.path(oracle.folder.path))
    bins = HISTOGRAMS.read(HISTOGRAMS.path(oracle.folder.path))
    assert (oracle.folder.path / "histograms.png").stat().st_size > 10_000
    assert sorted(zip(tails["kind"], tails["cycle"], tails["run"], strict=True)) == sorted(
        (kind, cycle, run) for kind in ("gradient", "activation") for cycle in range(3) for run in range(2)
    )
    assert set(tails["schedule"]) == {"oracle"}
    keys = ["kind", "cycle", "run"]
    counted = bins.groupby(keys)["count"].sum()
    assert counted.to_dict() == tails.set_index(keys)["count"].to_dict()
    weights = tails[tails["kind"] == "gradient"].set_index(["cycle", "run"])["count"]
    total = weights.loc[0, 0]
    assert weights.loc[2, 1] == total - total // 5 - (total - total // 5) // 5  # what two prunings left
    # The unpruned network is measured by its own spread; by Chebyshev at most a quarter lies beyond two std.
    first = tails[tails["cycle"] == 0]
    assert (first["high_2std"] - first["mean"]).tolist() == pytest.approx((2 * first["std"]).tolist())
    assert (first["mean"] - first["low_2std"]).tolist() == pytest.approx((2 * first["std"]).tolist())
    assert (first["beyond_2std"] <= 25).all()
    assert tails[tails["kind"] == "activation"]["beyond"].isna().all()


def test_they_are_of_the_networks_that_the_rows_name(oracle: OracleResults) -> None:
    tails = TAILS.read(TAILS.path(oracle.folder.path)).query("kind == 'gradient'").set_index(["cycle", "run"])
    dataset = datasets.load("digits", Path("nowhere"), False)
    training = oracle.settings.training()
    for closed in oracle.replay.closed:
        for row in closed.best_rows:
            state = load_state(oracle.folder.states, row["state"])
            network = models.build(training, dataset.shape, dataset.classes, seed=0)
            network.load_state_dict(state.tensors)
            train = datasets.split(dataset, "pooled", derive_seed(row["seed"], "split")).train
            found = mean_gradients(network, dataset, train, torch.float32)
            values = torch.cat([found[name][mask] for name, mask in state.masks.items()])
            here = tails.loc[row["cycle"], row["run"]]
            assert (here["minimum"], here["maximum"]) == pytest.approx((float(values.min()), float(values.max())))
            outside = ((values < -0.011) | (values > 0.009)).double().mean()
            assert here["beyond"] == pytest.approx(100 * float(outside))


def test_the_command_measures_again_with_other_bounds_and_fewer_images(here: Run, oracle: OracleResults) -> None:
    result = here("gradients", oracle.folder.path, "--beyond", "-0.001,0.002", "--images", "60", "--json")
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert set(content) == set(TAILS.schema.names)
    assert set(content["low"]) == {-0.001, None} and set(content["high"]) == {0.002, None}
    assert 60 * 3 * 64 in content["count"]
    shown = here("gradients", oracle.folder.path)
    assert "oracle: gradients" in shown.stdout and "beyond [-0.011," in shown.stdout and "0.009]" in shown.stdout
    assert "oracle: activations" in shown.stdout


def test_a_comparison_of_schedules_keeps_its_chains_where_it_is_told_to(here: Run, tmp_path: Path) -> None:
    settings = SMALL | {"schedules": ("constant=0.1", "slr=0.1"), "progress": False}
    kept = sweep.compare_schedules(**settings, out=tmp_path / "kept", histograms=True)
    tails = TAILS.read(TAILS.path(kept.folder.path))
    assert dict(tails.groupby("schedule").size()) == {"constant=0.1": 12, "slr=0.1": 12}
    first = tails[tails["cycle"] == 0]  # each chain is measured by its own unpruned network
    assert (first["high_2std"] - first["mean"]).tolist() == pytest.approx((2 * first["std"]).tolist())
    bare = sweep.compare_schedules(**settings, out=tmp_path / "bare")
    assert not TAILS.path(bare.folder.path).exists()
    result = here("gradients", tmp_path / "bare")
    assert result.returncode == 2
    assert "was begun without --histograms and kept no networks; give another --out" in result.stderr
    with pytest.raises(sweep.errors.FolderError, match="was begun without --histograms"):
        sweep.compare_schedules(**settings | {"cycles": 3}, out=tmp_path / "bare", histograms=True)
    assert load(tmp_path / "bare").lanes["cycle"].max() == 2  # nothing was trained before it was said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--beyond", "0.01"], "--beyond takes LO,HI, but got '0.01'"),
        (["--beyond", "a,b"], "--beyond takes LO,HI, but got 'a,b'"),
        (["--beyond", "0.01,-0.01"], "--beyond takes LO,HI with LO below HI, but got 0.01,-0.01"),
        (["--images", "0"], "--images must be at least 1, but got 0"),
    ],
)
def test_bad_bounds_are_one_line(here: Run, oracle: OracleResults, flags: list[str], message: str) -> None:
    result = here("gradients", oracle.folder.path, *flags)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].endswith(message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(here: Run, oracle: OracleResults) -> None:
    result = here("gradients", oracle.folder.path, "--device", "cuda")
    assert result.returncode == 2
    assert result.stderr.strip() == "scyc-sweep: --device cuda, but torch sees no GPU here"


def test_a_folder_begun_with_histograms_goes_on_keeping_networks(tmp_path: Path) -> None:
    settings = SMALL | {"cycles": 1, "out": tmp_path / "s", "progress": False}
    sweep.compare_schedules(**settings, schedules=("constant=0.1",), histograms=True)
    results = sweep.compare_schedules(**settings | {"cycles": 2}, schedules=("decay=0.1",))
    assert results.settings.histograms
    assert dict(results.tails.groupby("schedule").size()) == {"constant=0.1": 12, "decay=0.1": 12}


def test_a_folder_without_networks_is_refused(here: Run, tmp_path: Path) -> None:
    result = here("gradients", tmp_path)
    assert result.returncode == 2 and "holds no sweep" in result.stderr


def test_a_lost_network_is_named(oracle: OracleResults) -> None:
    lost = oracle.folder.states / f"{oracle.replay.closed[1].best_rows[0]['state']}.safetensors"
    content = lost.read_bytes()
    lost.unlink()
    try:
        with pytest.raises(sweep.errors.FolderError, match=f"cycle 1, run 0: .*{lost.stem}"):
            gradients(oracle)
    finally:
        lost.write_bytes(content)
