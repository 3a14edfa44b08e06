"""The figure of a validation. In: its results. Out: a PNG file, or SVG for a page."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sweep.reporting import drawing
from sweep.statistics.intervals import both_sides
from sweep.statistics.selection import Rules
from trainables.storage import Location

if TYPE_CHECKING:
    from sweep.experiments.validation.results import ValidationResults


def gaps(results: "ValidationResults", path: Location) -> None:
    """Draw each trajectory's gap to the oracle by cycle with intervals, from the oracle's states and of its own chain.

    Nothing is drawn before a cycle is trained.
    """
    verdicts = results.verdicts[results.verdicts["cycle"].notna()]
    if verdicts.empty:
        return
    figure, axes = drawing.panels(1, 2, 11, 4.2, sharey=True)
    panels = axes[0]
    named = list(verdicts.groupby("trajectory", sort=False))
    shift = 0.6 / len(named)
    for index, (name, rows) in enumerate(named):
        beside = rows["cycle"].astype(float) + (index - (len(named) - 1) / 2) * shift
        colour, marker = drawing.LINES[index % len(drawing.LINES)], "osD^v"[index % 5]
        for panel, gap in zip(panels, ("val_gap", "own_test_gap"), strict=True):
            reach = drawing.error_bars(rows, gap)
            label = drawing.label(name)
            panel.errorbar(beside, rows[gap], reach, fmt=marker, ms=4, lw=1, color=colour, label=label)
    oracle, held_out = results.oracle, results.settings.held_out
    rules = Rules.of(oracle.settings)
    margin = rules.margin(float(oracle.oracle["val_accuracy_mean"].mean()))
    limit = 6 * margin or 1.0  # a tolerance of 0 has no width to go by
    levels = rules.confidence, both_sides(rules.confidence)
    titles = ("trained from the oracle's states: validation accuracy", "own chain: test accuracy")
    for panel, title, level in zip(panels, titles, levels, strict=True):
        # Better by any amount is inside the tolerance, but not equivalent.
        drawing.within_tolerance(panel, -margin if panel is panels[1] else -limit, margin)
        panel.axhline(0, color=drawing.GREY, lw=1)
        panel.set_ylim(-limit, limit)
        panel.set_title(f"{title} ({100 * level:g} % intervals)", fontsize="medium")
        drawing.remaining_axis(panel, verdicts.groupby("cycle")["percent_remaining"].mean())
    panels[0].set_ylabel("gap: oracle minus prediction, points")
    figure.suptitle("runs on held-out seeds" if held_out else "the oracle's own runs", fontsize="medium")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    drawing.save(figure, path)


FIGURES: dict[str, Callable[[Any, Location], None]] = {"gaps": gaps}
