"""A simulated fleet of 1,000 workers on the paper's sweep: what the driver costs, and what it keeps workers waiting.

Only training is simulated. Strategy, jobs, ledger, progress and the states' files are the real ones, on a temporary
folder, and the time that they take is real: the simulated clock goes on by it, since nothing is handed out meanwhile.
What an engine adds, such as Ray's own time for a trial, is not in it. Packs take 10 minutes, times a spread that was
measured.
"""

import argparse
import hashlib
import heapq
import logging
import multiprocessing
import os
import random
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from math import log10
from pathlib import Path
from statistics import fmean
from typing import Any

from common import SEED, against, memory_bytes, report
from rich.console import Console

from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.execution.jobs import Jobs
from sweep.execution.outcomes import Trained
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.reporting.live import LiveView
from sweep.store.ledger import Ledger
from trainables.spec import Lane, LaneResult, Pack
from trainables.states import path_of

PRESET = "resnet20"
"""The paper's size: 26 cycles of 51 max_lr and 5 runs."""
EVALUATIONS = 224
"""Of one lane of it: once an epoch."""
PACK_SECONDS = 600.0
SPREAD = ((0, 0.67), (10, 0.70), (25, 0.89), (50, 1.0), (75, 1.19), (90, 1.44), (95, 1.61), (99, 2.02), (100, 3.95))
"""Percentiles of a pack's time over the median of its like: 320 packs of the digits preset, of 5 runs and of 10, by two
workers on 2 cores of an AMD EPYC that had other work besides."""
STRAGGLES = 20.0
"""How many times as long a straggler takes."""
ASKS_AGAIN = 60.0
"""Seconds after which a worker that has nothing to do asks again."""
MILLISECONDS, SHARE = 5.0, 1.1
EARLY = 5
"""The cycle after which memory is looked at, for its growth up to the last."""


@dataclass(frozen=True)
class Case:
    """One fleet."""

    name: str
    workers: int = 1000
    lanes_per_pack: int = 1
    stragglers: float = 0.0
    """Their share of all packs."""


@dataclass
class Measured:
    """What came of one fleet; seconds of the driver are real, those of the fleet simulated."""

    driver: list[float] = field(default_factory=list)
    """Seconds of the driver for each pack, in the order in which they were handed out."""
    cpu: float = 0.0
    """Of these altogether, the seconds of a core; the rest is the disk, and whatever else runs on the machine."""
    syncing: float = 0.0
    """Likewise, the seconds in which it waited for the disk to have a file for good."""
    makespan: float = 0.0
    allowed: float = 0.0
    """The makespan of a driver that takes no time, where no pack straggles."""
    busy: float = 0.0
    """Share of the makespan in which workers trained."""
    memory: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By finished cycle: rows, and bytes of the process."""

    def timed(self, call: Callable[..., Any], *arguments: object) -> tuple[Any, float]:
        """Return what a call of the driver returns, and the seconds that it took."""
        wall, cpu = time.perf_counter(), time.process_time()
        answer = call(*arguments)
        self.cpu += time.process_time() - cpu
        return answer, time.perf_counter() - wall


class Fleet:
    """Workers that train in no time and say how long they took; what they write is empty."""

    def __init__(self, settings: Settings, case: Case, states: Path) -> None:
        self.settings, self.case, self.states = settings, case, states
        self.random = random.Random(SEED)
        self.works: dict[int, dict[Pack, float]] = defaultdict(dict)
        """By cycle, the seconds of its packs, none of them straggling or handed out twice."""
        self.trained = 0.0
        """Seconds of all packs."""
        states.mkdir(exist_ok=True)

    def begin(self, pack: Pack) -> float:
        """Return how long a worker will take for a pack."""
        seconds = PACK_SECONDS * spread(self.random.uniform(0, 100))
        self.works[pack.cycle].setdefault(pack, seconds)
        seconds *= STRAGGLES if self.random.random() < self.case.stragglers else 1.0
        self.trained += seconds
        return seconds

    def allowed(self) -> float:
        """Return the seconds below which no order of the packs gets, as a cycle begins when the one before has ended.

        A cycle takes as long as its longest pack, and as its packs take by all workers together.
        """
        works = [list(packs.values()) for packs in self.works.values()]
        return sum(max(*cycle, sum(cycle) / self.case.workers) for cycle in works)

    def train(self, pack: Pack) -> Trained:
        """Return a pack's outcome."""
        return Trained([self._lane(pack, lane) for lane in pack.lanes], device="none", host="simulated")

    def _lane(self, pack: Pack, lane: Lane) -> LaneResult:
        initial = digest("initial", pack.seed)
        state = digest("state", pack.seed, pack.cycle, lane.max_lr, lane.parent)
        for name in (initial, state) if lane.parent is None else (state,):
            path_of(self.states, name).touch()
        # A curve whose best max_lr rises from cycle to cycle, inside the grid.
        peak = 0.02 + 0.001 * pack.cycle
        accuracy = 90 - 40 * log10(lane.max_lr / peak) ** 2 + random.Random(state).gauss(0, 0.2)
        last = (accuracy, accuracy, 0.5)
        evaluations = [[*(random.random() for _ in range(EVALUATIONS - 1)), value] for value in last]
        return LaneResult(
            max_lr=lane.max_lr,
            parent_state=lane.parent or initial,
            state=state,
            percent_remaining=100 * 0.8**pack.cycle,
            schedule=self.settings.schedule,
            status="ok",
            steps=self.settings.steps,
            best_step=self.settings.steps,
            val_accuracy=accuracy,
            test_accuracy=accuracy,
            val_loss=0.5,
            train_loss=0.25,
            wall_seconds=PACK_SECONDS / len(pack.lanes),
            eval_steps=[self.settings.steps * (index + 1) // EVALUATIONS for index in range(EVALUATIONS)],
            eval_val_accuracy=evaluations[0],
            eval_test_accuracy=evaluations[1],
            eval_val_loss=evaluations[2],
        )


class Syncing:
    """Context: how long this process waits in `os.fsync`."""

    def __init__(self) -> None:
        self.seconds, self.fsync = 0.0, os.fsync

    def __enter__(self) -> "Syncing":
        os.fsync = self
        return self

    def __call__(self, file: int) -> None:
        started = time.perf_counter()
        self.fsync(file)
        self.seconds += time.perf_counter() - started

    def __exit__(self, *error: object) -> None:
        os.fsync = self.fsync


def spread(percent: float) -> float:
    """Return a percentile of `SPREAD`, linear between those that it has."""
    index = min(bisect_right(SPREAD, percent, key=lambda point: point[0]), len(SPREAD) - 1)
    (low, at_low), (high, at_high) = SPREAD[index - 1 : index + 1]
    return at_low + (percent - low) / (high - low) * (at_high - at_low)


def digest(*parts: object) -> str:
    """Return what a state is named by."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def simulate(settings: Settings, case: Case, folder: Path) -> Measured:
    """Drive a sweep in `folder` to its end."""
    logging.disable(logging.WARNING)  # of every slow pack
    fleet = Fleet(settings, case, folder / "states")
    strategy, ledger = open_folder(settings, case, folder)
    measured = Measured()
    clock, free, newest = 0.0, case.workers, 0
    running: list[tuple[float, int, Pack]] = []
    with Path(os.devnull).open("w") as nowhere, LiveView(Console(file=nowhere)) as view, Syncing() as syncing:
        jobs = Jobs(
            strategy,
            ledger,
            fleet.states,
            lambda lanes: None,
            lambda: view(strategy.progress()),
            None,
            clock=lambda: clock,
            on_news=lambda: view(strategy.progress()),
        )
        while not jobs.finished:
            while free:
                pack, took = measured.timed(jobs.next)
                clock += took
                if pack is None:
                    measured.driver[newest] += took
                    break
                assert isinstance(pack, Pack)
                jobs.started(pack)
                heapq.heappush(running, (clock + fleet.begin(pack), len(measured.driver), pack))
                measured.driver.append(took)
                free -= 1
            if not running:
                break
            if free and clock + ASKS_AGAIN < running[0][0]:
                clock += ASKS_AGAIN
                continue
            ends, newest, pack = heapq.heappop(running)
            _, took = measured.timed(jobs.done, pack, fleet.train(pack))
            measured.driver[newest] += took
            clock = max(clock, ends) + took
            free += 1
            if (
                len(ledger.rows) == (len(measured.memory) + 1) * settings.lanes_per_round * settings.runs
            ):  # a cycle is done
                measured.memory[pack.cycle] = len(ledger.rows), memory_bytes(os.getpid())
    if jobs.error is not None:
        raise jobs.error
    measured.syncing, measured.makespan, measured.allowed = syncing.seconds, clock, fleet.allowed()
    measured.busy = fleet.trained / (case.workers * clock)
    return measured


def open_folder(settings: Settings, case: Case, folder: Path) -> tuple[GreedyOracle, Ledger]:
    """Return the strategy and the ledger of a folder that is new or has lanes."""
    ledger = Ledger(folder / "lanes", evaluations=False)

    def has_state(name: str) -> bool:
        return path_of(folder / "states", name).exists()

    return GreedyOracle(settings, "simulated", ledger, case.lanes_per_pack, has_state), ledger


@dataclass(frozen=True)
class Opened:
    """What it takes to open a finished folder for one more cycle."""

    rows: int
    reading: float
    """Seconds to read the rows."""
    deciding: float
    """Seconds to decide every cycle again and hand out the first new pack."""
    memory: int
    """Bytes that the process grew by."""


def reopen(settings: Settings, case: Case, folder: Path) -> Opened:
    """Open a finished folder for one more cycle."""
    before, started = memory_bytes(os.getpid()), time.perf_counter()
    strategy, ledger = open_folder(settings, case, folder)
    read = time.perf_counter()
    pack = strategy.ask()
    asked = time.perf_counter()
    assert pack is not None and pack.cycle == settings.cycles
    return Opened(len(ledger.rows), read - started, asked - read, memory_bytes(os.getpid()) - before)


def alone(function: Any, *arguments: object) -> Any:
    """Call a function in a process of its own, whose memory has held nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    """Simulate every fleet and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="7 cycles instead of 26")
    quick = parser.parse_args().quick
    given = {"preset": PRESET} | ({"cycles": 6} if quick else {})
    settings = resolve(given)
    cases = [
        Case("1,000 x 1 lane"),
        Case("  1 % stragglers", stragglers=0.01),
        Case("1,000 x 17 lanes", lanes_per_pack=17),
        Case("8 x 1 lane", workers=8),
    ]
    rows, rest = [], []
    for case in cases:
        with tempfile.TemporaryDirectory() as name:
            measured: Measured = alone(simulate, settings, case, Path(name))
            if not rest:
                more = resolve(given | {"cycles": settings.cycles + 1})
                opened: Opened = alone(reopen, more, case, Path(name))
                size = sum(path.stat().st_size for path in (Path(name) / "lanes").iterdir())
                rest = memory_table(measured, opened, size)
        rows.append(row_of(case, measured, settings.cycles + 1))
    report(
        f"A simulated fleet, {PRESET} preset: {settings.cycles + 1} cycles of 255 lanes, "
        f"{PACK_SECONDS / 60:.0f} minutes a pack.\nTargets: driver ≤ {MILLISECONDS:g} ms a pack, "
        f"makespan ≤ {SHARE:g} of what the gates allow without stragglers",
        (
            "workers x lanes",
            "packs",
            "driver",
            "CPU",
            "fsync",
            "last cycle",
            "99 %",
            "worst",
            "makespan",
            "of allowed",
            "busy",
            "",
        ),
        rows,
    )
    report("Its memory, and a session that goes on with its folder", ("", "measured", "target", ""), rest)


def row_of(case: Case, measured: Measured, cycles: int) -> tuple[str, ...]:
    """Return a fleet's row of the first table."""
    milliseconds = [1000 * seconds for seconds in measured.driver]
    packs, ordered = len(milliseconds), sorted(milliseconds)
    share = measured.makespan / measured.allowed
    return (
        case.name,
        f"{packs:,}",
        f"{fmean(milliseconds):.2f} ms",
        f"{1000 * measured.cpu / packs:.2f} ms",
        f"{1000 * measured.syncing / packs:.2f} ms",
        f"{fmean(milliseconds[-(packs // cycles) :]):.2f} ms",
        f"{ordered[int(0.99 * packs)]:.1f} ms",
        f"{ordered[-1]:.0f} ms",
        f"{measured.makespan / 3600:.1f} h",
        f"{share:.3f}",
        f"{100 * measured.busy:.0f} %",
        verdict(fmean(milliseconds) <= MILLISECONDS and (share <= SHARE or case.stragglers > 0)),
    )


def verdict(met: bool) -> str:
    """Return whether targets are met, as a cell."""
    return "pass" if met else "fail"


def memory_table(measured: Measured, opened: Opened, size: int) -> list[tuple[str, str, str, str]]:
    """Return the rows of the second table; `size` is that of all files of rows."""
    (early, before), (late, after) = measured.memory[EARLY], measured.memory[max(measured.memory)]
    grown, row = (after - before) / (late - early), opened.memory / opened.rows
    return [
        (f"rows after cycle {EARLY}", f"{early:,}", "", ""),
        ("    memory of the driver", f"{before / 1e6:.0f} MB", "", ""),
        (f"rows after cycle {max(measured.memory)}", f"{late:,}", "", ""),
        ("    memory of the driver", f"{after / 1e6:.0f} MB", "", ""),
        ("growth for a row", f"{grown / 1000:.1f} kB", "", ""),
        ("a row in memory, when a folder is opened", f"{row / 1000:.1f} kB", "", ""),
        ("growth, of what rows take", *against(grown / row, SHARE, "{:.2f}")),
        ("a row on disk", f"{size / opened.rows / 1000:.1f} kB", "", ""),
        ("reading the folder's rows", f"{opened.reading:.1f} s", "", ""),
        ("deciding all cycles again, and the first pack", f"{opened.deciding:.2f} s", "", ""),
    ]


if __name__ == "__main__":
    main()
