"""Carry out a sweep from its first check to its last table. In: a spec. Out: a results folder.

Everything that can be wrong is looked for before anything is written or trained. Next: `sweep.results` opens what came
of it.
"""

import shutil
import sys
from collections.abc import Callable, Sequence

import torch

from search_spaces.max_lr import MaxLrGrid
from search_spaces.scyc import SCyc
from sweep import folder as folders
from sweep import plots, tables
from sweep.engines import Engine, InlineEngine, Jobs
from sweep.errors import FolderError, SweepError
from sweep.folder import Folder
from sweep.greedy import GreedyOracle
from sweep.ledger import Ledger
from sweep.plan import peak_states, state_size
from sweep.results import Results
from sweep.spec import Spec
from sweep.strategy import Progress
from sweep.worker import Measure, Worker, load_dataset
from trainables.datasets import DataError
from trainables.states import path_of

Listener = Callable[[Progress], None]
"""Called with the progress of a sweep after every pack."""


def run_oracle(spec: Spec, listener: Listener = lambda progress: None, command: Sequence[str] = ()) -> Results:
    """Build the greedy oracle, or go on with one, and write its tables and picture.

    Raises SweepError (SpecError, FolderError) for what the user can mend; then nothing was written unless training had
    begun, and every finished lane is kept.
    """
    if spec.device == "cuda" and spec.engine == "inline" and not torch.cuda.is_available():
        raise SweepError("--device cuda, but torch sees no GPU here")
    try:
        data_dir = spec.data_dir.expanduser().resolve()
        dataset = load_dataset(spec.dataset, data_dir, torch.device("cpu"), spec.download)
    except DataError as error:
        raise SweepError(str(error)) from error
    engine = make_engine(spec)
    where = Folder(spec.folder)
    with where.locked(command):
        try:
            worker = Worker(spec.training(), data_dir, where.states.resolve(), spec.device, spec.threads)
            _train(spec, dataset.fingerprint, engine, worker, where, listener, command)
        finally:
            engine.close()
        results = Results(where.path)
        tables.write("oracle", results.oracle, where.oracle)
        write_comparison(results, {"S-Cyc": SCyc.parse(spec.scyc)} if spec.scyc else {})
    return results


def write_comparison(results: Results, trajectories: dict[str, SCyc]) -> None:
    """Write the picture and, where there is a trajectory to compare with, the comparison table."""
    comparison = results.compare(trajectories) if trajectories else None
    if comparison is not None:
        tables.write("comparison", comparison, results.folder.comparison)
    plots.trajectory(results, comparison, results.folder.picture)


def make_engine(spec: Spec) -> Engine:
    """Return the engine that the spec names."""
    if spec.engine == "inline":
        return InlineEngine()
    from sweep.ray_tune import RayEngine  # Ray takes its time to import, and reads settings when it is

    return RayEngine(spec.address, spec.workers, spec.threads, spec.device)


def _train(
    spec: Spec,
    fingerprint: str,
    engine: Engine,
    worker: Worker,
    where: Folder,
    listener: Listener,
    command: Sequence[str],
) -> None:
    """Have every lane trained that the ledger lacks."""
    found = where.manifest()
    if found is None and where.foreign():
        raise FolderError(f"{where.path} has files but no manifest.json: it is no results folder, give another --out")
    manifest = folders.new_manifest(spec, fingerprint, command, found)
    if found is not None:
        folders.check_identity(where, found["identity"], manifest["identity"])
    ledger = Ledger(where.trials)
    points = len(MaxLrGrid.parse(spec.max_lr).values)
    chosen: int | None = manifest["lanes_per_pack"] if spec.lanes == "auto" else spec.lanes

    def strategy_now() -> GreedyOracle:
        return GreedyOracle(
            spec, fingerprint, ledger, chosen or points, lambda digest: path_of(where.states, digest).exists()
        )

    rehearsal = strategy_now()
    if rehearsal.ask() is None:  # nothing to train: no need of Ray
        if found is None or found["spec"] != manifest["spec"] or not found["finished_at"]:
            where.write_manifest(manifest | {"finished_at": folders.now()})
        return
    _check_disk(spec, where)
    strategy = strategy_now()
    _clean_states(where, rehearsal.needed_states())

    def keep_lanes_per_pack(lanes: int) -> None:
        manifest["lanes_per_pack"] = lanes
        where.write_manifest(manifest)

    def report() -> None:
        listener(strategy.progress())

    engine.connect()
    measure = None if chosen else Measure(points, spec.runs, engine.workers)
    jobs = Jobs(strategy, ledger, where.states, keep_lanes_per_pack, report, measure)
    manifest["lanes_per_pack"] = chosen
    where.write_manifest(manifest)
    listener(rehearsal.progress())  # the strategy itself has not asked yet, and so knows of no closed cycle
    engine.run(jobs, worker)
    if jobs.error is not None:
        raise jobs.error
    where.write_manifest(manifest | {"finished_at": folders.now(), "ended_early": strategy.ended})


def _clean_states(where: Folder, needed: set[str]) -> None:
    """Remove states that nothing refers to: those of lanes whose rows were never written, and half-written files."""
    for path in where.states.iterdir() if where.states.exists() else ():
        if path.stem not in needed:
            path.unlink()


def _check_disk(spec: Spec, where: Folder) -> None:
    """Raise SweepError if the states of this sweep could outgrow the disk."""
    needed = state_size(spec)[1] * peak_states(spec)
    there = sum(path.stat().st_size for path in where.states.glob("*")) if where.states.exists() else 0
    free = shutil.disk_usage(where.path).free
    if free + there < needed:
        raise SweepError(
            f"the states of this sweep may take {needed / 1e9:.1f} GB, and {where.path} has {free / 1e9:.1f} GB free; "
            "give --out on a larger disk, or fewer --runs or grid points"
        )


def command_line() -> list[str]:
    """Return the command that this process was started with, as it can be typed again."""
    return ["scyc-sweep", *sys.argv[1:]]
