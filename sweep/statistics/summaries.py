"""One row per decided cycle, and per max_lr of it: accuracies, region, and how certain both are. Pure.

In: closed cycles. Out: rows of the oracle table, of the curves behind it, and of chains.
"""

from collections.abc import Iterable
from statistics import fmean
from typing import Any

from sweep.statistics import intervals
from sweep.statistics.intervals import Point
from sweep.statistics.selection import ClosedCycle, Row, Rules, accuracies, accuracies_by_run, by_max_lr


def oracle_rows(closed: Iterable[ClosedCycle], rules: Rules) -> list[dict[str, Any]]:
    """Return the rows of the oracle table: one per closed cycle (and run, where runs decide for themselves)."""
    return [_oracle_row(cycle, rules) for cycle in sorted(closed, key=_order)]


def curve_rows(closed: Iterable[ClosedCycle], rules: Rules) -> list[dict[str, Any]]:
    """Return a row per cycle and max_lr: accuracies, the shortfall from the best with its interval, and the verdict.

    A max_lr with a diverged run has no accuracies.
    """
    return [row for cycle in sorted(closed, key=_order) for row in _curve(cycle, rules)]


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
        for max_lr, group in sorted(by_max_lr(cycle.rows).items())
        for point in [points.get(max_lr)]
    ]


def judged(cycle: ClosedCycle, rules: Rules) -> dict[float, Point]:
    """Return what is known of each max_lr of a closed cycle that did not diverge in any run."""
    by_run = accuracies_by_run(cycle.rows)
    best = by_run[cycle.choice.best_max_lr]
    return intervals.judge(by_run, cycle.choice.best_max_lr, rules.margin(fmean(best)), rules.confidence)


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
    groups = by_max_lr(closed.rows)
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
    choice, tried = closed.choice, sorted(by_max_lr(closed.rows))
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


def _runs(closed: ClosedCycle) -> int:
    return len({row["run"] for row in closed.rows})


def _order(closed: ClosedCycle) -> tuple[int, int]:
    return closed.cycle, -1 if closed.run is None else closed.run
