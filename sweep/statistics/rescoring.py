"""How an oracle's table depends on its rules. In: closed cycles. Out: a row for each rule and cycle.

Nothing is trained: all evaluations were kept. The chain stays the one that was trained. So a rule says how each cycle
would have been judged, not where another choice would have led.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.scyc import SCyc
from sweep.config.settings import Settings
from sweep.statistics.selection import ClosedCycle, Row, ToleranceKind, choose, mean_scores
from trainables.schedules import rates
from trainables.spec import ScoreName


@dataclass(frozen=True)
class Rule:
    """How a cycle's lanes are judged."""

    name: str
    score: ScoreName
    tolerance: float
    kind: ToleranceKind
    without: int | None = None
    """A run that is left out."""


def rules(settings: Settings) -> list[Rule]:
    """Return the oracle's own rule, and those that differ from it in one thing."""
    own = Rule("the oracle's rule", settings.score, settings.tolerance, settings.tolerance_kind)
    score: ScoreName = "last" if settings.score == "best" else "best"
    kind: ToleranceKind = "relative" if settings.tolerance_kind == "absolute" else "absolute"
    found = [own, replace(own, name=f"score {score}", score=score), replace(own, name=f"tolerance {kind}", kind=kind)]
    for factor in (0.5, 2.0):
        tolerance = factor * settings.tolerance
        found.append(replace(own, name=f"tolerance {tolerance:g}", tolerance=tolerance))
    if settings.runs > 1 and settings.decide == "shared":
        found += [replace(own, name=f"without run {run}", without=run) for run in range(settings.runs)]
    return found


def rescored(closed: Iterable[ClosedCycle], settings: Settings) -> list[dict[str, Any]]:
    """Return best max_lr and feasible region of each closed cycle by each rule; none where nothing has a score."""
    scyc = SCyc.parse(settings.scyc) if settings.scyc else None
    cycles = sorted(closed, key=lambda cycle: (cycle.cycle, -1 if cycle.run is None else cycle.run))
    rows: list[dict[str, Any]] = []
    for rule in rules(settings):
        for cycle in cycles:
            found = choose(mean_scores(judged(cycle.rows, rule, settings)), rule.tolerance, rule.kind)
            own = cycle.choice
            predicted = scyc.max_lr(cycle.cycle, settings.prune_rate) if scyc else None
            rows.append(
                {
                    "rule": rule.name,
                    "cycle": cycle.cycle,
                    "run": cycle.run,
                    "best_max_lr": found and found.best_max_lr,
                    "feasible_low": found and found.feasible_low,
                    "feasible_high": found and found.feasible_high,
                    "same_best": found is not None and found.best_max_lr == own.best_max_lr,
                    "same_region": found is not None
                    and (found.feasible_low, found.feasible_high) == (own.feasible_low, own.feasible_high),
                    "scyc_inside": None
                    if predicted is None or found is None
                    else found.feasible_low <= predicted <= found.feasible_high,
                }
            )
    return rows


def judged(rows: Iterable[Row], rule: Rule, settings: Settings) -> list[Row]:
    """Return the rows of one cycle with the validation accuracy that a rule gives them, from their evaluations."""
    return [
        {**row, "val_accuracy": _score(row, rule, settings) if row["val_accuracy"] is not None else None}
        for row in rows
        if row["run"] != rule.without
    ]


def _score(row: Mapping[str, Any], rule: Rule, settings: Settings) -> float:
    """Return a lane's accuracy: of the evaluations after the warmup the best, or the last."""
    accuracies: Sequence[float] = row["eval_val_accuracy"]
    if rule.score == "last":
        return accuracies[-1]
    training, cycle = settings.training(), row["cycle"]
    schedule = training.schedule_of(cycle, None)
    rise = rates(schedule, training.steps_of(cycle), training.steps).warmup_steps
    return max(value for step, value in zip(row["eval_steps"], accuracies, strict=True) if step >= rise)
