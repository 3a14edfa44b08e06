"""The results of a validation, which lie within the folder of its oracle."""

import copy
from functools import cached_property

import pandas as pd

from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.experiments.results import Results
from sweep.experiments.validation.settings import ValidationSettings
from sweep.experiments.validation.strategy import Validation
from sweep.experiments.validation.tables import verdict_table
from sweep.store.ledger import Ledger


class ValidationResults(Results):
    """The results of `compare --train` (on the oracle's runs) or `compare --confirm` (on held-out seeds)."""

    kind = "compare"
    strategy = Validation
    settings: ValidationSettings
    replay: Validation

    @cached_property
    def oracle(self) -> OracleResults:
        """The oracle that it belongs to."""
        return OracleResults(self.folder.path.absolute().parent)

    def _ledger(self) -> Ledger:
        """Return the lanes of the folder, and those of the oracle, which it does not train again."""
        ledger = copy.copy(self.rows)
        ledger.rows = self.oracle.rows.rows | ledger.rows
        return ledger

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row for each trajectory and cycle trained so far, and one for the mean over its cycles."""
        # Beside the oracle as it was then: it may have got more runs since.
        closed = [] if self.settings.held_out else self._replayed(GreedyOracle).closed
        return verdict_table(self.replay, closed, self.oracle.rules)

    @property
    def stale(self) -> bool:
        """Whether the oracle has decided otherwise since, or has more runs: the same `compare` then continues."""
        choices = tuple(self.oracle.oracle["best_max_lr"])
        same_runs = self.settings.held_out or self.settings.runs == self.oracle.settings.runs
        return self.settings.choices != choices or not same_runs
