"""Learning-rate schedules, as pure functions of the step. In: step and max_lr. Out: the learning rate of that step.

Sources: S-Cyc paper, Table 1; Le and Hua for the four schedules of retraining. A schedule restarts at every pruning
cycle. Next: `trainables.pack` asks for the rates of each step.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainables.spec import Schedule


def constant(step: int, max_lr: float) -> float:
    """Return max_lr at every step (Table 1, "constant")."""
    return max_lr


def warmup(step: int, max_lr: float, warmup_steps: int, milestones: Sequence[int]) -> float:
    """Return the rate of update `step` (0, 1, ...): linear from 0 to max_lr, then constant, a tenth at each milestone.

    Update `warmup_steps - 1` is the first at max_lr. So the rate reaches its peak even if the first milestone equals
    `warmup_steps` (the paper's ResNet-20: b = c = 20,000). Source: Table 1, "warmup" (a, b, c, d, e).
    """
    rise = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    drops = sum(step >= milestone for milestone in milestones)
    return max_lr * rise / 10.0**drops


def decay(step: int, max_lr: float, steps: int) -> float:
    """Return the rate of update `step` (0, 1, ... below `steps`): max_lr first, then linear towards 0 at `steps`.

    Source: Table 1, "decay" (a, b); the paper's b is the whole training.
    """
    return max_lr * (1 - step / steps)


def cyclical(step: int, max_lr: float, cycle_steps: int) -> float:
    """Return the rate of update `step`: triangles from 0 to max_lr and back, `cycle_steps` updates each way.

    Source: Table 1, "cyclical" (a, b, c), with a = 0 as in every table of the paper.
    """
    position = step / cycle_steps % 2
    return max_lr * (position if position <= 1 else 2 - position)


def fine_tuning(step: int, max_lr: float, milestones: Sequence[int]) -> float:
    """Return the last, smallest rate of the original training at every step (FT).

    Here and below, the original training is under `warmup` with peak max_lr. Source: Le and Hua, "Network Pruning That
    Matters" (ICLR 2021).
    """
    return max_lr / 10.0 ** len(milestones)


def lr_rewinding(
    step: int, max_lr: float, warmup_steps: int, milestones: Sequence[int], steps: int, first_steps: int
) -> float:
    """Return the rates of the last `steps` steps of the original training of `first_steps` steps (LRW; source above).

    If retraining is longer than the original training, it begins with the original's first rate.
    """
    return warmup(max(0, first_steps - steps + step), max_lr, warmup_steps, milestones)


def scaled_restarting(step: int, max_lr: float, milestones: Sequence[int], steps: int, first_steps: int) -> float:
    """Return the original training shortened to `steps` steps, with a short warmup (SLR; source as above).

    As in the released code, the warmup takes the first tenth, and the drops are scaled to the rest.
    """
    short = steps // 10
    squeezed = [short + round((steps - short) * milestone / first_steps) for milestone in milestones]
    return warmup(step, max_lr, short, squeezed)


def cyclic_restarting(step: int, max_lr: float, milestones: Sequence[int], steps: int, first_steps: int) -> float:
    """Return one cycle of `steps` steps: up to the rate that LRW starts with, and down to 0.001 of it (CLR; as above).

    As in the released code, both ways follow a cosine, and the peak is at a tenth of the steps. If LRW would start
    within the warmup, the peak is max_lr.
    """
    peak = max_lr / 10.0 ** sum(milestone <= first_steps - steps for milestone in milestones)
    low, top, last = peak / 1000, steps // 10, max(1, steps - 1)
    position = step / top if step < top else (last - step) / max(1, last - top)
    return low + (peak - low) * (1 - math.cos(math.pi * position)) / 2


@dataclass(frozen=True)
class Rates:
    """The rates of one training."""

    at: Callable[[int, float], float]
    """(step, max_lr) -> learning rate."""
    warmup_steps: int
    """Steps of the warmup; evaluations before its end do not count for the score."""


def rates(schedule: Schedule, steps: int, first_steps: int) -> Rates:
    """Return a schedule's rates in a training of `steps` steps; the original training, cycle 0, has `first_steps`.

    Raises ValueError for an unknown schedule.
    """
    rise, drops = schedule.warmup_steps, schedule.milestones
    match schedule.name:
        case "constant":
            return Rates(constant, 0)
        case "warmup":
            return Rates(lambda step, max_lr: warmup(step, max_lr, rise, drops), rise)
        case "decay":
            return Rates(lambda step, max_lr: decay(step, max_lr, steps), 0)
        case "cyclical":
            return Rates(lambda step, max_lr: cyclical(step, max_lr, schedule.cycle_steps), 0)
        case "ft":
            return Rates(lambda step, max_lr: fine_tuning(step, max_lr, drops), 0)
        case "lrw":
            return Rates(
                lambda step, max_lr: lr_rewinding(step, max_lr, rise, drops, steps, first_steps),
                max(0, min(steps, rise - first_steps + steps)),
            )
        case "slr":
            return Rates(lambda step, max_lr: scaled_restarting(step, max_lr, drops, steps, first_steps), steps // 10)
        case "clr":
            return Rates(lambda step, max_lr: cyclic_restarting(step, max_lr, drops, steps, first_steps), steps // 10)
    raise ValueError(f"unknown schedule {schedule.name!r}")
