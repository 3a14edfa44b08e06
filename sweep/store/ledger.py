"""Finished lanes on disk: append, look up, survive a kill. Only the driver writes here.

In: a pack and its results. Out: rows keyed by what determines the lane, one Parquet file a pack. A lane counts once its
file is complete under its name. Next: the strategy reads the rows and goes on.
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from sweep.errors import DamagedError, FolderError
from sweep.store import tables
from sweep.store.tables import LANES
from trainables.spec import TRAINING_VERSION, Lane, LaneResult, Pack, TrainSpec
from trainables.storage import Location, Replacing, reason

READERS = 16
"""Files that are read at a time: from a bucket each takes tens of milliseconds, of which most is waiting."""
STATES = ("parent_state", "state", "rewind_state")
EVALUATIONS = tuple(name for name, *_ in LANES.columns if name.startswith("eval_"))
SCORED = ("best_step", "val_accuracy", "test_accuracy", "val_loss", "train_loss")
FILLED = tuple(name for name, *_ in LANES.columns if name not in (*EVALUATIONS, *SCORED, "state", "rewind_state"))
"""Columns that have a value in every row."""
NAME = re.compile(r"cycle\d{2,}-run\d{2,}-[0-9a-f]{16}\.parquet")
DIGEST = re.compile("[0-9a-f]{64}")


def lane_id(training: TrainSpec, fingerprint: str, pack: Pack, lane: Lane) -> str:
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
    """The finished lanes of a results folder, by lane_id.

    A file is named by its content, so that a changed byte is noticed. What is damaged counts as lost: `damaged` says
    which files, and why.
    """

    def __init__(self, folder: Location, evaluations: bool = True, superseded: Location | None = None) -> None:
        """Read all rows of `folder`, and those of `superseded`, where a driver keeps the lanes of earlier chains.

        Without `evaluations` rows are held without their `eval_` columns: nine tenths of a row's memory, and nothing
        that a sweep decides by. Raises FolderError for a folder or file that cannot be read, is not one of the
        ledger's, or is of another version.
        """
        self.folder, self.superseded = folder, superseded
        self.left_out = () if evaluations else EVALUATIONS
        self.forgotten: dict[str, int] = {}
        """Of lanes whose states are lost, by key: how many were stacked."""
        self.rows: dict[str, dict[str, Any]] = {}
        self.damaged: dict[Location, str] = {}
        """Files whose rows are lost, and why."""
        self.files: dict[Location, tuple[str, ...]] = {}
        """The lanes of every whole file."""
        self.file_of: dict[str, Location] = {}
        """The file whose row of a lane counts: the newest, since a lane whose state got lost is trained again."""
        self.fresh: set[str] = set()
        """Lanes that were trained since: their rows are what was trained, whatever they say."""
        for path, found in self._packs():
            if isinstance(found, DamagedError):
                self.damaged[path] = str(found)
                continue
            self.files[path] = tuple(row["lane_id"] for row in found)
            for row in found:
                known = self.rows.get(row["lane_id"])
                if known is None or known["finished_at"] < row["finished_at"]:
                    self.rows[row["lane_id"]], self.file_of[row["lane_id"]] = row, path

    def _packs(self) -> list[tuple[Location, list[dict[str, Any]] | DamagedError]]:
        """Return the rows of every file, or what is wrong with it; read again where a driver moves files meanwhile."""

        def read(path: Location) -> list[dict[str, Any]] | DamagedError:
            try:
                return self._kept(rows_in(path))
            except DamagedError as error:
                return error

        for again in (*[True] * 9, False):
            paths = [*_files(self.folder), *(_files(self.superseded) if self.superseded else ())]
            try:
                with ThreadPoolExecutor(READERS) as readers:
                    return list(zip(paths, readers.map(read, paths), strict=True))
            except FolderError as error:
                if not (again and isinstance(error.__cause__, FileNotFoundError)):
                    raise
        raise AssertionError("unreachable")

    def _kept(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name not in self.left_out} for row in rows]

    def append(
        self, pack: Pack, ids: Sequence[str], results: Sequence[LaneResult], device: str, host: str
    ) -> list[dict[str, Any]]:
        """Write a pack's results, then count them as finished; return the new rows, in the pack's order."""
        now = datetime.now(UTC)
        rows = [
            vars(result)  # asdict would copy a thousand evaluations one by one
            | {
                "lane_id": key,
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
        for row in rows:
            check(row)  # what is written can be read
        path = self._write(rows, self.folder)
        kept = self._kept(rows)
        self.rows |= {row["lane_id"]: row for row in kept}
        self.file_of |= dict.fromkeys(self.files[path], path)
        self.fresh |= set(ids)
        return kept

    def take(self, path: Location) -> None:
        """Have a whole file of another ledger in this one too: its lanes are not trained again."""
        rows = rows_in(path)
        target = self._write(rows, self.folder)
        self.rows |= {row["lane_id"]: row for row in self._kept(rows)}
        self.file_of |= dict.fromkeys(self.files[target], target)

    def lose(self, key: str, why: str) -> None:
        """Count all rows of a lane's file as lost: one of them is not what its lane would have left."""
        path = self.file_of.get(key, self.folder)
        self.damaged.setdefault(path, f"{path}: {why}")
        for each in self.files.pop(path, (key,)):
            if self.file_of.get(each, path) == path:
                self.rows.pop(each, None)
                self.file_of.pop(each, None)

    def forget(self, key: str, whole_pack: bool) -> None:
        """Have a lane trained again whose state is lost; its old row stays on disk until the new one replaces it.

        `whole_pack`: with the lanes that were stacked with it.
        """
        row = self.rows.pop(key, None)
        if row is not None and whole_pack:
            self.forgotten[key] = row["lanes_in_pack"]

    def bring_back(self, current: Collection[str]) -> None:
        """Have the rows of current lanes lie in the folder that all readers look into."""
        self._sort(current, self.superseded, adding=True)

    def tidy(self, current: Collection[str]) -> None:
        """Have the folder hold one row of each current lane and nothing else, and `superseded` one of each other.

        What a file's rows become is written before the file goes: a kill leaves rows twice, which the next call mends.
        """
        self.bring_back(current)
        self._sort(current, self.folder)
        self._sort(current, self.superseded)

    def _sort(self, current: Collection[str], place: Location | None, adding: bool = False) -> None:
        """Put the rows in the files of a folder where they belong; `adding`: remove nothing where they were."""
        for path, keys in list(self.files.items()):
            if path.parent != place or place is None or self.superseded is None:
                continue
            counts = [key for key in keys if self.file_of.get(key) == path]
            moved = [key for key in counts if (key in current) != (place == self.folder)]
            if len(counts) == len(keys) and not moved:
                continue
            rows = {row["lane_id"]: row for row in rows_in(path)} if counts else {}
            other = self.superseded if place == self.folder else self.folder
            for target, group in ((other, moved), (place, [key for key in counts if key not in moved])):
                if group and not (adding and target == place):
                    self.file_of |= dict.fromkeys(group, self._write([rows[key] for key in group], target))
            if not adding:
                del self.files[path]
                path.unlink(missing_ok=True)

    def remove_damaged(self) -> None:
        """Remove the files that are damaged, when their lanes are there again."""
        for path in list(self.damaged):
            if NAME.fullmatch(path.name):  # and no folder of rows, of which only one row is not what it should be
                path.unlink(missing_ok=True)
                del self.damaged[path]

    def _write(self, rows: Sequence[Mapping[str, Any]], folder: Location) -> Location:
        """Write rows of one run and cycle as a file of a folder, named by its content, and return where."""
        content = LANES.encode(rows)
        path = folder / name_of(rows[0], content)
        folder.mkdir(parents=True, exist_ok=True)
        with Replacing(path) as partial:
            partial.write_bytes(content)
        self.files[path] = tuple(row["lane_id"] for row in rows)
        self.damaged.pop(path, None)
        return path


def name_of(row: Mapping[str, Any], content: bytes) -> str:
    """Return the name of a file of rows, of which one is given: cycle, run, and the sha256 of its bytes."""
    return f"cycle{row['cycle']:02d}-run{row['run']:02d}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"


def rows_in(path: Location) -> list[dict[str, Any]]:
    """Return the rows of a file, checked.

    Raises DamagedError where it is not what was written, FolderError where it cannot be read, is not one of the
    ledger's or is of another version.
    """
    content = tables.content_of(path)
    if path.stem.rpartition("-")[2] != hashlib.sha256(content).hexdigest()[:16]:
        raise DamagedError(f"{path} is damaged: its content does not fit its name")
    table = LANES.decode(content, path)
    try:
        rows: list[dict[str, Any]] = table.to_pylist()
        for row in rows:
            check(row)
        if {name_of(row, content) for row in rows} != {path.name} or len({r["lane_id"] for r in rows}) != len(rows):
            raise ValueError("its rows do not fit its name")
    except (ValueError, OverflowError) as error:  # a time that Python has no number for
        raise DamagedError(f"{path} is damaged: {error}") from error
    return rows


def _files(folder: Location) -> list[Location]:
    """Return a folder's files of rows. Raises FolderError if it cannot be listed or has a foreign one."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.name[0] != ".")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FolderError(f"{folder} cannot be read: {reason(error)}") from error
    for path in paths:
        if not NAME.fullmatch(path.name):
            raise FolderError(f"{path} is no file of scyc-sweep's: move it out of this folder")
    return paths


# What follows from a row.


def check(row: dict[str, Any]) -> None:
    """Raise ValueError, naming the rule, for a row that no training can have left; note where its score may begin.

    Accuracies are in percent and losses in nats. A lane's key is checked where its lane is known.
    """
    empty = [name for name in FILLED if row[name] is None]
    if empty:
        raise ValueError(f"a row has no {empty[0]}")
    for name, low, high in (("cycle", 0, 10**6), ("run", 0, 10**6), ("seed", 0, 2**32), ("lanes_in_pack", 1, 10**6)):
        if not low <= row[name] < high:
            raise ValueError(f"a row's {name} is {row[name]}")
    for name in ("max_lr", "wall_seconds"):
        if not (math.isfinite(row[name]) and row[name] >= 0) or (name == "max_lr" and row[name] == 0):
            raise ValueError(f"a row's {name} is {row[name]}")
    status, trained = row["status"], row["status"] != "ended"
    if status not in ("ok", "diverged", "ended"):
        raise ValueError(f"a row's status is {status!r}")
    if row["steps"] < trained or (trained and not 0 < row["percent_remaining"] <= 100):
        raise ValueError(f"a row has {row['steps']} steps and {row['percent_remaining']} percent remaining")
    for name in ("lane_id", *STATES):
        if row[name] and not DIGEST.fullmatch(row[name]):
            raise ValueError(f"a row's {name} is no digest")
    ok = status == "ok"
    if ok and not (row["lane_id"] and row["parent_state"] and row["state"]):
        raise ValueError("a row has no digest of its network")
    if not ok and any(row[name] is not None for name in ("state", "rewind_state", *SCORED)):
        raise ValueError(f"a row's status is {status}, but it has a score or a network")
    _check_score(row, ok)


def _check_score(row: dict[str, Any], ok: bool) -> None:
    """Raise ValueError where a row's score is not that of its evaluations.

    `scores_from` of a row is a step: its scored evaluation is the best of those after it, the earliest of equals.
    """
    steps, *kinds = (row[name] for name in EVALUATIONS)
    if any(values is None or len(values) != len(steps or ()) for values in (steps, *kinds)):
        raise ValueError("a row's evaluations are not equally many")
    if any(value is None for values in (steps, *kinds) for value in values):
        raise ValueError("a row lacks an evaluation")
    if any(low >= high for low, high in pairwise((0, *steps))) or (steps and steps[-1] > row["steps"]):
        raise ValueError("a row's evaluations are not in the order of its steps")
    val, test, loss = kinds
    if not all(0 <= value <= 100 for value in (*val, *test)) or not all(0 <= value < math.inf for value in loss):
        raise ValueError("a row's evaluations are out of range")
    row["scores_from"] = 0
    if not ok:
        return
    if row["best_step"] not in steps:
        raise ValueError("a row's best_step is none of its evaluations")
    at = steps.index(row["best_step"])
    if (row["val_accuracy"], row["test_accuracy"], row["val_loss"]) != (val[at], test[at], loss[at]):
        raise ValueError("a row's score is not that of its evaluation")
    if row["train_loss"] is None or not 0 <= row["train_loss"] < math.inf:
        raise ValueError(f"a row's train_loss is {row['train_loss']}")
    if max(val[at:]) > val[at]:
        raise ValueError("a row's score is not that of its best evaluation")
    better = [step for step, value in zip(steps[:at], val[:at], strict=True) if value >= val[at]]
    row["scores_from"] = max(better, default=0)
