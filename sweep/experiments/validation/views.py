"""What there is to show of a validation: gaps of trained trajectories with intervals, and verdicts. In: its results."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from sweep.reporting.numbers import (
    count,
    interval,
    missing,
    p_value,
    percent_remaining,
    rate_format,
    signed,
    yes_no,
)
from sweep.reporting.views import Cell, Column, Mark, Part, Table, View, findings, legend, marked
from sweep.reporting.wording import level_of, run_of, tolerance_of, unfinished
from sweep.statistics.intervals import both_sides

if TYPE_CHECKING:
    from sweep.experiments.validation.results import ValidationResults

VERDICTS = ("inside", "undecided", "outside")
MARKS: dict[str, Mark] = {"inside": "inside", "outside": "outside"}


def verdicts(results: "ValidationResults") -> View:
    """Return what trained trajectories came to: a table for each, and what follows from it."""
    parts: list[Part] = []
    for name, rows in results.verdicts.groupby("trajectory", sort=False):
        parts.append(_table(results, str(name), rows))
        parts += _findings(results, rows)
    if results.stale:
        parts += findings("the oracle has changed since (other choices or more runs): run compare again")
    if not results.finished:
        parts += findings(unfinished(results.progress))
    title = f"{run_of(results.oracle.settings)}, tolerance {tolerance_of(results.oracle.settings)}"
    seeds = "on held-out seeds" if _held_out(results) else "on the oracle's runs"
    heading = f"S-Cyc beside the oracle, trained {seeds}"
    return View(heading, title, [*parts, *_legend(results)], results.verdicts, ("gaps",))


def answers(results: "ValidationResults") -> list[str]:
    """Return for each trajectory how often it is within the tolerance, and whether its own chain is equivalent."""
    settings = results.oracle.settings
    found = []
    for name, rows in results.verdicts.groupby("trajectory", sort=False):
        over_all, cycles = rows[rows["cycle"].isna()], rows[rows["cycle"].notna()]
        if cycles["verdict"].isna().all():
            gap = signed(cycles["val_gap"].mean())
            found.append(f"{name}, trained on one run: mean gap {gap} points; one run gives no confidence interval.")
            continue
        line = f"{name}, trained on {_runs(results)}: {_counted(cycles)}."
        if len(over_all) and not missing(over_all["own_test_gap_low"].iloc[0]):
            last = over_all.iloc[0]
            low, high = last["own_test_gap_low"], last["own_test_gap_high"]
            line += (
                f" The test accuracy of the oracle minus that of its own chain is {signed(last['own_test_gap'])} "
                f"points, mean over all cycles ({_both(results)} interval {low:+.2f} to {high:+.2f}): "
                f"{_equivalent(last)} within {tolerance_of(settings)} (TOST)."
            )
        found.append(line)
    return found or ["No cycle is trained yet."]


def _table(results: "ValidationResults", name: str, verdicts: pd.DataFrame) -> Table:
    level = level_of(results.oracle.settings)
    columns = [
        Column("m"),
        Column("λ", "%"),
        Column("oracle's max_lr"),
        Column("predicted max_lr"),
        Column("validation gap", "points"),
        # On the oracle's runs its choice is the best seen; what has an interval is the shortfall from the true best.
        Column(f"{level} interval" if _held_out(results) else f"{level} interval of the shortfall"),
        Column("verdict", align="left"),
        Column("test gap of its own chain", "points"),
        Column(f"{_both(results)} interval"),
        Column("equivalent", "TOST", align="left"),
    ]
    rows = []
    for row in verdicts.to_dict("records"):
        whole = missing(row["cycle"])
        write = rate_format(row["oracle_max_lr"], row["scyc_max_lr"])
        verdict, equivalent = row["verdict"], row["equivalent"]
        cells = [
            Cell("mean") if whole else Cell(str(row["cycle"]), row["cycle"]),
            Cell("") if whole else Cell(percent_remaining(row["percent_remaining"]), row["percent_remaining"]),
            *(Cell("") if whole else Cell(write(row[rate]), row[rate]) for rate in ("oracle_max_lr", "scyc_max_lr")),
            *_gap(row, "val_gap"),
            Cell("") if missing(verdict) else Cell(verdict, verdict, MARKS.get(verdict, "")),
            *_gap(row, "own_test_gap"),
            Cell("") if missing(equivalent) else Cell(yes_no(equivalent), equivalent),
        ]
        rows.append(marked(cells, "best") if whole else cells)
    title = f"{name}, trained on {_runs(results)}; tolerance {tolerance_of(results.oracle.settings)}"
    return Table(columns, rows, title)


def _gap(row: dict[Any, Any], name: str) -> tuple[Cell, Cell]:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return Cell(signed(row[name]), row[name]), Cell(interval(low, high), (low, high))


def _findings(results: "ValidationResults", rows: pd.DataFrame) -> list[Part]:
    if results.settings.runs < 2:
        return findings("one run gives no interval: how certain the gaps are is unknown")
    over_all, cycles = rows[rows["cycle"].isna()], rows[rows["cycle"].notna()]
    lines = [f"trained from the oracle's states: {_counted(cycles)}"]
    same = int(((cycles["val_gap_low"] == 0) & (cycles["val_gap_high"] == 0)).sum())
    if same:
        lines.append(f"in {count(same, 'cycle')} of these the prediction trains the same network as the oracle")
    if over_all.empty:
        return findings(*lines)
    last = over_all.iloc[0]
    if len(results.replay.oracle) < len(results.settings.choices):
        lines.append("the oracle's own choices diverged on these runs, or nothing was left to prune")
    elif missing(last["own_test_gap"]):
        lines.append("its own chain diverged, or nothing was left to prune")
    else:
        lines.append(
            f"its own chain is {_equivalent(last)} to the oracle's in test accuracy, mean over all cycles (TOST, p = "
            f"{p_value(last['equivalence_p'])}); this says nothing about single cycles: with Holm's correction "
            f"{int(cycles['equivalent'].sum())} of {len(cycles)} are equivalent"
        )
    return findings(*lines)


def _legend(results: "ValidationResults") -> list[Part]:
    level = level_of(results.oracle.settings)
    lines = [
        "inside: at most the tolerance worse than the oracle's choice, or better; outside: worse by more than the "
        f"tolerance; undecided: the {level} interval allows both",
        "equivalent (TOST): two one-sided tests show that the chain is neither worse nor better by the tolerance",
    ]
    if _held_out(results):
        lines.append("gap: oracle's choice minus prediction, in points, on seeds that had no part in any choice")
    else:
        lines += [
            "gap: oracle's choice minus prediction, in points; on these runs the oracle's choice is the best of many "
            "noisy means, so its accuracy is optimistic and the gap too large; compare --confirm N takes held-out "
            "seeds",
            f"{level} interval of the shortfall: how far the prediction falls short of the truly best max_lr, "
            "whichever that is (simultaneous over a cycle's max_lr)",
        ]
    return legend(*lines)


def _counted(cycles: pd.DataFrame) -> str:
    counts = cycles["verdict"].value_counts()
    found = ", ".join(f"{name} in {counts.get(name, 0)}" for name in VERDICTS)
    return f"{found} of {len(cycles)} cycles"


def _equivalent(row: "pd.Series[Any]") -> str:
    return "equivalent" if row["equivalent"] else "not shown to be equivalent"


def _both(results: "ValidationResults") -> str:
    return f"{100 * both_sides(results.oracle.settings.confidence):g} %"


def _held_out(results: "ValidationResults") -> bool:
    return results.settings.held_out


def _runs(results: "ValidationResults") -> str:
    runs = count(results.settings.runs, "run")
    return f"{runs} with held-out seeds" if _held_out(results) else f"{runs} of the oracle"


VIEWS: dict[str, Callable[[Any], View]] = {"verdicts": verdicts}
