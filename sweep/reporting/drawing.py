"""What the figures of all experiments share: colours, axes, the feasible region, files. In: matplotlib's axes, columns.

Matplotlib takes long to import, so that only functions that draw import it. No window is opened: figures
are made without pyplot.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sweep.config.messages import printable
from trainables.storage import Location, Replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#595959"  # colour-blind eyes see the difference too
LINES = (ORANGE, BLUE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#000000")
REMAINING = "percent remaining, λ (one tick per pruning cycle)"


def figure(width: float, height: float) -> "Figure":
    """Return an empty figure, its size in inches."""
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def panels(rows: int, columns: int, width: float, height: float, **options: Any) -> "tuple[Figure, NDArray[Any]]":
    """Return a figure and its axes, an array of shape (rows, columns)."""
    found = figure(width, height)
    return found, found.subplots(rows, columns, squeeze=False, **options)


def save(drawn: "Figure", path: Location) -> None:
    """Write a figure in the format that the path's ending names, png or svg."""
    import matplotlib

    for axes in drawn.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    with Replacing(path) as partial:
        # Without the date, and with names that are not drawn by chance, the same results make the same picture.
        kind, undated = path.suffix[1:], {"Date": None} if path.suffix == ".svg" else None
        with matplotlib.rc_context({"svg.hashsalt": "scyc-sweep"}):
            drawn.savefig(partial, dpi=150, format=kind, metadata=undated)


def style(index: int) -> tuple[str, str]:
    """Return colour and line style of the line with this number, from 0."""
    return LINES[index % len(LINES)], ["-", "--", ":"][index // len(LINES) % 3]


def shade(share: float) -> Any:
    """Return the colour between dark (0) and light (1)."""
    from matplotlib import colormaps

    return colormaps["viridis"](share)


def label(name: object) -> str:
    """Return a name as a figure shows it unchanged: $ else begins a formula, and _ a label that legends leave out."""
    text = printable(str(name)).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def remaining_axis(axes: "Axes", percent: "pd.Series[float]") -> None:
    """Label each cycle's tick with the percent remaining; `percent` has it by cycle."""
    axes.set_xticks(list(percent.index), [f"{value:.3g}" for value in percent], rotation=45 if len(percent) > 12 else 0)
    axes.set_xlabel(REMAINING)


def region(axes: "Axes", oracle: pd.DataFrame, level: str, alpha: float = 1.0, named: bool = True) -> None:
    """Draw an oracle's best max_lr and feasible region by cycle; `named`: with labels for the legend.

    `level` is the confidence of the region's range: 95 %.
    """
    hidden = "" if named else "_"  # matplotlib's legend leaves out _names
    cycle, low, high = oracle["cycle"], oracle["feasible_low"], oracle["feasible_high"]
    axes.fill_between(cycle, low, high, color=BLUE, alpha=0.22 * alpha, lw=0, label=f"{hidden}feasible region")
    if not oracle["possible_low"].isna().any():
        bounds = oracle["possible_low"], oracle["possible_high"]
        name = f"{hidden}{level} range of the region"
        axes.fill_between(cycle, *bounds, color=BLUE, alpha=0.08 * alpha, lw=0, label=name)
    hull = f"{hidden}feasible points, gaps included"
    axes.vlines(cycle, oracle["hull_low"], oracle["hull_high"], color=GREY, lw=1, alpha=alpha, label=hull)
    axes.plot(cycle, oracle["best_max_lr"], "o", color=BLUE, alpha=alpha, ms=5, label=f"{hidden}oracle's best max_lr")


def accuracies(axes: "Axes", oracle: pd.DataFrame, alpha: float = 1.0, named: bool = True) -> None:
    """Draw validation and test accuracy at the oracle's choices by cycle, with bands of one standard deviation."""
    hidden = "" if named else "_"
    for part, name, colour, marker in (("val", "validation", BLUE, "o"), ("test", "test", GREEN, "s")):
        cycle, mean = oracle["cycle"], oracle[f"{part}_accuracy_mean"]
        std = oracle[f"{part}_accuracy_std"].fillna(0)
        named_ = f"{hidden}{name} (band: std over runs)"
        axes.plot(cycle, mean, f"{marker}-", color=colour, ms=3, alpha=alpha, label=named_)
        axes.fill_between(cycle, mean - std, mean + std, color=colour, alpha=0.12 * alpha, lw=0)


def trajectory(oracle: pd.DataFrame, comparison: pd.DataFrame | None, title: str, level: str, path: Location) -> None:
    """Draw best max_lr and feasible region by percent remaining, with predictions; below them the accuracies.

    `oracle` and `comparison` are the tables of these names; `level` is as in `region`. If runs decide for themselves,
    each run has its own line.
    Nothing is drawn before a cycle is decided.
    """
    if oracle.empty:
        return
    found, axes = panels(2, 1, 9, 7.5, sharex=True, height_ratios=[2.2, 1])
    top, bottom = axes[:, 0]
    runs = [None] if oracle["run"].isna().all() else sorted(oracle["run"].dropna().unique())
    for index, run in enumerate(runs):
        part, alpha = (oracle, 1.0) if run is None else (oracle[oracle["run"] == run], 0.45)
        region(top, part, level, alpha, named=not index)
        accuracies(bottom, part, alpha, named=not index)
    if comparison is not None:
        for (name, predicted), dashes in zip(comparison.groupby("trajectory", sort=False), ["-", "--", ":"] * 9):  # noqa: B905
            line = predicted.drop_duplicates("cycle")
            top.plot(line["cycle"], line["scyc_max_lr"], dashes, color=ORANGE, lw=2, label=label(f"{name} (predicted)"))
    top.set_yscale("log")
    top.set_ylabel("max_lr (log scale)")
    top.set_title(label(title))
    found.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    bottom.set_ylabel("accuracy at\nthe best max_lr, %")
    bottom.legend(loc="lower left", frameon=False)
    remaining_axis(bottom, oracle.groupby("cycle")["percent_remaining"].mean())
    save(found, path)


def within_tolerance(axes: "Axes", low: float, high: float) -> None:
    """Shade the differences, in percentage points, that the tolerance allows."""
    axes.axhspan(low, high, color=BLUE, alpha=0.1, lw=0, label="within the tolerance")


def error_bars(rows: pd.DataFrame, name: str) -> "NDArray[np.float64] | None":
    """Return how far below and above a column's values its intervals reach, of shape (2, rows); None without any."""
    low, high = rows[f"{name}_low"], rows[f"{name}_high"]
    if low.isna().all():
        return None
    ends: NDArray[np.float64] = np.array([rows[name] - low, high - rows[name]], dtype=float)
    return ends.clip(min=0.0)
