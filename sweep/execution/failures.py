"""The retry policy: what each failure means, for every engine. In: a failed job. Out: what to do, or an error.

| failure | what follows |
| --- | --- |
| out of memory | the pack trains again in two halves, at once, and all later packs are as small |
| worker died | the pack trains again, up to RETRIES times: as it is the first time, then in halves |
| host gone | the pack trains again as it is, as often as it takes |
| chain ended | the lanes' chain ends; of a pack with several start states, each lane is tried alone |
| state lost, disk full, code failed, folder unseen | the sweep stops |
"""

import logging
from dataclasses import dataclass, replace
from typing import assert_never

from sweep.errors import TrainingError
from sweep.execution.outcomes import (
    ChainEnded,
    CodeFailed,
    DiskFull,
    Failure,
    FolderUnseen,
    HostGone,
    OutOfMemory,
    StateLost,
    WorkerDied,
)
from trainables.spec import Pack

RETRIES = 3
"""How often a job runs again after its worker died."""


@dataclass(frozen=True)
class Retry:
    """Train these packs, which together have the lanes of the pack that failed."""

    packs: tuple[Pack, ...]
    attempts: int
    """Failures so far that count for each of them."""
    lanes_that_fit: int | None = None
    """Later packs must not have more lanes than this; None: any number."""


@dataclass(frozen=True)
class End:
    """The chain of the pack's lanes ends."""

    reason: str


def after(pack: Pack, attempts: int, failure: Failure) -> Retry | End:
    """Return what follows from the failure of a pack, which has failed `attempts` times before.

    Raises TrainingError, with the way out, where the sweep cannot go on.
    """
    what = f"{named(pack)}: {failure.name}: {failure.reason}"
    if isinstance(failure, OutOfMemory | WorkerDied | HostGone):
        logging.getLogger(__name__).warning("%s", what)
    match failure:
        case HostGone():
            return Retry((pack,), attempts)
        case WorkerDied() if attempts < RETRIES:
            # The first time it may be chance. The second time a smaller pack may be what helps.
            return Retry((pack,) if attempts == 0 else _halves(pack), attempts + 1)
        case OutOfMemory() if len(pack.lanes) > 1:
            halves = _halves(pack)
            return Retry(halves, 0, lanes_that_fit=len(halves[0].lanes))
        case OutOfMemory() | WorkerDied():
            raise TrainingError(f"{what}; nothing else can be tried, all finished lanes are kept")
        case ChainEnded() if len({lane.parent for lane in pack.lanes}) > 1:
            # One of several networks has nothing left to prune; the others can be trained.
            return Retry(tuple(replace(pack, lanes=(lane,)) for lane in pack.lanes), attempts)
        case ChainEnded():
            return End(failure.reason)
        case StateLost():
            raise TrainingError(f"{failure.reason}; remove it, and the same command trains its lane again")
        case DiskFull():
            raise TrainingError(
                f"{failure.reason}; all finished lanes are kept: make room, and the same command goes on"
            )
        case CodeFailed() | FolderUnseen():
            raise TrainingError(failure.reason)
        case _:
            assert_never(failure)


def after_measurement(attempts: int, failure: Failure) -> int:
    """Return the failures that count so far, where the packs' size is to be measured again after this one.

    `attempts` counts those before. Raises TrainingError, with the way out, where it is not.
    """
    match failure:
        case HostGone():
            return attempts
        case CodeFailed():
            raise TrainingError(failure.reason)
        case _ if attempts < RETRIES:
            return attempts + 1
        case _:
            raise TrainingError(f"the packs' size could not be measured ({failure.reason}); give --lanes N")


def named(pack: Pack) -> str:
    """Return what a message calls a pack."""
    return f"cycle {pack.cycle}, run {pack.run}, {len(pack.lanes)} lanes"


def _halves(pack: Pack) -> tuple[Pack, ...]:
    """Return a pack's lanes in two packs, the larger first; a single lane is not divided."""
    if len(pack.lanes) == 1:
        return (pack,)
    middle = (len(pack.lanes) + 1) // 2
    return replace(pack, lanes=pack.lanes[:middle]), replace(pack, lanes=pack.lanes[middle:])
