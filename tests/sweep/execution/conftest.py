"""A sweep whose jobs a test hands out and answers one by one."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from sweep.execution.jobs import Jobs
from sweep.execution.outcomes import Outcome, Trained
from sweep.execution.pack_size import Measure
from sweep.experiments.oracle.strategy import GreedyOracle
from trainables.spec import Pack

MakeSweep = Callable[..., Any]


def hill(cycle: int, run: int, max_lr: float) -> float:
    """A steep peak at 0.5."""
    return 90.0 - 50 * abs(max_lr - 0.5)


class Driver:
    """Hands jobs to a script of outcomes, one after another, and notes what was handed out and what came back."""

    def __init__(self, sweep: Any, measure: Measure | None = None) -> None:
        self.sweep = sweep
        self.strategy: GreedyOracle = sweep.oracle()
        self.handed: list[Pack | Measure] = []
        self.returned: list[Pack] = []
        """Packs of which the strategy learned that they are back."""
        self.sizes: list[int] = []
        self.progress = 0
        self.now = 0.0
        """Seconds, by the clock of the jobs."""
        tell = self.strategy.tell

        def note(pack: Pack) -> None:
            self.returned.append(pack)
            tell(pack)

        self.strategy.tell = note  # type: ignore[method-assign]
        self.jobs = Jobs(
            self.strategy,
            self.strategy.ledger,
            sweep.simulation.states,
            self.sizes.append,
            self._count,
            measure,
            lambda: self.now,
        )

    def _count(self) -> None:
        self.progress += 1

    def next(self) -> Any:
        job = self.jobs.next()
        if job is not None:
            self.handed.append(job)
        return job

    def succeed(self, pack: Pack) -> None:
        self.jobs.done(pack, Trained(self.sweep.simulation.train(pack), device="cpu", host="here"))

    def begin(self) -> Pack:
        """Give the next pack to a worker that begins it at once."""
        pack: Pack = self.next()
        self.jobs.started(pack)
        return pack

    def take(self, seconds: float, packs: int = 1) -> None:
        """Have packs trained one after another, each in so many seconds."""
        for _ in range(packs):
            pack = self.begin()
            self.now += seconds
            self.succeed(pack)

    def run(self, script: Iterable[Outcome | None] = ()) -> "Driver":
        """Answer job after job by the script, and all that come after it with success."""
        outcomes = iter(script)
        while (job := self.next()) is not None:
            outcome = next(outcomes, None)
            if outcome is None:
                self.succeed(job)
            else:
                self.jobs.done(job, outcome)
            assert len(self.handed) < 1000, "this sweep goes round in circles"
        return self

    def points(self) -> list[list[int]]:
        """The max_lr of every pack handed out, in tenths."""
        return [[round(10 * lane.max_lr) for lane in job.lanes] for job in self.handed if isinstance(job, Pack)]


@pytest.fixture
def make_driver(make_sweep: MakeSweep) -> Callable[..., Driver]:
    """One run of cycle 0 on the grid 0.1, 0.2, ... 0.8 in one pack; keyword arguments replace that."""

    def make(measure: Measure | None = None, truth: Any = hill, **changes: object) -> Driver:
        given: dict[str, object] = {"max_lr": "0.1:0.8:0.1", "cycles": 0, "runs": 1, "lanes_per_pack": 8}
        return Driver(make_sweep(truth, **(given | changes)), measure)

    return make
