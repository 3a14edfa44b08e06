"""The Ray engine: one Ray Tune experiment a sweep, with the strategy as its search algorithm.

In: jobs. Out: their outcomes, from wherever Ray runs them. A trial of Tune is one job; workers stay from trial to
trial. Nothing relies on Tune's own snapshots: a sweep goes on from its ledger.
"""

import logging
import tempfile

from ray import tune
from ray.tune.execution import tune_controller

from sweep.config.settings import Settings
from sweep.execution import signals
from sweep.execution.jobs import Jobs
from sweep.execution.on_ray.address import address_of
from sweep.execution.on_ray.connection import Connection
from sweep.execution.on_ray.hooks import KeepingCache, PatientScheduler, Steps, WhenFinished
from sweep.execution.on_ray.resources import Resources
from sweep.execution.on_ray.searcher import JobSearcher
from sweep.execution.on_ray.shared_folder import DriverFolder, check_shared
from sweep.execution.on_ray.trials import PackTrial, shared
from sweep.execution.worker import Worker
from trainables.data.datasets import Dataset
from trainables.storage import Location

MANY = 100_000


class RayEngine:
    """Packs as trials of one Ray Tune experiment, on a cluster or on a Ray that is started here."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings that say which Ray (`address`), how many workers, and what each worker takes."""
        self.settings = settings
        self.connection = Connection(address_of(settings.address))

    def connect(self, folder: Location) -> None:
        """See `Engine`. Raises SweepError for an address that cannot be reached, and where too few workers fit."""
        self.connection.open()
        self.resources = Resources.of(self.settings)
        if self.settings.wait_for_resources:
            self.resources.wait()
        self.resources.check()
        check_shared(folder)
        self.folder = folder

    @property
    def workers(self) -> int:
        """Packs that train at the same time."""
        return self.resources.workers

    def run(self, jobs: Jobs, worker: Worker, dataset: Dataset) -> None:
        """See `Engine`."""
        # A trial that failed is a pack that runs again. `failures` says so in one line, Tune in a traceback.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        tune_controller._ObjectCache = KeepingCache
        # Through Ray's object store: the driver reads the data, and a host holds them once for all its workers.
        trial = tune.with_parameters(PackTrial, data=shared(dataset), folder=DriverFolder.of(self.folder))
        searcher = JobSearcher(jobs, worker, self.resources)
        with tempfile.TemporaryDirectory(prefix="scyc-sweep-") as scratch, signals.deferred() as check:
            tune.Tuner(
                tune.with_resources(trial, self.resources.of_a_worker),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=PatientScheduler(searcher),
                    num_samples=-1,
                    max_concurrent_trials=MANY,  # the searcher limits them
                    reuse_actors=True,
                    trial_name_creator=lambda trial: trial.trial_id,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=scratch,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                    callbacks=[Steps(searcher, check)],
                    stop=WhenFinished(jobs),
                    verbose=0,
                ),
            ).fit()

    def close(self) -> None:
        """Leave the cluster, or end the Ray that was started here."""
        self.connection.close()
