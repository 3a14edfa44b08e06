"""Between strategy and training: `Jobs` hands out packs and takes outcomes back; an engine moves them.

In: a strategy. Out: rows in the ledger. What a failure means is decided here, once for every engine. Next: the
strategy is told.
"""

import logging
import time
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sweep.errors import SweepError, TrainingError
from sweep.execution.worker import Measure, Outcome, Worker
from sweep.store.ledger import Ledger
from sweep.strategies.protocol import Strategy
from trainables.data.datasets import Dataset
from trainables.spec import Pack
from trainables.states import remove_state
from trainables.storage import Location

RETRIES = 3
"""How often a pack runs again after its worker died or failed; from the second time on in halves."""
SLOW = 3.0
"""Times as long as its like a pack takes before an idle worker is given it too."""
SLOW_SECONDS = 5.0
"""And at least so much longer."""
LIKE = 3
"""Packs alike that must have been timed before one can be slow."""


class Engine(Protocol):
    """Where packs train."""

    @property
    def workers(self) -> int:
        """Packs that train at a time; known once connected."""

    def connect(self, folder: Location) -> None:
        """Make sure that there is something to train on, which sees the results folder.

        Raises SweepError if not; writes nothing that stays.
        """

    def run(self, jobs: "Jobs", worker: Worker, dataset: Dataset) -> None:
        """Take jobs, have them done, and give their outcomes back, until `jobs.next()` has no more."""

    def close(self) -> None:
        """Let go of everything that `connect` took."""


class InlineEngine:
    """Everything in this process, one job after another: for small machines and debuggers."""

    workers = 1

    def connect(self, folder: Location) -> None:
        """Nothing to connect to."""

    def run(self, jobs: "Jobs", worker: Worker, dataset: Dataset) -> None:
        """Carry out job after job; an exception is a bug or the user's Ctrl-C and is not caught."""
        while (job := jobs.next()) is not None:  # nothing is ever slow here: no job waits beside another
            jobs.done(job, worker.do(job, dataset))

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class _Task:
    """A pack that the strategy asked for, and the parts of it that are not back yet."""

    pack: Pack
    parts: int = 1


@dataclass
class _Open:
    """A pack, or a part of one, that is under way."""

    attempts: int
    task: _Task
    handed: float
    """When it was handed out."""
    started: float | None = None
    """When its worker began; None while it waits for one."""
    copies: int = 1
    """Workers that have it."""


class Jobs:
    """The jobs of one sweep: packs from the strategy, parts of packs that failed, and a measurement before the first.

    `finished` says that `next` will give nothing any more; `error` holds what stopped the sweep.
    """

    def __init__(
        self,
        strategy: Strategy,
        ledger: Ledger,
        states: Location,
        on_lanes_per_pack: Callable[[int], None],
        on_progress: Callable[[], None],
        measure: Measure | None,
        clock: Callable[[], float] = time.monotonic,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lanes_per_pack` is called with the packs' size when it is known or changes.

        `on_progress` is called after every pack, `on_news` when one is handed out or something was decided.
        """
        self.clock = clock
        self.strategy, self.ledger, self.states = strategy, ledger, states
        self.on_lanes_per_pack, self.on_progress, self.on_news = on_lanes_per_pack, on_progress, on_news
        self.error: SweepError | None = None
        self._measure = measure
        self._measuring = False
        self._measured = 0
        self._parts: deque[tuple[Pack, int, _Task]] = deque()
        self._open: dict[Pack, _Open] = {}
        self._seconds: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
        """What packs took, in order, by what makes them alike: lanes and steps."""
        self._deletable: set[str] = set()
        """States that the strategy has come to and did not need to let go of yet."""

    @property
    def finished(self) -> bool:
        """Whether there will be no further job."""
        return self.error is not None or (
            self.strategy.finished and not self._parts and not self._open and not self._measuring
        )

    @property
    def under_way(self) -> int:
        """Packs that are handed out and not back."""
        return len(self._open)

    def next(self, idle: bool = True) -> Pack | Measure | None:
        """Return a job, or None while open jobs must come back first or all is finished.

        Slow packs are for workers that are there and `idle`, not for those that may come.
        """
        if self.error is not None or self._measuring:
            return None
        if self._measure is not None:
            job, self._measure, self._measuring = self._measure, None, True
            return job
        if self._parts:
            part, attempts, task = self._parts.popleft()
            self._open[part] = _Open(attempts, task, self.clock())
            self.on_news()
            return part
        decided = len(self.strategy.decided)
        try:
            pack = self.strategy.ask()
        except SweepError as error:
            self.error = error
            return None
        if pack is not None:
            self._open[pack] = _Open(0, _Task(pack), self.clock())
        if pack is not None or len(self.strategy.decided) != decided:
            self.on_news()
        if pack is not None:
            return pack
        return self._slow() if idle else None

    def started(self, pack: Pack) -> None:
        """Take note that a worker has begun a pack: how long it waited for one says nothing of its like."""
        found = self._open.get(pack)
        if found is not None and found.started is None:
            found.started = self.clock()

    def _slow(self) -> Pack | None:
        """Return a pack that takes far longer than its like, for a second worker: the first to finish counts."""
        now = self.clock()
        for pack, found in self._open.items():
            like = self._seconds[self._kind(pack)]
            if len(like) < LIKE:
                continue
            # One that waits for its worker all the while is held up as well: that may hang, or be on a lost host.
            took, usual = now - (found.handed if found.started is None else found.started), like[len(like) // 2]
            if took > found.copies * max(SLOW * usual, usual + SLOW_SECONDS):  # the second may be no better
                found.copies += 1
                said = "%s: %.0f s, its like took %.0f s; another worker has it too"
                logging.getLogger(__name__).warning(said, _named(pack), took, usual)
                return pack
        return None

    def _kind(self, pack: Pack) -> tuple[int, int]:
        return len(pack.lanes), self.strategy.training.steps_of(pack.cycle)

    def done(self, job: Pack | Measure, outcome: Outcome) -> None:
        """Take a job's outcome: write rows and go on, or decide what its failure means."""
        if isinstance(job, Measure):
            self._measuring = False
            self._measured += outcome.failure != "host gone"
            if outcome.failure == "code failed":
                self.error = TrainingError(outcome.reason)
                return
            if not outcome.rates and self._measured <= RETRIES:
                self._measure = job
                return
            if not outcome.rates:
                self.error = TrainingError(f"the packs' size could not be measured ({outcome.reason}); give --lanes N")
                return
            try:
                self._set_lanes_per_pack(job.best(outcome.rates))
            except OSError as error:
                self.error = self._unwritten(error)
            return
        found = self._open.get(job)
        if found is None:
            return  # another worker was sooner
        if outcome.failure and found.copies > 1:
            found.copies -= 1  # the other has it still
            return
        attempts, task = found.attempts, found.task
        del self._open[job]
        if not outcome.failure and found.started is not None:
            insort(self._seconds[self._kind(job)], self.clock() - found.started)
        try:
            if outcome.failure == "chain ended" and len({lane.parent for lane in job.lanes}) > 1:
                # One of several networks has nothing left to prune; the others can be trained.
                alone = [replace(job, lanes=(lane,)) for lane in job.lanes]
                task.parts += len(alone) - 1
                self._parts.extend((part, attempts, task) for part in alone)
            elif outcome.failure == "chain ended":
                self.strategy.end(job, outcome.reason)
                self._back(task)
            elif outcome.failure == "state lost":
                raise TrainingError(f"{outcome.reason}; remove it, and the same command trains its lane again")
            elif outcome.failure == "disk full":
                raise TrainingError(
                    f"{outcome.reason}; all that is finished is kept: make room, and the same command goes on"
                )
            elif outcome.failure in ("folder unseen", "code failed"):
                raise TrainingError(outcome.reason)
            elif outcome.failure == "host gone":
                logging.getLogger(__name__).warning("%s: host gone: %s", _named(job), outcome.reason)
                self._parts.append((job, attempts, task))  # no failure of the pack
            elif outcome.failure:
                self._again(job, attempts + 1, task, outcome)
            else:
                self._finish(job, task, outcome)
        except SweepError as error:
            self.error = error
        except OSError as error:
            self.error = self._unwritten(error)
        try:
            self.on_progress()
        except SweepError as error:
            self.error = self.error or error
        except OSError as error:
            self.error = self.error or self._unwritten(error)

    def _finish(self, part: Pack, task: _Task, outcome: Outcome) -> None:
        ids = [self.strategy.id_of(part, lane) for lane in part.lanes]
        rows = self.ledger.append(part, ids, outcome.results, outcome.device, outcome.host)
        self._deletable |= _states_of(rows)
        self._back(task)

    def _back(self, task: _Task) -> None:
        """Take note that a part of a pack is back; when all are, tell the strategy and let states go."""
        task.parts -= 1
        if task.parts == 0:
            self.strategy.tell(task.pack)
            # Not all that rows name: what the strategy has not come to may be needed yet, as earlier rows can be lost.
            self._deletable |= _states_of(self.strategy.open_rows())
            needed = self.strategy.needed_states()
            for digest in self._deletable - needed:
                remove_state(self.states, digest)
            self._deletable &= needed

    def _again(self, part: Pack, attempts: int, task: _Task, outcome: Outcome) -> None:
        """Queue a failed pack again: as it is the first time, then in halves; in halves at once for want of memory."""
        no_memory = outcome.failure == "out of memory"
        what = f"{_named(part)}: {outcome.failure}: {outcome.reason}"
        logging.getLogger(__name__).warning("%s", what)
        if (no_memory and len(part.lanes) == 1) or (not no_memory and attempts > RETRIES):
            raise TrainingError(f"{what}; nothing else can be tried, all that is finished is kept")
        halves = [part]
        if len(part.lanes) > 1 and (no_memory or attempts >= 2):
            middle = (len(part.lanes) + 1) // 2
            halves = [replace(part, lanes=part.lanes[:middle]), replace(part, lanes=part.lanes[middle:])]
            if no_memory:  # the next pack of this size would not fit either
                self._set_lanes_per_pack(min(middle, self.strategy.lanes_per_pack))
        task.parts += len(halves) - 1
        self._parts.extend((half, 0 if no_memory else attempts, task) for half in halves)

    def _unwritten(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"results cannot be written to {self.states.parent} any more: {error}; all that is finished is kept"
        )

    def _set_lanes_per_pack(self, lanes: int) -> None:
        self.strategy.lanes_per_pack = lanes
        self.on_lanes_per_pack(lanes)


def _named(pack: Pack) -> str:
    return f"cycle {pack.cycle}, run {pack.run}, {len(pack.lanes)} lanes"


def _states_of(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the digests of the states that training these rows wrote, the initial weights aside."""
    return {digest for row in rows for digest in (row["state"], row["rewind_state"]) if digest}
