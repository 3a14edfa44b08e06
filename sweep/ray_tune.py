"""The Ray engine: one Ray Tune experiment a sweep, with the strategy as its search algorithm.

In: jobs. Out: their outcomes, from wherever Ray runs them. A trial of Tune is a pack; workers are reused from trial to
trial. Tune's own snapshots are not relied upon: the ledger is what survives.
"""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

# Ray reads these when it is imported. Without the first a local Ray listens on all interfaces.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # exit status 130 is ours to give
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune
from ray.tune.execution import tune_controller
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.utils.object_cache import _ObjectCache

from sweep.engines import Jobs
from sweep.errors import SweepError
from sweep.worker import Measure, Outcome, Worker
from trainables.spec import Pack

CONNECT_SECONDS = 5.0
TOKEN_HINT = (
    "if the cluster asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to its own"
)


class RayEngine:
    """Packs as trials of one Ray Tune experiment, on a cluster or on a Ray of our own."""

    def __init__(self, address: str | None, workers: Literal["auto"] | int, threads: int, device: str) -> None:
        """`address`: HOST:PORT, `auto`, or None for RAY_ADDRESS and else a local Ray of our own."""
        self.threads = threads
        self.address = address or os.environ.get("RAY_ADDRESS") or "local"
        self.wanted: Literal["auto"] | int = workers
        self.device = device

    def connect(self) -> None:
        """Connect or start. Raises SweepError for an address that is not reachable and for a GPU that is not there."""
        if self.address.startswith("ray://"):
            raise SweepError(f"RAY_ADDRESS {self.address}: ray:// is not supported; give HOST:PORT of the cluster")
        local = self.address == "local"
        if not local and self.address != "auto":
            _check_reachable(self.address)
        try:
            ray.init(
                address=self.address,
                include_dashboard=False if local else None,
                num_cpus=len(os.sched_getaffinity(0)) if local and hasattr(os, "sched_getaffinity") else None,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            # Something listens there. Ray says in its log alone when it is a token that is wrong.
            hint = "" if local else f"; {TOKEN_HINT}"
            raise SweepError(f"no Ray at {self.address}: {' '.join(str(error).split())[:200]}{hint}") from error
        if self.device == "cuda" and not ray.cluster_resources().get("GPU"):
            raise SweepError("--device cuda, but this Ray has no GPU")
        self._resources()

    def close(self) -> None:
        """Leave the cluster, or end our own."""
        ray.shutdown()

    def run(self, jobs: Jobs, worker: Worker) -> None:
        """See `Engine`."""
        # A trial that failed is a pack that runs again: `Jobs` says so in one line, Tune in a traceback.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        tune_controller._ObjectCache = _KeepingCache
        workers, resources = self._resources()
        with tempfile.TemporaryDirectory(prefix="scyc-sweep-") as scratch:
            tune.Tuner(
                tune.with_resources(PackTrial, resources),
                tune_config=tune.TuneConfig(
                    search_alg=JobSearcher(jobs, worker),
                    scheduler=_PatientScheduler(),
                    num_samples=-1,
                    max_concurrent_trials=workers,
                    reuse_actors=True,
                    trial_name_creator=lambda trial: trial.trial_id,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=scratch,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                    verbose=0,
                ),
            ).fit()

    @property
    def workers(self) -> int:
        """Packs that train at a time."""
        return self._resources()[0]

    def _resources(self) -> tuple[int, dict[str, float]]:
        """Return how many workers there are and what each takes; all alike, as Tune wants them.

        Raises SweepError where there is less than was asked for: Ray would wait for the rest without end.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(int(node.get("CPU", 0) // self.threads) for node in nodes)
        gpus = 0 if self.device == "cpu" else int(sum(node.get("GPU", 0) for node in nodes))
        workers = self.wanted if self.wanted != "auto" else gpus or room
        if not room or workers > room:
            cores = int(sum(node.get("CPU", 0) for node in nodes))
            raise SweepError(
                f"{max(workers, 1)} workers of {self.threads} threads each do not fit: this Ray has {cores} cores "
                f"on {len(nodes)} hosts, room for {room}"
            )
        if gpus:
            return workers, {"CPU": self.threads, "GPU": min(1.0, gpus / workers)}
        return workers, {"CPU": self.threads}


@dataclass(frozen=True)
class Wait:
    """A job for a worker that has nothing to do while a cycle is open.

    So every worker has a trial all the time: Tune ends those that have none, and a worker's start costs seconds.
    """

    seconds: float


class _KeepingCache(_ObjectCache):  # type: ignore[misc]
    """Tune's cache of idle workers, keeping all of them until the end.

    Tune's own ends every idle worker but one unless a trial is pending for it, and under load whenever two trials end
    together; a worker's start costs seconds, many packs' time. All trials here are alike, so any worker fits.
    """

    def cache_object(self, key: object, obj: object) -> bool:
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[object]:
        return super().flush_cached_objects(force_all=True) if force_all else iter(())


class _PatientScheduler(FIFOScheduler):  # type: ignore[misc]
    """First in, first out, but a trial whose worker is starting waits for it.

    Tune's own gives such a trial the first worker that becomes free and ends the starting one, over and over: where
    packs are shorter than a worker's start, one worker then does all the work. Left to itself, Tune hands every free
    worker to a trial that has none.
    """

    def choose_trial_to_run(self, tune_controller: object) -> None:
        return None


class PackTrial(tune.Trainable):  # type: ignore[misc]
    """A worker as Ray Tune sees it: each trial is one job, and the same process takes the next one."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first job."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another job; everything of the previous one is replaced."""
        self.worker: Worker = new_config["worker"]
        self.job: Pack | Measure | Wait = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        """Carry out the job."""
        if isinstance(self.job, Wait):
            time.sleep(self.job.seconds)
            return {"outcome": None, "done": True}
        try:
            outcome = self.worker.do(self.job)
        except Exception as error:  # Tune would keep the reason to itself
            outcome = Outcome(failure="worker died", reason=f"{type(error).__name__}: {error}")
        return {"outcome": outcome, "done": True}


class JobSearcher(Searcher):  # type: ignore[misc]
    """The jobs as a search algorithm of Ray Tune."""

    def __init__(self, jobs: Jobs, worker: Worker) -> None:
        super().__init__(metric="done", mode="max")
        self.jobs, self.worker = jobs, worker
        self.running: dict[str, Pack | Measure | Wait] = {}
        self.idle_since: float | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return the next job as a trial's config, or FINISHED."""
        job: Pack | Measure | Wait | None = self.jobs.next()
        if job is None:
            if self.jobs.finished:
                return str(Searcher.FINISHED)
            job = self._wait()
        else:
            self.idle_since = None
        self.running[trial_id] = job
        return {"job": job, "worker": self.worker}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Hand an outcome back; of a trial that failed Tune says no more than that it did."""
        job = self.running.pop(trial_id)
        if isinstance(job, Wait):
            return
        if error or not result:
            self.jobs.done(job, Outcome(failure="worker died", reason="its process ended or raised; see Ray's logs"))
        else:
            self.jobs.done(job, result["outcome"])

    def _wait(self) -> Wait:
        """Wait a tenth longer than so far: few trials where a cycle takes hours, no delay to speak of where seconds."""
        now = time.monotonic()
        self.idle_since = self.idle_since or now
        return Wait(min(60.0, max(0.02, (now - self.idle_since) / 10)))

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshots nothing: the jobs belong to this process."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is what a sweep goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


def _check_reachable(address: str) -> None:
    """Raise SweepError within seconds if nothing listens there; Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SweepError(f"a Ray address is HOST:PORT or auto, but got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise SweepError(f"no Ray reachable at {address}: {error}") from error
