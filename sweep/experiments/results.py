"""Open a results folder as DataFrames, while its sweep runs or afterwards.

In: a folder. Out: `OracleResults`, with trials, oracle, curves and comparison, or `TuningResults`. Nothing is unpickled.
"""

import copy
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, TypeVar

import pandas as pd

from search_spaces.scyc import SCyc
from sweep.config.named_scyc import OWN
from sweep.config.settings import Settings
from sweep.errors import DamagedError, FolderError, TrainingError
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.experiments.schedules import tables as standings
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.schedules.strategy import ScheduleComparison
from sweep.experiments.tuning.settings import TuningSettings
from sweep.experiments.tuning.strategy import Given, TunedTrial, Tuning
from sweep.experiments.validation.strategy import Plans, Validation
from sweep.experiments.validation.tables import verdict_table
from sweep.statistics import comparison as compare
from sweep.statistics import rescoring as rescore
from sweep.statistics import selection as oracle
from sweep.statistics import trend
from sweep.store import tables
from sweep.store.folder import Folder, check_identity, check_kind, identity, place
from sweep.store.ledger import Ledger
from sweep.store.manifest import settings_of
from sweep.strategies.progress import Progress
from sweep.strategies.protocol import Strategy
from trainables.spec import TRAINING_VERSION
from trainables.storage import Location, locate

AnyStrategy = TypeVar("AnyStrategy", bound=Strategy)


class Opened(ABC):
    """What all results folders have."""

    kind: str

    def __init__(self, path: Location | str) -> None:
        """Read the manifest. Raises FolderError if there is none of this kind, or one of another version."""
        self.folder = Folder(place(path))
        manifest = self.folder.manifest()
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
        if lost and self.folder.manifest() != self.manifest:
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
        return tables.frame("lanes", sorted(rows, key=_lane_order))

    @property
    def histograms(self) -> pd.DataFrame:
        """Histograms of gradients and activations, as `gradients` wrote them. Raises FolderError if it has not."""
        return self._gradients("histograms", self.folder.histograms)

    @property
    def tails(self) -> pd.DataFrame:
        """Their tails, one row for each network and kind. Raises FolderError likewise."""
        return self._gradients("tails", self.folder.tails)

    def _gradients(self, table: str, path: Location) -> pd.DataFrame:
        if not path.exists():
            raise FolderError(f"{self.folder.path} has no {table} yet: run `scyc-sweep gradients {self.folder.path}`")
        try:
            return tables.read(table, path)
        except DamagedError as error:
            raise FolderError(f"{error}: run `scyc-sweep gradients {self.folder.path}` again") from error

    def check_unchanged(self, settings: Settings, fingerprint: str | None = None) -> None:
        """Raise FolderError where lanes would not train as the folder's did: its network, data or settings changed.

        `settings` are its settings as they are now (`changed`). Without the data's fingerprint the rest is checked, which
        calls nothing of the user's.
        """
        found = self.manifest["identity"]
        wanted = identity(settings, found["data"] if fingerprint is None else fingerprint)
        check_identity(self.folder, found, wanted, "restore what it was, or begin another folder")

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.manifest["finished_at"] is not None

    @property
    @abstractmethod
    def replay(self) -> Strategy:
        """The strategy, having decided all that the finished lanes allow."""

    @property
    def related(self) -> Mapping[str, "Opened"]:
        """Other results folders that belong to this one, by what they are."""
        return {}

    def _ledger(self) -> Ledger:
        """Return the lanes that decide: those of the folder."""
        return self.rows

    def _replayed(self, strategy: Callable[..., AnyStrategy]) -> AnyStrategy:
        """Return the strategy, having decided all that the finished lanes allow."""
        ledger, fingerprint = self._ledger(), self.manifest["identity"]["data"]
        found = strategy(self.settings, fingerprint, ledger, lanes_per_pack=2**31, has_state=lambda digest: True)
        with suppress(TrainingError):  # of a cycle in which everything diverged: those before it are decided
            while found.ask() is not None:
                pass
        self._check(ledger)
        return found


class OracleResults(Opened):
    """The results of an oracle."""

    kind = "oracle"
    settings: Settings

    @cached_property
    def replay(self) -> GreedyOracle:
        """The strategy, having decided all that the finished lanes allow."""
        return self._replayed(GreedyOracle)

    @cached_property
    def oracle(self) -> pd.DataFrame:
        """The oracle table of the cycles decided so far."""
        return oracle.oracle_table(self.replay.closed, oracle.Rules.of(self.settings))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Accuracy against max_lr, and how far each max_lr is surely from the best, for each decided cycle."""
        return oracle.curve_table(self.replay.closed, oracle.Rules.of(self.settings))

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """The oracle beside S-Cyc, as last written by `oracle` or `compare`.

        Where its file is damaged or unreadable, or of the oracle as it was before, it is made anew with the settings'
        S-Cyc. Raises FolderError if there is none, or the settings have none.
        """
        where = self.folder.path
        if not self.folder.comparison.exists():
            raise FolderError(f"{where} has no comparison yet: run `scyc-sweep compare {where}`")
        try:
            found = tables.read("comparison", self.folder.comparison)
            if compare.fits(found, self.oracle):
                return found
            wrong = f"{self.folder.comparison} is older than its oracle"
        except FolderError as error:
            wrong = str(error)
        if self.settings.scyc is None:
            raise FolderError(f"{wrong}: run `scyc-sweep compare {where} --scyc ...` again")
        logging.getLogger(__name__).warning("%s: S-Cyc is that of the settings", wrong)
        return self.compare({OWN: SCyc.parse(self.settings.scyc)})

    @property
    def compared(self) -> pd.DataFrame | None:
        """The comparison, or None where there is none. Raises FolderError for what is wrong with the rows."""
        if not self.folder.comparison.exists() or self.oracle.empty:
            return None
        try:
            return self.comparison
        except FolderError as error:
            logging.getLogger(__name__).warning("%s", error)
            return None

    @cached_property
    def rescored(self) -> pd.DataFrame:
        """Best max_lr and feasible region of each decided cycle under other rules; nothing is trained."""
        return rescore.rescored(self.replay.closed, self.settings)

    def compare(self, trajectories: Mapping[str, compare.Trajectory]) -> pd.DataFrame:
        """Return the comparison with these trajectories, by name; nothing is written."""
        return compare.compare(self.oracle, self.curves, trajectories, self.settings.prune_rate)

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
        return trend.trend_table(own | chains, oracle.Rules.of(self.settings))

    @property
    def validation(self) -> "ValidationResults":
        """What `compare --train` trained. Raises FolderError if it has not."""
        return self._compared(self.folder.validation, "--train")

    @property
    def held_out_validation(self) -> "ValidationResults":
        """What `compare --confirm` trained. Raises FolderError if it has not."""
        return self._compared(self.folder.held_out_validation, "--confirm")

    @property
    def related(self) -> Mapping[str, "Opened"]:
        """The controls and validations that were run."""
        found: dict[str, Opened] = {f"control: {name}": control for name, control in self.controls.items()}
        for name, path in (
            ("validation on the oracle's runs", self.folder.validation),
            ("validation on held-out seeds", self.folder.held_out_validation),
        ):
            if (path / "manifest.json").exists():
                found[name] = ValidationResults(path)
        return found

    def _compared(self, path: Location, flag: str) -> "ValidationResults":
        if not (path / "manifest.json").exists():
            raise FolderError(f"{path} is not there yet: run `scyc-sweep compare {self.folder.path} {flag}`")
        return ValidationResults(path)

    @property
    def progress(self) -> Progress:
        """How far the sweep is."""
        return self.replay.progress()


class TuningResults(Opened):
    """The results of a tuning."""

    kind = "tune"
    settings: TuningSettings

    @cached_property
    def replay(self) -> Tuning:
        """The strategy, having decided all that the finished lanes allow."""
        given = self.manifest["given"]
        found = given and Given(tuple(given["points"]), given["epsilon"])
        return self._replayed(partial(Tuning, given=found))

    @cached_property
    def oracle(self) -> OracleResults | None:
        """The oracle that the tuning was given; None where it was given none, or it is not where it was."""
        given = self.settings.oracle
        return OracleResults(given) if given and locate(given).exists() else None

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """One row for each trial that ended."""
        return tables.frame("tuning", map(_tuning_row, self.replay.trials))

    @cached_property
    def winner(self) -> TunedTrial | None:
        """The best trial of the last stage; None before one is complete."""
        return self.replay.winner

    @property
    def scyc(self) -> SCyc | None:
        """S-Cyc with the winner's parameters; None before there is one, or where another schedule was tuned."""
        return _scyc_of(self.winner) if self.winner and self.settings.schedule == "scyc" else None

    @cached_property
    def chain(self) -> pd.DataFrame:
        """The winner's own chain: one row a cycle, accuracies over runs."""
        rows = self.replay.rows_of_chain(self.winner.chain) if self.winner else []
        return tables.frame("chain", oracle.chain_rows(rows))

    @property
    def progress(self) -> Progress:
        """How far the tuning is."""
        return self.replay.progress()


class SchedulesResults(Opened):
    """The results of a comparison of schedules."""

    kind = "schedules"
    settings: SchedulesSettings

    @cached_property
    def replay(self) -> ScheduleComparison:
        """The strategy, having decided all that the finished lanes allow."""
        return self._replayed(ScheduleComparison)

    @cached_property
    def _chains(self) -> dict[str, list[dict[str, Any]]]:
        return {name: self.replay.rows_of_chain(chain) for name, chain in self.replay.chains.items()}

    @cached_property
    def schedules(self) -> pd.DataFrame:
        """One row for each schedule and cycle, as far as its chain is trained in all runs."""
        chains = self._chains
        return standings.standings(self.settings.entries, chains, self.settings.training(), self.settings.printed)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row for each schedule, cycle and run."""
        return standings.runs(self._chains)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """One row for each max_lr that was tried for a schedule without one."""
        return standings.rates(self.replay.grids)

    @property
    def progress(self) -> Progress:
        """How far the comparison is."""
        return self.replay.progress()


class ValidationResults(Opened):
    """The results of `compare --train` or `--confirm`, within the folder of their oracle."""

    kind = "compare"
    settings: Settings

    @cached_property
    def oracle(self) -> OracleResults:
        """The oracle that it belongs to."""
        return OracleResults(self.folder.path.absolute().parent)

    @cached_property
    def replay(self) -> Validation:
        """The strategy, having decided all that the finished lanes allow."""
        return self._replayed(partial(Validation, plans=Plans.of(self.manifest["plans"])))

    def _ledger(self) -> Ledger:
        """Return the lanes of the folder, and those of the oracle, which it does not train again."""
        ledger = copy.copy(self.rows)
        ledger.rows = self.oracle.rows.rows | ledger.rows
        return ledger

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row for each trajectory and cycle trained so far, and one for the mean over its cycles."""
        # Beside the oracle as it was then: it may have got more runs since.
        closed = [] if self.replay.plans.held_out else self._replayed(GreedyOracle).closed
        return verdict_table(self.replay, closed, oracle.Rules.of(self.oracle.settings))

    @property
    def stale(self) -> bool:
        """Whether the oracle has decided otherwise since, or has more runs: the same `compare` then goes on."""
        choices = tuple(self.oracle.oracle["best_max_lr"])
        plans = self.replay.plans
        return plans.oracle != choices or not (plans.held_out or self.settings.runs == self.oracle.settings.runs)

    @property
    def progress(self) -> Progress:
        """How far the comparison is."""
        return self.replay.progress()


AnyResults = OracleResults | ValidationResults | TuningResults | SchedulesResults


def load(folder: Location | str) -> AnyResults:
    """Open a results folder. Raises FolderError if it holds no sweep, one of another version, or has lost lanes."""
    manifest = Folder(place(folder)).manifest() or {}
    kinds: dict[str, type[AnyResults]] = {
        "tune": TuningResults,
        "schedules": SchedulesResults,
        "compare": ValidationResults,
    }
    results = kinds.get(manifest.get("kind", ""), OracleResults)(folder)
    _ = results.rows  # damaged or lost ones are told at once
    return results


def _lane_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what lanes are sorted by: not by when they were finished, which no two sweeps share."""
    return row["cycle"], row["run"], row["max_lr"], row["schedule"], row["lane_id"]


def _tuning_row(trial: TunedTrial) -> dict[str, Any]:
    row = {name: trial.params.get(name) for name in ("epsilon", "delta", "q", "beta", "max_lr")}
    return {
        "stage": trial.stage,
        "number": trial.number,
        **row,
        "q": None if row["q"] is None else int(row["q"]),
        "value": trial.value,
        "test_accuracy": trial.test_accuracy,
        "state": trial.state,
        "cycles_completed": len(trial.chain),
        "trained_steps": trial.trained_steps,
        "new_steps": trial.new_steps,
        "seconds": trial.seconds,
    }


def _scyc_of(trial: TunedTrial) -> SCyc:
    found = trial.params
    return SCyc(found["epsilon"], found["delta"], int(found["q"]), found["beta"])
