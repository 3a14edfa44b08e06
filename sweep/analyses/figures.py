"""The figure of gradients and activations. In: what was measured. Out: a PNG file, or SVG for a page."""

from typing import TYPE_CHECKING

import pandas as pd

from sweep.reporting import drawing
from trainables.storage import Location

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sweep.analyses.gradients import Gradients

SHOWN = 6
"""Cycles whose densities are drawn."""


def histograms(found: "Gradients", title: str, path: Location) -> None:
    """Draw for gradients and activations: on the left their densities at some λ, on the right their tails by λ.

    Densities are those of the first run of the first chain; tails are means over runs with their std, of every chain.
    """
    kinds = [kind for kind in ("gradient", "activation") if kind in set(found.tails["kind"])]
    figure, panels = drawing.panels(len(kinds), 2, 11, 4 * len(kinds))
    for (left, right), kind in zip(panels, kinds, strict=True):
        tails = found.tails[found.tails["kind"] == kind]
        _densities(left, found.histograms[found.histograms["kind"] == kind], tails, kind)
        for index, (name, part) in enumerate(tails.groupby("schedule", sort=False)):
            shares = part.groupby("cycle")["beyond_2std"].agg(["mean", "std"]).fillna(0)
            colour, dashes = drawing.style(index)
            low, high = shares["mean"] - shares["std"], shares["mean"] + shares["std"]
            right.plot(shares.index, shares["mean"], dashes, color=colour, marker="o", ms=3, label=drawing.label(name))
            right.fill_between(shares.index, low.clip(lower=0), high, color=colour, alpha=0.15, lw=0)
        right.set_ylabel(f"share of {kind}s beyond 2 std\nof the unpruned network, %")
        right.set_ylim(bottom=0)
        right.set_title("mean over runs (band: std)", fontsize="medium")
        drawing.remaining_axis(right, tails.groupby("cycle")["percent_remaining"].mean())
        if tails["schedule"].nunique() > 1:
            right.legend(frameon=False)
    figure.suptitle(drawing.label(title))
    drawing.save(figure, path)


def _densities(axes: "Axes", bins: pd.DataFrame, tails: pd.DataFrame, kind: str) -> None:
    """Draw the histograms of some cycles of one run, light to dark as weights go."""
    first = bins.iloc[0]
    bins = bins[(bins["run"] == first["run"]) & (bins["schedule"] == first["schedule"])]
    cycles = sorted(bins["cycle"].unique())
    some = sorted({cycles[round(index * (len(cycles) - 1) / (SHOWN - 1))] for index in range(SHOWN)})
    top = 0.0
    for index, cycle in enumerate(some):
        part = bins[bins["cycle"] == cycle]
        density = part["count"] / part["count"].sum() / (part["high"] - part["low"])
        edges = [*part["low"], part["high"].iloc[-1]]
        top = max(top, density.max())
        colour = drawing.shade(0.9 - 0.85 * index / max(1, len(some) - 1))
        axes.stairs(density, edges, color=colour, label=f"λ = {part['percent_remaining'].iloc[0]:.3g} %")
    spread = 4 * tails[tails["cycle"] == cycles[0]]["std"].mean()
    if spread > 0:
        axes.set_xlim(-spread if kind == "gradient" else 0, spread)
    axes.set_yscale("log")
    axes.set_ylim(top / 1e5, 2 * top)
    axes.set_xlabel(kind)
    axes.set_ylabel("density (log scale)")
    axes.set_title(f"{drawing.label(first['schedule'])}, run {first['run']}", fontsize="medium")
    axes.legend(frameon=False)
