"""What there is to show of a storage: how far each of its sweeps is. In: what lies there, what jobs do. Out: a view."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pandas as pd

from sweep.cluster.catalog import CatalogEntry, since
from sweep.reporting.numbers import duration
from sweep.reporting.views import Cell, Column, Table, View


def status(found: Sequence[CatalogEntry], jobs: Mapping[str, str]) -> View:
    """Return one row for each sweep: progress, best max_lr so far, time left. `jobs`: the state of each name's job."""
    columns = [
        Column("name", align="left"),
        Column("sweep", align="left"),
        Column("job", align="left"),
        Column("cycle"),
        Column("lanes done"),
        Column("best max_lr", optional=3),
        Column("validation accuracy", "%", optional=2),
        Column("time left"),
        Column("last lane", optional=1),
    ]
    rows, data = [], []
    for each in found:
        job = jobs.get(each.name.partition("/")[0], "")
        named = [Cell(each.name, each.name), Cell(each.kind or "not begun", each.kind), Cell(job, job)]
        rows.append([*named, *_far(each, job)])
        data.append({**asdict(each), "job": job})
    return View("Sweeps of the storage", "", [Table(columns, rows)], pd.DataFrame(data))


def _far(entry: CatalogEntry, job: str) -> list[Cell]:
    progress = entry.progress
    if progress is None:
        return [Cell("")] * 6
    best, accuracy, left = progress.best_max_lr, progress.val_accuracy, entry.seconds_left
    goes_on = job in ("", "pending", "running") and left is not None
    return [
        Cell(f"{progress.cycle} of {progress.cycles}", progress.cycle),
        Cell(f"{progress.lanes_done:,} of {progress.lanes_planned:,}", progress.lanes_done),
        Cell("" if best is None else f"{best:.4g}", best),
        Cell("" if accuracy is None else f"{accuracy:.2f}", accuracy),
        Cell("finished" if entry.finished else duration(left or 0.0) if goes_on else "", left),
        Cell(f"{duration(since(entry.last))} ago" if entry.last else "", entry.last),
    ]
