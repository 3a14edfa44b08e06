"""A lane's key: what it depends on, and what not."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sweep.config.resolve import resolve
from sweep.store import identity
from sweep.store.identity import lane_id
from trainables.spec import Lane, Pack, Schedule, TrainSpec

TRAINING = resolve({}).training()
PACK = Pack(cycle=1, run=0, seed=11, lanes=(Lane(0.1, "p" * 64, "i" * 64), Lane(0.2, "p" * 64, "i" * 64)))
OTHER_SETTINGS: dict[str, Any] = {
    "model": "resnet20",
    "model_source": "s" * 64,
    "hidden": (64, 64),
    "batch_norm": True,
    "dataset": "cifar10",
    "images": 1000,
    "split": "fixed_test",
    "pruning": "layer_magnitude",
    "prune_rate": 0.3,
    "keep_output": True,
    "score_batches": 3,
    "rewind": "none",
    "schedule": Schedule("constant"),
    "steps": 509,
    "retrain_steps": 400,
    "batch_size": 31,
    "optimizer": "adam",
    "momentum": 0.8,
    "weight_decay": 0.0,
    "eval_every": 34,
    "score": "last",
    "dtype": "float64",
}


KNOWN_KEY = "5351d8ee37c3b904af72c24bbe87530033e05dd2d8d4860b0d0d112aee0cbd68"
"""The key of `PACK`'s first lane, as the first version of the training code gives it."""


def key(training: TrainSpec = TRAINING, data: str = "data", pack: Pack = PACK, lane: Lane = PACK.lanes[0]) -> str:
    return lane_id(training, data, pack, lane)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainSpec)])
def test_the_key_changes_with_every_setting_of_training(name: str) -> None:
    other = dataclasses.replace(TRAINING, **{name: OTHER_SETTINGS[name]})
    assert other != TRAINING
    assert key(training=other) != key()


def test_the_key_changes_with_all_else_that_determines_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = PACK.lanes[0]
    keys = [
        key(),
        key(data="other data"),
        key(pack=dataclasses.replace(PACK, seed=12)),
        key(pack=dataclasses.replace(PACK, cycle=2)),
        key(lane=Lane(lane.max_lr, lane.parent, "j" * 64)),
        key(lane=Lane(lane.max_lr, "q" * 64, lane.rewind_to)),
        key(lane=Lane(0.1000001, lane.parent, lane.rewind_to)),
        key(lane=Lane(lane.max_lr, None, lane.rewind_to)),
        key(lane=dataclasses.replace(lane, schedule=Schedule("constant"))),
        key(lane=dataclasses.replace(lane, schedule=dataclasses.replace(TRAINING.schedule, warmup_steps=7))),
    ]
    monkeypatch.setattr(identity, "TRAINING_VERSION", identity.TRAINING_VERSION + 1)
    keys.append(key())
    assert len(set(keys)) == 11


@pytest.mark.parametrize("retrain_steps", [3, 17, 1000])
def test_a_lane_of_any_length_of_retraining_has_a_key(retrain_steps: int) -> None:
    """Milestones that fall together, or lie behind the end of cycle 0, are those of another length all the same."""
    settings = resolve({"steps": 34, "warmup_steps": 4, "milestones": (16, 17), "retrain_steps": retrain_steps})
    assert len({key(training=settings.training()), key(training=resolve({"steps": 34}).training())}) == 2


def test_the_key_depends_on_no_run_number_neighbours_or_size_of_the_pack() -> None:
    assert key(pack=dataclasses.replace(PACK, run=7)) == key()
    assert key(pack=dataclasses.replace(PACK, lanes=PACK.lanes[:1])) == key()
    assert key(pack=dataclasses.replace(PACK, lanes=PACK.lanes[::-1])) == key()


def test_a_lane_s_own_schedule_counts_as_the_settings_same_schedule_does() -> None:
    lane = PACK.lanes[0]
    assert key(lane=dataclasses.replace(lane, schedule=TRAINING.schedule)) == key()
    constant = dataclasses.replace(TRAINING, schedule=Schedule("constant"))
    assert key(constant) == key(lane=dataclasses.replace(lane, schedule=Schedule("constant")))


def test_what_comes_before_retraining_is_shared_by_all_that_retrain_alike() -> None:
    """Cycle 0 of ft, lrw, slr and clr is that of warmup; what follows is not."""
    before = dataclasses.replace(PACK, cycle=0)
    first, later = set(), set()
    for name in ("warmup", "ft", "lrw", "slr", "clr"):
        lane = Lane(0.1, None, None, dataclasses.replace(TRAINING.schedule, name=name))
        first.add(key(pack=before, lane=lane))
        later.add(key(lane=lane))
    assert (len(first), len(later)) == (1, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "cuda"),
        ("cpus_per_worker", 4),
        ("gpus_per_worker", 0.5),
        ("wait_for_resources", True),
        ("engine", "inline"),
        ("workers", 3),
        ("lanes", 7),
        ("address", "head:6379"),
        ("out", Path("elsewhere")),
        ("data_dir", Path("elsewhere")),
        ("cycles", 3),
        ("runs", 2),
        ("max_lr", "0.1,0.2"),
        ("tolerance", 2.0),
        ("decide", "per_run"),
        ("preset", "mlp"),
    ],
)
def test_the_key_depends_on_nothing_that_only_says_where_or_how_much(name: str, value: object) -> None:
    other = resolve({}).model_copy(update={name: value})
    assert key(training=other.training()) == key()


def test_the_key_of_a_lane_is_the_same_in_every_process_and_release() -> None:
    # Finished lanes are found by their keys in a later release too, as long as the training code is the same.
    assert identity.TRAINING_VERSION == 1
    assert key() == KNOWN_KEY
