"""The ask/tell protocol that every strategy follows: which packs to train next.

In: the ledger's rows. Out: packs. An engine needs nothing else of a strategy, nor strategies anything of each other.
"""

from dataclasses import dataclass
from typing import Protocol

from trainables.spec import Lane, Pack


@dataclass(frozen=True)
class Progress:
    """How far a sweep is."""

    cycle: int
    """The cycle that is open; the furthest behind where runs decide for themselves."""
    cycles: int
    """The last cycle."""
    lanes_done: int
    lanes_planned: int
    """Without extensions of the grid that are not yet known to be needed."""
    diverged: int
    best_max_lr: float | None
    """Of the newest decided cycle."""
    val_accuracy: float | None


class Strategy(Protocol):
    """What hands out packs until there is no more to learn."""

    lanes_per_pack: int
    """Lanes of the packs it asks for, at most; may be lowered at any time."""

    @property
    def finished(self) -> bool:
        """Whether no pack will ever be asked for again."""

    def ask(self) -> Pack | None:
        """Return a pack to train, or None while open packs must come back first or the strategy is finished."""

    def tell(self, pack: Pack) -> None:
        """Take note that the ledger has rows for all lanes of a pack that was asked for."""

    def end(self, pack: Pack, reason: str) -> None:
        """Take note that a pack that was asked for cannot be trained, as nothing is left to prune: its chain ends."""

    def needed_states(self) -> set[str]:
        """Return the digests that must be kept: any that a later pack may start from."""

    def id_of(self, pack: Pack, lane: Lane) -> str:
        """Return the key of a lane in the ledger."""

    def progress(self) -> Progress:
        """Return how far the sweep is."""

    @property
    def ended(self) -> list[str]:
        """Why chains ended before their last cycle."""
