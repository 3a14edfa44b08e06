"""Between strategy and training: `Jobs` hands out packs and takes outcomes back; an engine moves them.

In: a strategy. Out: rows in the ledger. Next: the strategy reads the rows and decides what is trained next.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sweep.errors import SweepError, TrainingError
from sweep.execution import failures
from sweep.execution.failures import End, Retry, named
from sweep.execution.outcomes import Failure, Job, Measured, Outcome, Trained
from sweep.execution.pack_size import Measure
from sweep.execution.stragglers import PackTimes
from sweep.store.ledger import Ledger
from sweep.strategies.protocol import Strategy
from trainables.spec import Pack
from trainables.states import remove_state
from trainables.storage import Location


@dataclass
class _Task:
    """A pack that the strategy asked for, and how many parts of it have not come back yet."""

    pack: Pack
    parts: int = 1


@dataclass
class _Open:
    """A pack, or a part of one, that is with a worker."""

    attempts: int
    """Failures that count."""
    task: _Task
    handed_out: float
    started: float | None = None
    """When its worker began to train it; None while it waits for a worker."""
    workers: int = 1
    """Workers that have it."""


class Jobs:
    """The jobs of one sweep: packs from the strategy, parts of packs that failed, and a measurement before the first.

    `finished` says that `next` returns no further job; `error` is what stopped the sweep, if something did.
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
        """`states` is the folder of states. `measure` is the first job, where the packs' size is not known yet.

        `on_lanes_per_pack` is called with the packs' size when it is known or changes, `on_progress` after every pack,
        and `on_news` when a pack is handed out or the strategy has decided something.
        """
        self.clock = clock
        self.strategy, self.ledger, self.states = strategy, ledger, states
        self.on_lanes_per_pack, self.on_progress, self.on_news = on_lanes_per_pack, on_progress, on_news
        self.error: SweepError | None = None
        self._measure = measure
        self._measuring = False
        self._measure_attempts = 0
        self._parts: deque[tuple[Pack, int, _Task]] = deque()
        """Packs that failed and are to be trained again: pack, attempts so far, task."""
        self._open: dict[Pack, _Open] = {}
        self._times = PackTimes(strategy.training)
        self._removable: set[str] = set()
        """States that are removed as soon as the strategy does not need them any more."""

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

    def next(self, idle: bool = True) -> Job | None:
        """Return a job, or None while open jobs must come back first or all is finished.

        Stragglers go only to workers that exist and are `idle`, not to workers that may come later.
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
        return self._straggler() if idle else None

    def started(self, pack: Pack) -> None:
        """Note that a worker has begun to train a pack. The time before that says nothing about comparable packs."""
        found = self._open.get(pack)
        if found is not None and found.started is None:
            found.started = self.clock()

    def _straggler(self) -> Pack | None:
        """Return a pack that takes far longer than comparable packs, for one more worker."""
        now = self.clock()
        for pack, found in self._open.items():
            # A pack that waits for its worker all the time counts too: the worker may hang, or its host be lost.
            seconds = now - (found.handed_out if found.started is None else found.started)
            if self._times.is_straggler(pack, seconds, found.workers):
                found.workers += 1
                message = "%s: %.0f s so far, comparable packs took %.0f s; one more worker trains it"
                logging.getLogger(__name__).warning(message, named(pack), seconds, self._times.usual(pack))
                return pack
        return None

    def done(self, job: Job, outcome: Outcome) -> None:
        """Take a job's outcome: write rows and go on, or do what its failure means."""
        if isinstance(job, Measure):
            with self._stopping():
                self._measurement_done(job, outcome)
            return
        found = self._open.get(job)
        if found is None:
            return  # another worker was faster
        failed = isinstance(outcome, Failure)
        if failed and found.workers > 1:
            found.workers -= 1  # another worker still has it
            return
        del self._open[job]
        if not failed and found.started is not None:
            self._times.add(job, self.clock() - found.started)
        with self._stopping():
            self._pack_done(job, found, outcome)
        with self._stopping():
            self.on_progress()

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Let an error in the block stop the sweep. Of several errors the first is kept: others may follow from it."""
        try:
            yield
        except SweepError as error:
            self.error = self.error or error
        except OSError as error:
            self.error = self.error or TrainingError(
                f"results cannot be written to {self.states.parent} any more: {error}; all finished lanes are kept"
            )

    def _measurement_done(self, job: Measure, outcome: Outcome) -> None:
        self._measuring = False
        match outcome:
            case Measured(rates):
                self._set_lanes_per_pack(job.best(rates))
            case Trained():
                raise AssertionError("a measurement trains no lanes")
            case failure:
                self._measure_attempts = failures.after_measurement(self._measure_attempts, failure)
                self._measure = job

    def _pack_done(self, pack: Pack, found: _Open, outcome: Outcome) -> None:
        match outcome:
            case Trained(results, device, host):
                ids = [self.strategy.id_of(pack, lane) for lane in pack.lanes]
                self._removable |= _states_of(self.ledger.append(pack, ids, results, device, host))
                self._part_done(found.task)
            case Measured():
                raise AssertionError("a pack measures no speed")
            case failure:
                self._failed(pack, found, failure)

    def _failed(self, pack: Pack, found: _Open, failure: Failure) -> None:
        match failures.after(pack, found.attempts, failure):
            case End(reason):
                self.strategy.end(pack, reason)
                self._part_done(found.task)
            case Retry(packs, attempts, lanes_that_fit):
                if lanes_that_fit is not None:
                    self._set_lanes_per_pack(min(lanes_that_fit, self.strategy.lanes_per_pack))
                found.task.parts += len(packs) - 1
                self._parts.extend((part, attempts, found.task) for part in packs)

    def _part_done(self, task: _Task) -> None:
        """Note that a part of a pack is back. When all parts are, tell the strategy and remove states."""
        task.parts -= 1
        if task.parts == 0:
            self.strategy.tell(task.pack)
            # Only states of open rows: the ledger has more rows, of cycles that the strategy has not come to yet, and
            # their states may be needed again, as rows before them may be lost.
            self._removable |= _states_of(self.strategy.open_rows())
            needed = self.strategy.needed_states()
            for digest in self._removable - needed:
                remove_state(self.states, digest)
            self._removable &= needed

    def _set_lanes_per_pack(self, lanes: int) -> None:
        self.strategy.lanes_per_pack = lanes
        self.on_lanes_per_pack(lanes)


def _states_of(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the digests of the states that the training of these rows wrote, except the initial weights."""
    return {digest for row in rows for digest in (row["state"], row["rewind_state"]) if digest}
