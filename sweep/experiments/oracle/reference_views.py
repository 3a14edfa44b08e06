"""An oracle beside others: as other rules would have judged it, and the paper's. In: an oracle's results."""

from typing import TYPE_CHECKING

import pandas as pd

from search_spaces.paper import LABELS, OracleTable
from sweep.experiments.oracle.table_views import REGION, UNDECIDED, region_cell, title_of
from sweep.reporting.numbers import NONE, factor, rate_format
from sweep.reporting.views import Cell, Column, Part, Table, View, findings, legend, notes

if TYPE_CHECKING:
    from sweep.experiments.oracle.results import OracleResults

DEPENDS = "How much depends on the rules"


def rescored(results: "OracleResults") -> View:
    """Return how an oracle's table depends on its rules: a row a rule, what it would have changed."""
    table = results.rescored
    if table.empty:
        return View(DEPENDS, title_of(results), findings(UNDECIDED), table)
    own = table["rule"].iloc[0]
    best = table[table["rule"] == own]["best_max_lr"].reset_index(drop=True)
    columns = [
        Column("rule", align="left"),
        Column("other best max_lr", "cycles"),
        Column("best changes by a factor of"),
        Column("other region", "cycles"),
        Column("width of the region, median", "factor"),
        Column("S-Cyc inside", "cycles"),
    ]
    rows = []
    for rule, part in table.groupby("rule", sort=False):
        part = part.reset_index(drop=True)
        moved = (part["best_max_lr"] / best).dropna()
        moves = None if part["same_best"].all() or moved.empty else max(moved.max(), 1 / moved.min())
        width = (part["feasible_high"] / part["feasible_low"]).median()
        other_best, other_region = int((~part["same_best"]).sum()), int((~part["same_region"]).sum())
        inside = None if part["scyc_inside"].isna().all() else int(part["scyc_inside"].sum())
        rows.append(
            [
                Cell("the rule of this oracle" if rule == own else str(rule), rule),
                Cell(f"{other_best} of {len(part)}", other_best),
                Cell(NONE if moves is None else f"up to {factor(moves)}", moves),
                Cell(f"{other_region} of {len(part)}", other_region),
                Cell(factor(width), width),
                Cell(NONE if inside is None else f"{inside} of {len(part)}", inside),
            ]
        )
    parts: list[Part] = [Table(columns, rows)]
    parts += legend(
        "other: cycles whose best max_lr or feasible region is another one by this rule; width: upper end of the "
        "region divided by its lower end"
    )
    parts += notes("each cycle is judged again from its recorded evaluations; the chain that was trained is the same")
    return View(DEPENDS, title_of(results), parts, table)


def paper(results: "OracleResults", printed: OracleTable) -> View:
    """Return the paper's oracle beside the one measured here, and the paper's contradictions that touch it."""
    headings = ("m", "λ printed", "paper's best max_lr", "paper's region", "paper's S-Cyc", "best here", "region here")
    measured = {row["cycle"]: row for row in results.oracle.to_dict("records")}
    rows = []
    for index, cycle in enumerate(printed.cycle):
        here = measured.get(cycle)
        write = rate_format(*(here[name] for name in REGION)) if here else str
        low, high = printed.feasible_low[index], printed.feasible_high[index]
        best, scyc = printed.well_tuned_max_lr[index], float(printed.scyc_printed_hundredths[index]) / 100
        rows.append(
            [
                Cell(str(cycle), cycle),
                Cell(f"{LABELS[cycle]:g}", LABELS[cycle]),
                Cell(f"{best:g}", best),
                Cell(f"[{low:g}, {high:g}]", (low, high)),
                Cell(f"{scyc:g}", scyc),
                Cell(write(here["best_max_lr"]), here["best_max_lr"]) if here else Cell(NONE),
                region_cell(here, write) if here else Cell(NONE),
            ]
        )
    columns = [Column(heading, "%" if heading.startswith("λ") else "") for heading in headings]
    table = Table(columns, rows, f"the paper's Table {printed.table} beside this oracle")
    said = notes(*(f"Table {printed.table}: {note}" for note in printed.notes))
    data = pd.DataFrame({column.title: [row[index].value for row in rows] for index, column in enumerate(columns)})
    return View("The paper's oracle", title_of(results), [table, *said], data)
