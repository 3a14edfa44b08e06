"""The Ray engine: one Ray Tune experiment a sweep, with the strategy as its search algorithm.

In: jobs. Out: their outcomes, from wherever Ray runs them. A trial of Tune is a pack; workers are reused from trial to
trial. Tune's own snapshots are not relied upon: the ledger is what survives.
"""

import os
import socket
import tempfile
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
from ray.tune.search import Searcher

from sweep.engines import Jobs
from sweep.errors import SweepError
from sweep.worker import Measure, Outcome, Worker
from trainables.spec import Pack

CONNECT_SECONDS = 5.0


class RayEngine:
    """Packs as trials of one Ray Tune experiment, on a cluster or on a Ray of our own."""

    def __init__(self, address: str | None, workers: Literal["auto"] | int, device: str) -> None:
        """`address`: HOST:PORT, `auto`, or None for RAY_ADDRESS and else a local Ray of our own."""
        self.address = address or os.environ.get("RAY_ADDRESS") or "local"
        self.workers: Literal["auto"] | int = workers
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
            raise SweepError(f"no Ray at {self.address}: {' '.join(str(error).split())[:200]}") from error
        if self.device == "cuda" and not ray.cluster_resources().get("GPU"):
            raise SweepError("--device cuda, but this Ray has no GPU")

    def close(self) -> None:
        """Leave the cluster, or end our own."""
        ray.shutdown()

    def run(self, jobs: Jobs, worker: Worker) -> None:
        """See `Engine`; `worker.threads` is replaced by what Ray gives each worker."""
        workers, resources = self._resources()
        worker = Worker(worker.training, worker.data_dir, worker.states, worker.device, int(resources["CPU"]))
        with tempfile.TemporaryDirectory(prefix="scyc-sweep-") as scratch:
            tune.Tuner(
                tune.with_resources(PackTrial, resources),
                tune_config=tune.TuneConfig(
                    search_alg=JobSearcher(jobs, worker),
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

    def _resources(self) -> tuple[int, dict[str, float]]:
        """Return how many workers there are and what each takes; all alike, as Tune wants them."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        gpus = sum(node.get("GPU", 0) for node in nodes) if self.device != "cpu" else 0
        cpus = sum(node["CPU"] for node in nodes)
        if gpus:
            workers = int(gpus) if self.workers == "auto" else self.workers
            return workers, {"CPU": max(1.0, cpus // gpus), "GPU": gpus / workers if workers > gpus else 1.0}
        per_worker = min(node["CPU"] for node in nodes)
        if self.workers == "auto":
            return int(sum(node["CPU"] // per_worker for node in nodes)), {"CPU": per_worker}
        return self.workers, {"CPU": max(1.0, cpus // self.workers)}


class PackTrial(tune.Trainable):  # type: ignore[misc]
    """A worker as Ray Tune sees it: each trial is one job, and the same process takes the next one."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first job."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another job; everything of the previous one is replaced."""
        self.worker: Worker = new_config["worker"]
        self.job: Pack | Measure = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        """Carry out the job."""
        return {"outcome": self.worker.do(self.job), "done": True}


class JobSearcher(Searcher):  # type: ignore[misc]
    """The jobs as a search algorithm of Ray Tune."""

    def __init__(self, jobs: Jobs, worker: Worker) -> None:
        super().__init__(metric="done", mode="max")
        self.jobs, self.worker = jobs, worker
        self.running: dict[str, Pack | Measure] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next job as a trial's config, None while a cycle is open, FINISHED at the end."""
        job = self.jobs.next()
        if job is None:
            return Searcher.FINISHED if self.jobs.finished else None
        self.running[trial_id] = job
        return {"job": job, "worker": self.worker}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Hand an outcome back; of a trial that failed Tune says no more than that it did."""
        job = self.running.pop(trial_id)
        if error or not result:
            self.jobs.done(job, Outcome(failure="worker died", reason="its process ended or raised; see Ray's logs"))
        else:
            self.jobs.done(job, result["outcome"])

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
