"""Figures of an oracle. In: its results. Out: a PNG file, or SVG for a page."""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sweep.reporting import drawing
from sweep.reporting.wording import level_of, run_of
from sweep.statistics import intervals, trend
from sweep.statistics.selection import Rules
from trainables.storage import Location

if TYPE_CHECKING:
    from sweep.experiments.oracle.results import OracleResults

VERDICTS = {
    "inside": (drawing.GREEN, "o"),
    "undecided": (drawing.GREY, "s"),
    "outside": (drawing.ORANGE, "x"),
    "one run": (drawing.BLUE, "o"),
}
"""Colour and marker of what is known of a max_lr; one run: nothing."""
SHOWN = 4
"""Cycles that `shortfalls` has a panel for."""


def trajectory(results: "OracleResults", path: Location, comparison: pd.DataFrame | None = None) -> None:
    """Draw best max_lr and feasible region by percent remaining, with the predictions of a comparison."""
    settings = results.settings
    drawing.trajectory(results.oracle, comparison, run_of(settings), level_of(settings), path)


def shortfalls(results: "OracleResults", path: Location) -> None:
    """Draw for some cycles how far every max_lr falls short of the best, with intervals, and the tolerance.

    Nothing is drawn before a cycle is decided, nor of runs that decide for themselves.
    """
    curves = results.curves[results.curves["run"].isna()]
    if curves.empty:
        return
    rules, cycles = Rules.of(results.settings), sorted(curves["cycle"].unique())
    some = sorted({cycles[round(index * (len(cycles) - 1) / (SHOWN - 1))] for index in range(SHOWN)})
    figure, panels = drawing.panels(1, len(some), 11, 3.8, sharey=True)
    for axes, cycle in zip(panels[0], some, strict=True):
        part = curves[(curves["cycle"] == cycle) & curves["shortfall"].notna()]
        margin = rules.margin(part["val_accuracy_mean"].max())
        drawing.within_tolerance(axes, 0, margin)
        for verdict, (colour, marker) in VERDICTS.items():
            each = part[part["verdict"].isna() if verdict == "one run" else part["verdict"] == verdict]
            if each.empty:
                continue
            # The interval is of the shortfall from the best there is, and need not hold that from the best seen.
            axes.vlines(each["max_lr"], each["shortfall_low"], each["shortfall_high"], color=colour, lw=1.2, alpha=0.7)
            axes.plot(each["max_lr"], each["shortfall"], marker, color=colour, ms=5, label=verdict)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(lambda value, position: "")
        axes.set_ylim(-0.2 * margin, max(8 * margin, 1.0))
        axes.set_title(f"λ = {part['percent_remaining'].mean():.3g} %", fontsize="medium")
        axes.set_xlabel("max_lr (log scale)")
    panels[0][0].set_ylabel("validation accuracy:\npoints below the best max_lr")
    handles = {label: line for axes in panels[0] for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=5, frameon=False)
    level = f"{level_of(results.settings)} simultaneous confidence intervals"
    shown = f"{len(some)} of {len(cycles)} cycles"
    figure.suptitle(f"How far each max_lr falls short of the best ({shown}; {level})", fontsize="medium")
    drawing.save(figure, path)


def controls(results: "OracleResults", path: Location) -> None:
    """Draw each run's best max_lr and region of an oracle and its controls: geometric means over runs, t intervals.

    Nothing is drawn without controls, or with fewer than two runs or cycles.
    """
    if not results.controls:
        return
    rules = Rules.of(results.settings)
    chains = {f"{results.settings.pruning} (the oracle)": results.replay.closed}
    chains |= {f"{name} (control)": control.replay.closed for name, control in results.controls.items()}
    found = {name: trend.per_run(closed, rules) for name, closed in chains.items()}
    drawn = {name: series for name, series in found.items() if min(series["best"].shape) > 1}
    if not drawn:
        return
    figure, panels = drawing.panels(1, 2, 11, 4.6, sharey=True)
    for (name, series), colour in zip(drawn.items(), itertools.cycle(drawing.LINES), strict=False):
        for axes, quantity in zip(panels[0], ("best", "middle"), strict=True):
            values = series[quantity]
            ends = np.exp([intervals.interval(column, rules.confidence) for column in values.T]).T
            cycles = range(values.shape[1])
            axes.plot(cycles, np.exp(values.mean(axis=0)), "-o", color=colour, ms=3, label=drawing.label(name))
            axes.fill_between(cycles, *ends, color=colour, alpha=0.15, lw=0)
    for axes, title in zip(panels[0], ("best max_lr", "middle of the feasible region"), strict=True):
        axes.set_yscale("log")
        axes.set_title(title, fontsize="medium")
        drawing.remaining_axis(axes, results.oracle.groupby("cycle")["percent_remaining"].mean())
    panels[0][0].set_ylabel("max_lr (log scale)")
    panels[0][0].legend(title="pruning", frameon=False)
    bands = f"band: {level_of(results.settings)} interval of the mean"
    figure.suptitle(f"Each run's own best max_lr and region: geometric mean over runs ({bands})", fontsize="medium")
    drawing.save(figure, path)


FIGURES: dict[str, Callable[[Any, Location], None]] = {
    "trajectory": lambda results, path: trajectory(results, path, results.compared),
    "shortfalls": shortfalls,
    "controls": controls,
}
