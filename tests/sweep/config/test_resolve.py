"""How settings come together: in what order, how steps scale, and what is refused in which words."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.config.messages import nearest, printable, shown
from sweep.config.presets import PRESETS
from sweep.config.resolve import changed, resolve
from sweep.errors import SettingsError
from trainables.spec import Schedule

WriteToml = Callable[[str], Path]


@pytest.fixture
def toml(tmp_path: Path) -> WriteToml:
    def write(text: str) -> Path:
        path = tmp_path / "sweep.toml"
        path.write_text(text)
        return path

    return write


class TestOrder:
    def test_without_any_setting_it_is_the_digits_preset(self) -> None:
        settings = resolve({})
        assert settings.preset == "digits" and settings.folder == Path("results/digits")
        assert {name: getattr(settings, name) for name in PRESETS["digits"].settings} == PRESETS["digits"].settings

    def test_toml_goes_over_the_preset_and_flags_over_toml(self, toml: WriteToml) -> None:
        config = toml("runs = 7\nseed = 3\nmax_lr = '0.1,0.2'\nhidden = [8, 4]\n")
        settings = resolve({"runs": 2, "momentum": 0.5}, config)
        assert (settings.runs, settings.momentum) == (2, 0.5)
        assert (settings.seed, settings.max_lr, settings.hidden) == (3, "0.1,0.2", (8, 4))
        assert (settings.cycles, settings.batch_size) == (15, 32)

    def test_a_flag_that_was_not_given_hides_nothing(self, toml: WriteToml) -> None:
        assert resolve({"runs": None}, toml("runs = 7")).runs == 7

    @pytest.mark.parametrize(
        ("flags", "text", "preset", "model", "dataset"),
        [
            ({"model": "resnet20"}, "", "resnet20", "resnet20", "cifar10"),
            ({"model": "mlp"}, "", "mlp", "mlp", "fashion_mnist"),
            ({"model": "mlp", "preset": "digits"}, "", "digits", "mlp", "digits"),
            ({"model": "resnet20", "preset": "digits"}, "", "digits", "resnet20", "digits"),
            ({}, "model = 'resnet20'", "resnet20", "resnet20", "cifar10"),
            ({"model": "mlp"}, "model = 'resnet20'", "mlp", "mlp", "fashion_mnist"),
            ({"preset": "mlp"}, "preset = 'resnet20'", "mlp", "mlp", "fashion_mnist"),
            ({"model": "resnet20"}, "preset = 'digits'", "digits", "resnet20", "digits"),
            ({"dataset": "digits"}, "model = 'mlp'", "mlp", "mlp", "digits"),
        ],
    )
    def test_a_model_without_a_preset_takes_the_preset_of_its_name(
        self, toml: WriteToml, flags: dict[str, Any], text: str, preset: str, model: str, dataset: str
    ) -> None:
        settings = resolve(flags, toml(text))
        assert (settings.preset, settings.model, settings.dataset) == (preset, model, dataset)

    def test_results_lie_where_out_says(self) -> None:
        assert resolve({"preset": "mlp"}).folder == Path("results/mlp")
        assert resolve({"out": Path("elsewhere")}).folder == Path("elsewhere")


class TestSteps:
    @pytest.mark.parametrize(
        ("flags", "steps", "warmup", "milestones"),
        [
            ({}, 510, 82, (255, 382)),
            ({"steps": 1020}, 1020, 164, (510, 764)),
            ({"steps": 100}, 100, 16, (50, 75)),  # 16.08, 50, 74.9
            ({"scale": 0.1}, 51, 8, (26, 38)),  # 8.2, 25.5, 38.2
            ({"scale": 2.0}, 1020, 164, (510, 764)),
            ({"steps": 1020, "scale": 0.5}, 510, 82, (255, 382)),
            ({"steps": 100, "milestones": (40, 60)}, 100, 16, (40, 60)),
            ({"steps": 100, "milestones": ()}, 100, 16, ()),
            ({"steps": 100, "warmup_steps": 10}, 100, 10, (50, 75)),
            ({"steps": 100, "warmup_steps": 10, "milestones": (40, 60), "scale": 2.0}, 200, 20, (80, 120)),
            ({"milestones": (100, 200), "warmup_steps": 0}, 510, 0, (100, 200)),
            ({"model": "resnet20", "scale": 0.01}, 630, 200, (200, 250)),
            ({"model": "resnet20", "steps": 6300}, 6300, 2000, (2000, 2500)),
            ({"model": "mlp", "scale": 0.01}, 3285, 0, ()),
        ],
    )
    def test_warmup_and_milestones_go_along_unless_they_are_given(
        self, flags: dict[str, Any], steps: int, warmup: int, milestones: tuple[int, ...]
    ) -> None:
        settings = resolve(flags)
        assert (settings.steps, settings.warmup_steps, settings.milestones) == (steps, warmup, milestones)
        assert (settings.training().steps, settings.training().schedule.milestones) == (steps, milestones)

    @pytest.mark.parametrize(
        ("flags", "cycle_steps"),
        [({}, 64), ({"scale": 2.0}, 128), ({"cycle_steps": 10}, 10), ({"cycle_steps": 10, "scale": 2.0}, 20)],
    )
    def test_cycle_steps_are_an_eighth_of_the_steps_unless_given(self, flags: dict[str, Any], cycle_steps: int) -> None:
        assert resolve({"schedule": "cyclical", **flags}).training().schedule == Schedule(
            "cyclical", cycle_steps=cycle_steps
        )

    @pytest.mark.parametrize("schedule", ["constant", "decay", "cyclical"])
    def test_what_belongs_to_the_warmup_does_not_count_elsewhere(self, schedule: str) -> None:
        training = resolve({"schedule": schedule}).training()
        assert (training.schedule.warmup_steps, training.schedule.milestones) == (0, ())

    def test_steps_from_a_toml_file_rescale_as_those_of_a_flag(self, toml: WriteToml) -> None:
        assert resolve({}, toml("steps = 100")).training() == resolve({"steps": 100}).training()
        assert resolve({}, toml("steps = 100\nmilestones = [40, 60]")).milestones == (40, 60)

    @given(st.integers(20, 10**7))
    def test_any_length_keeps_the_schedule_s_proportions_to_half_a_step(self, steps: int) -> None:
        settings = resolve({"steps": steps})
        assert abs(settings.warmup_steps - steps * 82 / 510) <= 0.5
        assert all(abs(m - steps * p / 510) <= 0.5 for m, p in zip(settings.milestones, (255, 382), strict=True))


REJECTED = [
    # What was given; the one line that is said: rule, value, choices or the nearest name.
    ({"model": "resnet"}, "unknown network 'resnet'; did you mean resnet50? Or give package.module:function"),
    (
        {"preset": "digit"},
        "unknown preset 'digit'; did you mean digits? Known are digits, mlp, resnet20, vgg19, resnet50, "
        "alexnet, vgg16, resnet20-adam and resnet20-rmsprop",
    ),
    (
        {"preset": "zzz"},
        "unknown preset 'zzz'; known are digits, mlp, resnet20, vgg19, resnet50, alexnet, vgg16, "
        "resnet20-adam and resnet20-rmsprop",
    ),
    ({"lane": 3}, "unknown setting 'lane'; did you mean lanes?"),
    ({"dataset": "cifar"}, "unknown data set 'cifar'; did you mean cifar10? Or give package.module:function"),
    (
        {"pruning": "magnitude"},
        "unknown pruning 'magnitude'; did you mean layer_magnitude? Known are global_magnitude, "
        "layer_magnitude, global_gradient, layer_gradient, l1_filter, taylor_bn, random, random_filter, "
        "none and imp",
    ),
    ({"split": "pool"}, "unknown split 'pool'; did you mean pooled? Known are pooled and fixed_test"),
    ({"score": "final"}, "unknown score 'final'; known are best and last"),
    ({"decide": "alone"}, "unknown way to decide 'alone'; known are shared and per_run"),
    ({"rewind": "early"}, "--rewind takes none, init or a whole number, but got 'early'"),
    (
        {"schedule": "cosine"},
        "unknown schedule 'cosine'; known are warmup, constant, decay, cyclical, ft, lrw, slr and clr",
    ),
    ({"tolerance_kind": "both"}, "unknown tolerance kind 'both'; known are absolute and relative"),
    ({"engine": "dask"}, "unknown engine 'dask'; known are ray and inline"),
    ({"device": "tpu"}, "unknown device 'tpu'; did you mean cpu? Known are auto, cpu and cuda"),
    ({"dtype": "float16"}, "unknown dtype 'float16'; did you mean float64? Known are float32 and float64"),
    ({"max_lr": "1:0.1:x5"}, "--max-lr: LO < HI must hold in a max_lr grid, but got LO=1, HI=0.1"),
    ({"max_lr": "0.2,0.1"}, "--max-lr: max_lr values must increase, but got 0.1 after 0.2 (at 6 significant digits)"),
    ({"max_lr": "0.1:inf:x5"}, "--max-lr: max_lr values must be finite, but got inf"),
    ({"max_lr": "0.1,nan"}, "--max-lr: max_lr values must be finite, but got nan"),
    ({"max_lr": "0,1"}, "--max-lr: max_lr values must be positive, but got 0"),
    ({"max_lr": "-1,1"}, "--max-lr: max_lr values must be positive, but got -1"),
    (
        {"max_lr": "high"},
        "--max-lr: a max_lr grid is LO:HI:STEP (linear), LO:HI:xN (N geometric points) or a comma list, but got 'high'",
    ),
    ({"max_lr": "0.1:1:x1"}, "--max-lr: xN of a max_lr grid must have N >= 2, but got x1"),
    ({"prune_rate": 0.0}, "--prune-rate must be above 0, but got 0"),
    ({"prune_rate": 1.0}, "--prune-rate must be below 1, but got 1"),
    ({"prune_rate": -0.2}, "--prune-rate must be above 0, but got -0.2"),
    ({"prune_rate": float("nan")}, "--prune-rate takes a finite number, but got nan"),
    ({"cycles": -1}, "--cycles must be at least 0, but got -1"),
    ({"runs": 0}, "--runs must be at least 1, but got 0"),
    ({"seed": -1}, "--seed must be at least 0, but got -1"),
    ({"steps": 0}, "--steps must be at least 1, but got 0"),
    ({"steps": -5}, "--steps must be at least 1, but got -5"),
    ({"batch_size": 0}, "--batch-size must be at least 1, but got 0"),
    ({"eval_every": 0}, "--eval-every must be at least 1, but got 0"),
    ({"cpus_per_worker": 0}, "--cpus-per-worker must be at least 1, but got 0"),
    ({"lanes": 0}, "--lanes must be auto or at least 1, but got 0"),
    ({"lanes": "many"}, "--lanes takes auto or a whole number, but got 'many'"),
    ({"workers": -2}, "--workers must be auto or at least 1, but got -2"),
    ({"momentum": 1.0}, "--momentum must be below 1, but got 1"),
    ({"weight_decay": -1.0}, "--weight-decay must be at least 0, but got -1"),
    ({"weight_decay": float("inf")}, "--weight-decay takes a finite number, but got inf"),
    ({"tolerance": -0.5}, "--tolerance must be at least 0, but got -0.5"),
    ({"confidence": 1.0}, "--confidence must be below 1, but got 1"),
    ({"confidence": 0.5}, "--confidence must be above 0.5, but got 0.5"),
    ({"tolerance": float("nan")}, "--tolerance takes a finite number, but got nan"),
    ({"scale": 0.0}, "--steps must be at least 1, but got 0; --scale must be above 0, but got 0"),
    ({"scale": float("inf")}, "--scale takes a finite number, but got inf"),
    ({"scale": 1e-09}, "--steps must be at least 1, but got 0"),
    ({"scale": 1e308}, "--steps times --scale must be finite, but got 510 and 1e+308"),
    ({"hidden": (64, 0)}, "--hidden: hidden sizes must be at least 1, but got [64, 0]"),
    ({"warmup_steps": -1}, "--warmup-steps must be at least 0, but got -1"),
    ({"warmup_steps": 511}, "warmup_steps must lie in 0..steps=510, but got 511"),
    ({"milestones": (300, 200)}, "milestones must increase, but got [300, 200]"),
    ({"milestones": (10,)}, "milestones must lie after the warmup and before the end, 82..509, but got [10]"),
    ({"milestones": (510,)}, "milestones must lie after the warmup and before the end, 82..509, but got [510]"),
    (
        {"pruning": "imp", "rewind": "none"},
        "pruning imp rewinds by definition; for none, give --pruning global_magnitude",
    ),
    ({"scyc": "1,2,3"}, "--scyc: S-Cyc parameters are EPS,DELTA,Q,BETA, such as 0.04,0.06,1,4, but got '1,2,3'"),
    ({"scyc": "0.1,0.1,1.5,4"}, "--scyc: q must be an integer >= 0, but got 1.5"),
    ({"scyc": "-1,0.1,1,4"}, "--scyc: epsilon must be finite and > 0, but got -1.0"),
    (
        {"address": "ray://head:10001"},
        "--address: ray://head:10001 would run the driver's part inside the cluster, away from the "
        "results folder; give HOST:PORT (usually port 6379) from a machine of the cluster",
    ),
]


REJECTED_TOML = [
    # Likewise; {} is the file.
    ("lanez = 3", "{}: unknown key 'lanez'; did you mean lanes?"),
    ("max-lr = '0.1'", "{}: unknown key 'max-lr'; did you mean max_lr?"),
    ("[oracle]\nruns = 2", "{}: unknown key 'oracle'"),
    ("runs = '3'", "{}: runs takes a whole number, but got '3'"),
    ("runs = true", "{}: runs takes a whole number, but got true"),
    ("runs = 3.0", "{}: runs takes a whole number, but got 3.0"),
    ("runs = 2020-01-01", "{}: runs takes a whole number, but got 2020-01-01"),
    ("lanes = true", "{}: lanes takes auto or a whole number, but got true"),
    ("lanes = '3'", "{}: lanes takes auto or a whole number, but got '3'"),
    ("prune_rate = '0.2'", "{}: prune_rate takes a number, but got '0.2'"),
    ("max_lr = true", "--max-lr: max_lr values must be numbers, but got True"),
    ("max_lr = [0.2, 0.1]", "--max-lr: max_lr values must increase, but got 0.1 after 0.2 (at 6 significant digits)"),
    ("keep_output = 1", "{}: keep_output takes true or false, but got 1"),
    ("hidden = 64", "{}: hidden takes a list, but got 64"),
    ("hidden = ['64']", "{}: hidden takes whole numbers, but got '64'"),
    ("hidden = [true]", "{}: hidden takes whole numbers, but got true"),
    ("milestones = [300.0]", "{}: milestones takes whole numbers, but got 300.0"),
    ("out = 3", "{}: out takes text, but got 3"),
    ("dataset = 'cifar'", "{}: unknown data set 'cifar'; did you mean cifar10? Or give package.module:function"),
    ("model = 'resnet'", "{}: unknown network 'resnet'; did you mean resnet50? Or give package.module:function"),
    (
        "preset = 'digit'",
        "unknown preset 'digit'; did you mean digits? Known are digits, mlp, resnet20, vgg19, resnet50, "
        "alexnet, vgg16, resnet20-adam and resnet20-rmsprop",
    ),
    ("runs = -1", "--runs must be at least 1, but got -1"),
    ("runs =", "{} is no TOML file: Invalid value (at end of document)"),
]


class TestRejected:
    @pytest.mark.parametrize(("flags", "line"), REJECTED, ids=lambda value: str(value)[:40])
    def test_a_wrong_setting_is_one_line_with_rule_value_and_choices(self, flags: dict[str, Any], line: str) -> None:
        with pytest.raises(SettingsError) as raised:
            resolve(flags)
        assert str(raised.value) == line

    @pytest.mark.parametrize(("text", "line"), REJECTED_TOML, ids=lambda value: str(value)[:40])
    def test_a_wrong_toml_file_is_refused_likewise(self, toml: WriteToml, text: str, line: str) -> None:
        path = toml(text)
        with pytest.raises(SettingsError) as raised:
            resolve({}, path)
        assert str(raised.value) == line.replace("{}", str(path))

    def test_what_toml_writes_with_its_own_types_is_accepted(self, toml: WriteToml) -> None:
        settings = resolve(
            {}, toml("lanes = 3\nworkers = 'auto'\nscale = 2\nhidden = []\ndata_dir = 'd'\nkeep_output = true")
        )
        assert (settings.lanes, settings.workers, settings.scale, settings.hidden) == (3, "auto", 2.0, ())
        assert (settings.data_dir, settings.keep_output) == (Path("d"), True)

    @pytest.mark.parametrize("content", [b"\xff\xfe", None])
    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "sweep.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match=r"sweep\.toml (cannot be read|is no TOML file): ") as raised:
            resolve({}, path)
        assert "\n" not in str(raised.value)

    def test_a_folder_is_no_toml_file(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="cannot be read"):
            resolve({}, tmp_path)

    def test_several_wrong_settings_are_all_named(self) -> None:
        with pytest.raises(
            SettingsError, match=r"^--runs must be at least 1, but got 0; --momentum must be below 1, but got 2$"
        ):
            resolve({"runs": 0, "momentum": 2.0})


def test_the_nearest_name_is_offered_only_if_there_is_one() -> None:
    assert nearest("cycle", ["cycles", "runs"]) == "; did you mean cycles?"
    assert nearest("zzz", ["cycles", "runs"]) == ""


@pytest.mark.parametrize("other", [{"images": 500}, {"model": "resnet20", "preset": "digits"}, {"dataset": "cifar10"}])
def test_a_preset_has_an_scyc_for_its_own_network_and_whole_data_set_alone(other: dict[str, Any]) -> None:
    assert resolve({}).scyc is not None
    assert resolve(other).scyc is None
    assert resolve(other | {"scyc": "0.1,0.2,1,4"}).scyc == "0.1,0.2,1,4"


def test_scyc_parameters_are_kept_in_their_shortest_form() -> None:
    assert resolve({"scyc": "4e-2, 0.060,1,4.0"}).scyc == "0.04,0.06,1,4"


@pytest.mark.parametrize("name", ["config", "plan", "pilot", "json"])
def test_a_flag_of_the_command_is_no_setting(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(f"{name} = 3")
    with pytest.raises(SettingsError) as raised:
        resolve({}, path)
    assert str(raised.value) == f"{path}: {name} is a flag of the command and not a setting"


@pytest.mark.parametrize(
    "grid", [[0.01, 0.1], (0.01, 0.1), np.array([0.01, 0.1]), np.array([0.01, 0.1], dtype="float32"), "0.01,0.1"]
)
def test_python_gives_a_grid_as_numbers(grid: Any) -> None:
    assert resolve({"max_lr": grid}).max_lr == "0.01,0.1"


def test_toml_gives_a_grid_as_numbers_too(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text("max_lr = [0.01, 0.1]")
    assert resolve({}, tmp_path / "sweep.toml").max_lr == "0.01,0.1"
    assert resolve({"max_lr": 0.1}).max_lr == "0.1"


def test_a_function_of_a_module_goes_by_its_name() -> None:
    assert resolve({"dataset": printable}).dataset == "sweep.config.messages:printable"
    assert resolve({"preset": "digits", "model": shown}).model == "sweep.config.messages:shown"


def _scripted(shape: object, classes: int) -> None: ...


_scripted.__module__ = "__main__"


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda shape, classes: None, "a lambda has no name"),
        (partial(printable, "x"), "partial is no function of a module"),
        (Path.exists, "Path.exists is defined inside something else"),
        (_scripted, "_scripted is defined in a script or notebook, which workers do not run"),
    ],
    ids=["lambda", "partial", "method", "script"],
)
@pytest.mark.parametrize("setting", ["model", "dataset"])
def test_a_function_that_workers_would_not_find_is_refused_with_the_reason(
    setting: str, function: Callable[..., Any], why: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        resolve({"preset": "digits", setting: function})
    assert why in str(raised.value) and "give a def of a file, such as nets.py" in str(raised.value)
    assert str(raised.value).startswith(f"--{setting}: ")


def test_a_later_training_may_be_told_the_engine_alone() -> None:
    oracle = resolve({"address": "head:6379"})
    assert changed(oracle, {"engine": "inline"}).engine == "inline"
