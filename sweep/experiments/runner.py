"""Carry out a sweep from its first check to its last table. In: settings. Out: a results folder.

Everything that can be wrong is looked for before anything is written or trained. Next:
`sweep.experiments.results` opens what came of it.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from search_spaces.ranges import Range
from search_spaces.scyc import SCyc
from sweep.analyses import fit
from sweep.analyses.gradients import Gradients, gradients
from sweep.config import named_scyc as trajectories
from sweep.config.settings import Settings, changed
from sweep.errors import FolderError, SweepError
from sweep.execution.dataset import dataset_of
from sweep.execution.engine import make_engine
from sweep.execution.jobs import Jobs
from sweep.execution.network import check_network
from sweep.execution.pack_size import Measure
from sweep.execution.worker import Worker
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.experiments.results import OracleResults, SchedulesResults, TuningResults, ValidationResults
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.schedules.strategy import ScheduleComparison
from sweep.experiments.tuning.optuna_search import open_journal
from sweep.experiments.tuning.settings import TuningSettings
from sweep.experiments.tuning.strategy import Given, Tuning
from sweep.experiments.validation.strategy import Plans, Validation
from sweep.reporting import plots
from sweep.statistics.comparison import Trajectory
from sweep.store import clock, tables
from sweep.store import folder as folders
from sweep.store.folder import Folder, place
from sweep.store.lanes import STATES
from sweep.store.ledger import Ledger
from sweep.strategies.protocol import Progress, Strategy
from trainables.spec import FILTER_CRITERIA
from trainables.states import path_of, remove_states
from trainables.storage import Location, copy

Listener = Callable[[Progress], None]
"""Called with the progress of a sweep when a pack goes out or comes back, and when something was decided."""

HasState = Callable[[str], bool]


def run_oracle(
    settings: Settings, listener: Listener = lambda progress: None, command: Sequence[str] = ()
) -> OracleResults:
    """Build the greedy oracle, or go on with one, and write its tables and picture.

    Raises SweepError (SpecError, FolderError) for what the user can mend; then nothing was written unless training had
    begun, and every finished lane is kept.
    """

    def strategy(fingerprint: str, ledger: Ledger, lanes_per_pack: int, has_state: HasState, live: bool) -> Strategy:
        return GreedyOracle(settings, fingerprint, ledger, lanes_per_pack, has_state)

    where = Folder(settings.folder)
    sweep = _Sweep("oracle", settings, where, strategy, listener, command)
    with where.locked(command):
        sweep.train()
        results = OracleResults(where.path)
        tables.write("oracle", results.oracle, where.oracle)
        tables.write("curves", results.curves, where.curves)
        tables.write("trend", results.trend, where.trend)
        plots.shortfalls(results, where.shortfalls_picture)
        write_comparison(results, {trajectories.OWN: SCyc.parse(settings.scyc)} if settings.scyc else {})
        _write_histograms(results)
    return results


def run_tuning(
    settings: TuningSettings, listener: Listener = lambda progress: None, command: Sequence[str] = ()
) -> TuningResults:
    """Tune a schedule by training (`by` stages or joint), or go on, and write its tables, winner and picture.

    Raises as `run_oracle` does.
    """
    if settings.by == "fit":
        raise SweepError("by fit trains nothing: use fit_scyc, or scyc-sweep tune --by fit")
    where = Folder(settings.folder)
    oracle = _finished_oracle(settings) if settings.oracle else None
    if oracle is not None:
        _check_same(settings, oracle)
    given = _cycle_0(oracle) if oracle and settings.takes_over else None

    def strategy(fingerprint: str, ledger: Ledger, lanes_per_pack: int, has_state: HasState, live: bool) -> Strategy:
        identity = folders.identity(settings, fingerprint)
        journal = open_journal(where.journal, identity) if live else None
        if given is None or oracle is None:
            return Tuning(settings, fingerprint, ledger, lanes_per_pack, has_state, None, journal)
        for key, row in oracle.replay.ledger.rows.items():
            if row["cycle"] == 0:
                ledger.rows.setdefault(key, row)
        there = oracle.folder.states
        return Tuning(
            settings,
            fingerprint,
            ledger,
            lanes_per_pack,
            lambda d: has_state(d) or path_of(there, d).exists(),
            given,
            journal,
        )

    def prepare() -> None:
        if given is not None and oracle is not None:
            _link_states(_states_of_cycle_0(oracle), oracle.folder.states, where.states)

    def take_over(ledger: Ledger) -> None:
        if given is not None and oracle is not None:
            _take_over(oracle, ledger)

    sweep = _Sweep("tune", settings, where, strategy, listener, command, prepare, take_over)
    sweep.notes = {"given": asdict(given) if given else None}
    with where.locked(command):
        sweep.train()
        results = TuningResults(where.path)
        tables.write("tuning", results.tuning, where.tuning)
        tables.write("chain", results.chain, where.chain)
        if results.winner is not None:
            own = ("epsilon", "delta", "q", "beta") if settings.schedule == "scyc" else ("max_lr",)
            parameters = {name: results.winner.params[name] for name in own}
            value = f"mean validation accuracy {results.winner.value:.2f} % over {settings.runs} runs at cycle {settings.target}"
            origin = f"scyc-sweep tune --by {settings.by}, seed {settings.seed}: {value}"
            trajectories.write(settings.schedule, parameters, origin, where.path)
        plots.tuning(results, results.oracle, where.tuning_picture)
    return results


def run_schedules(
    settings: SchedulesSettings, listener: Listener = lambda progress: None, command: Sequence[str] = ()
) -> SchedulesResults:
    """Compare schedules over whole chains, or go on, and write the tables and the picture.

    Raises as `run_oracle` does.
    """

    def strategy(fingerprint: str, ledger: Ledger, lanes_per_pack: int, has_state: HasState, live: bool) -> Strategy:
        return ScheduleComparison(settings, fingerprint, ledger, lanes_per_pack, has_state)

    where = Folder(settings.folder)
    found = where.manifest()
    if found is not None and found["kind"] == "schedules":
        begun = found["settings"]
        if settings.histograms and not begun["histograms"]:
            raise FolderError(f"{where.path} was begun without --histograms and kept no networks; give another --out")
        # A folder keeps the schedules that it has, and their networks: more of them stand beside the earlier ones.
        both = tuple(dict.fromkeys((*begun["schedules"], *settings.schedules)))
        settings = settings.model_copy(update={"schedules": both, "histograms": begun["histograms"]})
    sweep = _Sweep("schedules", settings, where, strategy, listener, command)
    with where.locked(command):
        sweep.train()
        results = SchedulesResults(where.path)
        tables.write("schedules", results.schedules, where.schedules)
        tables.write("rates", results.rates, where.rates)
        tables.write("runs", results.runs, where.runs)
        plots.schedules(results, where.schedules_picture)
        _write_histograms(results)
    return results


def run_control(
    oracle: OracleResults,
    controls: Sequence[str],
    execution: Mapping[str, Any],
    listener: Callable[[str], Listener] = lambda name: lambda progress: None,
    command: Sequence[str] = (),
) -> OracleResults:
    """Run an oracle again with other pruning, each control in a folder of its own; write the trend table and a picture.

    `execution` are settings of `EXECUTION` that replace the oracle's. Raises as `run_oracle` does, and SweepError for a
    control that would control nothing.
    """
    _check_unchanged(oracle, execution)
    for name in controls:
        if name == "none" and oracle.settings.rewind != "none":
            raise SweepError(
                "--pruning none is no control where every cycle rewinds: it trains the same unpruned network anew each "
                "time; --pruning random is one"
            )
        if ("global_magnitude" if name == "imp" else name) == oracle.settings.training().pruning:
            raise SweepError(f"--pruning {name} is what {oracle.folder.path} was run with")
    specs = [
        changed(
            oracle.settings,
            {
                **execution,
                "pruning": name,
                "lanes": oracle.manifest["lanes_per_pack"] or oracle.settings.lanes,
                "histograms": False,
                "out": oracle.folder.controls / name,
            },
        )
        for name in controls
    ]
    for settings in specs:
        check_network(settings)  # all that can be wrong is found before the first is trained
    for name, settings in zip(controls, specs, strict=True):
        run_oracle(settings, listener(name), command)
    results = OracleResults(oracle.folder.path)
    tables.write("trend", results.trend, results.folder.trend)
    plots.controls(results, results.folder.controls_picture)
    return results


def controls_of(settings: Settings) -> list[str]:
    """Return the controls that mean something beside an oracle: the same amount gone by chance, or nothing gone."""
    by_chance = "random_filter" if settings.pruning in FILTER_CRITERIA else "random"
    found = [by_chance] if settings.rewind != "none" else ["none", by_chance]
    return [name for name in found if name != settings.training().pruning]


def run_validation(
    oracle: OracleResults,
    predicted: Mapping[str, Trajectory],
    held_out_runs: int | None,
    execution: Mapping[str, Any],
    listener: Listener = lambda progress: None,
    command: Sequence[str] = (),
) -> ValidationResults:
    """Train trajectories beside an oracle's choices, on its runs or on so many held-out ones; write the verdicts.

    What the folder has of other trajectories stays, and so do its runs. Lanes that the oracle trained are not trained
    again, but for those that lost there and whose network, which is gone, a trajectory's own chain goes on from.
    `execution` as `run_control` has it. Raises as `run_oracle`.
    """
    where = Folder(oracle.folder.validation if held_out_runs is None else oracle.folder.held_out_validation)
    wanted = validation_settings(oracle, held_out_runs, execution)
    settings, closed = oracle.settings, oracle.replay.closed
    cycles = range(len(closed))
    plans = Plans(
        tuple(cycle.choice.best_max_lr for cycle in closed),
        {name: tuple(each.max_lr(cycle, settings.prune_rate) for cycle in cycles) for name, each in predicted.items()},
        held_out=held_out_runs is not None,
    )
    begun = where.manifest()
    if begun is not None and begun["plans"] and tuple(begun["plans"]["oracle"]) == plans.oracle:
        # A folder keeps its trajectories and its runs: others stand beside the earlier ones.
        plans = replace(plans, trajectories={**Plans.of(begun["plans"]).trajectories, **plans.trajectories})
        wanted = changed(wanted, {"runs": max(wanted.runs, begun["settings"]["runs"])})
    rows = [] if plans.held_out else [row for cycle in closed for row in cycle.best_rows]
    starts = frozenset(
        row[name] for row in rows for name in ("state", "parent_state", "rewind_state") if row[name] is not None
    )
    there = oracle.folder.states

    def strategy(fingerprint: str, ledger: Ledger, lanes_per_pack: int, has_state: HasState, live: bool) -> Strategy:
        if not plans.held_out:
            ledger.rows = oracle.replay.ledger.rows | ledger.rows
        return Validation(
            wanted,
            fingerprint,
            ledger,
            lanes_per_pack,
            lambda digest: has_state(digest) or (digest in starts and path_of(there, digest).exists()),
            plans,
            starts,
        )

    sweep = _Sweep(
        "compare", wanted, where, strategy, listener, command, lambda: _link_states(starts, there, where.states)
    )
    sweep.notes = {"plans": asdict(plans)}
    with where.locked(command):
        sweep.train()
        results = ValidationResults(where.path)
        tables.write("verdicts", results.verdicts, where.verdicts)
        plots.gaps({"held-out runs" if plans.held_out else "the oracle's runs": results}, where.gaps_picture)
    return results


def validation_settings(oracle: OracleResults, held_out_runs: int | None, execution: Mapping[str, Any]) -> Settings:
    """Return the settings of what `run_validation` trains. Raises SweepError for what cannot be."""
    settings, closed = oracle.settings, oracle.replay.closed
    if held_out_runs is not None and held_out_runs < 1:
        raise SweepError(f"--confirm must be at least 1, but got {held_out_runs}")
    if settings.decide == "per_run":
        raise SweepError(f"{oracle.folder.path} has an oracle for each run; --train takes one with --decide shared")
    if not closed:
        raise FolderError(f"{oracle.folder.path} has no decided cycle yet")
    _check_unchanged(oracle, execution)
    return changed(
        settings,
        {
            **execution,
            "cycles": len(closed) - 1,
            "runs": held_out_runs or settings.runs,
            "lanes": oracle.manifest["lanes_per_pack"] or settings.lanes,
            "histograms": False,
        },
    )


def _check_unchanged(oracle: OracleResults, execution: Mapping[str, Any]) -> None:
    """Raise FolderError where network or data are no longer those of an oracle that others are to be trained beside."""
    now = changed(oracle.settings, execution)
    oracle.check_unchanged(now)
    oracle.check_unchanged(now, dataset_of(now).fingerprint)


def run_fit(settings: TuningSettings, command: Sequence[str] = ()) -> tuple[OracleResults, fit.Fits]:
    """Fit S-Cyc to a finished oracle, without training; write the fits, the winner and a picture beside the oracle.

    Raises FolderError for an oracle that is unfinished or too short.
    """
    results = _finished_oracle(settings, fitting=True)
    low, high = float(results.oracle["grid_low"].min()), float(results.oracle["grid_high"].max())
    told = settings.ranges()
    ranges = told | {
        "epsilon": told["epsilon"] if settings.epsilon else Range(low, high, log=True),
        "delta": told["delta"] if settings.delta else Range(0.0, high),  # without growth S-Cyc is a constant
    }
    given: dict[str, SCyc] = {}
    for name in ("paper", "silo"):
        with suppress(SweepError):
            given |= trajectories.parse([name], results.settings.model, results.settings.dataset)
    if results.settings.scyc and SCyc.parse(results.settings.scyc) not in given.values():
        given["preset"] = SCyc.parse(results.settings.scyc)
    where = Folder(place(settings.out)) if settings.out else results.folder
    with where.locked(command):
        if settings.out and where.path.absolute() != results.folder.path.absolute():
            folders.check_kind(where, where.manifest() or {"kind": "oracle"}, "oracle")
            if where.manifest() is None and where.foreign() and not where.fit.exists():
                raise FolderError(f"{where.path} has other files: give another --out")
        fits = fit.fit(results, ranges, given, settings.seed)
        tables.write("fit", fits.table, where.fit)
        scyc = fits.scyc
        row = fits.table.iloc[0]
        origin = f"scyc-sweep tune --by fit: inside the feasible region at {row['inside']} of {row['cycles']} cycles"
        trajectories.write("scyc", asdict(scyc), origin, where.path)
        plots.trajectory(results, results.compare(fits.curves), where.fit_picture)
    return results, fits


class _Sweep:
    """One sweep of any strategy, from the first check to its last lane."""

    def __init__(
        self,
        kind: str,
        settings: Settings,
        where: Folder,
        strategy: Callable[[str, Ledger, int, HasState, bool], Strategy],
        listener: Listener,
        command: Sequence[str],
        prepare: Callable[[], None] = lambda: None,
        take_over: Callable[[Ledger], None] = lambda ledger: None,
    ) -> None:
        """`strategy(fingerprint, ledger, lanes_per_pack, has_state, live)`: `live` is that which will train.

        `prepare` is called before it does, when the folder has its manifest; `take_over` before lanes are counted, to
        have another folder's lanes in this one.
        """
        self.kind, self.settings, self.where = kind, settings, where
        self.strategy, self.listener, self.command = strategy, listener, command
        self.prepare, self.take_over = prepare, take_over
        self.notes: dict[str, Any] = {}
        """What else the manifest has to say."""

    def train(self) -> None:
        """Have every lane trained that the ledger lacks."""
        settings, where = self.settings, self.where
        if settings.device == "cuda" and settings.engine == "inline" and not torch.cuda.is_available():
            raise SweepError("--device cuda, but torch sees no GPU here")
        dataset = dataset_of(settings)
        fingerprint = dataset.fingerprint
        found = where.manifest()
        folders.check_kind(where, found, self.kind)
        self.notes = json.loads(json.dumps(self.notes))  # as they read back: tuples become lists
        manifest = folders.new_manifest(self.kind, settings, fingerprint, self.command, found) | self.notes
        if found is not None:
            folders.check_identity(where, found["identity"], manifest["identity"])
            if sum(found["lanes"]) and not where.lanes.exists():
                raise FolderError(
                    f"{where.lanes} is missing, and manifest.json counts {sum(found['lanes'])} finished lanes: put it "
                    "back, or give another --out"
                )
        ledger = Ledger(where.lanes, evaluations=False, superseded=where.superseded)
        if found is None and ledger.rows:  # a lost manifest: its packs were as large as the largest
            manifest["lanes_per_pack"] = max(row["lanes_in_pack"] for row in ledger.rows.values())
        chosen: int | None = manifest["lanes_per_pack"] if settings.lanes == "auto" else settings.lanes

        # Listed at once: a bucket takes as long for one name as for a thousand.
        there = {path.stem for path in where.states.glob("*.safetensors")}

        def has_state(digest: str) -> bool:
            return digest in there or path_of(where.states, digest).exists()

        def strategy_now(live: bool) -> Strategy:
            return self.strategy(fingerprint, ledger, chosen or settings.lanes_per_round, has_state, live)

        rehearsal = strategy_now(live=False)
        whole = rehearsal.ask() is None
        if found is None and where.foreign() and not ledger.file_of.keys() & rehearsal.current().keys():
            raise FolderError(
                f"{where.path} has files but no manifest.json, and no finished lanes of this experiment: give another "
                "--out"
            )
        for damage in ledger.damaged.values():
            logging.getLogger(__name__).warning("%s; its lanes are lost, and trained again if they are needed", damage)
        strategy = rehearsal

        def current() -> Mapping[str, Mapping[str, Any]]:
            """Return the rows that count; a strategy that has just begun has not come to all of them."""
            return {**rehearsal.current(), **strategy.current()}

        def note(**changes: Any) -> None:
            """Write the manifest; the lanes that it counts lie in `trials` before it does."""
            ledger.bring_back(current())
            manifest.update(changes, lanes=_lanes(ledger, current()))
            where.write_manifest(manifest)

        def finish() -> None:
            """Leave what the tables tell of in `trials`, and of the states what is needed."""
            ledger.tidy(strategy.current())
            ledger.remove_damaged()
            _let_go(where, ledger, strategy)

        if whole:  # nothing to train: no need of Ray
            self.take_over(ledger)
            told = {name: manifest[name] for name in ("settings", *self.notes)} | {"lanes": _lanes(ledger, current())}
            if not (found and found["finished_at"]) or any(found[name] != value for name, value in told.items()):
                note(finished_at=clock.now())
            finish()
            return
        network = check_network(settings)
        for line in network.notes:
            logging.getLogger(__name__).warning("%s", line)
        chosen = 1 if network.alone else chosen
        self._check_disk(network.state_bytes)
        engine = make_engine(settings)
        try:
            engine.connect(where.path.absolute())
            self.take_over(ledger)
            note(lanes_per_pack=chosen)
            ledger.tidy(current())
            self.prepare()
            strategy = strategy_now(live=True)
            cycle = rehearsal.progress().cycle

            def on_news() -> None:
                self.listener(replace(strategy.progress(), under_way=jobs.under_way))

            def on_progress() -> None:
                nonlocal cycle
                where.check_lock()
                if cycle != (cycle := strategy.progress().cycle):
                    note()
                on_news()

            measure = None if chosen else Measure(settings.lanes_per_round, settings.runs, engine.workers)
            jobs = Jobs(
                strategy,
                ledger,
                where.states,
                lambda lanes: note(lanes_per_pack=lanes),
                on_progress,
                measure,
                on_news=on_news,
            )
            # The strategy itself has not asked yet, and so knows of no closed cycle.
            self.listener(rehearsal.progress())
            worker = Worker(settings.training(), where.states.absolute(), settings.device, settings.cpus_per_worker)
            engine.run(jobs, worker, dataset)
        finally:
            engine.close()
            if strategy is not rehearsal:
                with suppress(OSError, SweepError):  # what ended the sweep is what to say
                    where.check_lock()
                    note()
                    ledger.tidy(current())
        if jobs.error is not None:
            raise jobs.error
        note(finished_at=clock.now(), ended_early=strategy.ended)
        finish()

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


def _finished_oracle(settings: TuningSettings, fitting: bool = False) -> OracleResults:
    """Return the oracle that a tuning is given. Raises FolderError if it is unfinished or too short.

    A fit takes the oracle as it is; a tuning asks for its own runs and cycles.
    """
    assert settings.oracle is not None
    oracle = OracleResults(settings.oracle)
    if oracle.oracle.empty:
        raise FolderError(f"{settings.oracle} has no decided cycle; its lanes are of another version, or none")
    if not oracle.finished:
        raise FolderError(
            f"{settings.oracle} is unfinished; its own command goes on with it: {oracle.manifest['command']}"
        )
    if fitting and settings.target_cycle is None:
        return oracle
    if oracle.settings.decide == "per_run" and not fitting:
        raise FolderError(f"{settings.oracle} has an oracle for each run; a tuning takes one with --decide shared")
    cycles = int(oracle.oracle["cycle"].max())
    words_that_fit = [] if fitting or oracle.settings.runs == settings.runs else [f"--runs {oracle.settings.runs}"]
    if cycles < settings.target:
        words_that_fit.append(f"--{'cycles' if settings.target_cycle is None else 'target-cycle'} {cycles}")
    if words_that_fit:
        wanted = f"cycle {settings.target}" if fitting else f"{settings.runs} runs and cycle {settings.target}"
        raise FolderError(
            f"{settings.oracle} has {oracle.settings.runs} runs and cycles up to {cycles}, but this takes {wanted}: give "
            f"{' '.join(words_that_fit)}, or extend the oracle"
        )
    return oracle


def _check_same(settings: TuningSettings, oracle: OracleResults) -> None:
    """Raise FolderError where an oracle's lanes were trained otherwise than a tuning's will be, but for a schedule."""
    wanted = folders.identity(settings, dataset_of(settings).fingerprint)
    found = oracle.manifest["identity"]
    if not settings.takes_over:  # then it is there to be compared with
        found = found | {"schedule": wanted["schedule"]}
    folders.check_identity(oracle.folder, found, wanted, "tune with its settings, or give another --oracle")


def _cycle_0(oracle: OracleResults) -> Given:
    """Return what an oracle has tried and chosen in cycle 0."""
    first = next(closed for closed in oracle.replay.closed if closed.cycle == 0)
    return Given(tuple(sorted({row["max_lr"] for row in first.rows})), first.choice.best_max_lr)


def _take_over(oracle: OracleResults, ledger: Ledger) -> None:
    """Copy the rows of an oracle's cycle 0 into a tuning's folder."""
    first = next(closed for closed in oracle.replay.closed if closed.cycle == 0)
    missing = {row["lane_id"] for row in first.rows} - ledger.file_of.keys()
    for path, keys in oracle.replay.ledger.files.items():
        if not missing.isdisjoint(keys):
            ledger.take(path)


def _states_of_cycle_0(oracle: OracleResults) -> set[str]:
    """Return the winners' networks of an oracle's cycle 0, and the initial weights."""
    first = next(closed for closed in oracle.replay.closed if closed.cycle == 0)
    return {row[name] for row in first.best_rows for name in STATES if row[name]}


def _link_states(digests: Iterable[str], there: Location, here: Location) -> None:
    """Have states of another folder lie in this one."""
    here.mkdir(parents=True, exist_ok=True)
    for digest in digests:
        source, target = path_of(there, digest), path_of(here, digest)
        if source.exists() and not target.exists():
            copy(source, target)


def write_comparison(results: OracleResults, predicted: Mapping[str, SCyc]) -> None:
    """Write the picture and, where there is a trajectory to compare with, the comparison table; else there is none."""
    comparison = results.compare(predicted) if predicted else None
    if comparison is not None:
        tables.write("comparison", comparison, results.folder.comparison)
    else:
        results.folder.comparison.unlink(missing_ok=True)
    plots.trajectory(results, comparison, results.folder.picture)


def _write_histograms(results: OracleResults | SchedulesResults) -> None:
    """Measure and write what --histograms asks for, on this machine: GPUs of the workers may be elsewhere."""
    if results.settings.histograms:
        write_gradients(results, gradients(results, device="cpu" if results.settings.device == "cpu" else "auto"))


def write_gradients(results: OracleResults | SchedulesResults, found: Gradients) -> None:
    """Write the tables and the picture of gradients and activations."""
    tables.write("histograms", found.histograms, results.folder.histograms)
    tables.write("tails", found.tails, results.folder.tails)
    plots.histograms(results, found, results.folder.histograms_picture)


def _lanes(ledger: Ledger, current: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Return how many of the current lanes of each cycle a folder has."""
    counts = Counter(row["cycle"] for key, row in current.items() if key in ledger.file_of)
    return [counts[cycle] for cycle in range(max(counts, default=-1) + 1)]


def _let_go(where: Folder, ledger: Ledger, strategy: Strategy) -> None:
    """Remove the states that rows name and nothing needs any more, and what is half-written of them.

    A superseded lane's state stays where another lane started from it, or where it is the last one of its like, which
    won: should its chain be current again, nothing is trained again.
    """
    current = strategy.current()
    others = [row for key, row in ledger.rows.items() if key in ledger.file_of and key not in current]
    there = {path.stem for path in where.states.glob("*.safetensors")} if others else set()
    likes = [(row["cycle"], row["run"], row["schedule"], row["parent_state"]) for row in others]
    rivals = Counter(like for like, row in zip(likes, others, strict=True) if row["state"] in there)
    starts = {row["parent_state"] for row in others}
    kept = [row for like, row in zip(likes, others, strict=True) if row["state"] in starts or rivals[like] == 1]
    needed = strategy.needed_states() | {row[name] for row in kept for name in STATES}
    named = {row[name] for row in ledger.rows.values() for name in STATES if row[name]}
    remove_states(where.states, named, needed)
