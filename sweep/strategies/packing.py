"""Packs of a round: which lanes train together. In: what is to be trained, the runs. Out: packs, in their order."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from trainables.spec import Pack

T = TypeVar("T")


def in_packs(
    items: Sequence[T], lanes_per_pack: int, runs: Sequence[int], pack: Callable[[int, Sequence[T]], Pack]
) -> Iterator[Pack]:
    """Yield the packs of a round: its items in nearly equal parts, and for each part one pack a run.

    `pack(run, part)` makes one. All runs of an item come close together, so that its mean is known early and states
    can be deleted. The parts depend on the round alone and not on which lanes are finished: a sweep that is resumed
    trains the same packs.
    """
    count = -(-len(items) // lanes_per_pack)
    short, longer = divmod(len(items), count) if count else (0, 0)
    start = 0
    for index in range(count):
        end = start + short + (index < longer)
        for run in runs:
            yield pack(run, items[start:end])
        start = end
