"""What trained trajectories say: inside, outside or undecided; equivalent or not. Pure. In: trained chains.

Out: the verdicts table. Next: `views` beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sweep.experiments.validation.strategy import Validation
from sweep.statistics.intervals import Array, both_sides, equivalence_p, interval, judge, note_corrected, step, verdict
from sweep.statistics.selection import ClosedCycle, Rules, accuracies_by_run
from sweep.store.tables import Table
from sweep.strategies.chains import Row

VERDICTS = Table(
    "verdicts",
    (
        ("trajectory", pa.string(), "", "name of the predicted trajectory"),
        ("cycle", pa.int32(), "", "number of prunings before this training; null: mean over all cycles"),
        ("percent_remaining", pa.float64(), "percent", "remaining prunable weights, mean over runs"),
        ("oracle_max_lr", pa.float64(), "1", "the oracle's choice"),
        ("scyc_max_lr", pa.float64(), "1", "the prediction"),
        ("held_out", pa.bool_(), "", "whether on held-out seeds: runs that had no part in the oracle's choices"),
        ("runs", pa.int32(), "", "number of runs"),
        (
            "val_gap",
            pa.float64(),
            "percent points",
            "validation accuracy of the oracle's choice minus that of the prediction, from the same start",
        ),
        (
            "val_gap_low",
            pa.float64(),
            "percent points",
            "lower end of its interval: on held-out seeds a paired t interval; on the oracle's runs the interval of "
            "the shortfall, as in curves",
        ),
        ("val_gap_high", pa.float64(), "percent points", "upper end; null for one run"),
        (
            "verdict",
            pa.string(),
            "",
            "whether the prediction is within the tolerance: inside, outside or undecided; null for one run",
        ),
        ("test_gap", pa.float64(), "percent points", "val_gap for test accuracy"),
        ("test_gap_low", pa.float64(), "percent points", "lower end of its paired t interval; null for one run"),
        ("test_gap_high", pa.float64(), "percent points", "upper end"),
        (
            "own_val_gap",
            pa.float64(),
            "percent points",
            "validation accuracy of the oracle's chain minus that of the prediction's own chain",
        ),
        ("own_test_gap", pa.float64(), "percent points", "likewise for test accuracy"),
        (
            "own_test_gap_low",
            pa.float64(),
            "percent points",
            "lower end of the interval that belongs to the two one-sided tests",
        ),
        ("own_test_gap_high", pa.float64(), "percent points", "upper end; null for one run"),
        (
            "equivalence_p",
            pa.float64(),
            "",
            "p-value of two one-sided paired t-tests that own_test_gap lies within the tolerance on both sides",
        ),
        ("holm_p", pa.float64(), "", "equivalence_p with Holm's correction over the cycles"),
        (
            "equivalent",
            pa.bool_(),
            "",
            "whether the prediction's own chain is significantly equivalent to the oracle's; null for one run",
        ),
    ),
)


@dataclass(frozen=True)
class Gaps:
    """By how much the oracle is better, run by run, in percent points."""

    values: Array
    least: float
    """What their spread is taken for if it is less: one image; 0 where both are the same networks."""

    @property
    def mean(self) -> float:
        """Mean over runs."""
        return float(self.values.mean())


def verdict_table(found: Validation, closed: Sequence[ClosedCycle], rules: Rules) -> pd.DataFrame:
    """Return the verdicts: a row for each trajectory and cycle, and when all are trained one for the mean over cycles.

    On the oracle's own runs a prediction is one more point beside the grid, and its interval is as careful as theirs,
    since the best of them was chosen on these runs (`statistics.intervals`). On held-out seeds nothing was chosen:
    there it is a paired t interval. The equivalence test's margin is the tolerance.
    """
    cycles = {cycle.cycle: cycle for cycle in closed}
    rows: list[dict[str, Any]] = []
    for name in found.settings.trajectories:
        part = [
            _row(found, name, cycle, cycles, rules)
            for cycle in range(len(found.oracle))
            if (name, cycle) in found.branches
        ]
        note_corrected(part, "equivalence_p", "holm_p")
        if part and found.finished:
            part.append(_over_all(found, name, rules))
        for row in part:
            p = row["equivalence_p"] if row["holm_p"] is None else row["holm_p"]
            row["equivalent"] = None if row["runs"] < 2 else p is not None and p < 1 - rules.confidence
        rows += part
    return VERDICTS.frame(rows)


def _row(found: Validation, name: str, cycle: int, cycles: Mapping[int, ClosedCycle], rules: Rules) -> dict[str, Any]:
    oracle = found.rows_of_cycle(found.oracle[: cycle + 1])
    branch = found.rows_of_cycle(found.branches[name, cycle])
    own = found.rows_of_cycle(found.own[name][: cycle + 1]) if len(found.own[name]) > cycle else None
    rate = found.settings.trajectories[name][cycle]
    row: dict[str, Any] = {
        "trajectory": name,
        "cycle": cycle,
        "percent_remaining": fmean(each["percent_remaining"] for each in oracle),
        "oracle_max_lr": found.settings.choices[cycle],
        "scyc_max_lr": rate,
        "held_out": found.settings.held_out,
        "runs": len(oracle),
        **_columns("val_gap", _gaps(oracle, branch, "val_accuracy"), rules),
        **_columns("test_gap", _gaps(oracle, branch, "test_accuracy"), rules),
        **_own(
            _gaps(oracle, own, "val_accuracy"),
            _gaps(oracle, own, "test_accuracy"),
            _margin(oracle, "test_accuracy", rules),
            rules,
        ),
    }
    if len(oracle) < 2:
        return row
    margin = _margin(oracle, "val_accuracy", rules)
    if row["val_gap"] is None:
        # What diverged is outside by definition; but nothing can be said where the oracle's own choice did, on fresh
        # runs, or where nothing was left to prune.
        diverged = any(each["status"] == "diverged" for each in branch)
        row["verdict"] = "outside" if diverged and all(each["status"] == "ok" for each in oracle) else "undecided"
        return row
    if not found.settings.held_out and cycle in cycles:
        beside = accuracies_by_run(cycles[cycle].rows) | {rate: [each["val_accuracy"] for each in branch]}
        point = judge(beside, found.settings.choices[cycle], margin, rules.confidence)[rate]
        row |= {"val_gap_low": point.low, "val_gap_high": point.high}
    row["verdict"] = verdict(row["val_gap_low"], row["val_gap_high"], margin)
    return row


def _over_all(found: Validation, name: str, rules: Rules) -> dict[str, Any]:
    """Return the mean over cycles: each run's own mean first, so that runs remain what is compared."""
    cycles = range(len(found.oracle))
    oracle = [found.rows_of_cycle(found.oracle[: cycle + 1]) for cycle in cycles]
    branches = [found.rows_of_cycle(found.branches[name, cycle]) for cycle in cycles]
    chain = found.own[name]
    # A chain that ended early has no mean over all cycles.
    own = [found.rows_of_cycle(chain[: cycle + 1]) if cycle < len(chain) else None for cycle in cycles]

    def mean(theirs: Sequence[Sequence[Row] | None], accuracy: str) -> Gaps | None:
        return _mean([_gaps(ours, rows, accuracy) for ours, rows in zip(oracle, theirs, strict=True)])

    row: dict[str, Any] = {
        "trajectory": name,
        "cycle": None,
        "held_out": found.settings.held_out,
        "runs": len(oracle[0]),
        "holm_p": None,
        **_columns("val_gap", mean(branches, "val_accuracy"), rules),
        **_columns("test_gap", mean(branches, "test_accuracy"), rules),
        **_own(
            mean(own, "val_accuracy"),
            mean(own, "test_accuracy"),
            fmean(_margin(rows, "test_accuracy", rules) for rows in oracle),
            rules,
        ),
    }
    if (
        not found.settings.held_out
    ):  # the oracle's choices are the best on these runs; their gaps have no honest interval
        row |= {"val_gap_low": None, "val_gap_high": None}
    elif row["val_gap_low"] is not None:
        margin = fmean(_margin(rows, "val_accuracy", rules) for rows in oracle)
        row["verdict"] = verdict(row["val_gap_low"], row["val_gap_high"], margin)
    return row


def _own(val: Gaps | None, test: Gaps | None, margin: float, rules: Rules) -> dict[str, Any]:
    """Return what a trajectory's own chain comes to, and whether it is as good as the oracle's in test accuracy."""
    tested = test is not None and len(test.values) > 1
    return {
        "own_val_gap": val and val.mean,
        # As wide as the two tests take it: both ends within the margin and equivalence are the same.
        **_columns("own_test_gap", test, replace(rules, confidence=both_sides(rules.confidence))),
        "equivalence_p": equivalence_p(test.values, margin, test.least) if test and tested else None,
    }


def _gaps(ours: Sequence[Row], theirs: Sequence[Row] | None, accuracy: str) -> Gaps | None:
    """Return the differences of an accuracy; None where anything diverged or ended."""
    pairs = [(mine[accuracy], other[accuracy]) for mine, other in zip(ours, theirs or (), strict=theirs is not None)]
    if not pairs or any(None in pair for pair in pairs):
        return None
    same = all(mine["lane_id"] == other["lane_id"] for mine, other in zip(ours, theirs or (), strict=True))
    return Gaps(np.array([mine - other for mine, other in pairs]), 0.0 if same else step(np.array(pairs)))


def _mean(parts: Sequence[Gaps | None]) -> Gaps | None:
    """Return each run's mean over cycles; None where a cycle has no gaps."""
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    least = max(part.least for part in whole) / len(whole)
    return Gaps(np.mean([part.values for part in whole], axis=0), least)


def _columns(name: str, gaps: Gaps | None, rules: Rules) -> dict[str, float | None]:
    if gaps is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    low, high = interval(gaps.values, rules.confidence, gaps.least) if len(gaps.values) > 1 else (None, None)
    return {name: gaps.mean, f"{name}_low": low, f"{name}_high": high}


def _margin(rows: Sequence[Row], accuracy: str, rules: Rules) -> float:
    """Return the tolerance in percent points below the mean of an accuracy, as far as there is one."""
    values = [row[accuracy] for row in rows]
    return rules.margin(fmean([value for value in values if value is not None] or [0.0]))
