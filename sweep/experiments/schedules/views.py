"""What there is to show of a comparison of schedules: test accuracies, the best of each cycle. In: its results."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from sweep.experiments.schedules.tables import SIGNIFICANT
from sweep.reporting.numbers import NONE, missing, percent_remaining, rate_format, signed, with_std
from sweep.reporting.views import Cell, Column, Part, Table, View, findings, legend, notes
from sweep.reporting.wording import cost, run_of, unfinished, why_edge

if TYPE_CHECKING:
    from sweep.experiments.schedules.results import SchedulesResults

FEW_RUNS = 4
"""With fewer, a paired test finds only very large differences."""
Row = Mapping[Any, Any]


def schedules(results: "SchedulesResults") -> View:
    """Return test accuracies as the paper's Table 2 has them: a row a cycle, a column a schedule.

    The paper's printed value, if there is one, stands below the measured one.
    """
    parts: list[Part] = [_table(results.schedules), *_statements(results)]
    return View("Schedules compared", run_of(results.settings), parts, results.schedules, ("schedules",))


def answers(results: "SchedulesResults") -> list[str]:
    """Return which schedule has the best mean in how many cycles, and how S-Cyc does."""
    table = results.schedules
    if table.empty:
        return ["No schedule has finished a cycle yet."]
    counts = table[table["best"]]["schedule"].value_counts()
    best = ", ".join(f"{name} in {found}" for name, found in counts.items())
    unsure = "; one run does not say how certain that is" if results.settings.runs < 2 else ""
    return [
        f"Best mean test accuracy: {best or 'none'} of {table['cycle'].nunique()} cycles{unsure}.",
        *(f"{line}." for line in _scyc_findings(results)),
    ]


def standing(row: Row | None) -> Cell:
    """Return a schedule's test accuracy in one cycle; * is the best, = not significantly different from the best."""
    if row is None:
        return Cell(NONE)
    mean = row["test_accuracy_mean"]
    if missing(mean):
        return Cell("diverged" if row["diverged"] else "ended")
    tied = not missing(row["tied"]) and bool(row["tied"])
    sign = "*" if row["best"] else "=" if tied else " "
    printed = "" if missing(row["printed_mean"]) else f"({row['printed_mean']:g}±{row['printed_std']:g}) "
    text = with_std(mean, row["test_accuracy_std"]) + sign
    return Cell(text, mean, "best" if row["best"] or tied else "", printed)


def _table(table: pd.DataFrame) -> Table:
    rows = {(row["schedule"], row["cycle"]): row for row in table.to_dict("records")}
    names = list(dict.fromkeys(table["schedule"]))
    columns = [Column("m"), Column("λ", "%")]
    for name in names:
        columns.append(Column(name, f"max_lr {_rates([row for (of, _), row in rows.items() if of == name])}"))
    cells = [
        [
            Cell(str(cycle), cycle),
            Cell(percent_remaining(percent), percent),
            *(standing(rows.get((name, cycle))) for name in names),
        ]
        for cycle, percent in table.groupby("cycle")["percent_remaining"].mean().items()
    ]
    return Table(columns, cells, "test accuracy (%) of each schedule", keys=2)


def _rates(rows: Sequence[Row]) -> str:
    """Return a schedule's rates: one, the range of a curve, or what retraining makes of it."""
    low, high = min(row["max_lr"] for row in rows), max(row["max_lr"] for row in rows)
    write = rate_format(low, high)
    text = write(low) if write(low) == write(high) else f"{write(low)} to {write(high)}"
    peaks = {row["peak_lr"] for row in rows if row["cycle"]}
    return f"{text}, then {max(peaks):.3g}" if peaks and max(peaks) < 0.99 * low else text


def _statements(results: "SchedulesResults") -> list[Part]:
    table, settings = results.schedules, results.settings
    several = table["schedule"].nunique() > 1
    parts: list[Part] = []
    if several:
        parts += findings(*_scyc_findings(results))
    parts += findings(*_edges(results))
    waiting = [entry.name for entry in settings.entries if entry.name not in set(table["schedule"])]
    if waiting:
        parts += findings(f"not trained yet: {', '.join(waiting)}")
    parts += findings(_cost(results))
    if not results.finished:
        parts += findings(unfinished(results.progress))
    if several and settings.runs > 1:
        parts += legend(
            "*: the best mean test accuracy of the cycle; =: not significantly different from it (paired t-test over "
            f"runs, p of at least {SIGNIFICANT:g}, uncorrected)"
        )
        if settings.runs < FEW_RUNS:
            parts += notes(f"with {settings.runs} runs the test finds only very large differences: = says little")
    elif several:
        parts += legend("*: the best test accuracy of the cycle; one run does not say how certain that is")
    parts += notes("nothing is chosen by a test accuracy")
    for source, part in table.groupby("source", sort=False):
        parts += notes(f"max_lr of {', '.join(part['schedule'].unique())}: {source}")
    if settings.printed is not None:
        parts += legend(f"in brackets: the paper's Table {settings.printed.table} ({settings.printed.pruning})")
        parts += notes(*(f"Table {settings.printed.table}: {note}" for note in settings.printed.notes))
    return parts


def _edges(results: "SchedulesResults") -> list[str]:
    """Return which tuned max_lr lie at the edge of their grid."""
    lines, rates = [], results.rates
    for (schedule, cycle), grid in rates[rates["at_edge"]].groupby(["schedule", "cycle"], sort=False):
        chosen, low, high = grid.loc[grid["chosen"], "max_lr"].iloc[0], grid["max_lr"].min(), grid["max_lr"].max()
        write = rate_format(*grid["max_lr"])
        why = why_edge(results.settings.max_lr, low if chosen == low else None)
        lines.append(
            f"max_lr {write(chosen)} of {schedule} lies at the edge of its grid at cycle {cycle}, {write(low)} to "
            f"{write(high)}, {why}"
        )
    return lines


def _scyc_findings(results: "SchedulesResults") -> list[str]:
    table, runs = results.schedules, results.settings.runs
    return [line for name in results.settings.curves if (line := _scyc_finding(table, name, runs))]


def _scyc_finding(table: pd.DataFrame, name: str, runs: int) -> str:
    """Return where an S-Cyc is best, and its difference at the last cycle; nothing before a cycle is trained."""
    own = table[table["schedule"] == name]
    if own.empty:
        return ""
    last = own.iloc[-1]
    if missing(last["test_accuracy_mean"]):
        return f"{name} {'diverged' if last['diverged'] else 'ended'} at cycle {last['cycle']}"
    others = table[(table["schedule"] != name) & (table["cycle"] == last["cycle"])]
    others = others.dropna(subset="test_accuracy_mean")
    line = f"{name} has the best mean in {own['best'].sum()} of {len(own)} cycles"
    if runs > 1:
        different = int((~own["tied"].astype(bool)).sum())
        line += f" and is significantly different from the best in {different}"
    if len(others):
        rival = others.loc[others["test_accuracy_mean"].idxmax()]
        gap = signed(last["test_accuracy_mean"] - rival["test_accuracy_mean"])
        spread = "" if missing(rival["test_accuracy_std"]) else f" (std over runs {rival['test_accuracy_std']:.2f})"
        where = f"at λ = {percent_remaining(last['percent_remaining'])} %"
        line += f"; {where} it differs from {rival['schedule']} by {gap} points{spread}"
    return line


def _cost(results: "SchedulesResults") -> str:
    rows, rates = list(results.replay.current().values()), results.rates
    diverged, steps = sum(row["status"] == "diverged" for row in rows), sum(row["steps"] for row in rows)
    trained = cost(len(rows), diverged, steps, sum(row["wall_seconds"] for row in rows))
    return f"{trained}; {int(rates['trained_steps'].sum()):,} of the steps tune max_lr" if len(rates) else trained


VIEWS: dict[str, Callable[[Any], View]] = {"schedules": schedules}
