"""A results folder: one driver at a time, and a manifest of what was run.

In: a spec. Out: paths, the manifest, a lock. Next: `sweep.run` fills the folder, `sweep.results` opens it.
"""

import importlib.metadata
import json
import os
import platform
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweep import lock, tables
from sweep.errors import FolderError
from sweep.spec import Spec
from trainables.spec import TRAINING_VERSION
from trainables.storage import SMALL, Location, Replacing, StorageError, locate, read, reason

PACKAGES = ("scyc-sweep", "torch", "torchvision", "ray", "optuna", "numpy", "pandas", "pyarrow", "safetensors")
COMMIT = "SCYC_SWEEP_COMMIT"
CONTENTS = {
    "data": "the content of the data set",
    "model_source": "the code of --model",
    "training_version": "the training code of scyc-sweep",
}
"""What an identity has besides flags."""
FOLLOW = {
    "schedule": ("warmup_steps", "milestones", "cycle_steps"),
    "model": ("model_source", "hidden", "batch_norm"),
    "dataset": ("data",),
}
"""What differs because something else does."""


class Folder:
    """Where one sweep's results lie."""

    check_lock: Callable[[], None]
    """While it is locked: raises FolderError once another driver has it."""

    def __init__(self, path: Location) -> None:
        self.path = path
        self.trials = path / "trials"
        self.states = path / "states"
        self.oracle = path / "oracle.parquet"
        self.curves, self.trend = path / "curves.parquet", path / "trend.parquet"
        self.comparison = path / "comparison.parquet"
        self.picture = path / "trajectory.png"
        self.controls = path / "controls"
        """The same oracle with other pruning, each a results folder of its own."""
        self.trained, self.confirmed = path / "trained", path / "confirmed"
        """What `compare --train` and `--confirm` trained, results folders too."""
        self.verdicts = path / "verdicts.parquet"
        self.tuning = path / "tuning.parquet"
        self.chain = path / "chain.parquet"
        self.fit = path / "fit.parquet"
        self.schedules, self.rates, self.runs = (path / f"{name}.parquet" for name in ("schedules", "rates", "runs"))
        self.tuning_picture, self.fit_picture = path / "tuning.png", path / "fit.png"
        self.schedules_picture = path / "schedules.png"
        self.histograms, self.tails = path / "histograms.parquet", path / "tails.parquet"
        self.controls_picture, self.leads_picture = path / "controls.png", path / "leads.png"
        self.gaps_picture = path / "gaps.png"
        self.histograms_picture = path / "histograms.png"
        self.journal = path / "optuna-journal.log"
        self._manifest = path / "manifest.json"

    @contextmanager
    def locked(self, command: Sequence[str]) -> Iterator[None]:
        """Be the folder's only driver for the length of a block; a folder that stays empty is taken away again.

        Raises FolderError if the folder cannot be written, or naming the other driver if there is one.
        """
        missing: list[Path] = []
        if isinstance(self.path, Path):
            missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            with lock.held(self.path, command) as self.check_lock:
                yield
        finally:
            if missing and not self._manifest.exists():
                with suppress(OSError):  # not empty, then, or taken away already
                    (missing[0] / lock.LOCK).unlink(missing_ok=True)
                    for path in missing:
                        path.rmdir()

    def foreign(self) -> bool:
        """Whether the folder holds anything besides its lock."""
        return any(path.name not in (lock.LOCK, lock.DRIVER) for path in self.path.iterdir())

    def manifest(self) -> dict[str, Any] | None:
        """Return the manifest, or None where there is none yet. Raises FolderError if it is foreign or newer."""
        try:
            manifest = json.loads(read(self._manifest, SMALL))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FolderError(f"{self._manifest} cannot be read: {reason(error)}") from error
        except ValueError as error:
            raise FolderError(f"{self._manifest} is damaged: {error}") from error
        if not isinstance(manifest, dict) or "schema_version" not in manifest:
            raise FolderError(f"{self._manifest} is not a manifest of scyc-sweep")
        tables.check_version(manifest["schema_version"], self._manifest)
        return manifest

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest."""
        with Replacing(self._manifest) as partial:
            partial.write_text(json.dumps(manifest, indent=2) + "\n")


def place(folder: Location | str) -> Location:
    """Return where a results folder lies. Raises FolderError for a URI that is none."""
    try:
        return locate(folder)
    except StorageError as error:
        raise FolderError(str(error)) from error


def identity(spec: Spec, fingerprint: str) -> dict[str, Any]:
    """Return what determines the lanes of a folder; a folder holds lanes of one identity only."""
    training = json.loads(json.dumps(asdict(spec.training())))  # as it reads back: tuples become lists
    return {**training, "seed": spec.seed, "data": fingerprint, "training_version": TRAINING_VERSION}


def check_identity(
    folder: Folder, found: dict[str, Any], wanted: dict[str, Any], advice: str = "give another --out"
) -> None:
    """Raise FolderError, naming what differs, if a folder's lanes were determined otherwise."""
    different = list(_differences(_flat(found), _flat(wanted)))
    if different:
        raise FolderError(f"{folder.path} holds lanes of another experiment ({'; '.join(different)}); {advice}")


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """Yield what two identities differ in: flags with their values as they are typed, and what has no flag."""
    different = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    follow = {each for name in different for each in FOLLOW.get(name, ())}
    for name in different:
        if name in follow:
            continue
        if name in CONTENTS:
            yield f"{CONTENTS[name]} has changed since"
        else:
            yield f"--{name.replace('_', '-')} was {_typed(found.get(name))}, now {_typed(wanted.get(name))}"


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity with the parts of its schedule beside all else, as there are flags for them."""
    schedule = identity.get("schedule")
    parts = dict(schedule) if isinstance(schedule, dict) else {"name": schedule}
    return {**identity, "schedule": parts.pop("name", None), **parts}


def check_kind(folder: Folder, manifest: dict[str, Any] | None, kind: str) -> None:
    """Raise FolderError if a folder holds results of another kind than `kind`."""
    if manifest is not None and manifest.get("kind") != kind:
        other = manifest.get("kind", "sweep of an older version")
        other = {"schedules": "comparison of schedules", "trained": "trained comparison"}.get(other, other)
        command = {"tuning": "tune", "trained": "compare"}.get(kind, kind)
        raise FolderError(f"{folder.path} holds an earlier {other}, not what `{command}` leaves: give another folder")


def new_manifest(
    kind: str, spec: Spec, fingerprint: str, command: Sequence[str], found: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the manifest of a session that begins or goes on: whole spec, versions, commit, hardware.

    `kind` is `oracle`, `tuning`, `schedules` or `trained`. `found` is the manifest of the session before, if there was
    one: what it says of itself is kept under `earlier_sessions`, since a night's lanes may come from several machines
    and versions.
    """
    session = {
        "command": shlex.join(command),
        "started_at": lock.now(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "git_commit": git_commit(),
        "hardware": hardware(),
        "threads": spec.cpus_per_worker,
    }
    earlier = [*found["earlier_sessions"], {name: found[name] for name in session}] if found else []
    return {
        "schema_version": tables.SCHEMA_VERSION,
        "kind": kind,
        "spec": spec.model_dump(mode="json"),
        "identity": identity(spec, fingerprint),
        "lanes_per_pack": found["lanes_per_pack"] if found else None,
        **session,
        "finished_at": None,
        "ended_early": [],
        "earlier_sessions": earlier,
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
