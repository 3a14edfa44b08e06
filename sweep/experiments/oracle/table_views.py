"""The oracle table with the predictions that were compared with it. In: an oracle's results. Out: a view."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from sweep.reporting.numbers import percent_remaining, rate_format, signed, with_std
from sweep.reporting.views import Cell, Column, Part, Table, View, findings, legend, notes
from sweep.reporting.wording import FLATTERED, cost, level_of, run_of, tolerance_of, unfinished, why_edge

if TYPE_CHECKING:
    from sweep.experiments.oracle.results import OracleResults

REGION = ("best_max_lr", "feasible_low", "feasible_high")
"""Columns of an oracle's choice and its region."""
UNDECIDED = "no cycle is decided yet"
FIGURES = ("trajectory", "shortfalls")
Row = Mapping[Any, Any]
Write = Callable[[float], str]


def oracle(results: "OracleResults") -> View:
    """Return the oracle table with the predictions that were compared with it."""
    return compared(results, results.compared if results.finished else None)


def compared(results: "OracleResults", comparison: pd.DataFrame | None) -> View:
    """Return the oracle as the paper's Table 3 has it, one row a cycle, with predictions where there are any."""
    names = [] if comparison is None else list(dict.fromkeys(comparison["trajectory"]))
    parts: list[Part] = [_table(results.oracle, comparison, names, level_of(results.settings))]
    parts += _statements(results, comparison)
    if not results.finished:
        parts += findings(unfinished(results.progress))
    return View("The oracle: best max_lr and feasible region", title_of(results), parts, results.oracle, FIGURES)


def title_of(results: "OracleResults") -> str:
    """Return what was run, and the tolerance of the region."""
    return f"{run_of(results.settings)}, tolerance {tolerance_of(results.settings)}"


def region_cell(row: Row, write: Write) -> Cell:
    """Return an oracle's feasible region; < and > where it reaches the grid's edge, ~ where the curve is noisy."""
    low, high = row["feasible_low"], row["feasible_high"]
    before, after = ("<" if row["low_at_edge"] else ""), (">" if row["high_at_edge"] else "")
    gaps = "" if row["contiguous"] else "~"
    return Cell(f"{before}[{write(low)}, {write(high)}]{after}{gaps}", (low, high))


def _table(oracle: pd.DataFrame, comparison: pd.DataFrame | None, names: list[str], level: str) -> Table:
    per_run = not oracle["run"].isna().all()
    certain = not oracle["possible_low"].isna().all()
    predicted = {} if comparison is None else dict(iter(comparison.groupby("trajectory")))
    columns = [
        Column("m"),
        *([Column("run")] if per_run else []),
        Column("λ", "%"),
        Column("best max_lr"),
        Column("feasible region"),
        *([Column(f"{level} range of the region", optional=2)] if certain else []),
        *(Column(name) for name in names),
        Column("validation accuracy", "%"),
        Column("test accuracy", "%"),
        *([Column("gap", "points", optional=1)] if names else []),
    ]
    rows = []
    for index, row in enumerate(oracle.to_dict("records")):
        predictions = [predicted[name].iloc[index] for name in names]
        shown = [*REGION, *(["possible_low", "possible_high"] if certain else [])]
        write = rate_format(*(row[name] for name in shown), *(each["scyc_max_lr"] for each in predictions))
        gaps = [each["accuracy_gap"] for each in predictions]
        rows.append(
            [
                Cell(str(row["cycle"]), row["cycle"]),
                *([Cell(str(row["run"]), row["run"])] if per_run else []),
                Cell(percent_remaining(row["percent_remaining"]), row["percent_remaining"]),
                Cell(write(row["best_max_lr"]), row["best_max_lr"]),
                region_cell(row, write),
                *([_range(row, write)] if certain else []),
                *(_prediction(each, write) for each in predictions),
                *(_accuracy(row, part) for part in ("val", "test")),
                *([Cell(" / ".join(map(signed, gaps)), gaps)] if names else []),
            ]
        )
    return Table(columns, rows, keys=2 + per_run)


def _range(row: Row, write: Write) -> Cell:
    low, high = row["possible_low"], row["possible_high"]
    before, after = ("<" if low == row["grid_low"] else ""), (">" if high == row["grid_high"] else "")
    return Cell(f"{before}[{write(low)}, {write(high)}]{after}", (low, high))


def _prediction(row: "pd.Series[Any]", write: Write) -> Cell:
    value, inside = row["scyc_max_lr"], bool(row["inside"])
    return Cell(f"{write(value)} {'in ' if inside else 'out'}", value, "inside" if inside else "outside")


def _accuracy(row: Row, part: str) -> Cell:
    mean = row[f"{part}_accuracy_mean"]
    return Cell(with_std(mean, row[f"{part}_accuracy_std"]), mean)


def _statements(results: "OracleResults", comparison: pd.DataFrame | None) -> list[Part]:
    table = results.oracle
    if table.empty:
        return findings(UNDECIDED)
    lines = []
    if comparison is not None:
        lines += [inside_of(str(name), part) for name, part in comparison.groupby("trajectory", sort=False)]
    lanes, diverged = int(table["lanes"].sum()), int(table["diverged"].sum())
    trained = cost(lanes, diverged, int(table["trained_steps"].sum()), float(table["wall_seconds"].sum()))
    lines += [*_certainty(results), trained, *(f"ended early: {reason}" for reason in results.manifest["ended_early"])]
    return [*findings(*lines), *legend(*_legend(results, comparison is not None)), *notes(FLATTERED)]


def _legend(results: "OracleResults", compared: bool) -> list[str]:
    table, settings = results.oracle, results.settings
    lines = []
    if compared:
        lines.append(
            "in, out: the prediction lies inside or outside the feasible region; gap: validation accuracy of the "
            "oracle's choice minus that of the prediction, read off the measured curve"
        )
    if not table["contiguous"].all():
        lines.append("~: the curve is noisy: there are feasible max_lr values beyond a gap (hull_low, hull_high)")
    low = [why_edge(settings.max_lr, edge) for edge in table.loc[table["low_at_edge"], "grid_low"]]
    reasons = {"<": low, ">": [why_edge(settings.max_lr, None)] * int(table["high_at_edge"].any())}
    for reason in dict.fromkeys(reasons["<"] + reasons[">"]):
        marks = ", ".join(mark for mark, found in reasons.items() if reason in found)
        lines.append(f"{marks}: the feasible region reaches the edge of the grid, {reason}")
    if not table["possible_low"].isna().all():
        level = level_of(settings)
        lines.append(
            f"{level} range of the region: every max_lr tried beyond it is significantly outside the region ({level}, "
            "simultaneous over the max_lr values of a cycle); < or > there: the range reaches the edge of the grid"
        )
    return lines


def inside_of(name: str, comparison: pd.DataFrame) -> str:
    """Return at how many cycles a prediction lies inside the feasible region, and its mean gap."""
    gaps = comparison["accuracy_gap"].dropna()
    mean = f"; mean gap {signed(gaps.mean())} points of validation accuracy" if len(gaps) else ""
    return f"{name}: inside the feasible region in {int(comparison['inside'].sum())} of {len(comparison)} cycles{mean}"


def _certainty(results: "OracleResults") -> list[str]:
    """Return how certain best and region are."""
    table, level = results.oracle, level_of(results.settings)
    if table["possible_low"].isna().all():
        return ["one run decides each row: there is no confidence interval of best max_lr and region; give more --runs"]
    beyond = pd.concat([table["below_low"], table["above_high"]]).dropna()
    outside = int((beyond == "outside").sum())
    return [
        f"median over cycles: {table['n_not_worse'].median():g} of {table['points'].median():g} max_lr values are not "
        f"significantly worse than the best ({level}, simultaneous)",
        f"{outside} of {len(beyond)} max_lr values next to a region are significantly outside it ({level}, "
        "simultaneous)",
    ]
