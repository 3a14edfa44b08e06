"""Whether max_lr rises as weights go, and whether the rise exceeds its controls. In: an oracle's results.

Out: a view, and sentences for the top of a page.
"""

from typing import TYPE_CHECKING, Any

import pandas as pd

from sweep.experiments.oracle.table_views import UNDECIDED, title_of
from sweep.reporting.numbers import NONE, interval, missing, p_value, yes_no
from sweep.reporting.views import Cell, Column, Part, Table, View, findings, legend
from sweep.reporting.wording import level_of

if TYPE_CHECKING:
    from sweep.experiments.oracle.results import OracleResults

WHY = {
    "none": "no pruning: the effect of retraining alone",
    "random": "random pruning: the effect of fewer weights, whichever remain",
    "random_filter": "random pruning of filters: the effect of fewer filters, whichever remain",
}
"""What a control shows."""
RISES = "Does max_lr rise, and why?"
QUANTITY = {
    "best": "best max_lr",
    "low": "lower end of the region",
    "high": "upper end of the region",
    "middle": "middle of the region",
}
"""What each quantity of the trend table is called."""


def trend(results: "OracleResults") -> View:
    """Return whether max_lr rises over the cycles, in an oracle and its controls, and whether it exceeds them."""
    table, level, controls = results.trend, level_of(results.settings), bool(results.controls)
    if results.oracle.empty:
        return View(RISES, title_of(results), findings(UNDECIDED), table[:0])
    columns = [
        Column("pruning", align="left"),
        Column("quantity", align="left"),
        Column("growth per cycle", "factor"),
        Column(f"{level} interval"),
        Column("p", "Holm"),
        Column("rises", align="left"),
    ]
    if controls:
        columns += [
            Column("ratio to the control"),
            Column(f"{level} interval of the ratio"),
            Column("exceeds the control", align="left"),
        ]
    rows = []
    for row in table.to_dict("records"):
        cells = [
            Cell(row["chain"], row["chain"]),
            Cell(QUANTITY[row["quantity"]], row["quantity"]),
            _factor(row, "factor"),
            _ends(row, "factor"),
            Cell(p_value(row["holm_p"]), row["holm_p"]),
            Cell(yes_no(row["rises"]), row["rises"]),
        ]
        if controls and row["chain"] == table["chain"].iloc[0]:
            cells += [Cell("")] * 3  # the oracle itself
        elif controls:
            claim = Cell(yes_no(row["exceeds_control"]), row["exceeds_control"])
            cells += [_factor(row, "excess"), _ends(row, "excess"), claim]
        rows.append(cells)
    parts: list[Part] = [Table(columns, rows, keys=2), *_statements(results)]
    return View(RISES, title_of(results), parts, table, ("controls",))


def _factor(row: dict[Any, Any], name: str) -> Cell:
    return Cell(NONE if missing(row[name]) else f"{row[name]:.3f}", row[name])


def _ends(row: dict[Any, Any], name: str) -> Cell:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return Cell(interval(low, high, digits=3), (low, high))


def _statements(results: "OracleResults") -> list[Part]:
    own = _own(results)
    if results.settings.runs < 2 or own["rises"].isna().all():
        return findings("one run, or fewer than three cycles, gives no interval: whether max_lr rises is unknown")
    lines = [f"{results.settings.pruning}: {_rise(own)}"]
    for name in results.controls:
        part = _of(results, name)
        lines.append(f"control {name} ({WHY.get(name, 'another pruning')}): {_rise(part)}; {_exceeding(part, own)}")
    explained = [
        "growth per cycle: factor by which each run's own best max_lr or region grows from one cycle to the next, "
        "geometric mean over runs",
        "p: the larger p-value of Page's trend test and a two-sided t-test of the runs' slopes, with Holm's correction "
        "over the four quantities",
    ]
    if results.controls:
        explained.append(
            "ratio to the control: the oracle's growth divided by the control's, paired by run; exceeds the control: "
            "the oracle's quantity rises, and significantly faster"
        )
    return [*findings(*lines), *legend(*explained)]


def rise(results: "OracleResults") -> str:
    """Return in a sentence whether max_lr rises, and how certain that is."""
    own = _own(results)
    best = own[own["quantity"] == "best"].iloc[0]
    if missing(best["rises"]):
        return "Whether max_lr rises is unknown: this takes at least two runs and three cycles."
    numbers = (
        f"the best max_lr of a run grows by a factor of {best['factor']:.3f} per cycle ({level_of(results.settings)} "
        f"interval {best['factor_low']:.3f} to {best['factor_high']:.3f}; p = {p_value(best['holm_p'])}; "
        f"{best['runs']} runs, {best['cycles']} cycles)"
    )
    rising = own[own["rises"].astype(bool)]["quantity"]
    if len(rising) == len(own):
        return f"max_lr rises as weights are pruned: {numbers}; both ends of its region and their middle rise too."
    if len(rising):
        return f"Part of max_lr rises as weights are pruned ({_named(rising)}): {numbers}."
    return f"No rise of max_lr is shown: {numbers}."


def controls(results: "OracleResults") -> list[str]:
    """Return in sentences how the rise compares with each control."""
    found, own = [], _own(results)
    for name in results.controls:
        part, said = _of(results, name), f"Control {name} ({WHY.get(name, 'another pruning')})"
        best = part[part["quantity"] == "best"].iloc[0]
        if missing(best["excess_low"]):
            found.append(f"{said}: no comparison, which takes at least two runs and three cycles of both.")
            continue
        found.append(
            f"{said}: {_exceeding(part, own)}. Its best max_lr grows by a factor of {best['factor']:.3f} per cycle; "
            f"the oracle's growth divided by that is {best['excess']:.3f} ({level_of(results.settings)} interval "
            f"{best['excess_low']:.3f} to {best['excess_high']:.3f})."
        )
    return found or [
        "No control was run: whether sparsity or retraining alone is the cause is unknown (scyc-sweep control)."
    ]


def _own(results: "OracleResults") -> pd.DataFrame:
    return _of(results, results.trend["chain"].iloc[0])


def _of(results: "OracleResults", chain: str) -> pd.DataFrame:
    return results.trend[results.trend["chain"] == chain]


def _exceeding(rows: pd.DataFrame, own: pd.DataFrame) -> str:
    """Return whether the oracle's rise exceeds a control; `rows` are the control's, `own` the oracle's."""
    exceeding = rows[rows["exceeds_control"].astype("boolean").fillna(False)]["quantity"]
    if len(exceeding):
        return f"the oracle's rise exceeds the control ({_named(exceeding)})"
    if ((rows["excess_high"] < 1) & rows["rises"].astype("boolean").fillna(False)).any():
        return "max_lr rises faster in the control: the oracle's rise does not exceed it"
    if own["rises"].astype("boolean").fillna(False).any():
        return "the oracle's rise is not significantly faster than the control's"
    faster = rows[rows["excess_low"] > 1]["quantity"]
    more = f", but its growth is significantly larger than the control's ({_named(faster)})" if len(faster) else ""
    return f"the oracle shows no rise{more}"


def _rise(rows: pd.DataFrame) -> str:
    rising = rows[rows["rises"].astype(bool)]["quantity"]
    if rising.empty:
        return "no rise of max_lr is shown"
    return "max_lr rises" if len(rising) == len(rows) else f"part of max_lr rises ({_named(rising)})"


def _named(quantities: "pd.Series[str]") -> str:
    return ", ".join(QUANTITY[quantity] for quantity in quantities)
