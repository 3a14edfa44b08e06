"""Open a results folder as DataFrames, while its sweep runs or afterwards.

In: a folder. Out: `Results`, with trials, oracle, curves and comparison. Nothing is written or unpickled.
"""

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from search_spaces.scyc import SCyc
from sweep import compare, oracle, tables
from sweep.errors import FolderError, TrainingError
from sweep.folder import Folder
from sweep.greedy import GreedyOracle
from sweep.ledger import Ledger
from sweep.spec import Spec
from sweep.strategy import Progress


class Results:
    """The results of one sweep."""

    def __init__(self, path: Path | str) -> None:
        """Read the manifest. Raises FolderError if there is no sweep, or one of a newer version."""
        self.folder = Folder(Path(path))
        manifest = self.folder.manifest()
        if manifest is None:
            raise FolderError(f"{path} holds no sweep: there is no manifest.json")
        self.manifest: dict[str, Any] = manifest

    @cached_property
    def spec(self) -> Spec:
        """The settings that the sweep was last run with."""
        return Spec.model_validate(self.manifest["spec"])

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a lane, by cycle, run and max_lr; lanes that an extension of the sweep made obsolete included."""
        rows = sorted(Ledger(self.folder.trials).rows.values(), key=lambda r: (r["cycle"], r["run"], r["max_lr"]))
        return tables.frame("trials", rows)

    @cached_property
    def replay(self) -> GreedyOracle:
        """The strategy, having decided all that the finished lanes allow."""
        ledger, fingerprint = Ledger(self.folder.trials), self.manifest["identity"]["data"]
        strategy = GreedyOracle(self.spec, fingerprint, ledger, lanes_per_pack=2**31, has_state=lambda digest: True)
        with suppress(TrainingError):  # of a cycle in which everything diverged: those before it are decided
            while strategy.ask() is not None:
                pass
        return strategy

    @cached_property
    def oracle(self) -> pd.DataFrame:
        """The oracle table of the cycles decided so far."""
        return oracle.oracle_table(self.replay.closed)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Accuracy against max_lr, mean and std over runs, for each decided cycle."""
        return oracle.curve_table(self.replay.closed)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """The oracle beside S-Cyc, as last written by `oracle` or `compare`.

        Raises FolderError if neither has written one.
        """
        if not self.folder.comparison.exists():
            raise FolderError(f"{self.folder.path} has no comparison yet: run `scyc-sweep compare {self.folder.path}`")
        return tables.read("comparison", self.folder.comparison)

    def compare(self, trajectories: dict[str, SCyc]) -> pd.DataFrame:
        """Return the comparison with these trajectories, by name; nothing is written."""
        return compare.compare(self.oracle, self.curves, trajectories, self.spec.prune_rate)

    @property
    def progress(self) -> Progress:
        """How far the sweep is."""
        return self.replay.progress()

    @property
    def finished(self) -> bool:
        """Whether every cycle is decided, or every chain came to its end."""
        return self.manifest["finished_at"] is not None
