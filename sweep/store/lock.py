"""A results folder has one driver at a time. In: a folder. Out: a context that holds it, or who does, as an error.

On a file system the operating system's lock says who; it ends with its process, on NFS with its host. A bucket has no
locks: there a lease does, a small file that its holder writes anew every few seconds.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sweep.errors import FolderError
from trainables.storage import SMALL, Location, Remote, Replacing, locate, read

LOCK, DRIVER = ".lock", ".driver.json"
SUBMISSION = "SCYC_SWEEP_SUBMISSION"
"""In the environment of a job: where the record of its submission lies, which it must see."""
BEAT = 5.0
"""Seconds between two beats of a lease."""
SILENT = 20.0
"""Seconds without one after which a lease is dead. Clocks are not compared: who comes watches for as long."""
SETTLED = 1.0
"""Seconds after which of two that came together the one whose file stayed has the lease."""


@contextmanager
def held(folder: Location, command: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Be the only driver of a folder for the length of a block; yields what raises FolderError once that is lost.

    Raises FolderError if the folder cannot be written, or naming the other driver if there is one.
    """
    _check_arrived()
    # The lease tells this holding of the folder from any other; see `lease_of`.
    lease = uuid.uuid4().hex
    driver = {
        "lease": lease,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "machine": _machine(),
        "command": " ".join(command),
        "since": now(),
    }
    path = folder / DRIVER
    try:
        if isinstance(folder, Remote):
            kept = _Lease(path, driver)
            kept.take()
            release, check = kept.release, kept.check
        else:
            assert isinstance(path, Path)
            lock = _locked(folder)
            with Replacing(path) as partial:  # in place it could be written through a link, or into several files
                partial.write_text(json.dumps(driver))
            release, check = lock.release, lambda: None
    except Timeout:
        raise FolderError(f"{folder} is in use by {_named(_seen(path))}; wait for it or stop it") from None
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error}") from error
    try:
        yield check
    finally:
        if isinstance(path, Path):
            with suppress(OSError):  # it tells who, and the lock tells whether
                path.unlink()
        release()


def _locked(folder: Path) -> FileLock:
    """Return the folder's lock, taken. Raises Timeout while another has it."""
    lock = FileLock(folder / LOCK)
    for _ in range(3):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a holder that never began took the folder away just now
            lock.acquire(timeout=0)
            return lock
    lock.acquire(timeout=0)
    return lock


def _seen(path: Location) -> dict[str, Any] | None:
    """Return who holds a folder, as far as it can be read."""
    with suppress(OSError):
        return _read(path)
    return None


def _check_arrived() -> None:
    """In a job: raise FolderError if it does not see its record, as its storage is not that of who submitted it."""
    record = os.environ.get(SUBMISSION)
    if record and not locate(record).exists():
        raise FolderError(
            f"{socket.gethostname()} does not see {record}, which was written where the job was submitted: give submit "
            "a --storage that both share, or s3:// or gs://"
        )


class _Lease:
    """A file in a bucket that counts on while its holder lives."""

    def __init__(self, path: Location, driver: dict[str, Any]) -> None:
        self.path, self.content = path, driver | {"beat": 0}
        self.lost = ""
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def take(self) -> None:
        """Take the lease when nobody has it, or its holder is silent. Raises FolderError."""
        seen = _read(self.path)
        until = time.monotonic() + SILENT
        while seen is not None and not _gone(seen) and time.monotonic() < until:
            time.sleep(BEAT / 5)
            again = _read(self.path)
            if again is not None and (again["lease"], again["beat"]) != (seen["lease"], seen["beat"]):
                raise FolderError(f"{self.path.parent} is in use by {_named(again)}; wait for it or stop it")
            seen = again
        self._write()
        time.sleep(SETTLED)
        self._look()
        self.check()
        self.thread.start()

    def check(self) -> None:
        """Raise FolderError if another driver has taken the folder, as this one was silent for too long."""
        if self.lost:
            raise FolderError(f"{self.path.parent} was taken over by {self.lost}; this sweep ends, all it has is kept")

    def release(self) -> None:
        self.ended.set()
        self.thread.join()
        with suppress(OSError):
            self._look()
            if not self.lost:
                self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self.ended.wait(BEAT) and not self.lost:
            with suppress(OSError, ValueError):  # an outage: the next beat may come through
                self._look()
                self._write()

    def _look(self) -> None:
        """Take note if the file is another's."""
        found = _read(self.path)
        if found is not None and found["lease"] != self.content["lease"]:
            self.lost = _named(found)

    def _write(self) -> None:
        if not self.lost:
            self.content["beat"] += 1
            self.path.write_text(json.dumps(self.content))


def lease_of(folder: Location) -> str:
    """Return what tells who holds a folder now; nothing if nobody does. Raises OSError where it cannot be read."""
    found = _read(folder / DRIVER)
    return str(found["lease"]) if found else ""


def _read(path: Location) -> dict[str, Any] | None:
    """Return who holds a folder, or None where nobody says so."""
    try:
        found = json.loads(read(path, SMALL))
    except (FileNotFoundError, ValueError):
        return None
    return {"lease": "", "beat": 0, **found} if isinstance(found, dict) else None


def _gone(driver: dict[str, Any]) -> bool:
    """Whether a driver was on this host and is no more: then there is nothing to wait for."""
    if not _machine() or driver.get("machine") != _machine():
        return False
    try:
        os.kill(int(driver["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError):
        return False
    return False


def _machine() -> str:
    """Return what tells this machine, since it was started, from all others, and its containers; nothing if unknown.

    Names do not: cloned machines share them, and containers with the network of their host have its.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _named(driver: dict[str, Any] | None) -> str:
    if driver is None or not {"pid", "host", "since", "command"} <= driver.keys():
        return "another scyc-sweep"
    return f"process {driver['pid']} on {driver['host']} since {driver['since']} ({driver['command']})"


def now() -> str:
    """Return the time as a manifest states it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
