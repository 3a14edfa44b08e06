"""The machines of a Ray cluster: how many workers fit on them, and whether they see the results folder.

In: the settings of workers, a connected Ray. Out: numbers, or an error that says what there is.
"""

import logging
import math
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweep.config.settings import Settings
from sweep.errors import SweepError
from sweep.store import lock
from trainables.storage import Location

FRESH = 1.0
"""Seconds for which the cluster's size is believed."""
POLL = 5.0
"""Seconds between two looks for resources that are waited for."""
PROBE_SECONDS = 60.0
CONNECT_SECONDS = 5.0
TOKEN_HINT = (
    "if the cluster asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to its own"
)
AHEAD = 8
"""Packs at least that wait for machines of which the cluster does not say whether they may come."""


@dataclass
class Resources:
    """What a worker takes, and how many there may be."""

    settings: Settings
    of_a_worker: dict[str, float]
    grows_to: int | None
    """Workers that an autoscaling cluster could hold; None where it does not say, as Ray's own autoscaler does not."""
    _seen: float = float("-inf")
    _room: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Resources":
        """Return what the settings come to on the cluster that is connected."""
        most = ray._private.state.state.get_max_resources_from_cluster_config() or {}
        gpus = max(sum(_amount(node, "GPU") for node in _nodes()), most.get("GPU", 0.0))
        takes: dict[str, float] = {"CPU": settings.cpus_per_worker}
        if settings.gpus_per_worker is not None:
            takes["GPU"] = settings.gpus_per_worker
        elif settings.device == "cuda" or (settings.device == "auto" and gpus):
            takes["GPU"] = _share(gpus, settings.workers) if isinstance(settings.workers, int) and gpus else 1.0
        grows_to = None
        if most:
            grows_to = min(_fits(name, most.get(name, 0.0), amount) for name, amount in takes.items())
        return cls(settings, takes, grows_to)

    @property
    def room(self) -> int:
        """Workers that fit on the machines that are there now."""
        if time.monotonic() - self._seen > FRESH:
            self._room, self._seen = sum(room_on(node, self.of_a_worker) for node in _nodes()), time.monotonic()
        return self._room

    @property
    def workers(self) -> int:
        """Packs that shall train at a time."""
        if self.settings.workers == "max":
            # Packs that wait are what an autoscaler goes by. By default it doubles a cluster, too.
            return max(self.room, self.grows_to) if self.grows_to is not None else self.room + max(AHEAD, self.room)
        return self.settings.workers if isinstance(self.settings.workers, int) else self.room

    @property
    def limit(self) -> int:
        """Packs that may be under way now: one for each worker that there is, more only where more may come."""
        # At least one, which then waits for a machine: all that were there may be gone for a while.
        return max(1, self.workers if self.settings.workers == "max" else min(self.workers, self.room))

    def check(self) -> None:
        """Raise SweepError where there is less than was asked for: Ray would wait for the rest without end."""
        if self._lacks():
            raise SweepError(f"{self._lacks()}; --wait-for-resources waits for more")

    def wait(self) -> None:
        """Wait until there is what was asked for, asking an autoscaler for it; say so now and then."""
        from ray.autoscaler.sdk import request_resources

        said = ""
        try:
            while lacks := self._lacks():
                if lacks != said:
                    wanted = self.settings.workers if isinstance(self.settings.workers, int) else 1
                    request_resources(bundles=[self.of_a_worker] * wanted)
                    logging.getLogger(__name__).warning("waiting: %s", lacks)
                    said = lacks
                time.sleep(POLL)
        finally:
            if said:
                request_resources(bundles=[])  # else the machines stay for good; from here on it is packs that ask

    def _lacks(self) -> str:
        """Return what is missing, or nothing."""
        nodes = _nodes()
        there = f"{_count(sum(_amount(node, 'CPU') for node in nodes), 'core')}, "
        there += f"{_count(sum(_amount(node, 'GPU') for node in nodes), 'GPU')} on {_count(len(nodes), 'host')}"
        takes = " and ".join(
            _count(amount, {"CPU": "core"}.get(name, name)) for name, amount in self.of_a_worker.items()
        )
        if "GPU" in self.of_a_worker and not any(_amount(node, "GPU") for node in nodes) and not self.grows_to:
            return f"workers of {takes} were asked for, but this Ray has no GPU: {there}"
        wanted = self.settings.workers if isinstance(self.settings.workers, int) else 1
        room = max(self.room, self.grows_to or 0) if self.settings.workers == "max" else self.room
        if room < wanted:
            return f"{_count(wanted, 'worker')} of {takes} each do not fit: this Ray has {there}, room for {room}"
        return ""


def check_reachable(host: str, port: int, wanted: str) -> None:
    """Raise SweepError within seconds if nothing listens there; Ray itself would try for a minute or more."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise SweepError(f"no Ray reachable at {host}:{port}: {error}; --address takes {wanted}") from error


def room_on(node: Mapping[str, Any], takes: Mapping[str, float]) -> int:
    """Return how many workers fit on one machine; a worker never spans two."""
    return min(_fits(name, _amount(node, name), amount) for name, amount in takes.items())


def _fits(resource: str, there: float, amount: float) -> int:
    """Return how often an amount is there; shares of a GPU are of one GPU: of 0.6 one fits on each."""
    if resource == "GPU" and amount < 1 < there:
        return int(there) * _fits(resource, 1.0, amount) + _fits(resource, there % 1, amount)
    return int(there / amount + 1e-6)


def _share(gpus: float, workers: int) -> float:
    """Return what of a GPU each of so many workers may have; Ray counts in ten-thousandths, and rounds."""
    return int(1e4 / max(1, math.ceil(workers / gpus))) / 1e4


@dataclass(frozen=True)
class Home:
    """A results folder as the driver has it: the file by which the driver holds it names a lease."""

    folder: Location
    lease: str
    host: str

    @classmethod
    def of(cls, folder: Location) -> "Home":
        """Return the folder that this process holds."""
        return cls(folder, lock.lease_of(folder), socket.gethostname())

    def unseen(self) -> str:
        """Return why this process does not see the folder, or nothing if it does."""
        try:
            found = lock.lease_of(self.folder)
        except (NotADirectoryError, PermissionError, ValueError) as error:  # others may pass: the pack runs again
            found = f"{type(error).__name__}: {error}"
        if found == self.lease:
            return ""
        return (
            f"{socket.gethostname()} does not see {self.folder} of {self.host} ({found or 'nothing is there'}): give "
            "--out on storage that all hosts share, or s3:// or gs://"
        )


def check_shared(folder: Location) -> None:
    """Raise SweepError if a machine does not see the driver's results folder, or the driver not what it writes."""
    home, own = Home.of(folder), ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in _nodes() if node["NodeID"] != own]
    see = ray.remote(num_cpus=0, max_retries=1)(_see)
    asked = {}
    for node in others:
        mark = f".seen-{uuid.uuid4().hex}"
        there = NodeAffinitySchedulingStrategy(node, soft=True)  # soft: it may be gone by now
        asked[see.options(scheduling_strategy=there).remote(home, mark)] = mark
    try:
        for answer, mark in asked.items():
            unseen = ray.get(answer, timeout=PROBE_SECONDS)
            if unseen:
                raise SweepError(unseen)
            if not _appears(folder / mark):
                raise SweepError(f"{folder}: what other hosts write there, {home.host} does not see")
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[-300:]
        raise SweepError(f"a host of this Ray could not be asked whether it sees {folder}: {reason}") from error
    finally:
        for mark in asked.values():
            (folder / mark).unlink(missing_ok=True)


def _see(home: Home, mark: str) -> str:
    """On another host: look for the driver's file and leave one."""
    unseen = home.unseen()
    if not unseen:
        (home.folder / mark).write_text(socket.gethostname())
    return unseen


def _appears(path: Location) -> bool:
    """Whether a file is there, or comes within seconds: NFS may take as long to tell."""
    for _ in range(20):
        if path.exists():
            return True
        time.sleep(0.5)
    return False


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _amount(node: Mapping[str, Any], resource: str) -> float:
    return float(node["Resources"].get(resource, 0.0))


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"
