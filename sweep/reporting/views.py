"""What a results folder has to show. In: opened results. Out: a `View`: the table as it is printed, and its data.

Next: `sweep.reporting.formats` writes it as Markdown, LaTeX, CSV or JSON; `sweep.reporting.report` sets it in a page.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from sweep.errors import SweepError
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.results import Results
from sweep.experiments.schedules.results import SchedulesResults
from sweep.experiments.tuning.results import TuningResults
from sweep.experiments.validation.results import ValidationResults
from sweep.reporting.screen import oracle_table, progress_line, rescored_table, schedules_table, tuning_table
from sweep.reporting.screen_evidence import trend_table, verdicts_table


@dataclass(frozen=True)
class View:
    """A table to show."""

    table: RenderableType
    """As it is printed."""
    data: pd.DataFrame
    """All columns, in full."""


def view_of(results: Results, of: Literal["rescored", "trend"] | None, width: int) -> View:
    """Return a folder's table, or of an oracle another one; `width` is that of the terminal, in characters.

    Raises SweepError where the folder has no such table.
    """
    if of is not None:
        if not isinstance(results, OracleResults) or results.oracle.empty:
            flag = "--rescore" if of == "rescored" else "--trend"
            raise SweepError(f"{flag} needs an oracle with a decided cycle, and {results.folder.path} holds none")
        if of == "rescored":
            return View(rescored_table(results), results.rescored)
        return View(trend_table(results), results.trend)
    if isinstance(results, ValidationResults):
        return View(verdicts_table(results), results.verdicts)
    view = _view(results, width)
    return view if results.finished else View(Group(view.table, Text(progress_line(results.progress))), view.data)


def _view(results: OracleResults | TuningResults | SchedulesResults, width: int) -> View:
    if isinstance(results, SchedulesResults):
        return View(schedules_table(results, width), results.schedules)
    if isinstance(results, TuningResults):
        return View(tuning_table(results, results.oracle), results.tuning)
    comparison = results.compared if results.finished else None
    return View(oracle_table(results, comparison, width), results.oracle)
