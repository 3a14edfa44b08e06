"""How long a sweep takes on this machine. In: settings, the data's sizes. Out: `Forecast`, seconds by their use.

Packs are measured by as many processes side by side as there will be workers, since these share cores, caches and
memory. Then all packs of the sweep are dealt to workers, a round after another. Next: `sweep.analyses.plan` prints it.
"""

import heapq
import math
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from sweep.config.settings import Settings
from sweep.errors import TrainingError
from sweep.execution.pack_size import Measure
from sweep.execution.worker import keep_freed_memory, pick_device
from sweep.store.provenance import cores
from trainables import measure
from trainables.data.published import DATASETS, Outline
from trainables.measure import PackCosts
from trainables.spec import TrainSpec

START_SECONDS = {"inline": 3.0, "ray": 7.5}
"""From the command to the first job: imports, Ray, its workers. Of two cores of 2020."""
END_SECONDS = 4.0
"""From the last pack to the command's end: tables, pictures, Ray's end. Likewise."""
READ_BYTES = 7e7
"""Bytes of images that are read and checked in a second."""
HAND_SECONDS = {"inline": 0.01, "ray": 0.04}
"""From a pack's end to the next one's start on its worker: rows are written, the strategy asked."""
MADE_IMAGES = 4096
"""So many tell the speed of steps; more take memory."""
WAIT_SECONDS = 600.0
"""For the processes side by side to be ready."""
BUSY = ("training", "evaluation", "scoring", "packs")
"""What workers do."""
TOO_LITTLE = "{}: is there enough memory? Give fewer --lanes or --workers"


@dataclass(frozen=True)
class Forecast:
    """How long a sweep takes here: the whole command, and what the time goes into. All in seconds."""

    size: int
    """Lanes of a pack, at most."""
    workers: int
    side_by_side: int
    """Processes that were measured at a time."""
    lane_steps_per_second: float
    """Of one worker alone."""
    start: float
    """Start of the engine and its workers, data, and the measurement of the packs' size."""
    training: float
    """Steps, from here on with all workers at work: what they do in turn, divided by their number."""
    evaluation: float
    scoring: float
    """Gradients that weights are scored by."""
    packs: float
    """Starts and ends of packs: pruning, stacking, states."""
    waiting: float
    """Of workers, for the last pack of a cycle."""
    end: float
    """Tables and pictures."""
    at_most: float
    """The whole command where every grid is extended as far as it may be."""

    @property
    def seconds(self) -> float:
        """The whole command where no grid is extended."""
        return self.start + self.training + self.evaluation + self.scoring + self.packs + self.waiting + self.end


def forecast(settings: Settings, data: Outline, lanes_per_pack: int | None) -> Forecast:
    """Measure steps, evaluations and packs on this machine and return how long the sweep takes.

    `lanes_per_pack`: where the packs' size is settled. Raises TrainingError where they do not fit into memory.
    """
    device = pick_device(settings.device)
    room = torch.cuda.device_count() if device.type == "cuda" else max(1, cores() // settings.cpus_per_worker)
    workers = 1 if settings.engine == "inline" else settings.workers if isinstance(settings.workers, int) else room
    side_by_side = 1 if device.type == "cuda" else min(workers, room)
    torch.set_num_threads(settings.cpus_per_worker)
    keep_freed_memory()
    augment = settings.dataset in DATASETS and DATASETS[settings.dataset].augment
    dataset = measure.made(data, augment, min(data.size, MADE_IMAGES)).to(device)
    rates: dict[int, float] = {}
    job = Measure(settings.lanes_per_round, settings.runs, workers)
    started = time.perf_counter()
    with _enough_memory():
        # What a sweep measures, by one worker as there; of packs whose size is settled, that and a single lane.
        for sizes in [[1], [lanes_per_pack]] if lanes_per_pack else [job.sizes]:
            rates |= measure.lane_rates(settings.training(), dataset, device, sizes)
    measuring = 0.0 if lanes_per_pack else time.perf_counter() - started
    size = lanes_per_pack or job.best(rates)
    timing = _Timing(settings.training(), data, augment, device, size, size / rates[size], settings.own_parents)
    with tempfile.TemporaryDirectory(prefix="scyc-sweep-") as folder:
        if side_by_side > 1:
            costs = timing.side_by_side(side_by_side, settings.cpus_per_worker, Path(folder))
        else:
            costs = timing.take(Path(folder))
    dealer = _Dealer(settings, data, size, workers, rates, costs)
    rounds = [dealer.deal(*each) for each in settings.rounds]
    busy = {name: sum(getattr(each, name) for each in rounds) / workers for name in BUSY}
    reading = data.size * math.prod(data.shape) / READ_BYTES
    found = Forecast(
        size=size,
        workers=workers,
        side_by_side=side_by_side,
        lane_steps_per_second=rates[size],
        start=START_SECONDS[settings.engine] + reading + measuring,
        **busy,
        waiting=dealer.wall(settings.rounds) - sum(busy.values()),
        end=END_SECONDS + dealer.histograms(),
        at_most=0.0,
    )
    return replace(
        found, at_most=found.seconds + dealer.wall([*settings.rounds, *settings.growth]) - dealer.wall(settings.rounds)
    )


@dataclass(frozen=True)
class _Timing:
    """What is measured of packs, here or in processes side by side."""

    training: TrainSpec
    data: Outline
    augment: bool
    device: torch.device
    size: int
    step_seconds: float
    own_parents: bool

    def take(self, folder: Path, ready: Callable[[], object] = lambda: None) -> tuple[PackCosts, PackCosts]:
        """Return what a pack of cycle 0 costs, and a later one, in this process."""
        with _enough_memory():
            return measure.pack_costs(
                self.training,
                self.data,
                self.augment,
                self.device,
                self.size,
                self.step_seconds,
                self.own_parents,
                folder,
                ready,
            )

    def side_by_side(self, count: int, threads: int, folder: Path) -> tuple[PackCosts, PackCosts]:
        """Return the mean costs of so many processes that are measured at the same time."""
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(count)
        waiting, processes = [], []
        try:
            for index in range(count):
                ours, theirs = context.Pipe(duplex=False)
                arguments = self, threads, folder / str(index), barrier, theirs
                process = context.Process(target=_answer, args=arguments, daemon=True)
                process.start()
                theirs.close()  # so that its end is seen
                waiting.append(ours)
                processes.append(process)
            found: list[tuple[PackCosts, PackCosts]] = []
            while len(found) < count:
                for pipe in wait(waiting):
                    assert isinstance(pipe, Connection)
                    waiting.remove(pipe)
                    try:
                        answer = pipe.recv()
                    except EOFError:
                        raise TrainingError(TOO_LITTLE.format("a process that measured was ended")) from None
                    if isinstance(answer, str):
                        raise TrainingError(answer)
                    found.append(answer)
            return _mean([first for first, _ in found]), _mean([later for _, later in found])
        finally:
            for process in processes:
                process.kill()
                process.join()


def _answer(timing: _Timing, threads: int, folder: Path, barrier: Barrier, pipe: Connection) -> None:
    """In a process of its own: wait for the others, measure, and send what came of it; a text where nothing did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and ends this one
    sys.stdout = sys.stderr  # a user's code may print
    torch.set_num_threads(threads)
    keep_freed_memory()
    try:
        pipe.send(timing.take(folder, lambda: barrier.wait(WAIT_SECONDS)))
    except Exception as error:  # the parent says it in a line
        pipe.send(str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}")


def _mean(found: Sequence[PackCosts]) -> PackCosts:
    return PackCosts(*(fmean(getattr(each, field.name) for each in found) for field in fields(PackCosts)))


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Raise TrainingError where memory does not suffice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not measure.is_out_of_memory(error):
            raise
        raise TrainingError(TOO_LITTLE.format(" ".join(str(error).split())[:200])) from error


@dataclass(frozen=True)
class _Round:
    """A round of packs: the time until all are back, and what its packs take one after another; in seconds."""

    wall: float
    training: float
    evaluation: float
    scoring: float
    packs: float


@dataclass(frozen=True)
class _Dealer:
    """Deals packs to workers as a sweep does."""

    settings: Settings
    data: Outline
    size: int
    workers: int
    rates: Mapping[int, float]
    costs: tuple[PackCosts, PackCosts]

    def wall(self, rounds: Sequence[tuple[int, int]]) -> float:
        """Return the time until all rounds are trained: in sequence, or, if no run waits for another, all at once.

        Then all workers have work until the longest chain or all work is done.
        """
        if self.settings.decide == "shared":
            return sum(self.deal(*each).wall for each in rounds)
        alone = replace(self, settings=self.settings.model_copy(update={"runs": 1}))
        work: float = sum(getattr(self.deal(*each), name) for each in rounds for name in BUSY)
        return max(work / self.workers, sum(alone.deal(*each).wall for each in rounds))

    def deal(self, cycle: int, width: int) -> _Round:
        """Return what a round of `width` lanes of each run takes: each pack goes to the worker that is free first."""
        training, costs = self.settings.training(), self.costs[min(cycle, 1)]
        steps = training.steps_of(cycle)
        evaluations = -(-steps // training.evaluated_every(self.data.train_size(self.settings.split)))
        count = -(-width // self.size)
        sizes = [width // count + (index < width % count) for index in range(count)]
        free = [0.0] * self.workers
        sums = dict.fromkeys(BUSY, 0.0)
        for lanes in (lanes for lanes in sizes for _ in range(self.settings.runs)):
            share = self._seconds(lanes) / self._seconds(self.size)
            took = {
                "training": share * steps * costs.step,
                "evaluation": share * evaluations * costs.evaluation,
                "scoring": costs.scoring * (lanes / self.size if self.settings.own_parents else 1.0),
                "packs": share * costs.start + HAND_SECONDS[self.settings.engine],
            }
            heapq.heapreplace(free, free[0] + sum(took.values()))
            sums = {name: sums[name] + took[name] for name in BUSY}
        return _Round(max(free), **sums)

    def _seconds(self, lanes: int) -> float:
        """Return what a step of so many lanes takes, between those that were measured."""
        sizes = sorted(self.rates)
        return float(np.interp(lanes, sizes, [size / self.rates[size] for size in sizes]))

    def histograms(self) -> float:
        """Return what --histograms takes in the end: gradients and activations over the training images, in turn."""
        if not self.settings.histograms:
            return 0.0
        chains = self.settings.lanes_per_round if self.settings.own_parents else 1
        passes = chains * self.settings.runs * (self.settings.cycles + 1) * self.data.train_size(self.settings.split)
        return passes / self.settings.batch_size * self._seconds(1) * 4 / 3
