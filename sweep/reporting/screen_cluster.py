"""The table of `status`. In: what lies in a storage, what jobs do. Out: a table for a terminal."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from sweep.cluster.catalog import CatalogEntry, since
from sweep.reporting.live import duration


def status_table(found: Sequence[CatalogEntry], jobs: Mapping[str, str]) -> Table:
    """Return one row a sweep: how far it is, the best so far, and the time left."""
    table = Table(box=None, pad_edge=False, header_style="", padding=(0, 2, 0, 0))
    for name in ("name", "sweep", "job"):
        table.add_column(name, no_wrap=True)
    for name in ("cycle", "lanes", "max_lr", "val %", "left", "last lane"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        job = jobs.get(each.name.partition("/")[0], "")
        table.add_row(each.name, each.kind or "not begun", job, *_far(each, job))
    return table


def _far(stored: CatalogEntry, job: str) -> list[str]:
    progress = stored.progress
    if progress is None:
        return []
    best = "" if progress.best_max_lr is None else f"{progress.best_max_lr:.4g}"
    accuracy = "" if progress.val_accuracy is None else f"{progress.val_accuracy:.2f}"
    goes_on = job in ("", "pending", "running") and stored.seconds_left is not None
    left = "finished" if stored.finished else duration(stored.seconds_left or 0.0) if goes_on else ""
    return [
        f"{progress.cycle} of {progress.cycles}",
        f"{progress.lanes_done} of {progress.lanes_planned}",
        best,
        accuracy,
        left,
        f"{duration(since(stored.last))} ago" if stored.last else "",
    ]
