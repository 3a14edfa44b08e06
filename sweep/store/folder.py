"""A results folder: its paths, its manifest, and who may write to it.

In: a location. Out: paths, the manifest, a lock. Next: `sweep.experiments` fills the folder and opens it.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sweep.errors import FolderError
from sweep.store import lease, lock, manifest
from trainables.storage import Location, StorageError, locate, reason, what_is

RELATED = ("controls/*", "validation", "validation-held-out")
"""Results folders within an oracle's: its controls, and trajectories trained on its runs and on held-out seeds."""
FOLDERS = ("lanes", "superseded", "states", *(name.partition("/")[0] for name in RELATED))
"""What is a folder within a results folder; all else is a file."""
JOURNAL = "optuna-journal.log"
FILES = re.compile(r"(?s).*\.(parquet|png|toml|json)|" + "|".join(map(re.escape, (JOURNAL, lock.LOCK, lease.DRIVER))))
"""Files of a results folder. A link at the journal's lock is how Optuna locks."""
OURS = {"lanes": r"(?s).*\.parquet", "superseded": r"(?s).*\.parquet", "states": r"[0-9a-f]{64}\.safetensors"}
"""Which files in these folders are ours."""
PARTIAL = re.compile(r"\..+-[0-9a-f]{32}\.partial")
"""What a killed driver leaves of a file that it was writing."""


class Folder:
    """Where one sweep's results lie."""

    check_lock: Callable[[], None]
    """While it is locked: raises FolderError once another driver has it."""

    def __init__(self, path: Location) -> None:
        self.path = path
        self.lanes = path / "lanes"
        self.superseded = path / "superseded"
        """Lanes that the tables do not use: other runs, another grid or another choice took their place."""
        self.states = path / "states"
        self.controls = path / "controls"
        """The same oracle with other pruning, each a results folder of its own."""
        self.validation, self.held_out_validation = path / "validation", path / "validation-held-out"
        """What `compare --train` and `--confirm` trained, results folders too."""
        self.journal = path / JOURNAL
        self._manifest = path / manifest.NAME

    @contextmanager
    def locked(self, command: Sequence[str]) -> Iterator[None]:
        """Be the folder's only driver for the length of a block; a folder that stays empty is taken away again.

        Raises FolderError if the folder cannot be written, or naming the other driver if there is one.
        """
        self.check_plain()
        missing: list[Path] = []
        if isinstance(self.path, Path):
            missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            with lock.held(self.path, command) as self.check_lock:
                try:
                    yield
                finally:
                    if missing and not self._manifest.exists():
                        (missing[0] / lock.LOCK).unlink(missing_ok=True)  # its holder alone may, and while it holds it
        finally:
            with suppress(OSError):  # not empty, or taken away already
                for path in missing:
                    path.rmdir()

    def check_plain(self) -> None:
        """Raise FolderError where a link, a pipe or the like stands under a name that is ours.

        Results are files and folders of their own, so that nothing outside is written, locked or deleted, and nothing
        is waited for. The folder itself may be a link. What is called otherwise is not ours and may be anything.
        """
        if not isinstance(self.path, Path):
            return
        try:
            self._check_plain(self.path)
            controls = list(_entries(self.path / "controls"))
            for entry in controls:
                if not entry.is_file(follow_symlinks=False):
                    _check_kind(entry, folder=True)
            for within in (self.path / "validation", self.path / "validation-held-out", *map(Path, controls)):
                self._check_plain(within)
        except OSError as error:
            raise FolderError(f"{self.path} cannot be read: {reason(error)}") from error

    def _check_plain(self, path: Path) -> None:
        for entry in _entries(path):
            if entry.name in FOLDERS or FILES.fullmatch(entry.name):
                _check_kind(entry, entry.name in FOLDERS)
        for name, ours in OURS.items():
            for entry in _entries(path / name):
                if re.fullmatch(ours, entry.name):
                    _check_kind(entry, folder=False)

    def foreign(self) -> bool:
        """Whether the folder holds anything besides its lock, and what a killed driver has half written."""
        return any(
            path.name not in (lock.LOCK, lease.DRIVER) and not PARTIAL.fullmatch(path.name)
            for path in self.path.iterdir()
        )

    def manifest(self) -> dict[str, Any] | None:
        """Return the manifest, or None where there is none yet; see `sweep.store.manifest`.

        Raises FolderError if it cannot be read, is damaged, foreign or of another version, and where the folder is not
        plain.
        """
        self.check_plain()
        return manifest.read_manifest(self._manifest)

    def write_manifest(self, content: dict[str, Any]) -> None:
        """Replace the manifest."""
        manifest.write_manifest(self._manifest, content)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Iterate over what is in a folder; a folder that is not there, or is none, has nothing in it."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        yield from entries


def _check_kind(entry: os.DirEntry[str], folder: bool) -> None:
    """Raise FolderError if an entry is neither what it must be nor gone: a sweep may go on meanwhile."""
    if entry.is_dir(follow_symlinks=False) if folder else entry.is_file(follow_symlinks=False):
        return
    with suppress(FileNotFoundError):
        found, wanted = what_is(entry.stat(follow_symlinks=False).st_mode), "a folder" if folder else "a file"
        raise FolderError(f"{entry.path} is {found}, not {wanted}: nothing is read or written there; remove it")


def location_of(folder: Location | str) -> Location:
    """Return where a results folder lies. Raises FolderError for a URI that is none."""
    try:
        return locate(folder)
    except StorageError as error:
        raise FolderError(str(error)) from error
