"""The whole sweep as one validated object. In: a preset, a TOML file, flags. Out: `Settings`.

Every setting is defined here once: the command line's flags, their help, the TOML keys and the checks all come from
`Settings`. No torch, no ray. Next: `sweep.experiments.runner` carries it out.
"""

import inspect
import math
import tomllib
from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Optional, Self, TypeVar, Union, cast, get_args, get_origin, overload

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from search_spaces.max_lr import MaxLrGrid
from search_spaces.scyc import SCyc
from sweep.config.messages import USERS_OWN, nearest, one_line, unknown
from sweep.config.presets import PRESETS
from sweep.errors import SpecError
from trainables import users_own
from trainables.spec import (
    GRADIENT_CRITERIA,
    CriterionName,
    DatasetName,
    DtypeName,
    ModelName,
    OptimizerName,
    RewindName,
    Schedule,
    ScheduleName,
    ScoreName,
    SplitName,
    TrainSpec,
    names,
)
from trainables.storage import Location, expanded, locate, reason

Place = Annotated[
    str,
    BeforeValidator(lambda place: str(place) if isinstance(place, Location) else place),
    AfterValidator(lambda place: str(locate(place)) and place),  # raises ValueError for what is none
]
"""A path, or a URI of a bucket, which a Path would spoil."""
LocalFolder = Annotated[Path, AfterValidator(lambda path: expanded(path) and path)]  # raises ValueError likewise
UsersOwn = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
PruningName = Literal[CriterionName, "imp"]
MAX_LANES = 200_000
"""Lanes of a cycle: a folder that claims more would take minutes to open."""


class Settings(BaseModel):
    """Everything that a sweep is told. Construct it with `resolve`, which fills in the preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: str = Field(
        description="Settings to start from; see `scyc-sweep presets`. Default: that of --model, or digits."
    )
    model: ModelName | UsersOwn = Field(
        description="Network; without --preset it takes the preset of this name. Or a package.module:function of your "
        "own, called with (shape, classes), where shape is (channels, height, width)."
    )
    hidden: tuple[int, ...] = Field(description="Widths of the hidden layers of `mlp`.")
    batch_norm: bool = Field(False, description="Batch norm in the hidden layers of `mlp` (Figure 3).")
    dataset: DatasetName | UsersOwn = Field(
        description="Data set. Or a package.module:function of your own, called with the data folder, that returns "
        "(images, labels): bytes of shape (images, channels, height, width), and integers. As a third value it may "
        "return how many of the last images are the test part."
    )
    images: int | None = Field(
        None,
        ge=1,
        description="Take so many images of the data set: a fixed part, with its shares of classes and of the test "
        "part. To try a large network where there is no GPU. Default: all.",
    )
    data_dir: LocalFolder = Field(Path("data"), description="Folder of the data sets, laid out as torchvision does.")
    download: bool = Field(False, description="Fetch the data set into --data-dir if it is not there.")
    split: SplitName = Field(
        "pooled",
        description="pooled: all images at random 60/20/20 by the run's seed. fixed_test: one test part for all runs.",
    )
    pruning: PruningName = Field(
        description="Which weights go, lowest score first, over the network or in each layer: |weight|; |weight x "
        "gradient|; whole filters by L1 norm or by Taylor importance at batch-norm gates; at random; imp (global "
        "magnitude, then rewound to the initial weights); none (the control: mere retraining)."
    )
    score_batches: int | None = Field(
        None, ge=1, description="Training batches that gradient scores are taken over. Default: the training split."
    )
    prune_rate: float = Field(
        0.2, gt=0, lt=1, description="Share of the surviving prunable weights that a cycle removes."
    )
    keep_output: bool = Field(False, description="Never prune the output layer.")
    rewind: RewindName | int | None = Field(
        None,
        description="init: after pruning, survivors go back to their initial values; a number: to those after so many "
        "steps of cycle 0 (late rewinding). Default: as --pruning says.",
    )
    cycles: int = Field(ge=0, le=1_000, description="Prunings; cycles 0 to N are trained.")
    runs: int = Field(
        5, ge=1, le=10_000, description="Repetitions, each with its own split, initial weights and batch order."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the whole sweep; each run derives its own from it.")
    max_lr: str = Field(
        description="Grid of max_lr: LO:HI:STEP (linear), LO:HI:xN (geometric, N points) or a comma list."
    )
    tolerance: float = Field(
        0.5, ge=0, lt=100, description="How far below the best accuracy a max_lr is still feasible."
    )
    tolerance_kind: Literal["absolute", "relative"] = Field(
        "absolute", description="absolute: percent points. relative: percent of the best accuracy."
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="How sure statements about a cycle must be, all of them together."
    )
    score: ScoreName = Field(
        "best",
        description="best: highest validation accuracy after the warmup (early stopping). last: at the last step.",
    )
    decide: Literal["shared", "per_run"] = Field(
        "shared",
        description="shared: one max_lr a cycle for all runs, by their mean. per_run: each run is its own oracle.",
    )
    schedule: ScheduleName = Field(
        description="Learning rate within a cycle: Table 1 of the S-Cyc paper, or for retraining after a cycle 0 of "
        "warmup: ft, the smallest rate; lrw, the last rates; slr, all squeezed behind a short warmup; clr, one cosine "
        "cycle (Le and Hua)."
    )
    steps: int = Field(
        ge=1, description="Optimizer steps a cycle. Given alone, it rescales the preset's warmup and milestones too."
    )
    retrain_steps: int | None = Field(
        None, ge=1, description="Optimizer steps of each cycle after cycle 0. Default: --steps."
    )
    warmup_steps: int = Field(ge=0, description="Steps over which the rate rises from 0 to max_lr.")
    milestones: tuple[int, ...] = Field(description="Steps at which the rate drops tenfold.")
    cycle_steps: int | None = Field(
        None, ge=1, description="cyclical: steps from rate 0 to max_lr. Default: an eighth of --steps, as in Table 9."
    )
    scale: float = Field(
        1.0, gt=0, description="Multiplies steps, retrain_steps, warmup_steps, milestones and cycle_steps."
    )
    batch_size: int = Field(ge=1, description="Images a step.")
    optimizer: OptimizerName = Field("sgd", description="Optimizer, as torch.optim has it.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd and rmsprop; first beta of adam.")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay (L2), on all parameters.")
    eval_every: int | None = Field(None, ge=1, description="Steps between evaluations. Default: once an epoch.")
    dtype: DtypeName = Field("float32", description="Precision of weights and arithmetic.")
    scyc: str | None = Field(
        None,
        description="S-Cyc parameters EPS,DELTA,Q,BETA to compare the oracle with, or none. Default: the preset's, for "
        "the preset's model and whole data set only.",
    )
    histograms: bool = Field(
        False, description="Measure in the end how gradients and activations are distributed, as `gradients` does."
    )
    lanes: Literal["auto"] | int = Field(
        "auto", description="Networks stacked in a pack. auto: measured on the machine at hand."
    )
    engine: Literal["ray", "inline"] = Field(
        "ray", description="ray: packs as trials of one Ray Tune experiment. inline: in this process, one by one."
    )
    workers: Literal["auto", "max"] | int = Field(
        "auto",
        description="Packs that the ray engine trains at a time. auto: one a GPU; without GPUs one a core. max: "
        "as many as an autoscaling cluster may grow to.",
    )
    cpus_per_worker: int = Field(
        1,
        ge=1,
        description="CPU cores and threads of a worker. More suit large networks on cores that nothing else uses; the "
        "last bits of results depend on it.",
    )
    gpus_per_worker: float | None = Field(
        None,
        gt=0,
        description="GPUs of a worker; with 0.5 two share one. Default: 1, or what there is divided by --workers.",
    )
    wait_for_resources: bool = Field(
        False, description="Wait for a cluster that is smaller than asked. Default: say what there is, and end."
    )
    address: str | None = Field(
        None, description="Ray cluster to use (HOST:PORT or auto). Default: RAY_ADDRESS, else a local Ray."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where packs train. auto: cuda where there is one."
    )
    out: Place | None = Field(
        None,
        description="Results folder: a path, s3://BUCKET/PATH or gs://BUCKET/PATH; the same command goes on there. "
        "Default: results/PRESET.",
    )

    @field_validator("max_lr", mode="before")
    @classmethod
    def _grid(cls, given: object) -> object:
        if isinstance(given, str):
            MaxLrGrid.parse(given)
        elif isinstance(given, Iterable | Real):  # in Python: numbers
            values = given if isinstance(given, Iterable) else [given]
            return str(MaxLrGrid(tuple(map(_plain, values))))
        return given

    @field_validator("scyc")
    @classmethod
    def _scyc(cls, text: str | None) -> str | None:
        return None if text in (None, "none") else str(SCyc.parse(text))

    @field_validator("hidden")
    @classmethod
    def _hidden(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < 1 for size in sizes):
            raise ValueError(f"hidden sizes must be at least 1, but got {list(sizes)}")
        return sizes

    @field_validator("lanes", "workers")
    @classmethod
    def _count(cls, count: int | str) -> int | str:
        if isinstance(count, int) and count < 1:
            raise ValueError(f"must be auto or at least 1, but got {count}")
        return count

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus % 1:
            raise ValueError(f"must be a share of one GPU or a whole number, but got {gpus:g}")
        return gpus

    @field_validator("address")
    @classmethod
    def _address(cls, address: str | None) -> str | None:
        if address is not None and address.startswith("ray://"):
            raise ValueError(
                f"{address} would run the driver's part inside the cluster, away from the results folder; "
                "give HOST:PORT (usually port 6379) from a machine of the cluster"
            )
        return address

    @model_validator(mode="before")
    @classmethod
    def _rewinds(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("pruning") == "imp" and values.get("rewind") == "none":
            raise ValueError("pruning imp rewinds by definition; for none, give --pruning global_magnitude")
        if values.get("rewind") is None:
            values = values | {"rewind": "init" if values.get("pruning") == "imp" else "none"}
        return values

    _model_files: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _trains(self, info: ValidationInfo) -> Self:
        # Results are opened wherever the file is now and whatever it says: what counts is what they came from.
        if info.context is not None:
            self._model_files = info.context["model_files"]
        elif ":" in self.model:
            try:
                self._model_files = users_own.digests(self.model)
            except ValueError as error:
                raise ValueError(f"--model {error}") from error
        self.training()  # raises ValueError where the schedule does not fit the steps
        lanes = self.runs * max(self.lanes_per_round, len(MaxLrGrid.parse(self.max_lr).values))
        if lanes > MAX_LANES:
            raise ValueError(
                f"a cycle may have at most {MAX_LANES:,} lanes (--runs times its points), but got {lanes:,}"
            )
        return self

    @property
    def model_files(self) -> dict[str, str]:
        """The digests of the files that the code of a user's own network lies in; empty for the other networks."""
        return self._model_files

    @property
    def folder(self) -> Location:
        """The results folder."""
        return locate(self.out or f"results/{self.preset}")

    @property
    def data_folder(self) -> Path:
        """The folder of the data sets, which is the same for workers in other folders."""
        return expanded(self.data_dir).resolve()

    @property
    def lanes_per_round(self) -> int:
        """Lanes of a run and cycle that train side by side, before the grid is extended."""
        return len(MaxLrGrid.parse(self.max_lr).values)

    @property
    def rounds(self) -> list[tuple[int, int]]:
        """What is trained one after another, as far as it is known beforehand: cycle, and lanes of each run."""
        return [(cycle, self.lanes_per_round) for cycle in range(self.cycles + 1)]

    @property
    def growth(self) -> list[tuple[int, int]]:
        """What extensions of the grid add to `rounds` at most: as far as it may grow, in every cycle."""
        rounds = MaxLrGrid.parse(self.max_lr).growth
        return [(cycle, width) for cycle in range(self.cycles + 1) for width in rounds]

    @property
    def own_parents(self) -> bool:
        """Whether each lane of a pack continues from a network of its own; an oracle's lanes share one winner."""
        return False

    @property
    def peak_states(self) -> int:
        """How many states may lie on disk at once, if no lane can be ruled out before its cycle's end."""
        early = self.lanes_per_round if isinstance(self.rewind, int) else 0
        return self.runs * (self.lanes_per_round + early + self.cycles + 1)

    def schedule_named(self, name: ScheduleName) -> Schedule:
        """Return a schedule of this sweep: what it takes of warmup, milestones and cycle_steps."""
        if name == "warmup" and not self.warmup_steps and not self.milestones:
            name = "constant"  # which it is, and goes by that name
        if name in ("constant", "decay"):
            return Schedule(name)
        if name == "cyclical":
            return Schedule(name, cycle_steps=self.cycle_steps or max(1, round(self.steps / 8)))
        return Schedule(name, self.warmup_steps, self.milestones)

    def training(self) -> TrainSpec:
        """Return the part that determines how a lane trains; changing it makes another experiment."""
        assert self.rewind is not None
        return TrainSpec(
            model=self.model,
            model_source=users_own.digest(self._model_files),
            hidden=self.hidden if self.model == "mlp" else (),
            batch_norm=self.batch_norm and self.model == "mlp",
            dataset=self.dataset,
            images=self.images,
            split=self.split,
            pruning="global_magnitude" if self.pruning == "imp" else self.pruning,
            prune_rate=self.prune_rate,
            keep_output=self.keep_output,
            score_batches=self.score_batches if self.pruning in GRADIENT_CRITERIA else None,
            rewind=self.rewind,
            schedule=self.schedule_named(self.schedule),
            steps=self.steps,
            retrain_steps=None if self.retrain_steps == self.steps else self.retrain_steps,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            eval_every=self.eval_every,
            score=self.score,
            dtype=self.dtype,
        )


def flags_of(settings: type[Settings], without: Collection[str] = ()) -> type[BaseModel]:
    """Return the settings of settings as they may be given on a command line: each may be left out.

    `without`: settings that mean nothing to this command. (In a TOML file they may stand, for other commands.)
    """
    return create_model(  # type: ignore[call-overload, no-any-return]
        "Flags",
        __doc__="The settings as they may be given on a command line: each may be left out.",
        **{
            name: (Optional[field.annotation], Field(None, description=field.description))  # noqa: UP045 - a variable
            for name, field in settings.model_fields.items()
            if name not in without
        },
    )


Flags: type[BaseModel] = flags_of(Settings)
"""Every setting of `Settings`, optional: the command line reads its flags, types and help from here."""

EXECUTION = (
    "data_dir",
    "download",
    "engine",
    "workers",
    "cpus_per_worker",
    "gpus_per_worker",
    "wait_for_resources",
    "address",
    "device",
)
"""Settings that say where and how lanes train: a folder's later trainings may be told others than its own."""

ExecutionFlags: type[BaseModel] = flags_of(Settings, without=Settings.model_fields.keys() - EXECUTION)


AnySettings = TypeVar("AnySettings", bound=Settings)


def changed(settings: Settings, changes: Mapping[str, Any], kind: type[AnySettings] | None = None) -> Any:
    """Return the settings of a sweep with some of them replaced, and a user's network as its files are now.

    `kind`: as settings of another kind of sweep. Raises SpecError as `resolve`.
    """
    _check_engine(changes)
    try:
        return (kind or type(settings)).model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        raise SpecError(one_line(error)) from error


@overload
def resolve(flags: Mapping[str, Any], config: Path | None = None) -> Settings: ...
@overload
def resolve(flags: Mapping[str, Any], config: Path | None = None, *, kind: type[AnySettings]) -> AnySettings: ...
def resolve(flags: Mapping[str, Any], config: Path | None = None, *, kind: type[Any] = Settings) -> Any:
    """Return the settings: the preset's settings, over them those of a TOML file, over them the flags.

    `flags` leaves out, or has None for, what was not given. `steps` given without `warmup_steps` or `milestones`
    rescales the preset's; `scale` then multiplies all three.
    Raises SpecError, one line with the rule, the value and the choices.
    """
    given = (read_toml(config, kind) if config else {}) | {name: v for name, v in flags.items() if v is not None}
    for name in ("model", "dataset"):
        if callable(given.get(name)):
            try:
                given[name] = users_own.name_of(given[name])
            except ValueError as error:
                raise SpecError(f"--{name}: {error}") from error
    for name in given:
        if name not in kind.model_fields:
            raise SpecError(_no_setting(name, "setting", kind))
    _check_engine(given)
    preset = given.get("preset", given.get("model", "digits"))
    if "preset" not in given and ":" in str(preset):
        raise SpecError(f"--model {preset} needs a --preset to start from; known are {', '.join(PRESETS)}")
    if preset not in PRESETS:
        if "preset" in given:
            raise SpecError(unknown("preset", preset, list(PRESETS)))
        raise SpecError(unknown("network", preset, names(ModelName), USERS_OWN))
    base = PRESETS[preset].settings
    # What a kind gives a default of its own, such as the schedule that a tuning tunes, is not for the preset to say.
    own = set() if kind is Settings else inspect.get_annotations(kind).keys()
    settings = {name: value for name, value in base.items() if name not in own} | given | {"preset": preset}
    others = any(settings[name] != base[name] for name in ("model", "dataset")) or settings.get("images") is not None
    if "scyc" not in given and others:
        settings["scyc"] = None  # it was found for the preset's network and data
    try:
        factor = float(settings.get("scale", 1.0))
        stretched = max(0.0, factor * float(settings["steps"]) / base["steps"])
        for name, multiplier in (
            ("steps", factor),
            ("retrain_steps", factor),
            ("warmup_steps", factor if "warmup_steps" in given else stretched),
            ("milestones", factor if "milestones" in given else stretched),
            ("cycle_steps", factor),
        ):
            if settings.get(name) is not None:
                settings[name] = _scaled(settings[name], multiplier)
    except OverflowError as error:
        found = f"{settings['steps']} and {settings.get('scale', 1.0)}"
        raise SpecError(f"--steps times --scale must be finite, but got {found}") from error
    except (TypeError, ValueError):
        pass  # of the wrong type: the validation below says so
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise SpecError(one_line(error)) from error


def read_toml(path: Path, kind: type[Settings] = Settings) -> dict[str, Any]:
    """Return the settings of a TOML file. Raises SpecError for an unreadable file, an unknown key or a wrong type."""
    try:
        settings = tomllib.loads(path.read_text())
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {reason(error)}") from error
    except ValueError as error:  # no UTF-8, or no TOML
        raise SpecError(f"{path} is no TOML file: {error}") from error
    except RecursionError as error:
        raise SpecError(f"{path} is no TOML file: it is nested too deeply") from error
    for name, value in settings.items():
        if name not in kind.model_fields:
            raise SpecError(f"{path}: {_no_setting(name, 'key', kind)}")
        if name == "max_lr":  # a text, a number or a list, as in Python: the settings says what is wrong
            continue
        field = kind.model_fields[name]
        loose = Path in _parts(field.annotation)
        checked = tuple(value) if isinstance(value, list) else value
        try:
            # Strict: TOML has types of its own, so that `cycles = "3"` and `cycles = true` are mistakes.
            TypeAdapter[Any](cast(Any, field.annotation)).validate_python(checked, strict=not loose)
        except ValidationError as error:
            raise SpecError(f"{path}: {one_line(error, name)}") from error
    return settings


def _plain(value: Any) -> Any:
    """Return numpy's and other kinds of real numbers as Python's own, and all else as it is."""
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value


def _check_engine(settings: Mapping[str, Any]) -> None:
    if settings.get("engine") == "inline" and settings.get("address") is not None:
        raise SpecError("--address is for --engine ray: --engine inline trains in this process; give one of them")


def _no_setting(name: str, what: str, kind: type[Settings]) -> str:
    if name in ("config", "plan", "pilot", "spread", "json"):
        return f"{name} is a flag of the command and not a setting"
    return f"unknown {what} {name!r}{nearest(name, kind.model_fields)}"


def _scaled(value: Any, factor: float) -> Any:
    if factor == 1.0:
        return value
    if isinstance(value, tuple | list):
        return tuple(_scaled(item, factor) for item in value)
    if not math.isfinite(factor):
        raise ValueError("factor must be finite")
    return round(int(value) * factor)


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
