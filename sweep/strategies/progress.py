"""How far a sweep is, and how long it still takes. In: counts and times. Out: `Progress`, seconds."""

from dataclasses import dataclass


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
    label: str = ""
    """What is going on besides, such as the stage of a tuning."""
    decided: tuple[str, ...] = ()
    """What the strategy has decided so far, in order, a line each: a cycle closed, a grid extended, a trial ended."""
    under_way: int | None = None
    """Packs that are handed out and not back; None where results alone tell."""


def seconds_left(progress: Progress, trained: int, seconds: float, since: float = 0.0) -> float | None:
    """Return the seconds until all planned lanes are done, at the pace of one session; None where it has none yet.

    The session has trained `trained` lanes in `seconds`, and the newest was done `since` seconds ago. Lanes that it
    found finished say nothing about its pace, and do not count.
    """
    if trained <= 0:
        return None
    left = seconds / trained * (progress.lanes_planned - progress.lanes_done)
    return max(0.0, left - since)
