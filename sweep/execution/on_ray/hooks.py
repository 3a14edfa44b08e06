"""How Ray Tune is changed: it keeps idle workers, waits for workers that start, and reports why trials failed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.utils.object_cache import _ObjectCache

from sweep.execution.jobs import Jobs
from sweep.execution.on_ray.searcher import JobSearcher
from sweep.execution.outcomes import HostGone, WorkerDied
from trainables.spec import Pack


class KeepingCache(_ObjectCache):  # type: ignore[misc]
    """Tune's cache of idle workers, which keeps all of them until the end.

    Tune's own cache ends all idle workers but one, unless a trial is pending for them, and under load whenever two
    trials end together. It takes seconds to start a worker, as long as many packs. Any worker fits any trial here.
    """

    def cache_object(self, key: object, obj: object) -> bool:
        """Keep an idle worker."""
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[object]:
        """Return the workers to end: all at the end, else none."""
        return super().flush_cached_objects(force_all=True) if force_all else iter(())


class PatientScheduler(FIFOScheduler):  # type: ignore[misc]
    """First in, first out; but a trial waits for its own worker to start, and the searcher learns why a trial failed.

    Tune's own scheduler gives such a trial the first worker that becomes free and ends the worker that starts, over and
    over. Where packs are shorter than a worker's start, one worker then does all the work. If the scheduler chooses
    nothing, Tune gives every free worker to a new trial, or, where there is none, to a trial that waits. So a trial
    that waits for a lost host is trained by the workers that are left.
    """

    def __init__(self, searcher: JobSearcher) -> None:
        super().__init__()
        self.searcher = searcher

    def choose_trial_to_run(self, tune_controller: object) -> None:
        """Choose nothing; see the class."""

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Note why a trial failed: Tune tells the searcher only that it failed."""
        lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
        reason = " ".join(" ".join(lines[1:]).split())[:300] or "its process ended; see Ray's logs"
        # Tune counts no failure where the host was drained or preempted.
        failure = HostGone(reason) if trial.num_failures == 0 else WorkerDied(reason)
        self.searcher.failures[trial.trial_id] = failure


class Steps(tune.Callback):  # type: ignore[misc]
    """Reports when a trial begins, as it may have waited long for a worker or a machine; and lets Ctrl-C in."""

    def __init__(self, searcher: JobSearcher, check_signals: Callable[[], None]) -> None:
        """`check_signals` raises KeyboardInterrupt if a signal came."""
        self.searcher, self.check_signals = searcher, check_signals

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Let a signal in that came meanwhile."""
        self.check_signals()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Report that a pack's training begins."""
        job = self.searcher.running.get(trial.trial_id)
        if isinstance(job, Pack):
            self.searcher.jobs.started(job)


class WhenFinished(tune.Stopper):  # type: ignore[misc]
    """Ends all trials once the jobs are finished: what still runs then is a second copy of a pack."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether to end one trial: never."""
        return False

    def stop_all(self) -> bool:
        """Return whether to end all trials."""
        return self.jobs.finished

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshots nothing: the jobs belong to this process."""
        return {}
