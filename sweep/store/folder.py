"""A results folder: one driver at a time, and a manifest of what was run.

In: settings. Out: paths, the manifest, a lock. Next: `sweep.experiments` fills the folder, and opens it.
"""

import importlib.metadata
import json
import os
import platform
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from sweep.config.settings import Settings
from sweep.errors import FolderError
from sweep.store import clock, lease, lock, tables
from sweep.store.manifest import read_manifest, write_manifest
from trainables.spec import TRAINING_VERSION, ScheduleName
from trainables.storage import Location, StorageError, locate, reason, what_is

PACKAGES = ("scyc-sweep", "torch", "torchvision", "ray", "optuna", "numpy", "pandas", "pyarrow", "safetensors")
COMMIT = "SCYC_SWEEP_COMMIT"
FOLDERS = ("lanes", "superseded", "states", "controls", "validation", "validation-held-out")
"""What is a folder within a results folder; all else is a file."""
OTHER_FILES = (lock.LOCK, lease.DRIVER, *(f"{schedule}.toml" for schedule in ("scyc", *get_args(ScheduleName))))
"""What a results folder has besides what `Folder` names. A link at the journal's lock is how Optuna locks."""
OURS = {"lanes": r"(?s).*\.parquet", "superseded": r"(?s).*\.parquet", "states": r"[0-9a-f]{64}\.safetensors"}
"""Which files in these folders are ours."""
PARTIAL = re.compile(r"\..+-[0-9a-f]{32}\.partial")
"""What a killed driver leaves of a file that it was writing."""
FOLLOW = {"schedule": ("warmup_steps", "milestones", "cycle_steps"), "model": ("hidden", "batch_norm")}
"""What differs because something else does."""
CODE = ("model_source", "model_files")


class Folder:
    """Where one sweep's results lie."""

    check_lock: Callable[[], None]
    """While it is locked: raises FolderError once another driver has it."""

    def __init__(self, path: Location) -> None:
        self.path = path
        self.lanes = path / "lanes"
        self.superseded = path / "superseded"
        """Lanes that the tables do not tell of: other runs, another grid or another choice took their place."""
        self.states = path / "states"
        self.oracle = path / "oracle.parquet"
        self.curves, self.trend = path / "curves.parquet", path / "trend.parquet"
        self.comparison = path / "comparison.parquet"
        self.picture = path / "trajectory.png"
        self.controls = path / "controls"
        """The same oracle with other pruning, each a results folder of its own."""
        self.validation, self.held_out_validation = path / "validation", path / "validation-held-out"
        """What `compare --train` and `--confirm` trained, results folders too."""
        self.verdicts = path / "verdicts.parquet"
        self.tuning = path / "tuning.parquet"
        self.chain = path / "chain.parquet"
        self.fit = path / "fit.parquet"
        self.schedules, self.rates, self.runs = (path / f"{name}.parquet" for name in ("schedules", "rates", "runs"))
        self.tuning_picture, self.fit_picture = path / "tuning.png", path / "fit.png"
        self.schedules_picture = path / "schedules.png"
        self.histograms, self.tails = path / "histograms.parquet", path / "tails.parquet"
        self.controls_picture, self.shortfalls_picture = path / "controls.png", path / "shortfalls.png"
        self.gaps_picture = path / "gaps.png"
        self.histograms_picture = path / "histograms.png"
        self.journal = path / "optuna-journal.log"
        self._manifest = path / "manifest.json"

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
        named = {path.name for name, path in vars(self).items() if isinstance(path, Path) and name != "path"}
        for entry in _entries(path):
            if entry.name in named.union(FOLDERS, OTHER_FILES):
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
        return read_manifest(self._manifest)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest."""
        write_manifest(self._manifest, manifest)


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


def place(folder: Location | str) -> Location:
    """Return where a results folder lies. Raises FolderError for a URI that is none."""
    try:
        return locate(folder)
    except StorageError as error:
        raise FolderError(str(error)) from error


def identity(settings: Settings, fingerprint: str) -> dict[str, Any]:
    """Return what determines the lanes of a folder; a folder holds lanes of one identity only."""
    training = json.loads(json.dumps(asdict(settings.training())))  # as it reads back: tuples become lists
    return {
        **training,
        "model_files": settings.model_files,
        "seed": settings.seed,
        "data": fingerprint,
        "training_version": TRAINING_VERSION,
    }


def check_identity(
    folder: Folder, found: dict[str, Any], wanted: dict[str, Any], advice: str = "give another --out"
) -> None:
    """Raise FolderError, naming what differs, if a folder's lanes were determined otherwise."""
    different = {name for name in (*found, *wanted) if found.get(name) != wanted.get(name)}
    changes = []
    if different & set(CODE) and "model" not in different:
        changes.append(_changed_files(found.get("model_files") or {}, wanted.get("model_files") or {}))
    if "data" in different and "dataset" not in different:
        changes.append(f"the data of {wanted['dataset']} have changed")
    settings = list(_differences(_flat(found), _flat(wanted)))
    if settings:
        what = "; ".join(settings + changes)
        raise FolderError(f"{folder.path} holds lanes of another experiment ({what}); {advice}")
    if changes:
        raise FolderError(f"{' and '.join(changes)} since {folder.path} was begun; {advice}")


def _changed_files(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Return which files of a user's network have changed; if all are as they were, which are new or gone."""
    both = [name for name in found if name in wanted and found[name] != wanted[name]]
    names = sorted(both or found.keys() ^ wanted.keys())
    return f"{', '.join(names) or 'the network'} {'have' if len(names) > 1 else 'has'} changed"


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """Yield what two identities differ in: flags with their values as they are typed, and what has no flag."""
    different = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    follow = {each for name in different for each in FOLLOW.get(name, ())}
    for name in different:
        if name in (*follow, *CODE, "data"):
            continue
        if name == "training_version":
            yield "the training code of scyc-sweep has changed since"
        else:
            yield f"--{name.replace('_', '-')} was {_typed(found.get(name))}, now {_typed(wanted.get(name))}"


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity with the parts of its schedule beside all else, as there are flags for them."""
    schedule = identity.get("schedule")
    parts = dict(schedule) if isinstance(schedule, dict) else {"name": schedule}
    return {**identity, "schedule": parts.pop("name", None), **parts}


def check_kind(folder: Folder, manifest: dict[str, Any] | None, kind: str) -> None:
    """Raise FolderError if a folder holds results of another kind than `kind`."""
    if manifest is not None and manifest["kind"] != kind:
        raise FolderError(
            f"{folder.path} holds the results of `{manifest['kind']}`, not of `{kind}`: give another folder"
        )


def new_manifest(
    kind: str, settings: Settings, fingerprint: str, command: Sequence[str], found: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the manifest of a session that begins or goes on: whole settings, versions, commit, hardware.

    `kind` is `oracle`, `tuning`, `schedules` or `trained`. `found` is the manifest of the session before, if there was
    one: what it says of itself is kept under `earlier_sessions`, since a night's lanes may come from several machines
    and versions.
    """
    session = {
        # A name that is no text is shown so.
        "command": shlex.join(command).encode(errors="backslashreplace").decode(),
        "started_at": clock.now(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "git_commit": git_commit(),
        "hardware": hardware(),
        "threads": settings.cpus_per_worker,
    }
    earlier = [*found["earlier_sessions"], {name: found[name] for name in session}] if found else []
    return {
        "schema_version": tables.SCHEMA_VERSION,
        "kind": kind,
        "settings": settings.model_dump(mode="json"),
        "identity": identity(settings, fingerprint),
        "lanes_per_pack": found["lanes_per_pack"] if found else None,
        "lanes": found["lanes"] if found else [],
        **session,
        "finished_at": None,
        "ended_early": [],
        "earlier_sessions": earlier,
        "given": None,
        "plans": None,
    }


def hardware() -> dict[str, Any]:
    """Return this machine's processor, cores, memory and GPUs, as far as they can be told."""
    import torch

    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {"host": socket.gethostname(), "cpu": cpu, "cores": cores(), "memory_bytes": memory, "gpus": gpus}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, with + where files differ from it.

    In a job that brought the code along it is what that was submitted from.
    """
    if COMMIT in os.environ:
        return os.environ[COMMIT]
    here = Path(__file__).parent
    try:
        describe = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        tracked = subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=here, capture_output=True)
        if tracked.returncode:  # installed: the folder may lie in some other checkout
            return None
        return subprocess.run(describe, cwd=here, capture_output=True, text=True).stdout.strip() or None
    except OSError:
        return None


def _typed(value: object) -> str:
    """Return a value as it is typed behind its flag."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value[:12] if len(value) == 64 else value  # a digest, or a name
    return "not given" if value is None else json.dumps(value)
