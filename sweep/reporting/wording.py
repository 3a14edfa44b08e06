"""Sentences that the views of several experiments share. In: settings, progress, counts. Out: text."""

from typing import TYPE_CHECKING

from search_spaces.max_lr import MaxLrGrid
from sweep.reporting.numbers import count, duration

if TYPE_CHECKING:
    from sweep.config.settings import Settings
    from sweep.strategies.progress import Progress

FLATTERED = "the accuracy of the best is optimistic: it is the highest of many noisy means"
"""What to remember of any accuracy that was chosen by."""


def run_of(settings: "Settings") -> str:
    """Return what was run, in one line."""
    rewind = {"none": "not rewound", "init": "rewound"}.get(str(settings.rewind), f"rewound to step {settings.rewind}")
    return (
        f"{settings.model} on {settings.dataset}, pruning {settings.pruning} ({rewind}), "
        f"{count(settings.runs, 'run')}, seed {settings.seed}"
    )


def tolerance_of(settings: "Settings") -> str:
    """Return the tolerance with its unit."""
    return f"{settings.tolerance:g} {'points' if settings.tolerance_kind == 'absolute' else '% of the best'}"


def level_of(settings: "Settings") -> str:
    """Return the confidence: 95 %."""
    return f"{100 * settings.confidence:g} %"


def unfinished(progress: "Progress") -> str:
    """Return how far an unfinished sweep is."""
    label = f"{progress.label}, " if progress.label else ""
    return (
        f"unfinished: {label}cycle {progress.cycle} of {progress.cycles} is open, "
        f"{progress.lanes_done:,} of {progress.lanes_planned:,} lanes are done"
    )


def cost(lanes: int, diverged: int, steps: int, seconds: float) -> str:
    """Return what was trained; `seconds` are of devices, all workers together."""
    return f"{count(lanes, 'lane')} ({diverged} diverged), {steps:,} steps, {duration(seconds)} of training"


def why_edge(max_lr: str, low: float | None) -> str:
    """Return why a grid was not extended past its edge; `low` is its lower edge as tried, None for the upper edge."""
    grid = MaxLrGrid.parse(max_lr)
    if len(grid.values) == 1:
        return "and a grid of one point has no spacing to be extended by: give --max-lr more points"
    if low is not None and low <= grid.floor:
        return "and the next step down would be 0 or less: give --max-lr a lower LO, or LO:HI:xN"
    return "and the grid was already extended to four times its points: give a wider --max-lr"
