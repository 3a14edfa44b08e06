"""What training takes and gives: settings, schedules, lanes, packs, results, seeds. Next: `trainables.pack` trains.

This module imports no torch, so that a command line can check names without waiting for it.
"""

import hashlib
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, get_args

TRAINING_VERSION = 1
"""Raised whenever the same settings would train another network: finished lanes of an older version are not reused."""

ModelName = Literal["mlp", "resnet20", "vgg16", "vgg19", "alexnet", "resnet50"]
DatasetName = Literal["digits", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet"]
SplitName = Literal["pooled", "fixed_test"]
CriterionName = Literal[
    "global_magnitude",
    "layer_magnitude",
    "global_gradient",
    "layer_gradient",
    "l1_filter",
    "taylor_bn",
    "random",
    "random_filter",
    "none",
]
GRADIENT_CRITERIA = ("global_gradient", "layer_gradient", "taylor_bn")
"""Criteria that score weights by gradients of the loss."""
FILTER_CRITERIA = ("l1_filter", "taylor_bn", "random_filter")
"""Criteria that remove whole filters."""
RewindName = Literal["none", "init"]
ScheduleName = Literal["warmup", "constant", "decay", "cyclical", "ft", "lrw", "slr", "clr"]
RETRAINING = ("ft", "lrw", "slr", "clr")
"""Schedules for training a pruned network again. Cycle 0, the first training, is under `warmup`."""
OptimizerName = Literal["sgd", "adam", "rmsprop"]
ScoreName = Literal["best", "last"]
DtypeName = Literal["float32", "float64"]


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule without its max_lr; `trainables.schedules` computes the rates."""

    name: ScheduleName
    warmup_steps: int = 0
    """Of `warmup` and the schedules for retraining: steps over which the rate rises to max_lr."""
    milestones: tuple[int, ...] = ()
    """Likewise: steps at which the rate becomes ten times lower."""
    cycle_steps: int = 0
    """Of `cyclical`: steps from rate 0 to max_lr, half a triangle; 0 for other schedules."""

    def check(self, steps: int) -> None:
        """Raise ValueError if the schedule does not fit a training of so many steps."""
        if self.name == "cyclical" and self.cycle_steps < 1:
            raise ValueError(f"cycle_steps must be at least 1, but got {self.cycle_steps}")
        if not 0 <= self.warmup_steps <= steps:
            raise ValueError(f"warmup_steps must lie in 0..steps={steps}, but got {self.warmup_steps}")
        if any(low >= high for low, high in pairwise(self.milestones)):
            raise ValueError(f"milestones must increase, but got {list(self.milestones)}")
        if any(not self.warmup_steps <= milestone < steps for milestone in self.milestones):
            raise ValueError(
                f"milestones must lie after the warmup and before the end, {self.warmup_steps}..{steps - 1}, "
                f"but got {list(self.milestones)}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Everything that determines how a lane trains, except its start state, its max_lr and its run's seed.

    Raises ValueError for numbers out of range. Names are checked where they are used.
    """

    model: str
    """Of `trainables.networks.models.MODELS`, or a user's `package.module:function`."""
    model_source: str = ""
    """sha256 of the code of a user's function (`trainables.users_own.digest`); empty for models of this project."""
    hidden: tuple[int, ...]
    """Widths of the hidden layers of `mlp`; empty for other models."""
    batch_norm: bool = False
    """Whether `mlp` has batch norm in its hidden layers; False for other models."""
    dataset: str
    """Of `data.published.DATASETS`, or a user's `package.module:function`. A fingerprint stands for its content."""
    images: int | None = None
    """Number of images: a fixed part of the data set; None: all images."""
    split: SplitName
    pruning: CriterionName
    prune_rate: float
    """Share of the surviving prunable weights that each pruning removes, in (0, 1)."""
    keep_output: bool
    """True: the output layer is never pruned."""
    score_batches: int | None = None
    """Batches of the training split that gradients are averaged over; None: all, or no gradients are needed."""
    rewind: RewindName | int
    """What surviving weights are set back to after pruning. `none`: nothing; `init`: the initial weights; a number N:
    the weights after N steps of cycle 0."""
    schedule: Schedule
    """Schedule of lanes that have none of their own."""
    steps: int
    """Optimizer steps of a cycle."""
    retrain_steps: int | None = None
    """Optimizer steps of each cycle after cycle 0; None: the same as `steps`."""
    batch_size: int
    optimizer: OptimizerName = "sgd"
    momentum: float
    """Momentum of SGD and RMSprop; the first beta of Adam."""
    weight_decay: float
    eval_every: int | None
    """Steps between evaluations; None: once an epoch. The last step is always evaluated."""
    score: ScoreName
    dtype: DtypeName = "float32"

    def __post_init__(self) -> None:
        if not 0 < self.prune_rate < 1:
            raise ValueError(f"prune_rate must lie in (0, 1), but got {self.prune_rate:g}")
        for name in ("steps", "retrain_steps", "batch_size", "score_batches", "images"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but got {getattr(self, name)}")
        if isinstance(self.rewind, int) and not 1 <= self.rewind <= self.steps:
            raise ValueError(f"rewind must be none, init or lie in 1..steps={self.steps}, but got {self.rewind}")
        self.schedule.check(self.steps)

    def steps_of(self, cycle: int) -> int:
        """Return the optimizer steps of a cycle."""
        return self.steps if cycle == 0 or self.retrain_steps is None else self.retrain_steps

    def smallest_batch(self, images: int) -> int:
        """Return the size of the smallest batch in a training on so many images."""
        left = images % self.batch_size
        return left if left and images // self.batch_size < max(self.steps_of(0), self.steps_of(1)) else self.batch_size

    def evaluated_every(self, images: int) -> int:
        """Return the steps between evaluations, if a run has so many training images."""
        return self.eval_every or -(-images // self.batch_size)

    def scored_images(self, images: int) -> int:
        """Return over how many of a run's training images gradients are averaged; 0 if the criterion needs none."""
        if self.pruning not in GRADIENT_CRITERIA:
            return 0
        return images if self.score_batches is None else min(images, self.score_batches * self.batch_size)

    def schedule_of(self, cycle: int, schedule: Schedule | None) -> Schedule:
        """Return the schedule of one cycle of a chain under `schedule`; None: under the schedule of these settings.

        The four for retraining train cycle 0 under `warmup`. The others shrink with the steps of later cycles.
        """
        schedule = schedule or self.schedule
        if schedule.name in RETRAINING:
            return schedule if cycle else replace(schedule, name="warmup")
        share = self.steps_of(cycle) / self.steps
        if share == 1:
            return schedule
        return Schedule(
            schedule.name,
            round(schedule.warmup_steps * share),
            tuple(round(milestone * share) for milestone in schedule.milestones),
            schedule.cycle_steps and max(1, round(schedule.cycle_steps * share)),
        )


@dataclass(frozen=True)
class Lane:
    """One network to train: its max_lr and the state it starts from."""

    max_lr: float
    parent: str | None
    """Digest of the state that is pruned and then trained; None in cycle 0, which starts from initial weights."""
    rewind_to: str | None = None
    """Digest of the state that surviving weights are set back to; None in cycle 0 and without rewinding."""
    schedule: Schedule | None = None
    """The lane's own schedule; None: the schedule of the settings."""


@dataclass(frozen=True)
class Pack:
    """Lanes of one run and one cycle that train together."""

    cycle: int
    run: int
    seed: int
    """The run's seed, which determines its split, initial weights and batch order."""
    lanes: tuple[Lane, ...]


@dataclass
class LaneResult:
    """What the training of a lane gave. Accuracies are in percent, losses in nats; None if the lane diverged."""

    max_lr: float
    parent_state: str
    """Digest of the state before pruning; in cycle 0 of the initial weights."""
    state: str | None
    """Digest of the scored network; None if the lane diverged."""
    percent_remaining: float
    schedule: str
    """Name of the lane's schedule in this cycle."""
    status: str
    """`ok`, `diverged`, or `ended` (nothing was left to prune)."""
    steps: int
    """Optimizer steps that were trained."""
    rewind_state: str | None = None
    """In cycle 0 with rewinding: digest of the state that later cycles of the chain are set back to. Else None."""
    best_step: int | None = None
    """Step of the scored evaluation."""
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    val_loss: float | None = None
    train_loss: float | None = None
    """Mean loss of the training batches between the scored evaluation and the one before it."""
    wall_seconds: float = 0.0
    """The pack's seconds divided by its lanes, so that a sum over lanes is the time spent."""
    eval_steps: list[int] = field(default_factory=list)
    eval_val_accuracy: list[float] = field(default_factory=list)
    eval_test_accuracy: list[float] = field(default_factory=list)
    eval_val_loss: list[float] = field(default_factory=list)


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^32) that is a hash of the parts, so that no two purposes share random numbers.

    A sum would not do: seed 0, run 1 and seed 1, run 0 would be the same run.
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def names(of: object) -> tuple[str, ...]:
    """Return the choices of one of this module's Literal types."""
    return get_args(of)
