"""What runs where the training is: a worker, which trains one pack at a time. It knows no engine.

In: a job. Out: a `WorkerOutcome`. A worker returns its failures, since an engine such as Ray Tune would report only
that something failed. Next: an engine gives the outcome to `sweep.execution.jobs.Jobs`.
"""

import ctypes
import errno
import functools
import socket
import sys
from dataclasses import dataclass, field

import torch

from sweep.execution.outcomes import (
    ChainEnded,
    CodeFailed,
    DiskFull,
    Job,
    Measured,
    OutOfMemory,
    StateLost,
    Trained,
    WorkerOutcome,
)
from sweep.execution.pack_size import Measure
from trainables import measure, pack, users_own
from trainables.data.datasets import Dataset
from trainables.networks import models
from trainables.pruning import EmptyLayerError
from trainables.spec import TrainSpec
from trainables.states import StateError
from trainables.storage import Location


@dataclass(frozen=True)
class Worker:
    """How to train packs in this process. It is cheap to make: data and libraries stay with the process."""

    training: TrainSpec
    states: Location
    """The folder of states."""
    device: str
    """`auto`, `cpu` or `cuda`."""
    threads: int
    search_path: tuple[str, ...] = field(default_factory=users_own.search_path)
    """Where the process that made this searches for modules, and so for a user's own."""

    def do(self, job: Job, dataset: Dataset) -> WorkerOutcome:
        """Carry out a job. Expected failures are returned; any other exception is a bug, and is raised."""
        torch.set_num_threads(self.threads)
        keep_freed_memory()
        users_own.search_like(self.search_path)
        device = pick_device(self.device)
        try:
            return self._do(job, dataset.to(device), device)
        except EmptyLayerError as error:
            return ChainEnded(str(error))
        except StateError as error:
            return StateLost(str(error))
        except models.NetworkError as error:
            return CodeFailed(str(error))
        except SystemExit as error:  # it must not end the worker, and with status 0 it would even look like success
            return CodeFailed(f"{self.training.model} called sys.exit({error.code!r})")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return DiskFull(f"{self.states} on {socket.gethostname()} cannot be written: {error.strerror}")
        except (MemoryError, RuntimeError) as error:
            if not measure.is_out_of_memory(error):
                raise
            if device.type == "cuda":
                torch.cuda.empty_cache()
            return OutOfMemory(" ".join(str(error).split())[:200])

    def _do(self, job: Job, dataset: Dataset, device: torch.device) -> WorkerOutcome:
        if isinstance(job, Measure):
            return Measured(measure.lane_rates(self.training, dataset, device, job.sizes))
        results = pack.train_pack(self.training, job, dataset, self.states, device)
        return Trained(results, device_name(device), socket.gethostname())


@functools.cache
def keep_freed_memory() -> None:
    """Tell glibc to keep the memory of freed tensors for the next ones.

    By default it returns every larger tensor to the kernel at once, which zeroes the same pages again a moment later.
    This costs small stacked networks 15 % of their speed.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
        if mallopt is not None:
            m_trim_threshold, m_mmap_threshold = -1, -3  # <malloc.h>
            mallopt(m_mmap_threshold, 2**28)
            mallopt(m_trim_threshold, 2**28)


def pick_device(name: str) -> torch.device:
    """Return the device that a setting names; `auto` is the GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        # The same sweep must give the same numbers twice. By default cuDNN times its algorithms and takes the fastest.
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Return a device's name as a row states it: `cpu`, or the GPU's product name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
