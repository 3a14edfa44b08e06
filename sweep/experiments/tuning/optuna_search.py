"""Searches with Optuna: parameters out in batches, values in; and a journal of them for optuna-dashboard.

In: ranges, and the values of finished trials. Out: the next trials. A batch depends on the seed and on earlier batches
alone, not on which of its trials ended first, so a search that is asked again, with the same values, goes the same way.
Next: `sweep.experiments.tuning.strategy` trains them.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from scipy.stats import qmc

from search_spaces.ranges import Range
from sweep.errors import FolderError
from trainables.spec import derive_seed
from trainables.storage import TABLE, Location, Replacing, read

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study and trial otherwise

Ending = Literal["complete", "pruned", "diverged", "ended"]

_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    # To a sampler these are trials that ended early, worse than all that did not. Failed ones it would ignore.
    "diverged": TrialState.PRUNED,
    "ended": TrialState.PRUNED,
}


@dataclass(frozen=True)
class Trial:
    """One set of parameters to try, rounded as a max_lr grid is."""

    search: "Search"
    optuna: optuna.Trial
    number: int
    """Within its search, from 0."""
    params: Mapping[str, float]

    def report(self, step: int, value: float) -> None:
        """Take note of a value on the way; larger is better, and it may only rise from step to step."""
        self.optuna.report(value, step)
        self.search.tell_journal(lambda journal: journal.report(self, step, value))

    def should_prune(self) -> bool:
        """Return whether the pruner ends this trial at the step last reported."""
        return self.optuna.should_prune()

    def end(self, state: Ending, value: float | None) -> None:
        """Take note of the trial's end; `value` counts if it is complete."""
        if state == "complete":
            self.search.study.tell(self.number, value)
        elif self.search.sampler == "gp":  # looks at complete trials alone, and would try the same again
            self.search.study.tell(self.number, self.search.worst())
        else:
            self.search.study.tell(self.number, state=_STATES[state])
        self.search.tell_journal(lambda journal: journal.end(self, state, value))


class Search:
    """One study: `trials` sets of parameters, asked for in batches; the largest value wins."""

    def __init__(
        self,
        name: str,
        ranges: Mapping[str, Range],
        trials: int,
        batch: int,
        sampler: Literal["tpe", "gp", "random"],
        pruner: Literal["none", "median"],
        seed: int,
        journal: "Journal | None" = None,
    ) -> None:
        """`name` identifies the study in a journal."""
        self.name, self.ranges, self.trials, self.batch = name, ranges, trials, batch
        self.sampler, self.seed, self.journal = sampler, seed, journal
        self.distributions = {parameter: found.distribution() for parameter, found in ranges.items()}
        self.study = optuna.create_study(
            study_name=name,
            direction="maximize",
            # The first batch has nothing to be compared with.
            pruner=optuna.pruners.MedianPruner(batch, 0) if pruner == "median" else optuna.pruners.NopPruner(),
        )
        self.asked = 0

    def ask(self) -> list[Trial]:
        """Return the next batch; nothing when all trials have been asked for. The batch before must have ended."""
        count = min(self.batch, self.trials - self.asked)
        # A sampler made again repeats its first draws, so every batch has a seed of its own.
        seed = derive_seed(self.seed, *sorted(self.ranges), self.asked)
        self.study.sampler = self._sampler(seed)
        if self.asked == 0 and self.sampler != "random":
            for point in qmc.LatinHypercube(len(self.ranges), rng=seed).random(count):
                named = zip(self.ranges.items(), point, strict=True)
                self.study.enqueue_trial({name: found.at(share) for (name, found), share in named})
        batch = []
        for _ in range(count):
            asked = self.study.ask(self.distributions)
            params = {name: self.ranges[name].rounded(value) for name, value in asked.params.items()}
            batch.append(Trial(self, asked, asked.number, params))
        self.asked += count
        self.tell_journal(lambda journal: journal.begin(batch))
        return batch

    def tell_journal(self, what: Callable[["Journal"], None]) -> None:
        """Tell the journal; where it fails the search goes on without, as nothing depends on it."""
        if self.journal is None:
            return
        try:
            what(self.journal)
        except Exception as error:  # Optuna's own, and the file system's
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            logging.getLogger(__name__).warning("the journal for optuna-dashboard is given up: %s", reason)
            self.journal = None

    def worst(self) -> float:
        """Return the lowest value so far, 0 before there is one."""
        return min((trial.value for trial in self.study.trials if trial.value is not None), default=0.0)

    def _sampler(self, seed: int) -> BaseSampler:
        if self.sampler == "random":
            return RandomSampler(seed)
        if self.sampler == "gp":
            return GPSampler(seed=seed, n_startup_trials=self.batch)
        return TPESampler(seed=seed, n_startup_trials=self.batch)


class Journal:
    """The searches of a results folder in one of Optuna's journal files, to be watched with optuna-dashboard.

    It follows the ledger and is never read for a decision. What a kill left running in it is failed, and comes again.
    """

    def __init__(self, path: Path, identity: Mapping[str, object]) -> None:
        """Open or begin a journal. Raises FolderError, leaving it as it is, if it is damaged or of another experiment.

        `identity` is what determines the lanes of the folder.
        """
        self.path = path = path.absolute()  # Optuna's lock would point nowhere otherwise
        written = _written(path)  # before anything is changed
        _lock_of(path).unlink(missing_ok=True)  # a killed driver's: there is one at a time
        self.identity = json.dumps(identity, sort_keys=True)
        self.studies: dict[str, optuna.Study] = {}
        self.running: dict[tuple[str, int], optuna.Trial] = {}
        try:
            for name in _names(path):
                study = optuna.load_study(study_name=name, storage=_storage(path))
                if study.trials and study.user_attrs.get("identity") != self.identity:
                    raise FolderError(f"{path} has a study of another experiment ({name}): give another --out")
        except (ValueError, KeyError, AssertionError) as error:
            reason = " ".join(str(error).split())[:120]
            raise FolderError(f"{path} is damaged or no journal of Optuna ({reason}): remove it") from error
        _mend(path, written)

    def begin(self, batch: list[Trial]) -> None:
        """Add the trials of a batch as running, but those that ended in an earlier session."""
        search = batch[0].search if batch else None
        if search is None:
            return
        study = self._study(search.name)
        known = {
            trial.user_attrs.get("number"): trial
            for trial in study.trials
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        }
        for trial in batch:
            found = known.get(trial.number) or self.running.get((search.name, trial.number))
            if found is not None and found.params == trial.params:
                continue
            study.enqueue_trial(dict(trial.params), user_attrs={"number": trial.number})
            self.running[search.name, trial.number] = study.ask(search.distributions)

    def report(self, trial: Trial, step: int, value: float) -> None:
        """Write a value on the way, unless an earlier session has."""
        running = self.running.get((trial.search.name, trial.number))
        if running is not None:
            running.report(value, step)

    def end(self, trial: Trial, state: Ending, value: float | None) -> None:
        """Write a trial's end, unless an earlier session has."""
        running = self.running.pop((trial.search.name, trial.number), None)
        if running is not None:
            self._study(trial.search.name).tell(running, value if state == "complete" else None, _STATES[state])

    def _study(self, name: str) -> optuna.Study:
        if name not in self.studies:
            study = optuna.create_study(
                study_name=name,
                direction="maximize",
                storage=_storage(self.path),
                load_if_exists=True,
                sampler=RandomSampler(0),  # draws nothing: all parameters are given
            )
            study.set_user_attr("identity", self.identity)
            for trial in study.trials:
                if trial.state == TrialState.WAITING:
                    study.ask()  # makes it a running one
            for trial in study.trials:
                if trial.state == TrialState.RUNNING:
                    study.tell(trial.number, state=TrialState.FAIL)
            self.studies[name] = study
        return self.studies[name]


def open_journal(path: Location, identity: Mapping[str, object]) -> Journal | None:
    """Return the journal at `path`, or None where it cannot be, as in a bucket. Raises as `Journal` does."""
    if not isinstance(path, Path):
        return None
    try:
        return Journal(path, identity)
    except OSError as error:
        logging.getLogger(__name__).warning("no journal for optuna-dashboard at %s: %s", path, error)
        return None


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _written(path: Path) -> bytes:
    """Return what a journal has so far. Raises OSError for what is no regular file: Optuna would follow a link."""
    try:
        return read(path, TABLE)
    except FileNotFoundError:
        return b""


def _mend(path: Path, written: bytes) -> None:
    """Cut off a record that a killed driver left half-written: the next one would be glued to it.

    Optuna writes in place, so a file with several names gets a copy for this one.
    """
    if written and (not written.endswith(b"\n") or path.stat().st_nlink > 1):
        with Replacing(path) as partial:
            partial.write_bytes(written[: written.rfind(b"\n") + 1])


def _names(path: Path) -> list[str]:
    return optuna.get_all_study_names(_storage(path)) if path.exists() else []


def _storage(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))
