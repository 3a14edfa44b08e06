"""Between strategy and training: `Jobs` hands out packs and takes outcomes back; an engine moves them.

In: a strategy. Out: rows in the ledger. What a failure means is decided here, once for every engine. Next: the
strategy is told.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sweep.errors import SweepError, TrainingError
from sweep.ledger import Ledger
from sweep.strategy import Strategy
from sweep.worker import Measure, Outcome, Worker
from trainables.spec import Pack

RETRIES = 3
"""How often a pack runs again after its worker died or failed; from the second time on in halves."""


class Engine(Protocol):
    """Where packs train."""

    @property
    def workers(self) -> int:
        """Packs that train at a time; known once connected."""

    def connect(self) -> None:
        """Make sure that there is something to train on. Raises SweepError if not; writes nothing."""

    def run(self, jobs: "Jobs", worker: Worker) -> None:
        """Take jobs, have them done, and give their outcomes back, until `jobs.next()` has no more."""

    def close(self) -> None:
        """Let go of everything that `connect` took."""


class InlineEngine:
    """Everything in this process, one job after another: for small machines and debuggers."""

    workers = 1

    def connect(self) -> None:
        """Nothing to connect to."""

    def run(self, jobs: "Jobs", worker: Worker) -> None:
        """Carry out job after job; an exception is a bug or the user's Ctrl-C and is not caught."""
        while (job := jobs.next()) is not None:
            jobs.done(job, worker.do(job))

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class _Task:
    """A pack that the strategy asked for, and the parts of it that are not back yet."""

    pack: Pack
    parts: int = 1


class Jobs:
    """The jobs of one sweep: packs from the strategy, parts of packs that failed, and a measurement before the first.

    `finished` says that `next` will give nothing any more; `error` holds what stopped the sweep.
    """

    def __init__(
        self,
        strategy: Strategy,
        ledger: Ledger,
        states: Path,
        on_lanes_per_pack: Callable[[int], None],
        on_progress: Callable[[], None],
        measure: Measure | None,
    ) -> None:
        """`on_lanes_per_pack` is called with the packs' size when it is known or changes."""
        self.strategy, self.ledger, self.states = strategy, ledger, states
        self.on_lanes_per_pack, self.on_progress = on_lanes_per_pack, on_progress
        self.error: SweepError | None = None
        self._measure = measure
        self._measuring = False
        self._measured = 0
        self._parts: deque[tuple[Pack, int, _Task]] = deque()
        self._open: dict[Pack, tuple[int, _Task]] = {}
        self._deletable = _states_of(ledger.rows.values())

    @property
    def finished(self) -> bool:
        """Whether there will be no further job."""
        return self.error is not None or (
            self.strategy.finished and not self._parts and not self._open and not self._measuring
        )

    def next(self) -> Pack | Measure | None:
        """Return a job, or None while open jobs must come back first or all is finished."""
        if self.error is not None or self._measuring:
            return None
        if self._measure is not None:
            job, self._measure, self._measuring = self._measure, None, True
            return job
        if self._parts:
            part, attempts, task = self._parts.popleft()
            self._open[part] = attempts, task
            return part
        try:
            pack = self.strategy.ask()
        except SweepError as error:
            self.error = error
            return None
        if pack is not None:
            self._open[pack] = 0, _Task(pack)
        return pack

    def done(self, job: Pack | Measure, outcome: Outcome) -> None:
        """Take a job's outcome: write rows and go on, or decide what its failure means."""
        if isinstance(job, Measure):
            self._measuring = False
            self._measured += 1
            if not outcome.rates and self._measured <= RETRIES:
                self._measure = job
                return
            if not outcome.rates:
                self.error = TrainingError(f"the packs' size could not be measured ({outcome.reason}); give --lanes N")
                return
            self._set_lanes_per_pack(job.best(outcome.rates))
            return
        attempts, task = self._open.pop(job)
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
            elif outcome.failure == "other data":
                raise TrainingError(outcome.reason)
            elif outcome.failure:
                self._again(job, attempts + 1, task, outcome)
            else:
                self._finish(job, task, outcome)
        except SweepError as error:
            self.error = error
        self.on_progress()

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
            needed = self.strategy.needed_states()
            for digest in self._deletable - needed:
                (self.states / f"{digest}.safetensors").unlink(missing_ok=True)
            self._deletable &= needed

    def _again(self, part: Pack, attempts: int, task: _Task, outcome: Outcome) -> None:
        """Queue a failed pack again: as it is the first time, then in halves; in halves at once for want of memory."""
        no_memory = outcome.failure == "out of memory"
        what = f"cycle {part.cycle}, run {part.run}, {len(part.lanes)} lanes: {outcome.failure}: {outcome.reason}"
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

    def _set_lanes_per_pack(self, lanes: int) -> None:
        self.strategy.lanes_per_pack = lanes
        self.on_lanes_per_pack(lanes)


def _states_of(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the digests of the states that training these rows wrote, the initial weights aside."""
    return {digest for row in rows for digest in (row["state"], row["rewind_state"]) if digest}
