"""What there is to show of an oracle: its views by name, and its answers in sentences. In: its results.

`table_views`, `trend_views` and `reference_views` make the views.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sweep.experiments.oracle.reference_views import rescored
from sweep.experiments.oracle.table_views import inside_of, oracle
from sweep.experiments.oracle.tables import COMPARISON
from sweep.experiments.oracle.trend_views import controls, rise, trend
from sweep.experiments.validation.views import answers as validated
from sweep.reporting.numbers import factor, rate_format
from sweep.reporting.views import View
from sweep.reporting.wording import level_of

if TYPE_CHECKING:
    from sweep.experiments.oracle.results import OracleResults


def answers(results: "OracleResults") -> list[str]:
    """Return which max_lr is best and how certain that is, whether it rises and why, and whether S-Cyc predicts it."""
    if results.oracle.empty:
        return ["No cycle is decided yet."]
    return [region(results), rise(results), *controls(results), *scyc(results)]


def region(results: "OracleResults") -> str:
    """Return which max_lr is best, and how wide the range is that is as good."""
    table, level = results.oracle, level_of(results.settings)
    low, high = table["best_max_lr"].min(), table["best_max_lr"].max()
    width, write = (table["feasible_high"] / table["feasible_low"]).median(), rate_format(low, high)
    line = (
        f"The best max_lr lies between {write(low)} and {write(high)}. The feasible region spans a factor of "
        f"{factor(width)} (upper end divided by lower end, median over cycles)"
    )
    if table["possible_low"].isna().all():
        return f"{line}. One run decides each cycle, so there is no confidence interval."
    widest = (table["possible_high"] / table["possible_low"]).median()
    return (
        f"{line}; its {level} range spans a factor of {factor(widest)}. {table['n_not_worse'].median():g} of "
        f"{table['points'].median():g} max_lr values are not significantly worse than the best (median over cycles, "
        f"{level}, simultaneous)."
    )


def scyc(results: "OracleResults") -> list[str]:
    """Return whether S-Cyc predicts the oracle, by the best evidence there is: held-out seeds, its own runs, curves."""
    validations: list[Any] = [each for each in results.related.values() if each.kind == "compare"]
    for validation in reversed(validations):  # held-out seeds come last
        if not validation.verdicts.empty:
            return validated(validation)
    if not COMPARISON.path(results.folder.path).exists():
        return ["No prediction was compared with the oracle."]
    return [
        f"{inside_of(str(name), part)}, read off the measured curves. How certain that is, compare --confirm measures."
        for name, part in results.comparison.groupby("trajectory", sort=False)
    ]


VIEWS: dict[str, Callable[[Any], View]] = {"oracle": oracle, "trend": trend, "rescored": rescored}
