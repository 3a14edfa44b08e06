"""The Ray engine: one Ray Tune experiment a sweep, with the strategy as its search algorithm.

In: jobs. Out: their outcomes, from wherever Ray runs them. A trial of Tune is a pack; workers are reused from trial to
trial. Tune's own snapshots are not relied upon: the ledger is what survives.
"""

import logging
import os
import re
import select
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

# Ray reads these when it is imported.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # a local Ray listens on loopback
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # exit status 130 is ours to give
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
import torch
from ray import tune
from ray._private import ray_constants
from ray._private.services import psutil  # which comes with Ray
from ray.job_config import JobConfig
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.utils.object_cache import _ObjectCache

from sweep.config.settings import Settings
from sweep.errors import SweepError
from sweep.execution import signals as ending
from sweep.execution.jobs import Jobs
from sweep.execution.on_ray import resources as hosts
from sweep.execution.on_ray.resources import Resources
from sweep.execution.worker import Failure, Measure, Outcome, Worker
from trainables import users_own
from trainables.data.datasets import Dataset
from trainables.spec import Pack
from trainables.storage import Location

MANY = 100_000
NOTHING = torch.empty(0)


class RayEngine:
    """Packs as trials of one Ray Tune experiment, on a cluster or on a Ray of our own."""

    def __init__(self, settings: Settings) -> None:
        """Take where packs train: `settings` (None is RAY_ADDRESS, else a local Ray), how many workers, and what each takes."""
        self.settings = settings
        self.address = settings.address or os.environ.get("RAY_ADDRESS") or "local"
        self.folder: Location | None = None
        self.servers: list[Any] = []
        self.closing = False

    def connect(self, folder: Location) -> None:
        """See `Engine`. Raises SweepError for an address that is not reachable, and for less than was asked for."""
        self.folder = folder
        if self.address.startswith("ray://"):
            raise SweepError(f"RAY_ADDRESS {self.address}: ray:// is not supported; give HOST:PORT of the cluster")
        local = self.address == "local"
        if not local and self.address != "auto":
            host, _, port = self.address.rpartition(":")
            if not host or not port.isdigit():
                raise SweepError(f"a Ray address is HOST:PORT or auto, but got {self.address!r}")
            hosts.check_reachable(host, int(port), "HOST:PORT of a Ray, usually port 6379")
        others, own_ports = ending.children(), _public_ports([psutil.Process()])
        if local:
            # Ray may have been imported before the variable was set; the servers that it starts read it again.
            ray_constants.ENABLE_RAY_CLUSTER = False
            os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
        try:
            with ending.deferred(), ending.kept():
                ray.init(
                    address=self.address,
                    include_dashboard=False if local else None,
                    num_cpus=len(os.sched_getaffinity(0)) if local and hasattr(os, "sched_getaffinity") else None,
                    log_to_driver=False,
                    logging_level="ERROR",
                    job_config=_SearchedLast(_py_driver_sys_path=_own_folder()),
                )
        except Exception as error:  # Ray has no type for a start that fails
            raise SweepError(_why_no_ray(self.address, " ".join(str(error).split())[:200])) from error
        finally:
            self.servers = [each for each in ending.children() if each not in others]
        public = _public_ports([psutil.Process(), *self.servers]) - own_ports if local else set()
        if public:
            raise SweepError(
                f"the Ray that was started here listens on {', '.join(sorted(public))}, where other machines may reach "
                "it, and not on loopback only; give --engine inline, or --address of a Ray that is meant for others"
            )
        threading.Thread(target=self._watch_servers, name="servers", daemon=True).start()
        self.resources = Resources.of(self.settings)
        if self.settings.wait_for_resources:
            self.resources.wait()
        self.resources.check()
        hosts.check_shared(folder)

    def close(self) -> None:
        """Leave the cluster, or end our own."""
        self.closing = True
        started = [each for server in self.servers for each in (server, *ending.children(server))]
        with ending.deferred(), ending.kept():
            ray.shutdown()
        ending.end(started)  # those that took longer than Ray waits

    def run(self, jobs: Jobs, worker: Worker, dataset: Dataset) -> None:
        """See `Engine`."""
        # A trial that failed is a pack that runs again: `Jobs` says so in one line, Tune in a traceback.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        tune_controller._ObjectCache = _KeepingCache
        assert self.folder is not None
        # By way of Ray's object store: the driver reads the data, and a host holds them once for all its workers.
        data = dataset.images.numpy(), dataset.labels.numpy(), replace(dataset, images=NOTHING, labels=NOTHING)
        trial = tune.with_parameters(PackTrial, data=data, home=hosts.Home.of(self.folder))
        searcher = JobSearcher(jobs, worker, self.resources)
        with tempfile.TemporaryDirectory(prefix="scyc-sweep-") as scratch, ending.deferred() as check:
            tune.Tuner(
                tune.with_resources(trial, self.resources.of_a_worker),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=_PatientScheduler(searcher),
                    num_samples=-1,
                    max_concurrent_trials=MANY,  # the searcher knows how many there may be now
                    reuse_actors=True,
                    trial_name_creator=lambda trial: trial.trial_id,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=scratch,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                    callbacks=[_Steps(searcher, check)],
                    stop=_WhenFinished(jobs),
                    verbose=0,
                ),
            ).fit()

    @property
    def workers(self) -> int:
        """Packs that train at a time."""
        return self.resources.workers

    def _watch_servers(self) -> None:
        """Wait until one of our own Ray's servers dies: its library then ends this process, with its log as last words.

        It does so at once, after 15 s or after a minute; until then nothing goes on.
        """
        names = {}
        for process in self.servers:
            with suppress(psutil.Error, OSError, AttributeError):  # AttributeError: not on Linux
                name = _server_name(" ".join(process.cmdline()[:3]))
                if name:
                    names[os.pidfd_open(process.pid)] = f"{name} (process {process.pid})"
        if names:
            dead = select.select(names, [], [])[0]
            if not self.closing:
                ending.fail(f"Ray's {names[dead[0]]} died")
        for each in names:
            os.close(each)


def _server_name(command: str) -> str:
    """Return the name of a server without which a Ray of one machine ends; nothing for other processes."""
    found = re.search(r"(gcs_server|raylet|DashboardAgent|RuntimeEnvAgent)( |$)", command)
    if found:
        return found[1]
    # Before a process has given itself a name.
    scripts = {"dashboard/agent.py": "DashboardAgent", "runtime_env/agent/main.py": "RuntimeEnvAgent"}
    return next((name for script, name in scripts.items() if f"/{script}" in command), "")


class _SearchedLast(JobConfig):  # type: ignore[misc]
    """Has Ray's workers not search the driver's working folder before all else, as Ray would: `Worker` says where.

    There may be a `torch.py`, or a `sweep.py`, of the user's.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def _own_folder() -> list[str]:
    """Return where workers find this project; nothing where it is installed."""
    folder = Path(__file__).parents[3]
    return [] if folder.name in users_own.INSTALLED else [str(folder)]


def _why_no_ray(address: str, reason: str) -> str:
    """Return what is said of a Ray that could not be reached or started."""
    if address != "local":
        # Something listens there. Ray says in its log alone when it is a token that is wrong.
        return f"no Ray at {address}: {reason}; {hosts.TOKEN_HINT}"
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    free = f"{shutil.disk_usage(folder).free / 1e6:.0f} MB free" if Path(folder).is_dir() else "no folder"
    return f"Ray could not be started: {reason}; it writes to {folder} ({free}), RAY_TMPDIR names another place"


def _public_ports(processes: Iterable[Any]) -> set[str]:
    """Return where processes listen, loopback aside; nothing where that cannot be seen."""
    found = set()
    for process in processes:
        with suppress(psutil.Error, OSError):
            for each in process.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN and not _is_loopback(each.laddr.ip):
                    found.add(f"{each.laddr.ip} port {each.laddr.port}")
    return found


def _is_loopback(host: str) -> bool:
    address = ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


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
    """First in, first out, but a trial whose worker is starting waits for it; and it hears why trials fail.

    Tune's own gives such a trial the first worker that becomes free and ends the starting one, over and over: where
    packs are shorter than a worker's start, one worker then does all the work. Left to itself, Tune hands every free
    worker to a new trial, and to such a one when there is no new trial: so work that waits for a host which is gone is
    done by those that are left.
    """

    def __init__(self, searcher: "JobSearcher") -> None:
        super().__init__()
        self.searcher = searcher

    def choose_trial_to_run(self, tune_controller: object) -> None:
        return None

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        # Tune tells the searcher only that it failed. It counts no failure where the host was drained or preempted.
        lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
        reason = " ".join(" ".join(lines[1:]).split())[:300] or "its process ended; see Ray's logs"
        self.searcher.why[trial.trial_id] = "host gone" if trial.num_failures == 0 else "worker died", reason


class _Steps(tune.Callback):  # type: ignore[misc]
    """Tells when a trial begins: one may have waited for a worker, or for a machine, for long. And ends by Ctrl-C."""

    def __init__(self, searcher: "JobSearcher", check_signals: Callable[[], None]) -> None:
        self.searcher, self.check_signals = searcher, check_signals

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        self.check_signals()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        job = self.searcher.running.get(trial.trial_id)
        if isinstance(job, Pack):
            self.searcher.jobs.started(job)


class _WhenFinished(tune.Stopper):  # type: ignore[misc]
    """Ends what still runs when nothing is left to learn: the slower of two workers at one pack."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.jobs.finished

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PackTrial(tune.Trainable):  # type: ignore[misc]
    """A worker as Ray Tune sees it: each trial is one job, and the same process takes the next one."""

    def setup(self, config: dict[str, Any], data: Any = None, home: hosts.Home | None = None) -> None:
        """Look at the data, which lie in this host's memory once, and take the first job."""
        images, labels, outline = data
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they cannot be written; nothing does
            self.dataset: Dataset = replace(outline, images=torch.from_numpy(images), labels=torch.from_numpy(labels))
        self.blind = home.unseen() if home else ""
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
        if self.blind:
            return {"outcome": Outcome(failure="folder unseen", reason=self.blind), "done": True}
        try:
            outcome = self.worker.do(self.job, self.dataset)
        except Exception as error:  # Tune would keep the reason to itself
            outcome = Outcome(failure="worker died", reason=f"{type(error).__name__}: {error}")
        return {"outcome": outcome, "done": True}


class JobSearcher(Searcher):  # type: ignore[misc]
    """The jobs as a search algorithm of Ray Tune."""

    def __init__(self, jobs: Jobs, worker: Worker, resources: Resources) -> None:
        super().__init__(metric="done", mode="max")
        self.jobs, self.worker, self.resources = jobs, worker, resources
        self.running: dict[str, Pack | Measure | Wait] = {}
        self.why: dict[str, tuple[Failure, str]] = {}
        """Of trials that failed."""
        self.idle_since: float | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next job as a trial's config, FINISHED, or None while there is no worker that it could go to."""
        if self.jobs.finished:
            return str(Searcher.FINISHED)
        if len(self.running) >= self.resources.limit:
            return None
        job: Pack | Measure | Wait | None = self.jobs.next(idle=len(self.running) < self.resources.room)
        if job is not None:
            self.idle_since = None
        elif self.jobs.finished:
            return str(Searcher.FINISHED)
        elif len(self.running) >= self.resources.room:  # no machine is asked for to wait on it
            return None
        else:
            job = self._wait()
        self.running[trial_id] = job
        return {"job": job, "worker": self.worker}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Hand an outcome back."""
        job = self.running.pop(trial_id)
        if isinstance(job, Wait):
            return
        if error or not result:
            failure, reason = self.why.pop(trial_id, ("worker died", "its process ended; see Ray's logs"))
            self.jobs.done(job, Outcome(failure=failure, reason=reason))
        else:
            self.jobs.done(job, result["outcome"])

    def _wait(self) -> Wait:
        """Wait a tenth longer than so far: few trials where a cycle takes hours, no delay to speak of where seconds.

        Many that wait take turns: Tune takes some milliseconds for each, and packs that end want its time.
        """
        now = time.monotonic()
        self.idle_since = self.idle_since or now
        waiting = sum(isinstance(job, Wait) for job in self.running.values())
        return Wait(min(60.0, max(0.02 * (1 + waiting), (now - self.idle_since) / 10)))

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshots nothing: the jobs belong to this process."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is what a sweep goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""
