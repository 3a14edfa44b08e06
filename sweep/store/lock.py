"""A results folder has one driver at a time. In: a folder. Out: a context that holds it, or an error: who holds it.

On a file system this is a lock of the operating system, which ends with its process, on NFS with its host. In a bucket
it is a lease (`sweep.store.lease`).
"""

import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sweep.errors import FolderError
from sweep.store.lease import DRIVER, Lease, driver_record, in_use, read_record
from trainables.storage import Location, Remote, Replacing, locate

LOCK = ".lock"
SUBMISSION = "SCYC_SWEEP_SUBMISSION"
"""In the environment of a submitted job: the path of the submission's record, which the job must see."""


@contextmanager
def held(folder: Location, command: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Be the only driver of a folder for a block. Yields a function that raises FolderError once this is lost.

    Raises FolderError if the folder cannot be written, or if there is another driver, whom the message names.
    """
    _check_submission()
    path, record = folder / DRIVER, driver_record(command)
    try:
        if isinstance(folder, Remote):
            lease = Lease(path, record)
            lease.take()
            release, check = lease.release, lease.check
        else:
            assert isinstance(path, Path)
            lock = _locked(folder)
            with Replacing(path) as partial:  # not in place: the name may be a link, or one of a file with several
                partial.write_text(json.dumps(record))
            release, check = lock.release, lambda: None
    except Timeout:
        raise in_use(folder, _seen(path)) from None
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error}") from error
    try:
        yield check
    finally:
        if isinstance(path, Path):
            with suppress(OSError):  # it only says who holds the folder; whether somebody does, the lock says
                path.unlink()
        release()


def _locked(folder: Path) -> FileLock:
    """Return the folder's lock, taken. Raises Timeout while another process has it."""
    lock = FileLock(folder / LOCK)
    for _ in range(3):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a driver that trained nothing has just removed the folder
            lock.acquire(timeout=0)
            return lock
    lock.acquire(timeout=0)
    return lock


def _seen(path: Location) -> dict[str, Any] | None:
    """Return the record of who holds a folder, if it can be read."""
    with suppress(OSError):
        return read_record(path)
    return None


def _check_submission() -> None:
    """Raise FolderError in a submitted job that does not see its record: it has other storage than who submitted it."""
    record = os.environ.get(SUBMISSION)
    if record and not locate(record).exists():
        raise FolderError(
            f"{socket.gethostname()} does not see {record}, which was written where the job was submitted: give submit "
            "a --storage that both share, or s3:// or gs://"
        )
