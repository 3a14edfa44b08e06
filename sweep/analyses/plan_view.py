"""What there is to show of a plan: lanes, steps, bytes, time, and the runs that resolve the tolerance. In: a `Plan`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from sweep.reporting.numbers import count, duration, size
from sweep.reporting.views import View, listing

if TYPE_CHECKING:
    from sweep.analyses.plan import Plan

LANES_OF_VALIDATION = 3
"""Of a run and cycle in `compare --confirm`: the oracle's choice, the prediction, the prediction's own chain."""


def plan(found: "Plan") -> View:
    """Return a plan as names and what is planned under each."""
    import pandas as pd  # `oracle --plan` alone has a table of it

    evaluated = f"{found.evaluations:,} per lane, of {found.evaluated_images:,} validation and test images"
    scored = f"; before each pruning gradients of {found.scored_images:,} images" if found.scored_images else ""
    parts = {
        "training": found.training_seconds,
        "evaluation": found.evaluation_seconds,
        "gradient scores": found.scoring_seconds,
        "start and end of packs": found.pack_seconds,
        "waiting at the end of cycles": found.waiting_seconds,
        "start of the engine": found.start_seconds,
        "tables and pictures": found.end_seconds,
    }
    most = (
        f" if no grid is extended; at most {duration(found.at_most_seconds)}, if every grid is extended to four times "
        "its points"
        if found.at_most_seconds > found.seconds
        else ""
    )
    rows = {
        "lanes": f"{found.lanes:,} in {found.cycles} cycles and {count(found.runs, 'run')}, "
        f"{found.lanes_per_round} per run and cycle",
        "packs": f"{found.packs:,} of up to {count(found.lanes_per_pack, 'lane')}",
        "steps": f"{found.steps:,} in all, {found.steps // found.lanes:,} per lane ({found.epochs:.1f} epochs)",
        "evaluations": evaluated + scored,
        "network": f"{found.parameters:,} parameters",
        "states": f"{size(found.state_bytes)} each, at most {size(found.peak_state_bytes)} at once",
        "speed": f"{_rate(found.lane_steps_per_second)} steps of a lane per second, one worker alone",
        "time": f"about {duration(found.seconds)} with {count(found.workers, 'worker')} on this machine{most}",
        "time by use": ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items() if seconds >= 0.5),
        "measured on": f"{found.measured_on}, by {count(found.side_by_side, 'process')} at the same time",
        **_power(found),
    }
    data = pd.DataFrame([asdict(found)])
    return View("What it will take", "", [listing(rows.items())], data)


def _power(found: "Plan") -> dict[str, str]:
    """Return how many runs resolve the tolerance, and what they cost."""
    if found.spread is None:
        return {"runs needed": "--pilot RUNS or --spread FOLDER estimates how many runs resolve the tolerance"}

    def cost(runs: int | None, share: float = 1.0) -> str:
        if runs is None:
            return "no number of runs is enough"
        return f"{count(runs, 'run')} ({duration(found.seconds * share * runs / found.runs)})"

    low, high = ("many" if each is None else f"{each:,}" for each in found.runs_between)
    share = LANES_OF_VALIDATION / found.lanes_per_round
    return {
        "spread": f"the std over runs of paired differences is {found.spread:.2g} points ({found.spread_of})",
        "runs needed": f"{cost(found.runs_for_cycle)} to find a max_lr that is {found.tolerance:.2g} points worse than "
        f"the best significantly worse, with power 0.8, simultaneously for all {found.lanes_per_round} of a cycle; "
        f"between {low} and {high}, as the spread is an estimate (95 %)",
        "validation": f"{cost(found.runs_for_one, share)} of compare --confirm to show, with power 0.8, that a "
        "prediction as good as the oracle is within the tolerance at one cycle",
    }


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
