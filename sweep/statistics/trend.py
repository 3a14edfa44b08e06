"""Does max_lr rise over the cycles, and faster than in the controls? Pure. In: closed cycles. Out: rows of a table.

Each run is judged by its own curve, so that runs are independent. The choice that all runs make together is one number
per cycle and has no spread. Next: `sweep.experiments.oracle.trend_views` says what came out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.statistics.intervals import above_zero_p, interval, note_corrected
from sweep.statistics.selection import Choice, ClosedCycle, Rules, choose, mean_scores

QUANTITIES = ("best", "low", "high", "middle")
"""A run's best max_lr, both ends of its feasible region, and the geometric middle between these."""
FEWEST_CYCLES = 3
"""Of which there can be a trend."""
Series = Mapping[str, NDArray[np.float64]]
"""For each quantity its natural logarithm, of shape (runs, cycles)."""


def trend_rows(chains: Mapping[str, Sequence[ClosedCycle]], rules: Rules) -> list[dict[str, Any]]:
    """Return the trend table: a row for each chain and quantity. The first chain is the oracle, others its controls.

    A row has the factor by which the quantity grows a cycle, with its t interval over runs, and two p: of Page's trend
    test on the runs, one-sided, and of a t-test of their slopes, two-sided. The larger counts, with Holm's correction
    over the quantities: Page's test takes cycles of a run for exchangeable, and is fooled by runs that drift; the
    slopes take only runs for independent. Of a control the row has also by how much faster the oracle's grows, paired
    by run; a row says `exceeds_control` if the oracle rises significantly, and significantly faster.
    """
    return trends({name: per_run(closed, rules) for name, closed in chains.items()}, rules.confidence)


def trends(series: Mapping[str, Series], confidence: float) -> list[dict[str, Any]]:
    """Return the trend table of chains, each as `per_run` has it."""
    rows: list[dict[str, Any]] = []
    own: Series = next(iter(series.values()), {})
    for index, (name, found) in enumerate(series.items()):
        part = [_row(name, quantity, found[quantity], confidence) for quantity in QUANTITIES]
        _claim(part, "rise_p", "holm_p", "rises", confidence)
        if index:
            for row in part:
                row |= _excess(own[row["quantity"]], found[row["quantity"]], confidence)
            _claim(part, "excess_p", "excess_holm_p", "exceeds_control", confidence)
            for row, first in zip(part, rows, strict=False):
                row["exceeds_control"] = row["exceeds_control"] and first["rises"]
        rows += part
    return rows


def per_run(closed: Iterable[ClosedCycle], rules: Rules) -> Series:
    """Return each quantity's logarithm by run and cycle, as each run's own curve has it.

    A cycle in which a run has no score at all is left out.
    """
    by_cycle: dict[int, dict[int, Choice]] = {}
    for cycle in sorted(closed, key=lambda cycle: cycle.cycle):
        for run in sorted({row["run"] for row in cycle.rows}):
            alone = mean_scores(row for row in cycle.rows if row["run"] == run)
            choice = choose(alone, rules.tolerance, rules.kind)
            if choice is not None:
                by_cycle.setdefault(cycle.cycle, {})[run] = choice
    runs = max((len(choices) for choices in by_cycle.values()), default=0)
    whole = {cycle: choices for cycle, choices in by_cycle.items() if len(choices) == runs}
    values = np.array(
        [
            [(choice.best_max_lr, choice.feasible_low, choice.feasible_high) for _, choice in sorted(choices.items())]
            for _, choices in sorted(whole.items())
        ]
    ).reshape(len(whole), runs, 3)
    best, low, high = np.log(values).transpose(2, 1, 0)
    return {"best": best, "low": low, "high": high, "middle": (low + high) / 2}


def slopes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slope a cycle of each row of `values`, of shape (runs, cycles), by least squares."""
    slope: NDArray[np.float64] = np.polyfit(np.arange(values.shape[1]), values.T, 1)[0]
    return slope


def _row(chain: str, quantity: str, values: NDArray[np.float64], confidence: float) -> dict[str, Any]:
    runs, cycles = values.shape
    row: dict[str, Any] = {"chain": chain, "quantity": quantity, "runs": runs, "cycles": cycles}
    row |= dict.fromkeys(("factor", "factor_low", "factor_high", "page_l", "page_p", "rise_p"))
    if cycles < FEWEST_CYCLES:
        return row
    found = slopes(values)
    row["factor"] = math.exp(found.mean())
    if runs < 2:
        return row
    low, high = interval(found, confidence)
    from scipy import stats  # takes half a second that other tables need not

    page = stats.page_trend_test(values)
    return row | {
        "factor_low": math.exp(low),
        "factor_high": math.exp(high),
        "page_l": float(page.statistic),
        "page_p": float(page.pvalue),
        "rise_p": max(float(page.pvalue), above_zero_p(found)),
    }


def _excess(own: NDArray[np.float64], control: NDArray[np.float64], confidence: float) -> dict[str, Any]:
    """Return by what factor a cycle the oracle grows faster than a control, over the cycles and runs that both have."""
    row: dict[str, Any] = dict.fromkeys(("excess", "excess_low", "excess_high", "excess_p"))
    runs, cycles = min(len(own), len(control)), min(own.shape[1], control.shape[1])
    if cycles < FEWEST_CYCLES:
        return row
    differences = slopes(own[:runs, :cycles]) - slopes(control[:runs, :cycles])
    row["excess"] = math.exp(differences.mean())
    if runs < 2:
        return row
    low, high = interval(differences, confidence)
    return row | {
        "excess_low": math.exp(low),
        "excess_high": math.exp(high),
        "excess_p": above_zero_p(differences),
    }


def _claim(rows: Sequence[dict[str, Any]], p: str, corrected: str, claim: str, confidence: float) -> None:
    """Note p values with Holm's correction, and the claim that follows; None where nothing was tested."""
    note_corrected(rows, p, corrected)
    for row in rows:
        row[claim] = None if row[corrected] is None else row[corrected] < 1 - confidence
