"""A worker as Ray Tune sees it: each trial is one job. In: a job and the data. Out: its outcome."""

import time
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from ray import tune

from sweep.execution.on_ray.shared_folder import DriverFolder
from sweep.execution.outcomes import FolderUnseen, Job, WorkerDied
from sweep.execution.worker import Worker
from trainables.data.datasets import Dataset

NO_IMAGES = torch.empty(0)


@dataclass(frozen=True)
class Wait:
    """A job for a worker that has nothing to do while a cycle is open.

    So each worker always has a trial: Tune ends workers without one, and it takes seconds to start a worker.
    """

    seconds: float


def shared(dataset: Dataset) -> tuple[Any, Any, Dataset]:
    """Return a data set as Ray's object store holds it, once for all workers of a host: arrays, and all the rest."""
    return dataset.images.numpy(), dataset.labels.numpy(), replace(dataset, images=NO_IMAGES, labels=NO_IMAGES)


class PackTrial(tune.Trainable):  # type: ignore[misc]
    """A worker. Its process stays from trial to trial; each trial is one job."""

    def setup(self, config: dict[str, Any], data: Any = None, folder: DriverFolder | None = None) -> None:
        """Take the data, as `shared` returns them, and the first job."""
        images, labels, rest = data
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the arrays are read-only, and nothing writes into them
            self.dataset: Dataset = replace(rest, images=torch.from_numpy(images), labels=torch.from_numpy(labels))
        self.unseen = folder.unseen() if folder else ""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another job; everything of the previous one is replaced."""
        self.worker: Worker = new_config["worker"]
        self.job: Job | Wait = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        """Carry out the job."""
        if isinstance(self.job, Wait):
            time.sleep(self.job.seconds)
            return {"outcome": None, "done": True}
        if self.unseen:
            return {"outcome": FolderUnseen(self.unseen), "done": True}
        try:
            return {"outcome": self.worker.do(self.job, self.dataset), "done": True}
        except Exception as error:  # Tune would not pass the reason on
            return {"outcome": WorkerDied(f"{type(error).__name__}: {error}"), "done": True}
