"""What runs where the training is: one worker, which trains one pack at a time. It knows no engine.

In: a pack. Out: an `Outcome`, which says what went wrong where something did, since an engine such as Ray Tune only
learns that a trial failed. Next: `sweep.execution.jobs.Jobs` decides what a failure means.
"""

import ctypes
import errno
import functools
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from trainables import measure, pack, users_own
from trainables.data import datasets
from trainables.data.datasets import Dataset
from trainables.networks import models
from trainables.pruning import EmptyLayerError
from trainables.spec import LaneResult, Pack, TrainSpec
from trainables.states import StateError
from trainables.storage import Location

NEARLY = 1.05
"""Times this close are equal: two measurements of one size differ by as much."""

Failure = Literal[
    "",
    "out of memory",
    "chain ended",
    "state lost",
    "disk full",
    "code failed",
    "worker died",
    "host gone",
    "folder unseen",
]


@dataclass(frozen=True)
class Measure:
    """A job besides packs: measure which size of packs will be fastest, where the packs will train."""

    points: int
    """max_lr values of a cycle."""
    runs: int
    workers: int
    """Packs that train at a time."""

    @property
    def sizes(self) -> list[int]:
        """The sizes worth measuring: those that split a cycle's points into equal packs, smallest first."""
        return sorted({-(-self.points // packs) for packs in (1, 2, 3, 4, 6, 8, 12, self.points)})

    def seconds(self, size: int, rate: float) -> float:
        """Return how long one step of a whole cycle takes in packs of `size`, at `rate` lane-steps per second.

        Workers take one pack at a time, so a cycle lasts as long as the one that gets most packs.
        """
        packs = -(-self.points // size) * self.runs
        return -(-packs // self.workers) * size / rate

    def best(self, rates: Mapping[int, float]) -> int:
        """Return the smallest size that ends a cycle as soon as the fastest does, or nearly.

        Of equals the smaller: less is lost with a worker, and a max_lr's mean is known and its states let go earlier.
        """
        fastest = min(self.seconds(size, rate) for size, rate in rates.items())
        return min(size for size, rate in rates.items() if self.seconds(size, rate) <= fastest * NEARLY)


@dataclass(frozen=True)
class Outcome:
    """What came of a job: results, rates, or a failure and its reason."""

    results: Sequence[LaneResult] = ()
    rates: dict[int, float] = field(default_factory=dict)
    """Lane-steps per second by pack size."""
    failure: Failure = ""
    reason: str = ""
    device: str = ""
    host: str = ""


@dataclass(frozen=True)
class Worker:
    """How to train packs in this process. Cheap to make: data and libraries stay with the process, not the worker."""

    training: TrainSpec
    states: Location
    device: str
    """`auto`, `cpu` or `cuda`."""
    threads: int
    search_path: tuple[str, ...] = field(default_factory=users_own.search_path)
    """Where the process that made this searches for modules, and so for a user's own."""

    def do(self, job: Pack | Measure, dataset: Dataset) -> Outcome:
        """Carry out a job; every failure that can be told from a bug comes back as an outcome."""
        torch.set_num_threads(self.threads)
        keep_freed_memory()
        users_own.search_like(self.search_path)
        device = pick_device(self.device)
        try:
            outcome = self._do(job, dataset.to(device), device)
        except EmptyLayerError as error:
            outcome = Outcome(failure="chain ended", reason=str(error))
        except StateError as error:
            outcome = Outcome(failure="state lost", reason=str(error))
        except models.NetworkError as error:
            outcome = Outcome(failure="code failed", reason=str(error))
        except SystemExit as error:  # as any exception would end a worker, but this one might say that all is well
            outcome = Outcome(failure="code failed", reason=f"{self.training.model} called sys.exit({error.code!r})")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            reason = f"{self.states} on {socket.gethostname()} cannot be written: {error.strerror}"
            outcome = Outcome(failure="disk full", reason=reason)
        except (MemoryError, RuntimeError) as error:
            if not measure.is_out_of_memory(error):
                raise
            if device.type == "cuda":
                torch.cuda.empty_cache()
            outcome = Outcome(failure="out of memory", reason=" ".join(str(error).split())[:200])
        return replace(outcome, device=device_name(device), host=socket.gethostname())

    def _do(self, job: Pack | Measure, dataset: Dataset, device: torch.device) -> Outcome:
        if isinstance(job, Measure):
            return Outcome(rates=measure.lane_rates(self.training, dataset, device, job.sizes))
        return Outcome(pack.train_pack(self.training, job, dataset, self.states, device))


@functools.cache
def keep_freed_memory() -> None:
    """Tell glibc to keep the memory of freed tensors for the next ones.

    By default it returns every larger tensor to the kernel at once and has its pages zeroed again a moment later, which
    costs small stacked networks 15 % of their speed.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent in other C libraries than glibc
        if mallopt is not None:
            m_trim_threshold, m_mmap_threshold = -1, -3  # <malloc.h>
            mallopt(m_mmap_threshold, 2**28)
            mallopt(m_trim_threshold, 2**28)


def pick_device(name: str) -> torch.device:
    """Return the device that a setting names; `auto` is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        # Two runs of the same sweep must agree; cuDNN otherwise picks its algorithms by a race.
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Return what a row says of its device: `cpu`, or the GPU's product name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@functools.lru_cache(maxsize=1)
def load_dataset(name: str, folder: Path, device: torch.device, download: bool, images: int | None = None) -> Dataset:
    """Return a data set, or a part of it, on a device, read once a process. Raises as `datasets.load`."""
    return datasets.load(name, folder, download, images).to(device)
