"""What an engine moves: jobs to workers, and outcomes back. An outcome has one type for each thing that can happen.

A worker returns a `WorkerOutcome`. Where nothing came back from a worker, the engine says why: an `EngineFailure`.
Next: `sweep.execution.failures` decides what a failure means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sweep.execution.pack_size import Measure
from trainables.spec import LaneResult, Pack

Job = Pack | Measure


@dataclass(frozen=True)
class Trained:
    """The lanes of a pack were trained."""

    results: Sequence[LaneResult]
    """One for each lane, in the pack's order."""
    device: str
    """`cpu`, or the GPU's product name."""
    host: str


@dataclass(frozen=True)
class Measured:
    """The speed of packs was measured."""

    rates: Mapping[int, float]
    """Lane-steps per second by pack size; at least one."""


@dataclass(frozen=True)
class _Failed:
    name: ClassVar[str]
    """What a message calls it."""
    reason: str


class OutOfMemory(_Failed):
    """The device's memory does not hold the pack."""

    name = "out of memory"


class ChainEnded(_Failed):
    """Pruning leaves a layer without weights: the lane cannot be trained, and its chain has no further cycle."""

    name = "chain ended"


class StateLost(_Failed):
    """The state that a lane starts from is missing or damaged."""

    name = "state lost"


class DiskFull(_Failed):
    """A state cannot be written, because the disk is full."""

    name = "disk full"


class CodeFailed(_Failed):
    """The user's own code does not give the network that it gave when the sweep began."""

    name = "code failed"


class FolderUnseen(_Failed):
    """The worker's host does not see the results folder."""

    name = "folder unseen"


class WorkerDied(_Failed):
    """The worker's process ended, or raised an error that it does not know."""

    name = "worker died"


class HostGone(_Failed):
    """The cluster took the worker's host away: drained or preempted. The pack is not to blame."""

    name = "host gone"


WorkerFailure = OutOfMemory | ChainEnded | StateLost | DiskFull | CodeFailed | FolderUnseen
EngineFailure = WorkerDied | HostGone
Failure = WorkerFailure | EngineFailure
WorkerOutcome = Trained | Measured | WorkerFailure
Outcome = WorkerOutcome | EngineFailure
