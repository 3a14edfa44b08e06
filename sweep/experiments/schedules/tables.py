"""From chains under several schedules to a table like the paper's Table 2. Pure: no files, no torch, no ray.

In: the chains' rows. Out: accuracies by schedule and cycle, which of them a paired test can tell from the best, and the
paper's printed values beside them. Next: `views` and `figures` beside it show it.
"""

import functools
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from search_spaces.schedule_tables import Comparison
from sweep.experiments.schedules.settings import Entry
from sweep.experiments.schedules.strategy import Grid
from sweep.statistics.selection import SAME_ACCURACY, accuracies
from sweep.statistics.summaries import chain_rows
from sweep.store.tables import Table
from sweep.strategies.chains import Row
from trainables.schedules import rates as rates_of
from trainables.spec import Schedule, TrainSpec

SIGNIFICANT = 0.05
"""A schedule with a smaller p is significantly different from the best of its cycle."""

_STD = "its standard deviation over runs (n-1); null for one run"
_KIND = ("kind", pa.string(), "", "the learning-rate schedule within this cycle")
_CYCLE = ("cycle", pa.int32(), "", "number of prunings before this training")
_MAX_LR = ("max_lr", pa.float64(), "1", "max_lr of the schedule; for retraining schedules, that of the first training")

SCHEDULES = Table(
    "schedules",
    (
        ("schedule", pa.string(), "", "row of the comparison: the schedule as it was given"),
        _KIND,
        ("source", pa.string(), "", "where max_lr comes from; for S-Cyc its parameters"),
        _CYCLE,
        ("percent_remaining", pa.float64(), "percent", "remaining prunable weights, mean over runs"),
        _MAX_LR,
        ("peak_lr", pa.float64(), "1", "highest learning rate of the cycle: less than max_lr for ft, lrw and clr"),
        ("val_accuracy_mean", pa.float64(), "percent", "validation accuracy, mean over runs; null if a run diverged"),
        ("val_accuracy_std", pa.float64(), "percent", _STD),
        ("test_accuracy_mean", pa.float64(), "percent", "test accuracy, mean over runs; null if a run diverged"),
        ("test_accuracy_std", pa.float64(), "percent", _STD),
        ("best", pa.bool_(), "", "whether its mean test accuracy is the highest of this cycle"),
        ("difference", pa.float64(), "percent points", "mean test accuracy minus that of the best schedule"),
        ("p_value", pa.float64(), "", "paired t-test over runs against the best, two-sided, uncorrected"),
        (
            "tied",
            pa.bool_(),
            "",
            "whether it is the best, or not significantly different from it (p of at least 0.05); null for one run",
        ),
        ("printed_mean", pa.float64(), "percent", "the paper's mean test accuracy in this cycle"),
        ("printed_std", pa.float64(), "percent", "the paper's standard deviation"),
        ("runs", pa.int32(), "", "number of runs"),
        ("diverged", pa.int32(), "", "of these, runs that diverged; the chain ends here"),
        ("ended", pa.int32(), "", "of these, runs with nothing left to prune; the chain ends here"),
        (
            "trained_steps",
            pa.int64(),
            "steps",
            "optimizer steps of all runs; steps that schedules share are counted for each",
        ),
    ),
)

RUNS = Table(
    "runs",
    (
        ("schedule", pa.string(), "", "row of the comparison"),
        _KIND,
        _CYCLE,
        ("run", pa.int32(), "", "repetition, from 0; equal numbers share split, initial weights and batches"),
        ("percent_remaining", pa.float64(), "percent", "remaining prunable weights"),
        _MAX_LR,
        (
            "val_accuracy",
            pa.float64(),
            "percent",
            "validation accuracy at the scored evaluation; null if the lane diverged",
        ),
        ("test_accuracy", pa.float64(), "percent", "test accuracy at the scored evaluation"),
        ("best_step", pa.int64(), "steps", "steps trained at the scored evaluation"),
        ("status", pa.string(), "", "ok, diverged, or ended (nothing was left to prune)"),
        ("lane_id", pa.string(), "", "the lane, in lanes"),
    ),
)

RATES = Table(
    "rates",
    (
        ("schedule", pa.string(), "", "the schedule whose max_lr was tuned"),
        ("cycle", pa.int32(), "", "the cycle that it was tuned on"),
        ("max_lr", pa.float64(), "1", "peak learning rate that was trained"),
        ("val_accuracy_mean", pa.float64(), "percent", "validation accuracy, mean over runs; null if a run diverged"),
        ("val_accuracy_std", pa.float64(), "percent", _STD),
        ("test_accuracy_mean", pa.float64(), "percent", "test accuracy, mean over runs; nothing is chosen by it"),
        ("test_accuracy_std", pa.float64(), "percent", _STD),
        ("chosen", pa.bool_(), "", "whether this max_lr was chosen"),
        (
            "at_edge",
            pa.bool_(),
            "",
            "whether the chosen max_lr is the lowest or highest of the grid, which could not be extended any further",
        ),
        ("runs", pa.int32(), "", "number of runs"),
        ("diverged", pa.int32(), "", "of these, runs that diverged"),
        ("trained_steps", pa.int64(), "steps", "optimizer steps of all runs"),
    ),
)


def standings(
    entries: Sequence[Entry], chains: Mapping[str, Sequence[Row]], training: TrainSpec, printed: Comparison | None
) -> pd.DataFrame:
    """Return one row for each schedule and cycle, from the rows of each schedule's chain.

    `printed` values go to schedules that were given without a rate of their own.
    """
    found = [_rows(entry, chains[entry.name], training, printed) for entry in entries if entry.name in chains]
    rows = [row for each in found for row in each]
    for cycle in {row["cycle"] for row in rows}:
        by_run = {
            name: {lane["run"]: lane["test_accuracy"] for lane in lanes if lane["cycle"] == cycle}
            for name, lanes in chains.items()
        }
        _compare([row for row in rows if row["cycle"] == cycle], by_run)
    return SCHEDULES.frame(rows)


def runs(chains: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    """Return one row for each schedule, cycle and run: what a test of one's own starts from."""
    return RUNS.frame([row | {"kind": row["schedule"], "schedule": name} for name in chains for row in chains[name]])


def rates(grids: Sequence[Grid]) -> pd.DataFrame:
    """Return one row for each schedule and max_lr that was tried for it."""
    return RATES.frame(
        [
            {
                "schedule": grid.schedule.name,
                "cycle": grid.cycle,
                "max_lr": max_lr,
                **accuracies(group),
                "chosen": max_lr == grid.best_max_lr,
                "at_edge": grid.best_max_lr in (tried[0], tried[-1]),
                "runs": len(group),
                "diverged": sum(row["status"] == "diverged" for row in group),
                "trained_steps": sum(row["steps"] for row in group),
            }
            for grid in grids
            for tried in [sorted({row["max_lr"] for row in grid.rows})]
            for max_lr in tried
            for group in [[row for row in grid.rows if row["max_lr"] == max_lr]]
        ],
    )


def _rows(entry: Entry, lanes: Sequence[Row], training: TrainSpec, printed: Comparison | None) -> list[dict[str, Any]]:
    row_of_paper = next((row for row in printed.rows if row.schedule == entry.name), None) if printed else None
    rows = []
    for row in chain_rows(lanes):
        group = [lane for lane in lanes if lane["cycle"] == row["cycle"]]
        there = printed is not None and row_of_paper is not None and row["cycle"] in printed.cycle
        column = printed.cycle.index(row["cycle"]) if printed is not None and there else 0
        rows.append(
            row
            | {
                "schedule": entry.name,
                "kind": group[0]["schedule"],
                "peak_lr": row["max_lr"] * _peak(training, row["cycle"], entry.schedule),
                "source": entry.source,
                "diverged": sum(lane["status"] == "diverged" for lane in group),
                "ended": sum(lane["status"] == "ended" for lane in group),
                "trained_steps": sum(lane["steps"] for lane in group),
                "printed_mean": row_of_paper.mean[column] if row_of_paper is not None and there else None,
                "printed_std": row_of_paper.std[column] if row_of_paper is not None and there else None,
            }
        )
    return rows


@functools.cache
def _peak(training: TrainSpec, cycle: int, schedule: Schedule) -> float:
    """Return the highest rate of a cycle as a share of max_lr: of FT, LRW and CLR it may be less."""
    steps = training.steps_of(cycle)
    of = rates_of(training.schedule_of(cycle, schedule), steps, training.steps)
    return max(of.at(step, 1.0) for step in range(steps))


def _compare(rows: Sequence[dict[str, Any]], by_run: Mapping[str, Mapping[int, float]]) -> None:
    """Note in the rows of one cycle which is best, and which differ significantly from it.

    By a paired t-test over runs, two-sided: all schedules of a run share its split, initial weights and batches.
    """
    whole = [row for row in rows if row["test_accuracy_mean"] is not None]
    best = max(whole, key=lambda row: row["test_accuracy_mean"], default=None)
    for row in rows:
        row["best"], row["difference"], row["p_value"], row["tied"] = False, None, None, None
        if best is None or row["test_accuracy_mean"] is None:
            continue
        runs = sorted(by_run[row["schedule"]])
        ours, theirs = ([by_run[each["schedule"]][run] for run in runs] for each in (row, best))
        row["difference"] = fmean(ours) - fmean(theirs)
        row["best"] = row["difference"] > -SAME_ACCURACY
        if len(runs) > 1:
            row["p_value"] = None if row is best else paired_p(ours, theirs)
            row["tied"] = row["best"] or (row["p_value"] is not None and row["p_value"] >= SIGNIFICANT)


def paired_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the two-sided p of a paired t-test: how often chance alone would part two equals as far as this.

    1 where no pair differs; 0 where all pairs differ by the same, which leaves no spread to blame.
    """
    differences = np.subtract(ours, theirs)
    if np.ptp(differences) < SAME_ACCURACY:
        return 0.0 if abs(differences.mean()) > SAME_ACCURACY else 1.0
    from scipy import stats  # takes half a second that other commands need not

    return float(stats.ttest_rel(ours, theirs).pvalue)
