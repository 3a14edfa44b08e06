"""Finished lanes on disk, one Parquet file a pack. In: a pack and its results. Out: rows, by the lanes' keys.

Only the driver writes here. A lane counts as finished once its file is complete under its name, so a kill loses nothing
that counted. Next: the strategy reads the rows and goes on.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from sweep.errors import DamagedError, FolderError
from sweep.store.lanes import EVALUATIONS, LANES, check
from sweep.store.tables import content_of
from trainables.spec import LaneResult, Pack
from trainables.storage import Location, Replacing, reason

READERS = 16
"""Files that are read at the same time: a file in a bucket takes tens of milliseconds, nearly all of it waiting."""
NAME = re.compile(r"cycle\d{2,}-run\d{2,}-[0-9a-f]{16}\.parquet")
"""Name of a file of rows."""


class Ledger:
    """The finished lanes of a results folder, by lane_id.

    A file is named after its content, so that a changed byte is noticed. The rows of a damaged file count as lost.
    """

    def __init__(self, folder: Location, evaluations: bool = True, superseded: Location | None = None) -> None:
        """Read all rows of `folder`, and of `superseded`, the folder of lanes that no table counts any more.

        `evaluations` False: the rows in memory have no `eval_` columns, which no sweep decides by and which take nine
        tenths of a row's memory. Raises FolderError for a folder or file that cannot be read, is not one of the
        ledger's, or is of another version.
        """
        self.folder, self.superseded = folder, superseded
        self.left_out = () if evaluations else EVALUATIONS
        self.forgotten: dict[str, int] = {}
        """Lanes whose states are lost and that are to be trained again: key, and the lanes in the pack of its row."""
        self.rows: dict[str, dict[str, Any]] = {}
        self.damaged: dict[Location, str] = {}
        """Damaged files, whose rows are lost, and what is wrong with each."""
        self.files: dict[Location, tuple[str, ...]] = {}
        """The keys of the lanes of each undamaged file."""
        self.file_of: dict[str, Location] = {}
        """The file whose row of a lane counts. Of several the newest: a lane whose state was lost is trained again."""
        self.fresh: set[str] = set()
        """Lanes whose rows this object has written: they are right, and need no check."""
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
        """Return the rows of each file, or what is wrong with it. Read again if a driver moves files meanwhile."""

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
            check(row)  # so that what is written can be read
        path = self._write(rows, self.folder)
        kept = self._kept(rows)
        self.rows |= {row["lane_id"]: row for row in kept}
        self.file_of |= dict.fromkeys(self.files[path], path)
        self.fresh |= set(ids)
        return kept

    def take(self, path: Location) -> None:
        """Copy a whole file of another ledger into this one: its lanes are not trained again."""
        rows = rows_in(path)
        target = self._write(rows, self.folder)
        self.rows |= {row["lane_id"]: row for row in self._kept(rows)}
        self.file_of |= dict.fromkeys(self.files[target], target)

    def lose(self, key: str, why: str) -> None:
        """Count all rows of a lane's file as lost, because the lane's row is wrong; `why` says in what."""
        path = self.file_of.get(key, self.folder)
        self.damaged.setdefault(path, f"{path}: {why}")
        for each in self.files.pop(path, (key,)):
            if self.file_of.get(each, path) == path:
                self.rows.pop(each, None)
                self.file_of.pop(each, None)

    def forget(self, key: str, whole_pack: bool) -> None:
        """Have a lane whose state is lost trained again. Its old row stays on disk until the new row replaces it.

        `whole_pack`: together with the lanes that were in its pack.
        """
        row = self.rows.pop(key, None)
        if row is not None and whole_pack:
            self.forgotten[key] = row["lanes_in_pack"]

    def bring_back(self, current: Collection[str]) -> None:
        """Copy the rows of current lanes from `superseded` into the folder, where all readers look."""
        self._sort(current, self.superseded, adding=True)

    def tidy(self, current: Collection[str]) -> None:
        """Move rows, so that the folder has one row of each current lane and `superseded` one of each other lane.

        New files are written before old ones are removed: a kill leaves some rows twice, which the next call mends.
        """
        self.bring_back(current)
        self._sort(current, self.folder)
        self._sort(current, self.superseded)

    def _sort(self, current: Collection[str], folder: Location | None, adding: bool = False) -> None:
        """Put the rows in a folder's files where they belong; with `adding`, no file is removed."""
        for path, keys in list(self.files.items()):
            if path.parent != folder or folder is None or self.superseded is None:
                continue
            counts = [key for key in keys if self.file_of.get(key) == path]
            moved = [key for key in counts if (key in current) != (folder == self.folder)]
            if len(counts) == len(keys) and not moved:
                continue
            rows = {row["lane_id"]: row for row in rows_in(path)} if counts else {}
            other = self.superseded if folder == self.folder else self.folder
            for target, group in ((other, moved), (folder, [key for key in counts if key not in moved])):
                if group and not (adding and target == folder):
                    self.file_of |= dict.fromkeys(group, self._write([rows[key] for key in group], target))
            if not adding:
                del self.files[path]
                path.unlink(missing_ok=True)

    def remove_damaged(self) -> None:
        """Remove the damaged files. Their lanes must have been trained again."""
        for path in list(self.damaged):
            if NAME.fullmatch(path.name):  # not the folder itself, which `lose` notes for a lane without a file
                path.unlink(missing_ok=True)
                del self.damaged[path]

    def _write(self, rows: Sequence[Mapping[str, Any]], folder: Location) -> Location:
        """Write rows of one run and cycle as a file of a folder, named after its content; return its location."""
        content = LANES.encode(rows)
        path = folder / name_of(rows[0], content)
        folder.mkdir(parents=True, exist_ok=True)
        with Replacing(path) as partial:
            partial.write_bytes(content)
        self.files[path] = tuple(row["lane_id"] for row in rows)
        self.damaged.pop(path, None)
        return path


def name_of(row: Mapping[str, Any], content: bytes) -> str:
    """Return the name of a file of rows: cycle and run, as one of its rows has them, and the sha256 of its bytes."""
    return f"cycle{row['cycle']:02d}-run{row['run']:02d}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"


def rows_in(path: Location) -> list[dict[str, Any]]:
    """Return the rows of a file, checked.

    Raises DamagedError where the file has changed since it was written, FolderError where it cannot be read, is not one
    of the ledger's, or is of another version.
    """
    content = content_of(path)
    if path.stem.rpartition("-")[2] != hashlib.sha256(content).hexdigest()[:16]:
        raise DamagedError(f"{path} is damaged: its content does not match its name")
    table = LANES.decode(content, path)
    try:
        rows: list[dict[str, Any]] = table.to_pylist()
        for row in rows:
            check(row)
        if {name_of(row, content) for row in rows} != {path.name} or len({r["lane_id"] for r in rows}) != len(rows):
            raise ValueError("its rows do not match its name")
    except (ValueError, OverflowError) as error:  # a time out of Python's range
        raise DamagedError(f"{path} is damaged: {error}") from error
    return rows


def _files(folder: Location) -> list[Location]:
    """Return a folder's files of rows. Raises FolderError if it cannot be listed, or has a file of another origin."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.name[0] != ".")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FolderError(f"{folder} cannot be read: {reason(error)}") from error
    for path in paths:
        if not NAME.fullmatch(path.name):
            raise FolderError(f"{path} was not written by scyc-sweep: move it out of this folder")
    return paths
