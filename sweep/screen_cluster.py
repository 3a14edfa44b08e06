"""The table of `status`. In: what lies in a storage, what jobs do. Out: a table for a terminal."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from sweep.progress import duration
from sweep.stored import Stored, since


def status_table(found: Sequence[Stored], jobs: Mapping[str, str]) -> Table:
    """Return one row a sweep: how far it is, the best so far, and the time left."""
    table = Table(box=None, pad_edge=False, header_style="", padding=(0, 2, 0, 0))
    for name in ("name", "sweep", "job"):
        table.add_column(name, no_wrap=True)
    for name in ("cycle", "lanes", "max_lr", "val %", "left", "last lane"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        table.add_row(each.name, each.kind or "not begun", jobs.get(each.name.partition("/")[0], ""), *_far(each))
    return table


def _far(stored: Stored) -> list[str]:
    progress = stored.progress
    if progress is None:
        return []
    best = "" if progress.best_max_lr is None else f"{progress.best_max_lr:.4g}"
    accuracy = "" if progress.val_accuracy is None else f"{progress.val_accuracy:.2f}"
    left = "finished" if stored.finished else "" if stored.seconds_left is None else duration(stored.seconds_left)
    return [
        f"{progress.cycle} of {progress.cycles}",
        f"{progress.lanes_done} of {progress.lanes_planned}",
        best,
        accuracy,
        left,
        f"{duration(since(stored.last))} ago" if stored.last else "",
    ]
