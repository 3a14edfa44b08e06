"""The results of a comparison of schedules."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import pandas as pd

from sweep.errors import FolderError
from sweep.experiments.results import MeasuredResults
from sweep.experiments.schedules import tables
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.schedules.strategy import ScheduleComparison


class SchedulesResults(MeasuredResults):
    """The results of a comparison of schedules."""

    kind = "schedules"
    strategy = ScheduleComparison
    settings: SchedulesSettings

    replay: ScheduleComparison

    @cached_property
    def _chains(self) -> dict[str, list[dict[str, Any]]]:
        return {name: self.replay.rows_of_chain(chain) for name, chain in self.replay.chains.items()}

    @cached_property
    def schedules(self) -> pd.DataFrame:
        """One row for each schedule and cycle, as far as its chain is trained in all runs."""
        chains = self._chains
        return tables.standings(self.settings.entries, chains, self.settings.training(), self.settings.printed)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row for each schedule, cycle and run."""
        return tables.runs(self._chains)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """One row for each max_lr that was tried for a schedule without one."""
        return tables.rates(self.replay.grids)

    def networks(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """See `MeasuredResults`. Raises FolderError where the networks were not kept."""
        if not self.settings.histograms:
            raise FolderError(
                f"{self.folder.path} was begun without --histograms and kept no networks; give another --out"
            )
        for name, lanes in self._chains.items():
            for lane in lanes:
                if lane["state"]:
                    yield name, lane
