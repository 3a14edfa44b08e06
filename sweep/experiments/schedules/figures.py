"""The figure of a comparison of schedules. In: its results. Out: a PNG file, or SVG for a page."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sweep.reporting import drawing
from sweep.reporting.wording import run_of
from trainables.storage import Location

if TYPE_CHECKING:
    from sweep.experiments.schedules.results import SchedulesResults


def schedules(results: "SchedulesResults", path: Location) -> None:
    """Draw test accuracy by percent remaining, a line with its band (std over runs) for each schedule.

    Below, the difference from the best schedule of each cycle, where lines that lie close can be seen one by one.
    Nothing is drawn before a cycle is finished.
    """
    table, settings = results.schedules, results.settings
    if table.empty:
        return
    figure, axes = drawing.panels(2, 1, 9, 8, sharex=True, height_ratios=[1.6, 1])
    top, bottom = axes[:, 0]
    best = table.groupby("cycle")["test_accuracy_mean"].max()
    for index, (name, part) in enumerate(table.groupby("schedule", sort=False)):
        colour, dashes = drawing.style(index)
        cycle, mean = part["cycle"], part["test_accuracy_mean"]
        std, width = part["test_accuracy_std"].fillna(0), 2 if name in settings.curves else 1.2
        top.plot(cycle, mean, dashes, color=colour, marker="o", ms=3, lw=width, label=drawing.label(name))
        top.fill_between(cycle, mean - std, mean + std, color=colour, alpha=0.08, lw=0)
        bottom.plot(cycle, mean - best.loc[cycle].to_numpy(), dashes, color=colour, marker="o", ms=3, lw=1.2)
    top.set_ylabel("test accuracy, %")
    top.set_title(drawing.label(f"{run_of(settings)}; bands: std over runs"), fontsize="medium")
    top.legend(loc="lower left", frameon=False, ncols=2)
    gaps = best.loc[table["cycle"]].to_numpy() - table["test_accuracy_mean"]
    spread = table["test_accuracy_std"].median()
    # A schedule that fails altogether must not press all others into one line.
    limit = min(gaps.max(), 5 * spread) if spread > 0 else gaps.max()
    bottom.set_ylim(-1.1 * limit if limit > 0 else -1, 0.1 * limit if limit > 0 else 1)
    bottom.set_ylabel("difference from the best\nof the cycle, points")
    drawing.remaining_axis(bottom, table.groupby("cycle")["percent_remaining"].mean())
    drawing.save(figure, path)


FIGURES: dict[str, Callable[[Any, Location], None]] = {"schedules": schedules}
