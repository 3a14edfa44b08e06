"""Carry out an experiment from its first check to its last table. In: an experiment, settings. Out: a results folder.

Everything that can be wrong is checked before anything is written or trained.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sweep.errors import FolderError, SweepError
from sweep.execution.dataset import dataset_of
from sweep.execution.engine import Engine, make_engine
from sweep.execution.jobs import Jobs
from sweep.execution.network import check_network
from sweep.execution.pack_size import Measure
from sweep.execution.worker import Worker
from sweep.experiments import registry, states
from sweep.experiments.base import Experiment, Reuse
from sweep.experiments.results import Results
from sweep.store import clock
from sweep.store.folder import Folder
from sweep.store.identity import check_identity, check_kind
from sweep.store.ledger import Ledger
from sweep.store.provenance import new_manifest
from sweep.strategies.progress import Progress
from sweep.strategies.protocol import Context, Strategy
from trainables.data.datasets import Dataset
from trainables.states import path_of

Listener = Callable[[Progress], None]
"""Called with the progress of a sweep when a pack goes out or comes back, and when something was decided."""


def run(
    experiment: Experiment,
    settings: Any,
    listener: Listener = lambda progress: None,
    command: Sequence[str] = (),
) -> Any:
    """Carry out an experiment, or resume it, and write its tables and figures; return its results.

    `command` is stated in the manifest. Raises SweepError (SettingsError, FolderError) for what the user can mend; then
    nothing was written unless training had begun, and every finished lane is kept.
    """
    where = Folder(settings.folder)
    found = registry.manifest_of(where)
    begun = registry.settings_of(found) if found is not None and found["kind"] == experiment.name else None
    settings = experiment.extend(settings, begun)
    sweep = _Sweep(experiment, settings, where, experiment.reuse(settings), listener, command)
    with where.locked(command):
        sweep.train()
        results = experiment.results(where.path)
        write(experiment, results)
    return results


def write(experiment: Experiment, results: Results) -> None:
    """Write the tables and figures of an experiment."""
    folder = results.folder.path
    for table, data in experiment.tables.items():
        table.write(data(results), table.path(folder))
    experiment.finish(results)
    for name, draw in experiment.figures.items():
        draw(results, folder / f"{name}.png")


class _Sweep:
    """One sweep of any kind, from the first check to its last lane."""

    def __init__(
        self,
        experiment: Experiment,
        settings: Any,
        where: Folder,
        reuse: Reuse | None,
        listener: Listener,
        command: Sequence[str],
    ) -> None:
        self.experiment, self.settings, self.where = experiment, settings, where
        self.reuse, self.listener, self.command = reuse, listener, command
        self.found: dict[str, Any] | None = None
        """The manifest of the session before."""
        self.chosen: int | None = None
        """Lanes of a pack; None: not measured yet."""
        self.rehearsal: Strategy
        """Replays the rows that there are when the sweep starts."""
        self.strategy: Strategy
        """That which trains; the rehearsal until training begins."""

    def train(self) -> None:
        """Have every lane trained that the folder lacks."""
        settings = self.settings
        if settings.device == "cuda" and settings.engine == "inline" and not torch.cuda.is_available():
            raise SweepError("--device cuda, but torch sees no GPU here")
        dataset = dataset_of(settings)
        self._open(dataset.fingerprint)
        if self.rehearsal.ask() is None:  # nothing to train: no need of an engine
            self._check_foreign()
            states.take_over(self.reuse, self.ledger)
            stated = {"settings": self.manifest["settings"], "lanes": states.counts(self.ledger, self._current())}
            found = self.found
            if not (found and found["finished_at"]) or any(found[name] != value for name, value in stated.items()):
                self._note(finished_at=clock.now(), ended_early=self.rehearsal.ended)
            self._finish()
            return
        self._check_foreign()
        network = check_network(settings)
        for line in network.notes:
            logging.getLogger(__name__).warning("%s", line)
        self.chosen = 1 if network.alone else self.chosen
        self._check_disk(network.state_bytes)
        self._train(make_engine(settings), dataset)
        self._note(finished_at=clock.now(), ended_early=self.strategy.ended)
        self._finish()

    def _open(self, fingerprint: str) -> None:
        """Read the folder, and replay its rows. Raises FolderError where they are of another experiment."""
        settings, where = self.settings, self.where
        self.fingerprint = fingerprint
        self.found = registry.manifest_of(where)
        check_kind(where, self.found, self.experiment.name)
        self.manifest = new_manifest(self.experiment.name, settings, fingerprint, self.command, self.found)
        if self.found is not None:
            check_identity(where, self.found["identity"], self.manifest["identity"])
            if sum(self.found["lanes"]) and not where.lanes.exists():
                raise FolderError(
                    f"{where.lanes} is missing, and manifest.json counts {sum(self.found['lanes'])} finished lanes: "
                    "put it back, or give another --out"
                )
        self.ledger = Ledger(where.lanes, evaluations=False, superseded=where.superseded)
        if self.found is None and self.ledger.rows:  # a lost manifest: its packs were as large as the largest
            self.manifest["lanes_per_pack"] = max(row["lanes_in_pack"] for row in self.ledger.rows.values())
        self.chosen = self.manifest["lanes_per_pack"] if settings.lanes == "auto" else settings.lanes
        # Listed at once: a bucket takes as long for one name as for a thousand.
        self.there = {path.stem for path in where.states.glob("*.safetensors")}
        for key, row in self.reuse.rows.items() if self.reuse else ():
            self.ledger.rows.setdefault(key, dict(row))
        self.rehearsal = self.strategy = self._strategy(live=False)

    def _strategy(self, live: bool) -> Strategy:
        most = self.chosen or self.settings.lanes_per_round
        reused = self.reuse.digests if self.reuse else frozenset()
        return self.experiment.strategy(
            Context(self.settings, self.fingerprint, self.ledger, most, self._has_state, self.where, live, reused)
        )

    def _has_state(self, digest: str) -> bool:
        if digest in self.there or path_of(self.where.states, digest).exists():
            return True
        reuse = self.reuse
        return reuse is not None and digest in reuse.digests and path_of(reuse.states, digest).exists()

    def _check_foreign(self) -> None:
        """Raise FolderError for a folder with files that are none of this experiment."""
        ours = self.ledger.file_of.keys() & self.rehearsal.current().keys()
        if self.found is None and self.where.foreign() and not ours:
            raise FolderError(
                f"{self.where.path} has files but no manifest.json, and no finished lanes of this experiment: give "
                "another --out"
            )
        for damage in self.ledger.damaged.values():
            logging.getLogger(__name__).warning("%s; its lanes are lost, and trained again if they are needed", damage)

    def _current(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the rows that count; a strategy that has just begun has not come to all of them."""
        return {**self.rehearsal.current(), **self.strategy.current()}

    def _note(self, **changes: Any) -> None:
        """Write the manifest; the lanes that it counts lie in `lanes` before it does."""
        self.ledger.bring_back(self._current())
        self.manifest.update(changes, lanes=states.counts(self.ledger, self._current()))
        self.where.write_manifest(self.manifest)

    def _train(self, engine: Engine, dataset: Dataset) -> None:
        """Have the engine train what the strategy asks for."""
        settings, where = self.settings, self.where
        jobs: Jobs | None = None
        try:
            engine.connect(where.path.absolute())
            states.take_over(self.reuse, self.ledger)
            self._note(lanes_per_pack=self.chosen)
            self.ledger.tidy(self._current())
            states.copy_reused(self.reuse, where.states)
            self.strategy = strategy = self._strategy(live=True)
            cycle = self.rehearsal.progress().cycle

            def on_news() -> None:
                assert jobs is not None
                self.listener(replace(strategy.progress(), under_way=jobs.under_way))

            def on_progress() -> None:
                nonlocal cycle
                where.check_lock()
                if cycle != (cycle := strategy.progress().cycle):
                    self._note()
                on_news()

            jobs = Jobs(
                strategy,
                self.ledger,
                where.states,
                lambda lanes: self._note(lanes_per_pack=lanes),
                on_progress,
                None if self.chosen else Measure(settings.lanes_per_round, settings.runs, engine.workers),
                on_news=on_news,
            )
            # The strategy itself has not asked yet, and so knows of no closed cycle.
            self.listener(self.rehearsal.progress())
            worker = Worker(settings.training(), where.states.absolute(), settings.device, settings.cpus_per_worker)
            engine.run(jobs, worker, dataset)
        finally:
            engine.close()
            if self.strategy is not self.rehearsal:
                with suppress(OSError, SweepError):  # what ended the sweep is what to say
                    where.check_lock()
                    self._note()
                    self.ledger.tidy(self._current())
        if jobs.error is not None:
            raise jobs.error

    def _finish(self) -> None:
        """Leave what the tables use in `lanes`, and of the states what is needed."""
        self.ledger.tidy(self.strategy.current())
        self.ledger.remove_damaged()
        states.delete_unneeded(self.where, self.ledger, self.strategy)

    def _check_disk(self, state_bytes: int) -> None:
        """Raise SweepError if the states of this sweep could outgrow the disk."""
        where, needed = self.where, state_bytes * self.settings.peak_states
        if not isinstance(where.path, Path):
            return  # a bucket has no end
        there = sum(path.lstat().st_size for path in Path(str(where.states)).glob("*"))
        free = shutil.disk_usage(where.path).free
        if free + there < needed:
            raise SweepError(
                f"the states of this sweep may take {needed / 1e9:.1f} GB, and {where.path} has {free / 1e9:.1f} GB "
                "free; give --out on a larger disk, or fewer --runs or grid points"
            )
