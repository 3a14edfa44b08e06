"""Whether all machines of a Ray see the driver's results folder: workers read and write states there."""

import socket
import time
import uuid
from dataclasses import dataclass

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweep.errors import SweepError
from sweep.execution.on_ray.resources import alive_nodes
from sweep.store.lease import lease_of
from trainables.storage import Location

PROBE_SECONDS = 60.0
"""Seconds that another machine has to answer."""
APPEAR_SECONDS = 10.0
"""Seconds until a file of another machine must be seen: NFS shows it with a delay."""


@dataclass(frozen=True)
class DriverFolder:
    """A results folder as its driver sees it. The lease in it is new each time that a driver takes the folder."""

    folder: Location
    lease: str
    host: str

    @classmethod
    def of(cls, folder: Location) -> "DriverFolder":
        """Return the folder that this process holds."""
        return cls(folder, lease_of(folder), socket.gethostname())

    def unseen(self) -> str:
        """Return why this process does not see the folder; empty if it does."""
        try:
            found = lease_of(self.folder)
        except (NotADirectoryError, PermissionError, ValueError) as error:  # other errors may pass: the pack runs again
            found = f"{type(error).__name__}: {error}"
        if found == self.lease:
            return ""
        return (
            f"{socket.gethostname()} does not see {self.folder} of {self.host} ({found or 'nothing is there'}): give "
            "--out on storage that all hosts share, or s3:// or gs://"
        )


def check_shared(folder: Location) -> None:
    """Raise SweepError if a machine does not see the driver's results folder, or the driver does not see its files."""
    driver, own = DriverFolder.of(folder), ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in alive_nodes() if node["NodeID"] != own]
    look = ray.remote(num_cpus=0, max_retries=1)(_look)
    asked = {}
    for node in others:
        mark = f".seen-{uuid.uuid4().hex}"
        there = NodeAffinitySchedulingStrategy(node, soft=True)  # soft: it may be gone by now
        asked[look.options(scheduling_strategy=there).remote(driver, mark)] = mark
    try:
        for answer, mark in asked.items():
            unseen = ray.get(answer, timeout=PROBE_SECONDS)
            if unseen:
                raise SweepError(unseen)
            if not _appears(folder / mark):
                raise SweepError(f"{driver.host} does not see what other hosts write to {folder}")
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[-300:]
        raise SweepError(f"a host of this Ray could not be asked whether it sees {folder}: {reason}") from error
    finally:
        for mark in asked.values():
            (folder / mark).unlink(missing_ok=True)


def _look(driver: DriverFolder, mark: str) -> str:
    """On another host: return why the folder is not seen; if it is, write a file there."""
    unseen = driver.unseen()
    if not unseen:
        (driver.folder / mark).write_text(socket.gethostname())
    return unseen


def _appears(path: Location) -> bool:
    """Return whether a file is there, or comes within APPEAR_SECONDS."""
    until = time.monotonic() + APPEAR_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True
