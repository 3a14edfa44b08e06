"""Settings outside their range are refused by name; seeds for different purposes never meet."""

from collections.abc import Callable
from typing import Literal

import pytest

from trainables.data.published import DATASETS
from trainables.networks.models import MODELS
from trainables.spec import DatasetName, ModelName, Schedule, TrainSpec, derive_seed, names

Maker = Callable[..., TrainSpec]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune_rate": 0.0}, r"prune_rate must lie in \(0, 1\), but got 0"),
        ({"prune_rate": 1.0}, r"prune_rate must lie in \(0, 1\), but got 1"),
        ({"prune_rate": float("nan")}, r"prune_rate must lie in \(0, 1\), but got nan"),
        ({"steps": 0}, "steps must be at least 1, but got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, but got 0"),
        ({"warmup_steps": -1}, r"warmup_steps must lie in 0\.\.steps=10, but got -1"),
        ({"warmup_steps": 11, "milestones": ()}, r"warmup_steps must lie in 0\.\.steps=10, but got 11"),
        ({"milestones": (8, 8)}, r"milestones must increase, but got \[8, 8\]"),
        ({"milestones": (8, 5)}, r"milestones must increase, but got \[8, 5\]"),
        ({"milestones": (2,)}, r"milestones must lie after the warmup and before the end, 3\.\.9, but got \[2\]"),
        ({"milestones": (10,)}, r"milestones must lie after the warmup and before the end, 3\.\.9, but got \[10\]"),
    ],
)
def test_a_setting_outside_its_range_is_refused_with_the_rule_and_the_value(
    changes: dict[str, object], message: str, make_spec: Maker
) -> None:
    with pytest.raises(ValueError, match=message):
        make_spec(**changes)


@pytest.mark.parametrize(
    "changes", [{"warmup_steps": 0}, {"warmup_steps": 10, "milestones": ()}, {"milestones": (3, 9)}]
)
def test_the_ends_of_a_range_are_allowed(changes: dict[str, object], make_spec: Maker) -> None:
    spec = make_spec(**changes)
    assert all(getattr(spec.schedule, name) == value for name, value in changes.items())


@pytest.mark.parametrize("rewind", [0, 11, -1])
def test_what_is_rewound_to_lies_in_cycle_0(rewind: int, make_spec: Maker) -> None:
    with pytest.raises(ValueError, match=rf"rewind must be none, init or lie in 1\.\.steps=10, but got {rewind}"):
        make_spec(rewind=rewind)


def test_a_lane_s_own_schedule_goes_before_the_settings_and_retraining_begins_after_cycle_0(make_spec: Maker) -> None:
    spec = make_spec(steps=100, retrain_steps=50, warmup_steps=10, milestones=(50, 80))
    own = Schedule("slr", 20, (60,))
    assert [spec.steps_of(cycle) for cycle in (0, 1, 7)] == [100, 50, 50]
    assert spec.schedule_of(0, None) == Schedule("warmup", 10, (50, 80))
    assert spec.schedule_of(1, None) == Schedule("warmup", 5, (25, 40))  # it shrinks with the steps
    assert spec.schedule_of(0, own) == Schedule("warmup", 20, (60,))
    assert spec.schedule_of(1, own) == own
    triangles = Schedule("cyclical", cycle_steps=9)
    assert spec.schedule_of(2, triangles) == Schedule("cyclical", cycle_steps=4)
    assert spec.schedule_of(1, Schedule("cyclical", cycle_steps=1)) == Schedule("cyclical", cycle_steps=1)


def test_without_other_steps_for_retraining_every_cycle_is_alike(make_spec: Maker) -> None:
    spec = make_spec()
    assert {spec.steps_of(cycle) for cycle in range(5)} == {10}
    assert {spec.schedule_of(cycle, None) for cycle in range(5)} == {spec.schedule}


def test_derived_seeds_are_a_fixed_hash_of_their_parts() -> None:
    assert derive_seed(0, 1) == derive_seed(0, 1) == derive_seed("0", 1)
    seeds = {derive_seed(*parts) for parts in [(seed, run) for seed in range(30) for run in range(30)]}
    assert len(seeds) == 900  # seed 0 run 1 is not seed 1 run 0
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert len({derive_seed(0, 0, purpose) for purpose in ("split", "weights", "order", "dropout")}) == 4
    assert derive_seed(1, 11) != derive_seed(11, 1) != derive_seed(111)
    # Written down, so that finished lanes keep their data and weights: sha256 of "0/split".
    assert derive_seed(0, "split") == 0x68A30A9F


def test_names_are_the_choices_of_a_literal_and_the_keys_of_the_tables() -> None:
    assert names(Literal["one", "two"]) == ("one", "two")
    assert set(names(ModelName)) == set(MODELS)
    assert set(names(DatasetName)) == set(DATASETS)
