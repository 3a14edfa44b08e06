"""Learning-rate schedules, as pure functions of the step. In: step and max_lr. Out: the rate of that step.

Source: S-Cyc paper, Table 1. A schedule starts anew at every pruning cycle. Next: `trainables.pack` asks once a step.
"""

from collections.abc import Callable, Sequence

from trainables.spec import TrainSpec


def constant(step: int, max_lr: float) -> float:
    """Return max_lr at every step (Table 1, "constant")."""
    return max_lr


def warmup(step: int, max_lr: float, warmup_steps: int, milestones: Sequence[int]) -> float:
    """Return the rate of update `step` (0, 1, ...): linear from 0 to max_lr, held, ten times lower from each milestone.

    The update `warmup_steps - 1` is the first at max_lr, so a first milestone equal to `warmup_steps` (the paper's
    ResNet-20: b = c = 20,000) still lets the rate reach its peak. Source: Table 1, "warmup" (a, b, c, d, e).
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

    Source: Table 1, "cyclical" (a, b, c), with the a of 0 that every table of the paper has.
    """
    position = step / cycle_steps % 2
    return max_lr * (position if position <= 1 else 2 - position)


def rate(spec: TrainSpec) -> Callable[[int, float], float]:
    """Return the function (step, max_lr) -> learning rate that the settings name.

    Raises ValueError for an unknown schedule.
    """
    if spec.schedule == "constant":
        return constant
    if spec.schedule == "warmup":
        return lambda step, max_lr: warmup(step, max_lr, spec.warmup_steps, spec.milestones)
    if spec.schedule == "decay":
        return lambda step, max_lr: decay(step, max_lr, spec.steps)
    if spec.schedule == "cyclical":
        return lambda step, max_lr: cyclical(step, max_lr, spec.cycle_steps)
    raise ValueError(f"unknown schedule {spec.schedule!r}")
