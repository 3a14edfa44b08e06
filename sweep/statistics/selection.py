"""Which max_lr of a cycle is best, and the feasible region: the max_lr values that are as good. Pure.

In: scores of one cycle by max_lr. Out: a `Choice`. Next: `sweep.statistics.summaries` makes rows of decided cycles.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

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
        for max_lr, group in by_max_lr(rows).items()
    }


def dominated(rows: Iterable[Row], runs: int) -> set[float]:
    """Return the max_lr values of one cycle that cannot win any more: all `runs` are in, and another's mean is higher.

    Their networks need not be kept.
    """
    groups = {max_lr: group for max_lr, group in by_max_lr(rows).items() if len(group) == runs}
    complete = mean_scores(row for group in groups.values() for row in group)
    top = max((score for score in complete.values() if score is not None), default=0.0)
    return {max_lr for max_lr, score in complete.items() if score is None or score < top - 1e-6}


def accuracies_by_run(rows: Iterable[Row], name: str = "val_accuracy") -> dict[float, list[float]]:
    """Return each max_lr's accuracies in the order of runs, without those that diverged in any run."""
    groups = {
        max_lr: [row[name] for row in sorted(group, key=lambda row: row["run"])]
        for max_lr, group in by_max_lr(rows).items()
    }
    return {max_lr: values for max_lr, values in groups.items() if None not in values}


def accuracies(group: Sequence[Row]) -> dict[str, float | None]:
    """Return mean and std (n-1; None for one run) of both accuracies over the runs of one max_lr."""
    result: dict[str, float | None] = {}
    for name in ("val_accuracy", "test_accuracy"):
        values = [row[name] for row in group]
        whole = None not in values
        result[f"{name}_mean"] = fmean(values) if whole else None
        result[f"{name}_std"] = stdev(values) if whole and len(values) > 1 else None
    return result


def by_max_lr(rows: Iterable[Row]) -> dict[float, list[Row]]:
    """Return the rows of each max_lr, in their order."""
    groups: dict[float, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["max_lr"], []).append(row)
    return groups
