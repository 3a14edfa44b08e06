"""What trained trajectories say: inside, outside or undecided; equivalent or not. Pure. In: trained chains.

Out: the verdicts table. Next: `sweep.screen` prints it.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from sweep import tables
from sweep.chains import Chain, Row
from sweep.evidence import Array, equivalence_p, interval, judge, note_corrected, verdict
from sweep.oracle import ClosedCycle, Rules, accuracies_by_run
from sweep.trained import TrainedComparison


def verdict_table(found: TrainedComparison, closed: Sequence[ClosedCycle], rules: Rules) -> pd.DataFrame:
    """Return the verdicts: a row for each trajectory and cycle, and one for the mean over its cycles.

    On the oracle's own runs a prediction is one more point beside the grid, and its interval is as careful as theirs,
    since the best of them was chosen on these runs (`sweep.evidence`). On fresh runs nothing was chosen: it is a paired
    t interval. The equivalence test's margin is the tolerance.
    """
    cycles = {cycle.cycle: cycle for cycle in closed}
    rows: list[dict[str, Any]] = []
    for name in found.plans.trajectories:
        part = [
            _row(found, name, cycle, cycles, rules)
            for cycle in range(len(found.oracle))
            if (name, cycle) in found.branches
        ]
        note_corrected(part, "equivalence_p", "holm_p")
        if part:
            part.append(_over_all(found, name, part, rules))
        for row in part:
            p = row["equivalence_p"] if row["holm_p"] is None else row["holm_p"]
            row["equivalent"] = None if row["runs"] < 2 else p is not None and p < 1 - rules.confidence
        rows += part
    return tables.frame("verdicts", rows)


def _row(
    found: TrainedComparison, name: str, cycle: int, cycles: Mapping[int, ClosedCycle], rules: Rules
) -> dict[str, Any]:
    oracle = found.rows_of_cycle(found.oracle[: cycle + 1])
    branch = found.rows_of_cycle(found.branches[name, cycle])
    row: dict[str, Any] = {
        "trajectory": name,
        "cycle": cycle,
        "percent_remaining": fmean(each["percent_remaining"] for each in oracle),
        "oracle_max_lr": found.plans.oracle[cycle],
        "scyc_max_lr": found.plans.trajectories[name][cycle],
        "fresh": found.plans.fresh,
        "runs": len(oracle),
        **_gap("val_gap", _differences(oracle, branch, "val_accuracy"), rules),
        **_gap("test_gap", _differences(oracle, branch, "test_accuracy"), rules),
    }
    margin = _margin(oracle, "val_accuracy", rules)
    if not found.plans.fresh and cycle in cycles and row["val_gap"] is not None and len(oracle) > 1:
        rate = found.plans.trajectories[name][cycle]
        beside = accuracies_by_run(cycles[cycle].rows) | {rate: [each["val_accuracy"] for each in branch]}
        point = judge(beside, found.plans.oracle[cycle], margin, rules.confidence)[rate]
        row |= {"val_gap_low": point.low, "val_gap_high": point.high}
    low, high = row["val_gap_low"], row["val_gap_high"]
    if len(oracle) > 1:  # what diverged is outside by definition
        row["verdict"] = "outside" if row["val_gap"] is None else verdict(low, high, margin)
    own = found.own[name][: cycle + 1]
    there = len(own) > cycle
    gaps = _differences(oracle, found.rows_of_cycle(own), "test_accuracy") if there else None
    vals = _differences(oracle, found.rows_of_cycle(own), "val_accuracy") if there else None
    row |= _gap("own_test_gap", gaps, rules) | {"own_val_gap": None if vals is None else float(vals.mean())}
    row["equivalence_p"] = (
        None if gaps is None or len(gaps) < 2 else equivalence_p(gaps, _margin(oracle, "test_accuracy", rules))
    )
    return row


def _over_all(found: TrainedComparison, name: str, rows: Sequence[Mapping[str, Any]], rules: Rules) -> dict[str, Any]:
    """Return the mean over cycles: each run's own mean first, so that runs remain what is compared."""
    oracle = [found.rows_of_cycle(found.oracle[: cycle + 1]) for cycle in range(len(rows))]
    branches: list[Chain] = [found.branches[name, cycle] for cycle in range(len(rows))]
    own = found.own[name]
    row: dict[str, Any] = {
        "trajectory": name,
        "cycle": None,
        "fresh": found.plans.fresh,
        "runs": len(oracle[0]),
        "holm_p": None,
        "verdict": None,
        **_gap("val_gap", _means(found, oracle, branches, "val_accuracy"), rules),
        **_gap("test_gap", _means(found, oracle, branches, "test_accuracy"), rules),
    }
    chains = [own[: cycle + 1] for cycle in range(len(rows))]
    whole = len(own) == len(rows)  # a chain that ended early has no mean over all cycles
    gaps = _means(found, oracle, chains, "test_accuracy") if whole else None
    vals = _means(found, oracle, chains, "val_accuracy") if whole else None
    row |= _gap("own_test_gap", gaps, rules) | {"own_val_gap": None if vals is None else float(vals.mean())}
    margin = fmean(_margin(group, "test_accuracy", rules) for group in oracle)
    row["equivalence_p"] = None if gaps is None or len(gaps) < 2 else equivalence_p(gaps, margin)
    if not found.plans.fresh:  # the oracle's choices are the best on these runs; their gaps have no honest interval
        row |= {"val_gap_low": None, "val_gap_high": None}
    elif row["val_gap_low"] is not None:
        row["verdict"] = verdict(
            row["val_gap_low"], row["val_gap_high"], fmean(_margin(g, "val_accuracy", rules) for g in oracle)
        )
    return row


def _means(
    found: TrainedComparison, oracle: Sequence[Sequence[Row]], chains: Sequence[Chain], name: str
) -> Array | None:
    """Return each run's difference, mean over cycles; None where anything diverged."""
    parts = [_differences(rows, found.rows_of_cycle(chain), name) for rows, chain in zip(oracle, chains, strict=True)]
    whole = [part for part in parts if part is not None]
    return np.mean(whole, axis=0) if len(whole) == len(parts) else None


def _differences(ours: Sequence[Row], theirs: Sequence[Row], name: str) -> Array | None:
    """Return the differences of an accuracy, run by run; None where anything diverged."""
    pairs = [(mine[name], other[name]) for mine, other in zip(ours, theirs, strict=True)]
    if any(None in pair for pair in pairs):
        return None
    return np.array([mine - other for mine, other in pairs])


def _gap(name: str, differences: Array | None, rules: Rules) -> dict[str, float | None]:
    if differences is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    low, high = interval(differences, rules.confidence) if len(differences) > 1 else (None, None)
    return {name: float(differences.mean()), f"{name}_low": low, f"{name}_high": high}


def _margin(rows: Sequence[Row], name: str, rules: Rules) -> float:
    """Return the tolerance in percent points below the mean of an accuracy, as far as there is one."""
    return rules.margin(fmean([row[name] for row in rows if row[name] is not None] or [0.0]))
