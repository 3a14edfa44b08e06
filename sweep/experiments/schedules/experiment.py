"""The comparison of schedules as an experiment."""

from sweep.errors import FolderError
from sweep.experiments.base import Experiment
from sweep.experiments.schedules import figures, views
from sweep.experiments.schedules.results import SchedulesResults
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.schedules.strategy import ScheduleComparison
from sweep.experiments.schedules.tables import RATES, RUNS, SCHEDULES


def extend(settings: SchedulesSettings, begun: SchedulesSettings | None) -> SchedulesSettings:
    """Return the settings with the schedules that a folder has, and their networks: new ones stand beside them."""
    if begun is None:
        return settings
    if settings.histograms and not begun.histograms:
        raise FolderError(f"{settings.folder} was begun without --histograms and kept no networks; give another --out")
    both = tuple(dict.fromkeys((*begun.schedules, *settings.schedules)))
    return settings.model_copy(update={"schedules": both, "histograms": begun.histograms})


def _finish(results: SchedulesResults) -> None:
    if results.settings.histograms:
        from sweep.analyses.gradients import write_gradients  # torch, which results do not need

        write_gradients(results)


EXPERIMENT = Experiment(
    name="schedules",
    settings=SchedulesSettings,
    strategy=ScheduleComparison,
    results=SchedulesResults,
    tables={
        SCHEDULES: lambda results: results.schedules,
        RATES: lambda results: results.rates,
        RUNS: lambda results: results.runs,
    },
    views=views.VIEWS,
    figures=figures.FIGURES,
    answers=views.answers,
    extend=extend,
    finish=_finish,
)
