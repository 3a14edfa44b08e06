"""Who holds a results folder: the driver's own file in it. In a bucket this file is also the lock: a lease.

A bucket has no locks of an operating system. So the holder of a lease writes the file anew every few seconds, with a
number that counts up. A lease whose number stands still is dead, and another driver may take the folder.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweep.errors import FolderError
from sweep.store.clock import now
from trainables.storage import SMALL, Location, read

DRIVER = ".driver.json"
"""The file's name."""
BEAT = 5.0
"""Seconds between two writes of a lease."""
SILENT = 20.0
"""Seconds without a write after which a lease is dead. No clocks are compared: who wants the folder watches so long."""
SETTLED = 1.0
"""Seconds to wait after the first write: of two drivers that come together, the last to write has the lease."""


def driver_record(command: Sequence[str]) -> dict[str, Any]:
    """Return what this process writes into the folder that it holds; `lease` is new each time."""
    return {
        "lease": uuid.uuid4().hex,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "machine": _machine(),
        "command": " ".join(command),
        "since": now(),
    }


def read_record(path: Location) -> dict[str, Any] | None:
    """Return the record in a driver's file, or None where there is none. Raises OSError where it cannot be read."""
    try:
        found = json.loads(read(path, SMALL))
    except (FileNotFoundError, ValueError):
        return None
    return {"lease": "", "beat": 0, **found} if isinstance(found, dict) else None


def lease_of(folder: Location) -> str:
    """Return the lease of a folder's driver; empty if nobody holds it. Raises OSError where it cannot be read."""
    found = read_record(folder / DRIVER)
    return str(found["lease"]) if found else ""


def in_use(folder: Location, record: dict[str, Any] | None) -> FolderError:
    """Return the error for a folder that another driver holds."""
    return FolderError(f"{folder} is in use by {_named(record)}; wait for it or stop it")


class Lease:
    """A driver's file in a bucket, written anew every few seconds while its holder lives."""

    def __init__(self, path: Location, record: dict[str, Any]) -> None:
        self.path, self.record = path, record | {"beat": 0}
        self.lost_to = ""
        """Who has taken the folder from this driver."""
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._keep, daemon=True)

    def take(self) -> None:
        """Take the lease if nobody has it, or if its holder is silent. Raises FolderError if another driver has it."""
        seen = read_record(self.path)
        until = time.monotonic() + SILENT
        while seen is not None and not _gone(seen) and time.monotonic() < until:
            time.sleep(BEAT / 5)
            again = read_record(self.path)
            if again is not None and (again["lease"], again["beat"]) != (seen["lease"], seen["beat"]):
                raise in_use(self.path.parent, again)
            seen = again
        self._write()
        time.sleep(SETTLED)
        self._look()
        self.check()
        self.thread.start()

    def check(self) -> None:
        """Raise FolderError if another driver has taken the folder, because this one was silent for too long."""
        if self.lost_to:
            raise FolderError(
                f"{self.path.parent} was taken over by {self.lost_to}; this sweep ends, all finished lanes are kept"
            )

    def release(self) -> None:
        """Remove the file, unless it is another driver's by now."""
        self.ended.set()
        self.thread.join()
        with suppress(OSError):
            self._look()
            if not self.lost_to:
                self.path.unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self.ended.wait(BEAT) and not self.lost_to:
            with suppress(OSError, ValueError):  # the storage cannot be reached: the next write may succeed
                self._look()
                self._write()

    def _look(self) -> None:
        """Note who has the folder if another driver does."""
        found = read_record(self.path)
        if found is not None and found["lease"] != self.record["lease"]:
            self.lost_to = _named(found)

    def _write(self) -> None:
        if not self.lost_to:
            self.record["beat"] += 1
            self.path.write_text(json.dumps(self.record))


def _gone(record: dict[str, Any]) -> bool:
    """Return whether a driver ran on this machine and has ended: then there is nothing to wait for."""
    if not _machine() or record.get("machine") != _machine():
        return False
    try:
        os.kill(int(record["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError):
        return False
    return False


def _machine() -> str:
    """Return an id of this machine since its last start, and of this container on it; empty if there is none.

    Names will not do: cloned machines share them, and a container in its host's network has the host's name.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _named(record: dict[str, Any] | None) -> str:
    if record is None or not {"pid", "host", "since", "command"} <= record.keys():
        return "another scyc-sweep"
    return f"process {record['pid']} on {record['host']} since {record['since']} ({record['command']})"
