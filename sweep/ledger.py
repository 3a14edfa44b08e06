"""Finished lanes on disk: append, look up, survive a kill. Only the driver writes here.

In: a pack and its results. Out: rows keyed by what determines the lane, one Parquet file a pack. A lane counts once its
file is complete under its name. Next: the strategy reads the rows and goes on.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from sweep import tables
from sweep.errors import FolderError
from trainables.spec import TRAINING_VERSION, Lane, LaneResult, Pack, TrainSpec
from trainables.storage import Location

READERS = 16
"""Files that are read at a time: from a bucket each takes tens of milliseconds, of which most is waiting."""
STATES = ("parent_state", "state", "rewind_state")
EVALUATIONS = tuple(name for name, *_ in tables.TRIALS if name.startswith("eval_"))


def trial_id(training: TrainSpec, fingerprint: str, pack: Pack, lane: Lane) -> str:
    """Return the key of a lane: sha256 of everything that determines it and of nothing else.

    That is: training settings, the data's fingerprint, the run's seed and the cycle (they seed all random numbers), the
    start state's digest, what it is rewound to, its schedule, max_lr, and the version of the training code. Not the
    run's number, the pack, or the device.
    """
    settings = {name: value for name, value in vars(training).items() if name != "images" or value is not None}
    content = {
        # What a schedule shrank or grew to need not fit the steps of cycle 0, which a TrainSpec checks it against.
        "training": settings | {"schedule": vars(training.schedule_of(pack.cycle, lane))},
        "data": fingerprint,
        "seed": pack.seed,
        "cycle": pack.cycle,
        "start": lane.parent or "initial weights",
        "rewound_to": lane.rewind_to,
        "max_lr": lane.max_lr,
        "version": TRAINING_VERSION,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Ledger:
    """The finished lanes of a results folder, by trial_id."""

    def __init__(self, folder: Location, evaluations: bool = True) -> None:
        """Read all rows of `folder`. Raises FolderError for a file that is truncated, foreign or newer.

        Without `evaluations` rows are held without their `eval_` columns: nine tenths of a row's memory, and nothing
        that a sweep decides by.
        """
        self.folder = folder
        self.left_out = () if evaluations else EVALUATIONS
        self.rows: dict[str, dict[str, Any]] = {}
        paths = sorted(folder.glob("*.parquet"))
        with ThreadPoolExecutor(READERS) as readers:
            packs = readers.map(lambda path: tables.read_rows("trials", path, self.left_out), paths)
            files = [row for rows in packs for row in rows]
        for row in files:
            if any(row[name] and not re.fullmatch(r"\w+", row[name]) for name in STATES):
                raise FolderError(f"{folder} has a row whose state is no digest, but would lead elsewhere")
        # A lane whose state got lost is trained again; its newest row is the one whose state exists.
        for row in sorted(files, key=lambda row: row["finished_at"]):
            self.rows[row["trial_id"]] = row

    def append(
        self, pack: Pack, ids: Sequence[str], results: Sequence[LaneResult], device: str, host: str
    ) -> list[dict[str, Any]]:
        """Write a pack's results, then count them as finished; return the new rows, in the pack's order."""
        now = datetime.now(UTC)
        rows = [
            vars(result)  # asdict would copy a thousand evaluations one by one
            | {
                "trial_id": key,
                "cycle": pack.cycle,
                "run": pack.run,
                "seed": pack.seed,
                "lanes_in_pack": len(pack.lanes),
                "device": device,
                "host": host,
                "finished_at": now,
            }
            for key, result in zip(ids, results, strict=True)
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256("".join(ids).encode()).hexdigest()[:16]
        tables.write("trials", rows, self.folder / f"cycle{pack.cycle:02d}-run{pack.run:02d}-{name}.parquet")
        kept = [{name: value for name, value in row.items() if name not in self.left_out} for row in rows]
        self.rows |= {row["trial_id"]: row for row in kept}
        return kept
