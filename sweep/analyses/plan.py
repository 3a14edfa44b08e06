"""What a sweep will take, before it is run. In: settings. Out: lanes, packs, steps, bytes, time, runs.

Nothing is kept and no data is needed: the packs that are measured train on made images. Only a user's own data set is
read, for its sizes, and a pilot trains on the real one. Next: the user decides.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from scipy import stats

from search_spaces.scyc import SCyc
from sweep.analyses.forecast import forecast
from sweep.config.settings import Settings
from sweep.errors import SettingsError, TrainingError
from sweep.execution.dataset import dataset_of, outline_of
from sweep.execution.network import check_network
from sweep.execution.outcomes import Failure, Trained
from sweep.execution.worker import Worker, device_name, pick_device
from sweep.statistics import power
from sweep.statistics.selection import ClosedCycle
from sweep.store.provenance import hardware
from trainables.spec import Lane, Pack, derive_seed
from trainables.storage import Location

FEWEST = 5
"""Runs of a pilot."""


@dataclass(frozen=True)
class Plan:
    """What a sweep will take. Times are of the whole command, all workers at work, where no grid is extended."""

    cycles: int
    runs: int
    lanes_per_round: int
    """Lanes of a run and cycle; of an oracle, the points of its grid."""
    lanes: int
    lanes_per_pack: int
    notes: tuple[str, ...]
    """What a user should know of the network before it is trained."""
    packs: int
    epochs: float
    """Passes over the training images, a lane."""
    steps: int
    """Optimizer steps of all lanes together."""
    evaluations: int
    """Of a lane in cycle 0."""
    evaluated_images: int
    """Validation and test images of each evaluation."""
    scored_images: int
    """Training images whose gradients a network's weights are scored by before each pruning; 0 where none are."""
    parameters: int
    state_bytes: int
    """One state on disk."""
    peak_state_bytes: int
    """All states that may lie on disk at once: the open cycle's lanes, past winners, initial weights."""
    lane_steps_per_second: float
    """Of one worker of this machine, alone."""
    workers: int
    measured_on: str
    """Machine and device."""
    side_by_side: int
    """Processes that trained packs at the same time, to measure what follows."""
    seconds: float
    """The whole command where no grid is extended: the sum of the seven parts below."""
    at_most_seconds: float
    """Where the grid is extended in every cycle as far as it may be: to four times its length."""
    start_seconds: float
    """Start of the engine and its workers, loading the data, measuring the packs' size."""
    training_seconds: float
    evaluation_seconds: float
    scoring_seconds: float
    """Gradients that weights are scored by."""
    pack_seconds: float
    """Starts and ends of packs: pruning, stacking, reading and writing states."""
    waiting_seconds: float
    """Of workers, for the last packs of a cycle."""
    end_seconds: float
    """Tables and pictures."""
    tolerance: float
    """Percent points that are to be resolved; where the tolerance is relative, of the best accuracy seen."""
    spread: float | None
    """Percent points by which paired differences between max_lr values vary over runs; None where nothing tells."""
    spread_of: str
    """Where the spread was seen."""
    runs_for_cycle: int | None
    """Runs that tell a max_lr worse by the tolerance from the best, all points of a cycle together, 8 times in 10."""
    runs_between: tuple[int | None, int | None]
    """Where these may lie, the spread being known no better (95 %)."""
    runs_for_one: int | None
    """Runs that show a max_lr that was named beforehand, and is as good, within the tolerance: `compare --confirm`."""


@dataclass(frozen=True)
class Spread:
    """How much paired differences vary over runs, and where that was seen."""

    points: float
    """Percent points."""
    best: float
    """Best accuracy seen, percent."""
    of: str
    freedom: int
    """Degrees of freedom that it was estimated from, as far as they are independent."""

    @property
    def between(self) -> tuple[float, float]:
        """Where the true spread lies, with 95 % confidence (chi-square)."""
        low, high = (self.points * math.sqrt(self.freedom / stats.chi2.ppf(q, self.freedom)) for q in (0.975, 0.025))
        return low, high


def plan(settings: Settings, lanes_per_pack: int | None = None, spread: Spread | None = None) -> Plan:
    """Train a few packs on made images on this machine and return what the sweep will take.

    `lanes_per_pack` is that of a sweep that has begun; None: the settings', or the fastest that is measured. With a
    `spread` the plan says how many runs resolve the tolerance.
    """
    network = check_network(settings)
    training, rounds, data = settings.training(), settings.rounds, outline_of(settings)
    train = data.train_size(settings.split)
    wanted = 1 if network.alone else lanes_per_pack or (None if settings.lanes == "auto" else settings.lanes)
    found = forecast(settings, data, wanted)
    machine = hardware()
    absolute = settings.tolerance_kind == "absolute"
    tolerance = settings.tolerance * (1.0 if absolute else (spread.best if spread else 100.0) / 100)

    def runs_for(points: int, of: float | None) -> int | None:
        return power.runs_needed(of, tolerance, points, settings.confidence) if of is not None else None

    seen, (low, high) = (spread.points, spread.between) if spread else (None, (None, None))

    return Plan(
        cycles=settings.cycles + 1,
        runs=settings.runs,
        lanes_per_round=settings.lanes_per_round,
        lanes=settings.runs * sum(width for _, width in rounds),
        lanes_per_pack=found.size,
        notes=network.notes,
        packs=settings.runs * sum(-(-width // found.size) for _, width in rounds),
        epochs=settings.steps / -(-train // settings.batch_size),
        steps=settings.runs * sum(width * training.steps_of(cycle) for cycle, width in rounds),
        parameters=network.parameters,
        state_bytes=network.state_bytes,
        peak_state_bytes=network.state_bytes * settings.peak_states,
        evaluations=-(-settings.steps // training.evaluated_every(train)),
        evaluated_images=data.size - train,
        scored_images=training.scored_images(train),
        lane_steps_per_second=found.lane_steps_per_second,
        workers=found.workers,
        measured_on=f"{machine['cpu']}, {machine['cores']} cores, on {device_name(pick_device(settings.device))}",
        side_by_side=found.side_by_side,
        seconds=found.seconds,
        at_most_seconds=found.at_most,
        start_seconds=found.start,
        training_seconds=found.training,
        evaluation_seconds=found.evaluation,
        scoring_seconds=found.scoring,
        pack_seconds=found.packs,
        waiting_seconds=found.waiting,
        end_seconds=found.end,
        tolerance=tolerance,
        spread=seen,
        spread_of=spread.of if spread else "",
        runs_for_cycle=runs_for(settings.lanes_per_round, seen),
        runs_between=(runs_for(settings.lanes_per_round, low), runs_for(settings.lanes_per_round, high)),
        runs_for_one=runs_for(2, seen),
    )


def spread_of(closed: Sequence[ClosedCycle], folder: Location, runs: int) -> Spread | None:
    """Return the spread of an oracle's decided cycles; None if they say nothing of it: one run, or no cycle."""
    found = power.spread_of_oracle(closed)
    if found is None:
        return None
    best = fmean(fmean(row["val_accuracy"] for row in cycle.best_rows) for cycle in closed)
    return Spread(found, best, f"{folder}, {runs} runs", runs - 1)


def pilot(settings: Settings, runs: int) -> Spread:
    """Train a few lanes of cycle 0, in this process, and return their spread: three max_lr values in each of `runs`.

    They are S-Cyc's epsilon, or the middle of the grid, and its neighbours. Raises SweepError where too few of them
    come out well, and as `check_network`.
    """
    if runs < FEWEST:
        raise SettingsError(
            f"--pilot must be at least {FEWEST}, but got {runs}: fewer runs tell too little of the spread"
        )
    grid = settings.grid.values
    if len(grid) < 2:
        raise SettingsError(f"a pilot takes a grid of at least 2 max_lr, but got {settings.max_lr}")
    middle = SCyc.parse(settings.scyc).epsilon if settings.scyc else grid[len(grid) // 2]
    points = sorted(sorted(grid, key=lambda point: abs(math.log(point / middle)))[:3])
    network, dataset = check_network(settings), dataset_of(settings)
    parts = [points] if not network.alone else [[point] for point in points]
    found: dict[float, list[float]] = {point: [] for point in points}
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(settings.training(), Path(folder), settings.device, settings.cpus_per_worker)
        for run in range(runs):
            for part in parts:
                lanes_of_run = tuple(Lane(point, None) for point in part)
                outcome = worker.do(Pack(0, run, derive_seed("pilot", settings.seed, run), lanes_of_run), dataset)
                if isinstance(outcome, Failure):
                    raise TrainingError(f"the pilot's run {run}: {outcome.name}: {outcome.reason}")
                assert isinstance(outcome, Trained)
                for result in outcome.results:
                    if result.val_accuracy is not None:
                        found[result.max_lr].append(result.val_accuracy)
    whole = [values for values in found.values() if len(values) == runs]
    spread = power.spread_of_points(whole)
    if spread is None:
        raise TrainingError("the pilot's lanes diverged; give --max-lr a lower grid, or --spread DIR")
    best = max(fmean(values) for values in whole)
    return Spread(spread, best, f"a pilot of {runs} runs of the unpruned network", (runs - 1) * (len(whole) - 1))
