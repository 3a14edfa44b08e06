"""The results of an oracle: its tables, and those of its controls and validations beside it."""

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import pandas as pd

from search_spaces.scyc import SCyc
from search_spaces.trajectories import Trajectory
from sweep.config.named_scyc import OWN
from sweep.errors import FolderError
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.experiments.oracle.tables import COMPARISON, CURVES, ORACLE, RESCORED, TREND
from sweep.experiments.registry import load
from sweep.experiments.results import MeasuredResults, Results
from sweep.statistics.comparison import compare, fits
from sweep.statistics.rescoring import rescored
from sweep.statistics.selection import Rules
from sweep.statistics.summaries import curve_rows, oracle_rows
from sweep.statistics.trend import trend_rows
from trainables.storage import Location


class OracleResults(MeasuredResults):
    """The results of an oracle."""

    kind = "oracle"
    strategy = GreedyOracle
    settings: OracleSettings

    replay: GreedyOracle

    @property
    def rules(self) -> Rules:
        """How its cycles are judged."""
        return Rules.of(self.settings)

    @cached_property
    def oracle(self) -> pd.DataFrame:
        """The oracle table of the cycles decided so far."""
        return ORACLE.frame(oracle_rows(self.replay.closed, self.rules))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Accuracy by max_lr, with the shortfall from the best and its interval, for each decided cycle."""
        return CURVES.frame(curve_rows(self.replay.closed, self.rules))

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """The oracle beside S-Cyc, as last written by `oracle` or `compare`.

        Where its file is damaged or unreadable, or of the oracle as it was before, it is made anew with the settings'
        S-Cyc. Raises FolderError if there is none, or the settings have none.
        """
        where = self.folder.path
        if not COMPARISON.path(self.folder.path).exists():
            raise FolderError(f"{where} has no comparison yet: run `scyc-sweep compare {where}`")
        try:
            found = COMPARISON.read(COMPARISON.path(self.folder.path))
            if fits(found, self.oracle):
                return found
            wrong = f"{COMPARISON.path(self.folder.path)} is older than its oracle"
        except FolderError as error:
            wrong = str(error)
        if self.settings.scyc is None:
            raise FolderError(f"{wrong}: run `scyc-sweep compare {where} --scyc ...` again")
        logging.getLogger(__name__).warning("%s: S-Cyc is that of the settings", wrong)
        return self.compare({OWN: SCyc.parse(self.settings.scyc)})

    @property
    def compared(self) -> pd.DataFrame | None:
        """The comparison, or None where there is none. Raises FolderError for what is wrong with the rows."""
        if not COMPARISON.path(self.folder.path).exists() or self.oracle.empty:
            return None
        try:
            return self.comparison
        except FolderError as error:
            logging.getLogger(__name__).warning("%s", error)
            return None

    @cached_property
    def rescored(self) -> pd.DataFrame:
        """Best max_lr and feasible region of each decided cycle under other rules; nothing is trained."""
        return RESCORED.frame(rescored(self.replay.closed, self.settings))

    def compare(self, trajectories: Mapping[str, Trajectory]) -> pd.DataFrame:
        """Return the comparison with these trajectories, by name; nothing is written."""
        return COMPARISON.frame(compare(self.oracle, self.curves, trajectories, self.settings.prune_rate))

    @cached_property
    def controls(self) -> dict[str, "OracleResults"]:
        """The controls that `control` has run, by their pruning."""
        found = {path.parent.name: path.parent for path in self.folder.controls.glob("*/manifest.json")}
        return {name: OracleResults(found[name]) for name in sorted(found)}

    @cached_property
    def trend(self) -> pd.DataFrame:
        """Whether max_lr rises over the cycles, here and in the controls, and whether the rise exceeds_control them."""
        chains = {name: control.replay.closed for name, control in self.controls.items()}
        own = {str(self.settings.pruning): self.replay.closed}
        return TREND.frame(trend_rows(own | chains, self.rules))

    @property
    def validation(self) -> Results:
        """What `compare --train` trained on the oracle's runs. Raises FolderError if it has not."""
        return self._validation(self.folder.validation, "--train")

    @property
    def held_out_validation(self) -> Results:
        """What `compare --confirm` trained on held-out seeds. Raises FolderError if it has not."""
        return self._validation(self.folder.held_out_validation, "--confirm")

    def _validation(self, path: Location, flag: str) -> Results:
        if not (path / "manifest.json").exists():
            raise FolderError(f"{path} is not there yet: run `scyc-sweep compare {self.folder.path} {flag}`")
        return load(path)

    @property
    def related(self) -> Mapping[str, Results]:
        """The controls and validations that were run."""
        found: dict[str, Results] = {f"control: {name}": control for name, control in self.controls.items()}
        for name, path in (
            ("validation on the oracle's runs", self.folder.validation),
            ("validation on held-out seeds", self.folder.held_out_validation),
        ):
            if (path / "manifest.json").exists():
                found[name] = load(path)
        return found

    def networks(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """See `MeasuredResults`: the winners of each decided cycle."""
        for closed in sorted(self.replay.closed, key=lambda closed: closed.cycle):
            for row in closed.best_rows:
                yield "oracle", row
