"""Where packs train: what every engine does, and the engine that trains in this process.

In: jobs. Out: their outcomes. The other engine is `sweep.execution.on_ray`.
"""

from typing import Protocol

from sweep.config.settings import Settings
from sweep.execution.jobs import Jobs
from sweep.execution.worker import Worker
from trainables.data.datasets import Dataset
from trainables.storage import Location


class Engine(Protocol):
    """Moves jobs to workers and outcomes back."""

    @property
    def workers(self) -> int:
        """Packs that train at the same time; known once connected."""

    def connect(self, folder: Location) -> None:
        """Make sure that there are workers, and that they see the results folder. Nothing that is written stays.

        Raises SweepError if there are none, or if they do not.
        """

    def run(self, jobs: Jobs, worker: Worker, dataset: Dataset) -> None:
        """Take jobs, have workers do them, and give the outcomes back, until all jobs are finished."""

    def close(self) -> None:
        """Release everything that `connect` took."""


class InlineEngine:
    """Trains in this process, one job after another: for small machines and for debuggers."""

    workers = 1

    def connect(self, folder: Location) -> None:
        """Nothing to connect to."""

    def run(self, jobs: Jobs, worker: Worker, dataset: Dataset) -> None:
        """Carry out job after job. Exceptions pass: they are bugs or the user's Ctrl-C."""
        while (job := jobs.next()) is not None:  # never a straggler: no two jobs are open at the same time
            jobs.done(job, worker.do(job, dataset))

    def close(self) -> None:
        """Nothing to release."""


def make_engine(settings: Settings) -> Engine:
    """Return the engine that `settings.engine` names."""
    if settings.engine == "inline":
        return InlineEngine()
    from sweep.execution.on_ray.engine import RayEngine  # late: Ray takes seconds to import

    return RayEngine(settings)
