"""Settings: what of them determines how a lane trains, and their way through a manifest."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from trainables.spec import Schedule, TrainSpec


class TestPruning:
    @pytest.mark.parametrize(
        ("flags", "criterion", "rewind"),
        [
            ({}, "global_magnitude", "init"),  # the digits preset is IMP
            ({"pruning": "imp"}, "global_magnitude", "init"),
            ({"pruning": "imp", "rewind": "init"}, "global_magnitude", "init"),
            ({"pruning": "global_magnitude"}, "global_magnitude", "none"),
            ({"pruning": "global_magnitude", "rewind": "init"}, "global_magnitude", "init"),
            ({"pruning": "layer_magnitude"}, "layer_magnitude", "none"),
            ({"pruning": "none"}, "none", "none"),
        ],
    )
    def test_imp_is_global_magnitude_rewound_to_the_initial_weights(
        self, flags: dict[str, Any], criterion: str, rewind: str
    ) -> None:
        training = resolve(flags).training()
        assert (training.pruning, training.rewind) == (criterion, rewind)


CHANGED: dict[str, tuple[Any, dict[str, Any]]] = {
    # A setting, another value for it, and what then changes in the settings of training.
    "preset": ("mlp", {}),
    "model": ("resnet20", {"model": "resnet20", "hidden": ()}),
    "hidden": ((8,), {"hidden": (8,)}),
    "batch_norm": (True, {"batch_norm": True}),
    "dataset": ("cifar10", {"dataset": "cifar10"}),
    "images": (500, {"images": 500}),
    "data_dir": (Path("elsewhere"), {}),
    "download": (True, {}),
    "split": ("fixed_test", {"split": "fixed_test"}),
    "pruning": ("layer_magnitude", {"pruning": "layer_magnitude"}),
    "prune_rate": (0.3, {"prune_rate": 0.3}),
    "keep_output": (True, {"keep_output": True}),
    "score_batches": (3, {}),  # of the criteria that look at gradients
    "rewind": ("none", {"rewind": "none"}),
    "cycles": (3, {}),
    "runs": (2, {}),
    "seed": (7, {}),
    "max_lr": ("0.1,0.2", {}),
    "tolerance": (1.0, {}),
    "tolerance_kind": ("relative", {}),
    "confidence": (0.9, {}),
    "score": ("last", {"score": "last"}),
    "decide": ("per_run", {}),
    # 510 / 8; a cyclical rate has neither warmup nor drops.
    "schedule": ("cyclical", {"schedule": dataclasses.asdict(Schedule("cyclical", cycle_steps=64))}),
    "steps": (511, {"steps": 511}),
    "retrain_steps": (200, {"retrain_steps": 200}),
    "warmup_steps": (10, {"schedule": dataclasses.asdict(Schedule("warmup", 10, (255, 382)))}),
    "milestones": ((300,), {"schedule": dataclasses.asdict(Schedule("warmup", 82, (300,)))}),
    "cycle_steps": (10, {}),  # of the cyclical schedule alone
    "scale": (2.0, {}),  # in the steps already
    "batch_size": (16, {"batch_size": 16}),
    "optimizer": ("adam", {"optimizer": "adam"}),
    "momentum": (0.5, {"momentum": 0.5}),
    "weight_decay": (0.1, {"weight_decay": 0.1}),
    "eval_every": (5, {"eval_every": 5}),
    "dtype": ("float64", {"dtype": "float64"}),
    "scyc": ("0.1,0.1,1,4", {}),
    "histograms": (True, {}),
    "lanes": (3, {}),
    "engine": ("inline", {}),
    "workers": (3, {}),
    "cpus_per_worker": (2, {}),
    "gpus_per_worker": (0.5, {}),
    "wait_for_resources": (True, {}),
    "address": ("host:6379", {}),
    "device": ("cpu", {}),
    "out": (Path("elsewhere"), {}),
}


class TestOneDefinition:
    @pytest.mark.parametrize("name", Settings.model_fields)
    def test_training_settings_change_with_what_determines_a_lane_and_with_nothing_else(self, name: str) -> None:
        base = resolve({})
        value, changes = CHANGED[name]
        assert value != getattr(base, name)
        found = dataclasses.asdict(base.model_copy(update={name: value}).training())
        assert found == dataclasses.asdict(base.training()) | changes

    def test_every_setting_of_training_can_be_set(self) -> None:
        reached = {setting for _, changes in CHANGED.values() for setting in changes}
        reached |= {"score_batches", "model_source"}  # of gradient criteria, and of a user's own network
        assert reached == {field.name for field in dataclasses.fields(TrainSpec)}

    def test_every_promised_flag_is_a_setting(self) -> None:
        flags = """preset model dataset data-dir download split pruning prune-rate keep-output cycles runs seed max-lr
        tolerance tolerance-kind confidence score decide rewind steps batch-size scale eval-every lanes engine
        workers address device out scyc"""
        assert {flag.replace("-", "_") for flag in flags.split()} <= set(Settings.model_fields)

    def test_settings_survive_their_way_through_a_manifest(self) -> None:
        settings = resolve({"runs": 2, "eval_every": 7, "out": Path("elsewhere"), "lanes": 4})
        assert Settings.model_validate(settings.model_dump(mode="json")) == settings
        assert Settings.model_validate_json(settings.model_dump_json()).training() == settings.training()

    def test_a_copy_with_another_grid_has_another_grid(self) -> None:
        settings = resolve({"max_lr": "0.1,0.2"})
        assert settings.grid.values == (0.1, 0.2)
        assert settings.model_copy(update={"max_lr": "0.3"}).grid.values == (0.3,)

    def test_a_grid_is_parsed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = resolve({"max_lr": "0.1,0.2"})
        assert settings.grid is settings.grid is resolve({"max_lr": "0.1,0.2"}).grid
