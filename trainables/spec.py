"""What a lane is trained on, and what comes of it: settings, packs, results, seeds. Next: `trainables.pack` trains.

This module imports no torch, so that a command line can check names without waiting for it.
"""

import hashlib
from dataclasses import dataclass, field
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
RewindName = Literal["none", "init"]
ScheduleName = Literal["warmup", "constant", "decay", "cyclical"]
OptimizerName = Literal["sgd", "adam", "rmsprop"]
ScoreName = Literal["best", "last"]
DtypeName = Literal["float32", "float64"]


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Everything that determines how a lane trains, except its start state, its max_lr and its run's seed.

    Raises ValueError for numbers outside their range; names are checked where they are looked up.
    """

    model: str
    """Of `trainables.models.MODELS`, or a user's `package.module:function`."""
    model_source: str = ""
    """sha256 of the source file of a user's function; empty for the others."""
    hidden: tuple[int, ...]
    """Widths of the `mlp`'s hidden layers; empty for other models."""
    batch_norm: bool = False
    """Whether the `mlp` normalises its hidden layers; False for other models."""
    dataset: str
    split: SplitName
    pruning: CriterionName
    prune_rate: float
    """Share of the surviving prunable weights that a cycle removes, in (0, 1)."""
    keep_output: bool
    """True: the output layer is never pruned."""
    score_batches: int | None = None
    """Batches of the training split that gradient scores are taken over; None: all of it, or no gradients needed."""
    rewind: RewindName
    schedule: ScheduleName
    steps: int
    """Optimizer steps of one cycle."""
    warmup_steps: int
    milestones: tuple[int, ...]
    """Steps from which the rate is ten times lower, each time."""
    cycle_steps: int = 0
    """`cyclical`: steps from rate 0 to max_lr, half a triangle; at least 1 there, 0 elsewhere."""
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
        for name in ("steps", "batch_size", "score_batches"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but got {getattr(self, name)}")
        if self.schedule == "cyclical" and self.cycle_steps < 1:
            raise ValueError(f"cycle_steps must be at least 1, but got {self.cycle_steps}")
        if not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(f"warmup_steps must lie in 0..steps={self.steps}, but got {self.warmup_steps}")
        if any(low >= high for low, high in pairwise(self.milestones)):
            raise ValueError(f"milestones must increase, but got {list(self.milestones)}")
        if any(not self.warmup_steps <= milestone < self.steps for milestone in self.milestones):
            raise ValueError(
                f"milestones must lie after the warmup and before the end, {self.warmup_steps}..{self.steps - 1}, "
                f"but got {list(self.milestones)}"
            )


@dataclass(frozen=True)
class Lane:
    """One network to train: its max_lr and the state it starts from."""

    max_lr: float
    parent: str | None
    """Digest of the state whose pruned network this lane trains; None in cycle 0, which starts from initial weights."""


@dataclass(frozen=True)
class Pack:
    """Lanes of one run and cycle that train together."""

    cycle: int
    run: int
    seed: int
    """The run's seed: its split, initial weights and batch order follow from it."""
    initial: str | None
    """Digest of the run's initial weights, to rewind to; None in cycle 0, which draws them."""
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
    status: str
    """`ok`, `diverged`, or `ended`: nothing was left to prune."""
    steps: int
    """Optimizer steps trained."""
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
