"""The figure of a tuning. In: its results. Out: a PNG file, or SVG for a page."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sweep.reporting import drawing
from sweep.reporting.wording import level_of
from trainables.storage import Location

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sweep.experiments.tuning.results import TuningResults


def tuning(results: "TuningResults", path: Location) -> None:
    """Draw the trials' values by stage, the parameters' importances, and the winner's curve over an oracle's region.

    Nothing is drawn before a trial has ended.
    """
    table, winner, oracle = results.tuning, results.winner, results.oracle
    if table.empty:
        return
    stages = list(dict.fromkeys(table["stage"]))
    figure = drawing.figure(9, 8)
    rows = figure.add_gridspec(2, 1, height_ratios=[1, 1.3])
    row = rows[0].subgridspec(1, len(stages) + 1, width_ratios=[*[1] * len(stages), 1.2])
    history = [figure.add_subplot(row[index]) for index in range(len(stages) + 1)]
    for axes, stage in zip(history[:-1], stages, strict=True):
        part = table[table["stage"] == stage]
        axes.plot(part["number"], part["value"], "o", color=drawing.BLUE, ms=4, label="trial")
        axes.plot(part["number"], part["value"].cummax(), "-", color=drawing.ORANGE, lw=1.5, label="best so far")
        axes.set_title(f"{stage}: best {part['value'].max():.2f} %")
        axes.set_xlabel("trial")
        axes.locator_params(axis="x", integer=True)
    history[0].set_ylabel("validation accuracy, %")
    history[0].legend(frameon=False)
    _importances(history[-1], results)
    axes = figure.add_subplot(rows[1])
    if oracle is not None:
        drawing.region(axes, oracle.oracle, level_of(oracle.settings))
    if winner is not None:
        rates = [link.max_lr for link in winner.chain]
        name = f"tuned {results.settings.schedule}"
        axes.plot(range(len(rates)), rates, "-", color=drawing.ORANGE, lw=2, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("pruning cycle")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("max_lr (log scale)")
    axes.legend(loc="upper left", frameon=False)
    drawing.save(figure, path)


def _importances(axes: "Axes", results: "TuningResults") -> None:
    """Draw each parameter's importance within its stage, where a stage has several parameters and enough trials."""
    from optuna.importance import get_param_importances  # imports half of scikit-learn, which oracles need not

    axes.set_title("parameter importance")
    axes.set_xlabel("share of the stage's variance")
    shares: dict[str, float] = {}
    for search in results.replay.searches.values():
        values = {trial.value for trial in search.study.trials if trial.value is not None}
        if len(search.ranges) > 1 and len(values) > 2:  # of equal values no parameter can be the cause
            shares |= get_param_importances(search.study)
    if not shares:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "too few trials", ha="center", transform=axes.transAxes, color=drawing.GREY)
    axes.barh(list(shares), list(shares.values()), color=drawing.GREEN)


FIGURES: dict[str, Callable[[Any, Location], None]] = {"tuning": tuning}
