"""Stragglers: packs that take far longer than comparable packs. In: how long packs took. Out: whether one is too slow.

An idle worker gets a straggler too, and the first of the two to finish counts. So a worker that hangs, or a host that
is slow or lost, does not hold up a cycle.
"""

from bisect import insort
from collections import defaultdict

from trainables.spec import Pack, TrainSpec

FACTOR = 3.0
"""A straggler takes this many times as long as comparable packs."""
MORE_SECONDS = 5.0
"""And this much longer at least."""
COMPARABLE = 3
"""Comparable packs that must have been timed before a pack can be a straggler."""


class PackTimes:
    """How long packs took. Packs are comparable if they have the same number of lanes and of steps."""

    def __init__(self, training: TrainSpec) -> None:
        self._training = training
        self._seconds: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
        """In increasing order."""

    def add(self, pack: Pack, seconds: float) -> None:
        """Note how long a pack took from the start of its training."""
        insort(self._seconds[self._kind(pack)], seconds)

    def usual(self, pack: Pack) -> float | None:
        """Return the median seconds of comparable packs; None while too few of them were timed."""
        seconds = self._seconds[self._kind(pack)]
        return seconds[len(seconds) // 2] if len(seconds) >= COMPARABLE else None

    def is_straggler(self, pack: Pack, seconds: float, workers: int) -> bool:
        """Return whether a pack that `workers` workers have had for so many seconds should go to one more.

        With each worker that has it the limit rises: the next one may be no faster.
        """
        usual = self.usual(pack)
        return usual is not None and seconds > workers * max(FACTOR * usual, usual + MORE_SECONDS)

    def _kind(self, pack: Pack) -> tuple[int, int]:
        return len(pack.lanes), self._training.steps_of(pack.cycle)
