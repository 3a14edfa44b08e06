"""From lanes' results to the oracle: which max_lr is best, and which are as good. Pure: no files, no torch, no ray.

In: scores of one cycle by max_lr, or the closed cycles of a chain. Out: a `Choice`, the oracle table, the curves behind
it. Next: `sweep.statistics.comparison` sets a predicted trajectory beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from sweep.statistics import intervals as evidence
from sweep.statistics.intervals import Point
from sweep.store import tables

if TYPE_CHECKING:
    from sweep.config.settings import Settings

ToleranceKind = Literal["absolute", "relative"]
Row = Mapping[str, Any]

SAME_ACCURACY = 1e-9
"""Percent points below which two means differ by rounding only: one image is worth far more."""


@dataclass(frozen=True)
class Rules:
    """How a cycle is judged, but for the score, which is a lane's."""

    tolerance: float
    kind: ToleranceKind
    """absolute: percent points. relative: percent of the best."""
    confidence: float
    """With which all statements of one cycle hold at once."""

    @classmethod
    def of(cls, settings: "Settings") -> "Rules":
        """Return those of a sweep."""
        return cls(settings.tolerance, settings.tolerance_kind, settings.confidence)

    def margin(self, best: float) -> float:
        """Return the tolerance in percent points below the best accuracy."""
        return self.tolerance if self.kind == "absolute" else best * self.tolerance / 100


@dataclass(frozen=True)
class Choice:
    """What one cycle's scores say, over the max_lr values tried."""

    best_max_lr: float
    feasible_low: float
    feasible_high: float
    hull_low: float
    hull_high: float
    low_at_edge: bool
    high_at_edge: bool

    @property
    def contiguous(self) -> bool:
        """Whether no point between the outermost feasible ones falls below the tolerance."""
        return (self.feasible_low, self.feasible_high) == (self.hull_low, self.hull_high)


@dataclass(frozen=True)
class ClosedCycle:
    """One decided cycle of a chain: its lanes' rows and what came of them.

    It changes no more, so that what follows from it is worked out once.
    """

    cycle: int
    run: int | None
    """The run that decided for itself; None where all decide together."""
    base_points: int
    """Points of the grid before any extension."""
    rows: Sequence[Row]
    choice: Choice

    @cached_property
    def best_rows(self) -> list[Row]:
        """The winners' rows, one a run."""
        return [row for row in self.rows if row["max_lr"] == self.choice.best_max_lr]

    @cached_property
    def diverged(self) -> int:
        """Lanes that diverged."""
        return sum(row["status"] == "diverged" for row in self.rows)


def choose(scores: Mapping[float, float | None], tolerance: float, kind: ToleranceKind) -> Choice | None:
    """Return the best max_lr and its feasible region, or None if no max_lr has a score.

    `scores` maps each max_lr tried to its mean validation accuracy in percent; None where a run diverged. The best is
    the highest score; a tie goes to the middle of the tied points (of two, the lower), since always taking the lowest
    would bend the trajectory wherever many are tied. Feasible is what lies within `tolerance` of the best: `absolute`
    percent points, or `relative` percent of the best.
    """
    points = sorted(scores)
    scored = {point: score for point in points if (score := scores[point]) is not None}
    if not scored:
        return None
    top = max(scored.values())
    tied = [point for point, score in scored.items() if score >= top - SAME_ACCURACY]
    best = tied[(len(tied) - 1) // 2]
    floor = (top - tolerance if kind == "absolute" else top * (1 - tolerance / 100)) - SAME_ACCURACY
    inside = [point in scored and scored[point] >= floor for point in points]
    low = high = points.index(best)
    while low > 0 and inside[low - 1]:
        low -= 1
    while high < len(points) - 1 and inside[high + 1]:
        high += 1
    feasible = [point for point, ok in zip(points, inside, strict=True) if ok]
    return Choice(
        best_max_lr=best,
        feasible_low=points[low],
        feasible_high=points[high],
        hull_low=feasible[0],
        hull_high=feasible[-1],
        low_at_edge=low == 0,
        high_at_edge=high == len(points) - 1,
    )


def mean_scores(rows: Iterable[Row]) -> dict[float, float | None]:
    """Return each max_lr's mean validation accuracy over its runs; None if any of them diverged."""
    return {
        max_lr: None if any(row["val_accuracy"] is None for row in group) else fmean(r["val_accuracy"] for r in group)
        for max_lr, group in _by_max_lr(rows).items()
    }


def dominated(rows: Iterable[Row], runs: int) -> set[float]:
    """Return the max_lr values of one cycle that cannot win any more: all `runs` are in, and another's mean is higher.

    Their networks need not be kept.
    """
    groups = {max_lr: group for max_lr, group in _by_max_lr(rows).items() if len(group) == runs}
    complete = mean_scores(row for group in groups.values() for row in group)
    top = max((score for score in complete.values() if score is not None), default=0.0)
    return {max_lr for max_lr, score in complete.items() if score is None or score < top - 1e-6}


def oracle_table(closed: Iterable[ClosedCycle], rules: Rules) -> pd.DataFrame:
    """Return the oracle table: one row per closed cycle (and run, where runs decide for themselves)."""
    return tables.frame("oracle", [_oracle_row(cycle, rules) for cycle in sorted(closed, key=_order)])


def curve_table(closed: Iterable[ClosedCycle], rules: Rules) -> pd.DataFrame:
    """Return the curves behind the oracle: per cycle and max_lr accuracies, the lead of the best, and how sure it is.

    A max_lr with a diverged run has no accuracies.
    """
    return tables.frame("curves", [row for cycle in sorted(closed, key=_order) for row in _curve(cycle, rules)])


def _curve(cycle: ClosedCycle, rules: Rules) -> list[dict[str, Any]]:
    points, whole = judged(cycle, rules), _runs(cycle) > 1
    return [
        {
            "cycle": cycle.cycle,
            "run": cycle.run,
            "percent_remaining": fmean(row["percent_remaining"] for row in group),
            "max_lr": max_lr,
            **accuracies(group),
            "shortfall": point and point.shortfall,
            "shortfall_low": point and point.low,
            "shortfall_high": point and point.high,
            "worse_than_best": point.worse if point else True if whole else None,
            "verdict": point.verdict if point else "outside" if whole else None,
            "runs": len(group),
            "diverged": sum(row["status"] == "diverged" for row in group),
        }
        for max_lr, group in sorted(_by_max_lr(cycle.rows).items())
        for point in [points.get(max_lr)]
    ]


def judged(cycle: ClosedCycle, rules: Rules) -> dict[float, Point]:
    """Return what is known of each max_lr of a closed cycle that did not diverge in any run."""
    by_run = accuracies_by_run(cycle.rows)
    best = by_run[cycle.choice.best_max_lr]
    return evidence.judge(by_run, cycle.choice.best_max_lr, rules.margin(fmean(best)), rules.confidence)


def accuracies_by_run(rows: Iterable[Row], name: str = "val_accuracy") -> dict[float, list[float]]:
    """Return each max_lr's accuracies in the order of runs, without those that diverged in any run."""
    groups = {
        max_lr: [row[name] for row in sorted(group, key=lambda row: row["run"])]
        for max_lr, group in _by_max_lr(rows).items()
    }
    return {max_lr: values for max_lr, values in groups.items() if None not in values}


def chain_rows(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the rows of one chain as a row a cycle: max_lr, and the accuracies' mean and std over runs, in percent."""
    cycles: dict[int, list[Row]] = {}
    for row in rows:
        cycles.setdefault(row["cycle"], []).append(row)
    return [
        {
            "cycle": cycle,
            "percent_remaining": fmean(row["percent_remaining"] for row in group),
            "max_lr": group[0]["max_lr"],
            **accuracies(group),
            "runs": len(group),
        }
        for cycle, group in sorted(cycles.items())
    ]


def _oracle_row(closed: ClosedCycle, rules: Rules) -> dict[str, Any]:
    choice = closed.choice
    groups = _by_max_lr(closed.rows)
    best = groups[choice.best_max_lr]
    return {
        "cycle": closed.cycle,
        "run": closed.run,
        "percent_remaining": fmean(row["percent_remaining"] for row in best),
        "best_max_lr": choice.best_max_lr,
        **accuracies(best),
        "feasible_low": choice.feasible_low,
        "feasible_high": choice.feasible_high,
        "hull_low": choice.hull_low,
        "hull_high": choice.hull_high,
        "contiguous": choice.contiguous,
        **_certainty(closed, rules),
        "grid_low": min(groups),
        "grid_high": max(groups),
        "extended": len(groups) > closed.base_points,
        "low_at_edge": choice.low_at_edge,
        "high_at_edge": choice.high_at_edge,
        "runs": len(best),
        "lanes": len(closed.rows),
        "diverged": closed.diverged,
        "trained_steps": sum(row["steps"] for row in closed.rows),
        "wall_seconds": sum(row["wall_seconds"] for row in closed.rows),
    }


def _certainty(closed: ClosedCycle, rules: Rules) -> dict[str, Any]:
    """Return what is sure of a cycle's best and of the bounds of its region."""
    points = judged(closed, rules)
    choice, tried = closed.choice, sorted(_by_max_lr(closed.rows))
    # A max_lr that diverged in any run is outside by definition.
    verdicts = {max_lr: points[max_lr].verdict if max_lr in points else "outside" for max_lr in tried}
    low, high = tried.index(choice.feasible_low), tried.index(choice.feasible_high)
    whole = _runs(closed) > 1
    possible = [max_lr for max_lr in tried if verdicts[max_lr] != "outside"]
    return {
        "points": len(tried),
        "n_not_worse": sum(not point.worse for point in points.values()) if whole else None,
        "possible_low": possible[0] if whole else None,
        "possible_high": possible[-1] if whole else None,
        "low_bound": verdicts[tried[low]] if whole else None,
        "below_low": verdicts[tried[low - 1]] if whole and low > 0 else None,
        "high_bound": verdicts[tried[high]] if whole else None,
        "above_high": verdicts[tried[high + 1]] if whole and high + 1 < len(tried) else None,
    }


def accuracies(group: Sequence[Row]) -> dict[str, float | None]:
    """Return mean and std (n-1; None for one run) of both accuracies over the runs of one max_lr."""
    result: dict[str, float | None] = {}
    for name in ("val_accuracy", "test_accuracy"):
        values = [row[name] for row in group]
        whole = None not in values
        result[f"{name}_mean"] = fmean(values) if whole else None
        result[f"{name}_std"] = stdev(values) if whole and len(values) > 1 else None
    return result


def _runs(closed: ClosedCycle) -> int:
    return len({row["run"] for row in closed.rows})


def _by_max_lr(rows: Iterable[Row]) -> dict[float, list[Row]]:
    groups: dict[float, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["max_lr"], []).append(row)
    return groups


def _order(closed: ClosedCycle) -> tuple[int, int]:
    return closed.cycle, -1 if closed.run is None else closed.run
