"""The jobs as a search algorithm of Ray Tune, which asks it for trials. In: jobs. Out: their outcomes."""

import time
from typing import Any

from ray.tune.search import Searcher

from sweep.execution.jobs import Jobs
from sweep.execution.on_ray.resources import Resources
from sweep.execution.on_ray.trials import Wait
from sweep.execution.outcomes import EngineFailure, Job, WorkerDied
from sweep.execution.worker import Worker

LONGEST_WAIT = 60.0
SHORTEST_WAIT = 0.02
"""Seconds, for each worker that waits."""


class JobSearcher(Searcher):  # type: ignore[misc]
    """The jobs as a search algorithm of Ray Tune."""

    def __init__(self, jobs: Jobs, worker: Worker, resources: Resources) -> None:
        super().__init__(metric="done", mode="max")
        self.jobs, self.worker, self.resources = jobs, worker, resources
        self.running: dict[str, Job | Wait] = {}
        """By Tune's trial id."""
        self.failures: dict[str, EngineFailure] = {}
        """Why trials failed, as far as the scheduler has found out, by trial id."""
        self.idle_since: float | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next job as a trial's config, FINISHED, or None while no worker is free for it."""
        if self.jobs.finished:
            return str(Searcher.FINISHED)
        if len(self.running) >= self.resources.limit:
            return None
        job: Job | Wait | None = self.jobs.next(idle=len(self.running) < self.resources.room)
        if job is not None:
            self.idle_since = None
        elif self.jobs.finished:
            return str(Searcher.FINISHED)
        elif len(self.running) >= self.resources.room:  # an autoscaler must not add a machine that only waits
            return None
        else:
            job = self._wait()
        self.running[trial_id] = job
        return {"job": job, "worker": self.worker}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Give the outcome of a trial back to the jobs."""
        job = self.running.pop(trial_id)
        if isinstance(job, Wait):
            return
        if error or not result:
            died = WorkerDied("its process ended; see Ray's logs")
            self.jobs.done(job, self.failures.pop(trial_id, died))
        else:
            self.jobs.done(job, result["outcome"])

    def _wait(self) -> Wait:
        """Return a wait of a tenth of the time waited so far.

        So there are few trials where a cycle takes hours, and no noticeable delay where it takes seconds. Where many
        workers wait, each waits longer: a trial takes some milliseconds of Tune's time, which finished packs need too.
        """
        now = time.monotonic()
        self.idle_since = self.idle_since or now
        waiting = sum(isinstance(job, Wait) for job in self.running.values())
        return Wait(min(LONGEST_WAIT, max(SHORTEST_WAIT * (1 + waiting), (now - self.idle_since) / 10)))

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshots nothing: the jobs belong to this process."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: a sweep goes on from its ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, likewise."""
