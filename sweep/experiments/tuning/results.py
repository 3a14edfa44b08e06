"""The results of a tuning: its trials, the winner, and the winner's own chain."""

from functools import cached_property

import pandas as pd

from search_spaces.scyc import SCyc
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.results import Results
from sweep.experiments.tuning.settings import TuningSettings
from sweep.experiments.tuning.strategy import TunedTrial, Tuning
from sweep.experiments.tuning.tables import CHAIN, TUNING, tuning_row
from sweep.statistics.summaries import chain_rows
from trainables.storage import locate


class TuningResults(Results):
    """The results of a tuning."""

    kind = "tune"
    strategy = Tuning
    settings: TuningSettings

    replay: Tuning

    @cached_property
    def oracle(self) -> OracleResults | None:
        """The oracle that the tuning was given; None where it was given none, or it is not where it was."""
        given = self.settings.oracle
        return OracleResults(given) if given and locate(given).exists() else None

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """One row for each trial that ended."""
        return TUNING.frame(map(tuning_row, self.replay.trials))

    @cached_property
    def winner(self) -> TunedTrial | None:
        """The best trial of the last stage; None before one is complete."""
        return self.replay.winner

    @property
    def scyc(self) -> SCyc | None:
        """S-Cyc with the winner's parameters; None before there is one, or where another schedule was tuned."""
        if self.winner is None or self.settings.schedule != "scyc":
            return None
        found = self.winner.params
        return SCyc(found["epsilon"], found["delta"], int(found["q"]), found["beta"])

    @cached_property
    def chain(self) -> pd.DataFrame:
        """The winner's own chain: one row a cycle, accuracies over runs."""
        rows = self.replay.rows_of_chain(self.winner.chain) if self.winner else []
        return CHAIN.frame(chain_rows(rows))
