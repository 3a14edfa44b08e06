"""Pictures of a results folder. In: results and their comparison. Out: PNG files, or SVG for a page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")  # no window, wherever this runs

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from sweep.config.messages import printable
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.schedules.results import SchedulesResults
from sweep.experiments.tuning.results import TuningResults
from sweep.experiments.validation.results import ValidationResults
from sweep.statistics import intervals as evidence
from sweep.statistics import trend
from sweep.statistics.selection import Rules
from trainables.storage import Location, Replacing

if TYPE_CHECKING:
    from sweep.analyses.gradients import Gradients

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#595959"  # told apart by colour-blind eyes too


VERDICTS = {"inside": (GREEN, "o"), "undecided": (GREY, "s"), "outside": (ORANGE, "x"), "one run": (BLUE, "o")}
LINES = (ORANGE, BLUE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def trajectory(results: OracleResults, comparison: pd.DataFrame | None, path: Location) -> None:
    """Draw best max_lr and feasible region against the percent remaining, predictions beside them, accuracies below.

    Where runs decide for themselves, each run has its own line. Nothing is drawn before a cycle is decided.
    """
    oracle = results.oracle
    if oracle.empty:
        return
    settings = results.settings
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(9, 7.5), sharex=True, height_ratios=[2.2, 1], layout="constrained"
    )
    runs = [None] if oracle["run"].isna().all() else sorted(oracle["run"].dropna().unique())
    for index, run in enumerate(runs):
        part = oracle if run is None else oracle[oracle["run"] == run]
        alpha, label = (1.0 if run is None else 0.45), ("_" if index else "")  # matplotlib's legend leaves out _names
        _oracle(top, part, alpha, label)
        _accuracy(bottom, part, alpha, label)
    if comparison is not None:
        for (name, predicted), style in zip(comparison.groupby("trajectory", sort=False), ["-", "--", ":"] * 9):  # noqa: B905
            line = predicted.drop_duplicates("cycle")
            top.plot(line["cycle"], line["scyc_max_lr"], style, color=ORANGE, lw=2, label=_text(f"{name} (predicted)"))
    top.set_yscale("log")
    top.set_ylabel("max_lr")
    top.set_title(
        f"{settings.model} on {settings.dataset}, pruning {settings.pruning}, {settings.runs} run{'s' if settings.runs > 1 else ''}, "
        f"seed {settings.seed}"
    )
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    bottom.set_ylabel("accuracy, %")
    bottom.legend(loc="lower left", frameon=False)
    _density_axis(bottom, oracle.groupby("cycle")["percent_remaining"].mean())
    for axes in (top, bottom):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def tuning(results: TuningResults, oracle: OracleResults | None, path: Location) -> None:
    """Draw the trials' values by stage, the parameters' importances, and the winner's curve over an oracle's region.

    Nothing is drawn before a trial has ended.
    """
    table, winner = results.tuning, results.winner
    if table.empty:
        return
    stages = list(dict.fromkeys(table["stage"]))
    figure = plt.figure(figsize=(9, 8), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=[1, 1.3])
    row = rows[0].subgridspec(1, len(stages) + 1, width_ratios=[*[1] * len(stages), 1.2])
    history = [figure.add_subplot(row[index]) for index in range(len(stages) + 1)]
    for axes, stage in zip(history[:-1], stages, strict=True):
        part = table[table["stage"] == stage]
        best = part["value"].cummax()
        axes.plot(part["number"], part["value"], "o", color=BLUE, ms=4)
        axes.plot(part["number"], best, "-", color=ORANGE, lw=1.5)
        axes.set_title(f"{stage}: best {part['value'].max():.2f} %")
        axes.set_xlabel("trial")
    history[0].set_ylabel("validation accuracy, %")
    _importances(history[-1], results)
    axes = figure.add_subplot(rows[1])
    if oracle is not None:
        _oracle(axes, oracle.oracle, 1.0, "")
    if winner is not None:
        axes.plot(
            range(len(winner.chain)),
            [link.max_lr for link in winner.chain],
            "-",
            color=ORANGE,
            lw=2,
            label=f"tuned {results.settings.schedule}",
        )
    axes.set_yscale("log")
    axes.set_xlabel("cycle")
    axes.set_ylabel("max_lr")
    axes.legend(loc="upper left", frameon=False)
    for each in (*history, axes):
        each.grid(alpha=0.25)
        each.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def schedules(results: SchedulesResults, path: Location) -> None:
    """Draw test accuracy against the percent remaining, a line with its band (std over runs) for each schedule.

    Below, the distance to the best schedule of each cycle, where lines that lie close can be told apart. Nothing is
    drawn before a cycle is finished.
    """
    table, settings = results.schedules, results.settings
    if table.empty:
        return
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(9, 8), sharex=True, height_ratios=[1.6, 1], layout="constrained"
    )
    best = table.groupby("cycle")["test_accuracy_mean"].max()
    for index, (name, part) in enumerate(table.groupby("schedule", sort=False)):
        colour, style = LINES[index % len(LINES)], ["-", "--", ":"][index // len(LINES) % 3]
        cycle, mean = part["cycle"], part["test_accuracy_mean"]
        std = part["test_accuracy_std"].fillna(0)
        top.plot(
            cycle,
            mean,
            style,
            color=colour,
            marker="o",
            ms=3,
            lw=2 if name in settings.curves else 1.2,
            label=_text(name),
        )
        top.fill_between(cycle, mean - std, mean + std, color=colour, alpha=0.08, lw=0)
        bottom.plot(cycle, mean - best.loc[cycle].to_numpy(), style, color=colour, marker="o", ms=3, lw=1.2)
    top.set_ylabel("test accuracy, %")
    top.set_title(
        f"{settings.model} on {settings.dataset}, pruning {settings.pruning}, {settings.runs} run{'s' if settings.runs > 1 else ''}, "
        f"seed {settings.seed}; bands: std over runs"
    )
    top.legend(loc="lower left", frameon=False, ncols=2)
    gaps = best.loc[table["cycle"]].to_numpy() - table["test_accuracy_mean"]
    spread = table["test_accuracy_std"].median()
    # A schedule that fails altogether must not press all others into one line.
    limit = min(gaps.max(), 5 * spread) if spread > 0 else gaps.max()
    bottom.set_ylim(-1.1 * limit if limit > 0 else -1, 0.1 * limit if limit > 0 else 1)
    bottom.set_ylabel("points against the best")
    density = table.groupby("cycle")["percent_remaining"].mean()
    _density_axis(bottom, density)
    for axes in (top, bottom):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def histograms(results: OracleResults | SchedulesResults, found: Gradients, path: Location) -> None:
    """Draw for gradients and activations: on the left their densities at some λ, on the right their tails against λ.

    Densities are those of run 0 of the first chain; tails are means over runs with their std, of every chain.
    """
    kinds = [kind for kind in ("gradient", "activation") if kind in set(found.tails["kind"])]
    figure, panels = plt.subplots(len(kinds), 2, figsize=(11, 4 * len(kinds)), squeeze=False, layout="constrained")
    for (left, right), kind in zip(panels, kinds, strict=True):
        tails = found.tails[found.tails["kind"] == kind]
        _densities(left, found.histograms[found.histograms["kind"] == kind], tails, kind)
        for index, (name, part) in enumerate(tails.groupby("schedule", sort=False)):
            shares = part.groupby("cycle")["beyond_2std"].agg(["mean", "std"]).fillna(0)
            colour, style = LINES[index % len(LINES)], ["-", "--", ":"][index // len(LINES) % 3]
            right.plot(shares.index, shares["mean"], style, color=colour, marker="o", ms=3, label=_text(name))
            low, high = shares["mean"] - shares["std"], shares["mean"] + shares["std"]
            right.fill_between(shares.index, low.clip(lower=0), high, color=colour, alpha=0.15, lw=0)
        right.set_ylabel(f"{kind}s beyond 2 std of the unpruned, %")
        right.set_ylim(bottom=0)
        right.set_title("mean over runs, band: std", fontsize="medium")
        _density_axis(right, tails.groupby("cycle")["percent_remaining"].mean())
        if tails["schedule"].nunique() > 1:
            right.legend(frameon=False)
        for axes in (left, right):
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
    settings = results.settings
    figure.suptitle(
        f"{settings.model} on {settings.dataset}, pruning {settings.pruning}, {settings.runs} runs, seed {settings.seed}"
    )
    _save(figure, path)


def controls(results: OracleResults, path: Location) -> None:
    """Draw each run's best max_lr and region of an oracle and its controls: geometric means over runs, t intervals.

    Nothing is drawn with fewer than two runs or cycles.
    """
    rules = Rules.of(results.settings)
    chains = {f"{results.settings.pruning} (the oracle)": results.replay.closed}
    chains |= {name: control.replay.closed for name, control in results.controls.items()}
    found = {name: trend.per_run(closed, rules) for name, closed in chains.items()}
    drawn = {name: series for name, series in found.items() if min(series["best"].shape) > 1}
    if not drawn:
        return
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    for (name, series), colour in zip(drawn.items(), itertools.cycle(LINES), strict=False):
        for axes, quantity in zip(panels, ("best", "middle"), strict=True):
            values = series[quantity]
            ends = np.exp([evidence.interval(column, rules.confidence) for column in values.T]).T
            cycles = range(values.shape[1])
            axes.plot(cycles, np.exp(values.mean(axis=0)), "-o", color=colour, ms=3, label=_text(name))
            axes.fill_between(cycles, *ends, color=colour, alpha=0.15, lw=0)
    for axes, title in zip(panels, ("best max_lr", "middle of the feasible region"), strict=True):
        axes.set_yscale("log")
        axes.set_title(f"{title}, each run's own: mean, {100 * rules.confidence:g} % interval", fontsize="medium")
        _density_axis(axes, results.oracle.groupby("cycle")["percent_remaining"].mean())
        axes.set_xlabel("the oracle's percent remaining, λ (one tick a pruning cycle)")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("max_lr")
    panels[0].legend(title="pruning", frameon=False)
    _save(figure, path)


def shortfalls(results: OracleResults, path: Location) -> None:
    """Draw for some cycles how far every max_lr falls short of the best, with intervals, and the tolerance.

    Nothing is drawn before a cycle is decided, nor of runs that decide for themselves.
    """
    curves = results.curves[results.curves["run"].isna()]
    if curves.empty:
        return
    rules, cycles = Rules.of(results.settings), sorted(curves["cycle"].unique())
    some = sorted({cycles[round(index * (len(cycles) - 1) / 3)] for index in range(4)})
    figure, panels = plt.subplots(1, len(some), figsize=(11, 3.8), sharey=True, squeeze=False, layout="constrained")
    for axes, cycle in zip(panels[0], some, strict=True):
        part = curves[(curves["cycle"] == cycle) & curves["shortfall"].notna()]
        margin = rules.margin(part["val_accuracy_mean"].max())
        axes.axhspan(0, margin, color=BLUE, alpha=0.12, lw=0, label="within the tolerance")
        for verdict, (colour, marker) in VERDICTS.items():
            each = part[part["verdict"].isna() if verdict == "one run" else part["verdict"] == verdict]
            if each.empty:
                continue
            # The interval is of the shortfall from the best there is, and need not hold the lead of the best seen.
            axes.vlines(each["max_lr"], each["shortfall_low"], each["shortfall_high"], color=colour, lw=1.2, alpha=0.7)
            axes.plot(each["max_lr"], each["shortfall"], marker, color=colour, ms=5, label=verdict)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(-0.2 * margin, max(8 * margin, 1.0))
        axes.set_title(f"λ = {part['percent_remaining'].mean():.3g} %", fontsize="medium")
        axes.set_xlabel("max_lr")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("points below the best")
    handles = {label: line for axes in panels[0] for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=5, frameon=False)
    level = f"{100 * rules.confidence:g} % intervals, all max_lr of a cycle together"
    shown = f"{len(some)} of {len(cycles)} cycles"
    figure.suptitle(f"How far each max_lr falls short of the best, {shown}: {level}", fontsize="medium")
    _save(figure, path)


def gaps(found: Mapping[str, ValidationResults], path: Location) -> None:
    """Draw each trajectory's gap to the oracle by cycle, with intervals: from the oracle's start, and of its own chain.

    `found` has results of trained comparisons by name. Nothing is drawn before a cycle of one is trained.
    """
    named = [
        (f"{trajectory}, {name}", part[part["cycle"].notna()], results)
        for name, results in found.items()
        for trajectory, part in results.verdicts.groupby("trajectory", sort=False)
    ]
    if not named:
        return
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    shift = 0.6 / len(named)
    for index, (label, rows, _) in enumerate(named):
        place = rows["cycle"].astype(float) + (index - (len(named) - 1) / 2) * shift
        for axes, gap in zip(panels, ("val_gap", "own_test_gap"), strict=True):
            ends = [rows[gap] - rows[f"{gap}_low"], rows[f"{gap}_high"] - rows[gap]]
            reach = None if rows[f"{gap}_low"].isna().all() else np.clip(np.array(ends, dtype=float), 0, None)
            colour, marker = LINES[index % len(LINES)], "osD^v"[index % 5]
            axes.errorbar(place, rows[gap], reach, fmt=marker, ms=4, lw=1, color=colour, label=_text(label))
        _density_axis(panels[0], rows.set_index("cycle")["percent_remaining"])
        _density_axis(panels[1], rows.set_index("cycle")["percent_remaining"])
    rules = Rules.of(named[0][2].oracle.settings)
    margin = rules.margin(float(named[0][2].oracle.oracle["val_accuracy_mean"].mean()))
    limit = 6 * margin or 1.0  # a tolerance of 0 has no width to go by
    titles = ("one max_lr from the oracle's start: validation", "a whole chain of its own: test")
    for axes, title in zip(panels, titles, strict=True):
        # Better by any amount is inside, but not equivalent.
        axes.axhspan(-margin if axes is panels[1] else -limit, margin, color=BLUE, alpha=0.1, lw=0)
        axes.axhline(0, color=GREY, lw=1)
        axes.set_ylim(-limit, limit)
        axes.set_title(title, fontsize="medium")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("oracle minus prediction, points")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Location) -> None:
    """Write a figure in the format that the path's ending names."""
    with Replacing(path) as partial:
        # Without the date, and with names that are not drawn by chance, the same results make the same picture.
        kind, undated = path.suffix[1:], {"Date": None} if path.suffix == ".svg" else None
        with matplotlib.rc_context({"svg.hashsalt": "scyc-sweep"}):
            figure.savefig(partial, dpi=150, format=kind, metadata=undated)
    plt.close(figure)


def _densities(axes: Axes, bins: pd.DataFrame, tails: pd.DataFrame, kind: str) -> None:
    """Draw the histograms of up to six cycles of run 0, light to dark as weights go."""
    first = bins.iloc[0]
    bins = bins[(bins["run"] == first["run"]) & (bins["schedule"] == first["schedule"])]
    cycles = sorted(bins["cycle"].unique())
    some = sorted({cycles[round(index * (len(cycles) - 1) / 5)] for index in range(6)})
    top = 0.0
    for index, cycle in enumerate(some):
        part = bins[bins["cycle"] == cycle]
        widths = part["high"] - part["low"]
        density = part["count"] / part["count"].sum() / widths
        edges = [*part["low"], part["high"].iloc[-1]]
        top = max(top, density.max())
        colour = plt.get_cmap("viridis")(0.9 - 0.85 * index / max(1, len(some) - 1))
        axes.stairs(density, edges, color=colour, label=f"λ = {part['percent_remaining'].iloc[0]:.3g}")
    spread = 4 * tails[tails["cycle"] == cycles[0]]["std"].mean()
    if spread > 0:
        axes.set_xlim(-spread if kind == "gradient" else 0, spread)
    axes.set_yscale("log")
    axes.set_ylim(top / 1e5, 2 * top)
    axes.set_xlabel(kind)
    axes.set_ylabel("density")
    axes.set_title(f"{_text(first['schedule'])}, run {first['run']}", fontsize="medium")
    axes.legend(frameon=False)


def _text(name: object) -> str:
    """Return a name as a figure shows it unchanged: $ else begins a formula, and _ a label that legends leave out."""
    text = printable(str(name)).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _density_axis(axes: Axes, density: pd.Series) -> None:
    """Label a cycle's tick with the percent remaining."""
    labels = [f"{value:.3g}" for value in density]
    axes.set_xticks(list(density.index), labels, rotation=45 if len(density) > 12 else 0)
    axes.set_xlabel("percent remaining, λ (one tick a pruning cycle)")


def _importances(axes: Axes, results: TuningResults) -> None:
    """Draw each parameter's importance within its stage, where a stage has several parameters and enough trials."""
    from optuna.importance import get_param_importances  # imports half of scikit-learn, which oracles need not

    axes.set_title("importances")
    shares: dict[str, float] = {}
    for search in results.replay.searches.values():
        values = {trial.value for trial in search.study.trials if trial.value is not None}
        if len(search.ranges) > 1 and len(values) > 2:  # of equal values no parameter can be the cause
            shares |= get_param_importances(search.study)
    if not shares:
        axes.text(0.5, 0.5, "too few trials", ha="center", transform=axes.transAxes, color=GREY)
    axes.barh(list(shares), list(shares.values()), color=GREEN)


def _oracle(axes: Axes, oracle: pd.DataFrame, alpha: float, label: str) -> None:
    cycle = oracle["cycle"]
    low, high = oracle["feasible_low"], oracle["feasible_high"]
    axes.fill_between(cycle, low, high, color=BLUE, alpha=0.22 * alpha, lw=0, label=f"{label}feasible region")
    hull_low, hull_high = oracle["hull_low"], oracle["hull_high"]
    if not oracle["possible_low"].isna().any():
        bounds = oracle["possible_low"], oracle["possible_high"]
        axes.fill_between(cycle, *bounds, color=BLUE, alpha=0.08 * alpha, lw=0, label=f"{label}where it may reach")
    axes.vlines(cycle, hull_low, hull_high, color=GREY, lw=1, alpha=alpha, label=f"{label}its hull")
    axes.plot(cycle, oracle["best_max_lr"], "o", color=BLUE, alpha=alpha, ms=5, label=f"{label}oracle's best max_lr")


def _accuracy(axes: Axes, oracle: pd.DataFrame, alpha: float, label: str) -> None:
    for part, colour, marker in (("val", BLUE, "o"), ("test", GREEN, "s")):
        cycle, mean = oracle["cycle"], oracle[f"{part}_accuracy_mean"]
        std = oracle[f"{part}_accuracy_std"].fillna(0)
        name = f"{label}{part} (± std over runs)"
        axes.plot(cycle, mean, f"{marker}-", color=colour, ms=3, alpha=alpha, label=name)
        axes.fill_between(cycle, mean - std, mean + std, color=colour, alpha=0.12 * alpha, lw=0)
