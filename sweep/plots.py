"""Pictures of a results folder. In: results and their comparison. Out: PNG files."""

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")  # no window, wherever this runs

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from sweep import tables
from sweep.results import Results

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"  # told apart by colour-blind eyes too


def trajectory(results: Results, comparison: pd.DataFrame | None, path: Path) -> None:
    """Draw best max_lr and feasible region against the percent remaining, predictions beside them, accuracies below.

    Where runs decide for themselves, each run has its own line. Nothing is drawn before a cycle is decided.
    """
    oracle = results.oracle
    if oracle.empty:
        return
    spec = results.spec
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
            top.plot(line["cycle"], line["scyc_max_lr"], style, color=ORANGE, lw=2, label=f"{name} (predicted)")
    top.set_yscale("log")
    top.set_ylabel("max_lr")
    top.set_title(
        f"{spec.model} on {spec.dataset}, pruning {spec.pruning}, {spec.runs} run{'s' if spec.runs > 1 else ''}, "
        f"seed {spec.seed}"
    )
    top.legend(loc="upper left", frameon=False)
    bottom.set_ylabel("accuracy, %")
    bottom.legend(loc="lower left", frameon=False)
    density = oracle.groupby("cycle")["percent_remaining"].mean()
    bottom.set_xticks(
        list(density.index), [f"{value:.3g}" for value in density], rotation=45 if len(density) > 12 else 0
    )
    bottom.set_xlabel("percent remaining, λ (one tick a pruning cycle)")
    for axes in (top, bottom):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    with tables.Replacing(path) as partial:
        figure.savefig(partial, dpi=150, format="png")
    plt.close(figure)


def _oracle(axes: Axes, oracle: pd.DataFrame, alpha: float, label: str) -> None:
    cycle = oracle["cycle"]
    low, high = oracle["feasible_low"], oracle["feasible_high"]
    axes.fill_between(cycle, low, high, color=BLUE, alpha=0.22 * alpha, lw=0, label=f"{label}feasible region")
    hull_low, hull_high = oracle["hull_low"], oracle["hull_high"]
    axes.vlines(cycle, hull_low, hull_high, color=GREY, lw=1, alpha=alpha, label=f"{label}its hull")
    axes.plot(cycle, oracle["best_max_lr"], "o", color=BLUE, alpha=alpha, ms=5, label=f"{label}oracle's best max_lr")


def _accuracy(axes: Axes, oracle: pd.DataFrame, alpha: float, label: str) -> None:
    for part, colour, marker in (("val", BLUE, "o"), ("test", GREEN, "s")):
        cycle, mean = oracle["cycle"], oracle[f"{part}_accuracy_mean"]
        std = oracle[f"{part}_accuracy_std"].fillna(0)
        name = f"{label}{part} (± std over runs)"
        axes.plot(cycle, mean, f"{marker}-", color=colour, ms=3, alpha=alpha, label=name)
        axes.fill_between(cycle, mean - std, mean + std, color=colour, alpha=0.12 * alpha, lw=0)
