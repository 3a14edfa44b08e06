"""Open a results folder as DataFrames, while its sweep runs or afterwards. In: a folder. Out: `Results`.

Each kind of sweep has its own in `experiments/KIND/results.py`. Nothing is unpickled.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, ClassVar

import pandas as pd

from sweep.analyses.gradient_tables import HISTOGRAMS, TAILS
from sweep.config.settings import Settings
from sweep.errors import DamagedError, FolderError, TrainingError
from sweep.experiments.registry import manifest_of, settings_of
from sweep.store.folder import Folder, location_of
from sweep.store.identity import check_identity, check_kind, identity
from sweep.store.lanes import LANES
from sweep.store.ledger import Ledger
from sweep.store.tables import Table
from sweep.strategies.progress import Progress
from sweep.strategies.protocol import Context, Strategy
from trainables.spec import TRAINING_VERSION
from trainables.storage import Location


class Results(ABC):
    """The results of a sweep of any kind, finished or not."""

    kind: ClassVar[str]
    """Name of the experiment."""
    strategy: ClassVar[type[Strategy]]
    """What decides which lanes train; it is replayed from the rows."""

    def __init__(self, path: Location | str) -> None:
        """Read the manifest. Raises FolderError if there is none of this kind, or one of another version."""
        self.folder = Folder(location_of(path))
        manifest = manifest_of(self.folder)
        if manifest is None:
            rows = ", but rows of one: the command that trained them makes it again" if self._has_rows() else ""
            raise FolderError(f"{path} holds no sweep: there is no manifest.json{rows}")
        check_kind(self.folder, manifest, self.kind)
        version = manifest["identity"]["training_version"]
        if version != TRAINING_VERSION:
            raise FolderError(
                f"{path} has lanes of version {version} of the training code, this scyc-sweep has {TRAINING_VERSION}: "
                "use the scyc-sweep that trained them, or begin a new folder"
            )
        self.manifest: dict[str, Any] = manifest

    def _has_rows(self) -> bool:
        return any(self.folder.lanes.glob("cycle*.parquet"))

    @cached_property
    def settings(self) -> Any:
        """The settings that the sweep was last run with."""
        return settings_of(self.manifest)

    @cached_property
    def rows(self) -> Ledger:
        """The finished lanes of the folder. Raises FolderError where some are damaged or lost, and says what to do."""
        ledger = Ledger(self.folder.lanes)
        self._check(ledger)
        counted = self.manifest["lanes"]
        here = Counter(row["cycle"] for row in ledger.rows.values())
        lost = {cycle: count - here[cycle] for cycle, count in enumerate(counted) if here[cycle] < count}
        if lost and manifest_of(self.folder) != self.manifest:
            raise FolderError(f"{self.folder.path} is changed by a sweep that has just begun: try again")
        if lost:
            cycles = f"cycle{'s' if len(lost) > 1 else ''} {', '.join(map(str, lost))}"
            raise FolderError(
                f"{self.folder.path} lacks {sum(lost.values())} of its {sum(counted)} finished lanes (of {cycles}); "
                f"{self._again} trains them again"
            )
        return ledger

    def _check(self, ledger: Ledger) -> None:
        if ledger.damaged:
            more = f" (and {len(ledger.damaged) - 1} more files)" if len(ledger.damaged) > 1 else ""
            raise FolderError(f"{next(iter(ledger.damaged.values()))}{more}; {self._again} trains its lanes again")

    @property
    def _again(self) -> str:
        """The command that goes on with the folder."""
        command = self.manifest["command"]
        return f"`{command}`" if command else "the call that the folder was made with"

    @cached_property
    def lanes(self) -> pd.DataFrame:
        """One row for each lane that the tables tell of, by cycle, run, max_lr and schedule."""
        current = self.replay.current()
        return self._frame(row for key, row in self.rows.rows.items() if key in current)

    @cached_property
    def superseded(self) -> pd.DataFrame:
        """Likewise the other lanes: those of earlier runs, grids or choices that others have taken the place of."""
        everything = Ledger(self.folder.lanes, superseded=self.folder.superseded)
        self._check(everything)
        current = self.replay.current()
        return self._frame(row for key, row in everything.rows.items() if key not in current)

    def _frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        return LANES.frame(sorted(rows, key=_lane_order))

    def check_unchanged(self, settings: Settings, fingerprint: str | None = None) -> None:
        """Raise FolderError where lanes would not train as the folder's did: its network, data or settings changed.

        `settings` are its settings as they are now (`changed`). Without the data's fingerprint only the rest is
        checked, which calls none of the user's functions.
        """
        found = self.manifest["identity"]
        wanted = identity(settings, found["data"] if fingerprint is None else fingerprint)
        check_identity(self.folder, found, wanted, "restore what it was, or begin another folder")

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.manifest["finished_at"] is not None

    @cached_property
    def replay(self) -> Any:
        """The strategy, having decided all that the finished lanes allow."""
        return self._replayed(type(self).strategy)

    @property
    def progress(self) -> Progress:
        """How far the sweep is."""
        return self.replay.progress()  # type: ignore[no-any-return]

    @property
    def related(self) -> Mapping[str, "Results"]:
        """Other results folders that belong to this one, by what they are."""
        return {}

    def _ledger(self) -> Ledger:
        """Return the lanes that decide: those of the folder."""
        return self.rows

    def _replayed(self, strategy: Callable[[Context], Any], settings: Any = None) -> Any:
        """Return a strategy, having decided all that the finished lanes allow."""
        ledger, fingerprint = self._ledger(), self.manifest["identity"]["data"]
        found = strategy(Context(settings or self.settings, fingerprint, ledger, 2**31, lambda digest: True))
        with suppress(TrainingError):  # of a cycle in which everything diverged: those before it are decided
            while found.ask() is not None:
                pass
        self._check(ledger)
        return found


class MeasuredResults(Results):
    """Results with networks of whole chains, whose gradients and activations can be measured."""

    @abstractmethod
    def networks(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the name of a chain and the row of each network that it keeps, cycle after cycle."""

    @property
    def histograms(self) -> pd.DataFrame:
        """Histograms of gradients and activations, as `gradients` wrote them. Raises FolderError if it has not."""
        return self._measured(HISTOGRAMS)

    @property
    def tails(self) -> pd.DataFrame:
        """Their tails, one row for each network and kind. Raises FolderError likewise."""
        return self._measured(TAILS)

    def _measured(self, table: Table) -> pd.DataFrame:
        again, path = f"run `scyc-sweep gradients {self.folder.path}`", table.path(self.folder.path)
        if not path.exists():
            raise FolderError(f"{self.folder.path} has no {table.name} yet: {again}")
        try:
            return table.read(path)
        except DamagedError as error:
            raise FolderError(f"{error}: {again} again") from error


def _lane_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what lanes are sorted by: not by when they were finished, which no two sweeps share."""
    return row["cycle"], row["run"], row["max_lr"], row["schedule"], row["lane_id"]
