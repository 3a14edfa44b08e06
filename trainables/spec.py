"""What a lane is trained on, and what comes of it: settings, packs, results, seeds. Next: `trainables.pack` trains.

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
"""Those that score weights by gradients of the loss."""
FILTER_CRITERIA = ("l1_filter", "taylor_bn", "random_filter")
"""Those that take whole filters."""
RewindName = Literal["none", "init"]
ScheduleName = Literal["warmup", "constant", "decay", "cyclical", "ft", "lrw", "slr", "clr"]
RETRAINING = ("ft", "lrw", "slr", "clr")
"""Those that say how a pruned network is trained again; the first training, cycle 0, is under `warmup`."""
OptimizerName = Literal["sgd", "adam", "rmsprop"]
ScoreName = Literal["best", "last"]
DtypeName = Literal["float32", "float64"]


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule but for its max_lr (`trainables.schedules` has the rates)."""

    name: ScheduleName
    warmup_steps: int = 0
    """`warmup` and what is made from it: steps over which the rate rises to max_lr."""
    milestones: tuple[int, ...] = ()
    """Likewise: steps from which the rate is ten times lower, each time."""
    cycle_steps: int = 0
    """`cyclical`: steps from rate 0 to max_lr, half a triangle; 0 elsewhere."""

    def check(self, steps: int) -> None:
        """Raise ValueError where the schedule does not fit a training of so many steps."""
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

    Raises ValueError for numbers outside their range; names are checked where they are looked up.
    """

    model: str
    """Of `trainables.networks.models.MODELS`, or a user's `package.module:function`."""
    model_source: str = ""
    """sha256 of the code of a user's function (`trainables.users_own.digest`); empty for the others."""
    hidden: tuple[int, ...]
    """Widths of the `mlp`'s hidden layers; empty for other models."""
    batch_norm: bool = False
    """Whether the `mlp` normalises its hidden layers; False for other models."""
    dataset: str
    """Of `data.published.DATASETS`, or a user's `package.module:function`; the fingerprint tells its contents."""
    images: int | None = None
    """Images that are taken of the data set, a fixed part of it; None: all."""
    split: SplitName
    pruning: CriterionName
    prune_rate: float
    """Share of the surviving prunable weights that a cycle removes, in (0, 1)."""
    keep_output: bool
    """True: the output layer is never pruned."""
    score_batches: int | None = None
    """Batches of the training split that gradient scores are taken over; None: all of it, or no gradients needed."""
    rewind: RewindName | int
    """What survivors are set back to after pruning: nothing, the initial weights, or those after N steps of cycle 0."""
    schedule: Schedule
    """Of lanes that have none of their own."""
    steps: int
    """Optimizer steps of one cycle."""
    retrain_steps: int | None = None
    """Optimizer steps of the cycles after cycle 0; None: as many."""
    batch_size: int
    optimizer: OptimizerName = "sgd"
    momentum: float
    """Of SGD and RMSprop; Adam's first beta."""
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
        """Return the size of the smallest batch that is trained on, of so many training images."""
        left = images % self.batch_size
        return left if left and images // self.batch_size < max(self.steps_of(0), self.steps_of(1)) else self.batch_size

    def evaluated_every(self, images: int) -> int:
        """Return the steps between evaluations, where a run has so many training images."""
        return self.eval_every or -(-images // self.batch_size)

    def scored_images(self, images: int) -> int:
        """Return how many of a run's training images weights are scored by; 0 where no gradients are."""
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
    """Digest of the state whose pruned network this lane trains; None in cycle 0, which starts from initial weights."""
    rewind_to: str | None = None
    """Digest of the state that survivors are set back to; None in cycle 0 and without rewinding."""
    schedule: Schedule | None = None
    """Of this lane; None: the settings'."""


@dataclass(frozen=True)
class Pack:
    """Lanes of one run and cycle that train together."""

    cycle: int
    run: int
    seed: int
    """The run's seed: its split, initial weights and batch order follow from it."""
    lanes: tuple[Lane, ...]


@dataclass
class LaneResult:
    """What came of a lane. Accuracies in percent, None where the lane diverged."""

    max_lr: float
    parent_state: str
    """Digest of the state before pruning; in cycle 0, of the initial weights."""
    state: str | None
    """Digest of the scored network, None where the lane diverged."""
    percent_remaining: float
    schedule: str
    """Name of the schedule that it was trained under."""
    status: str
    """`ok`, `diverged`, or `ended`: nothing was left to prune."""
    steps: int
    """Optimizer steps trained."""
    rewind_state: str | None = None
    """Digest of what later cycles of its chain are set back to; None after cycle 0 and without rewinding."""
    best_step: int | None = None
    """Steps after which the scored evaluation took place."""
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    val_loss: float | None = None
    train_loss: float | None = None
    """Mean loss of the training batches since the evaluation before the scored one."""
    wall_seconds: float = 0.0
    """The pack's time divided by its lanes, so that sums over lanes are time spent."""
    eval_steps: list[int] = field(default_factory=list)
    eval_val_accuracy: list[float] = field(default_factory=list)
    eval_test_accuracy: list[float] = field(default_factory=list)
    eval_val_loss: list[float] = field(default_factory=list)


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^32) that is a hash of the parts, so that no two purposes share random numbers.

    Neighbouring user seeds must not share runs (seed 0 run 1 is not seed 1 run 0), which sums of seeds would do.
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def names(of: object) -> tuple[str, ...]:
    """Return the choices of one of this module's Literal types."""
    return get_args(of)
