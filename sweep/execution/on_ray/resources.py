"""How many workers fit on the machines of a Ray. In: the settings of workers, a connected Ray. Out: numbers.

Where fewer fit than were asked for, an error says what there is.
"""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from sweep.config.settings import Settings
from sweep.errors import SweepError

FRESH = 1.0
"""Seconds until the cluster's size is looked up again."""
POLL = 5.0
"""Seconds between two looks while more resources are waited for."""
AHEAD = 8
"""Packs that wait at least, where the cluster does not say whether more machines may come."""


@dataclass
class Resources:
    """What a worker takes, and how many workers there may be."""

    settings: Settings
    of_a_worker: dict[str, float]
    """Cores and GPUs that one worker takes."""
    grows_to: int | None
    """Workers that fit on an autoscaling cluster at its largest; None where it does not say, as Ray's own does not."""
    _seen: float = float("-inf")
    _room: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Resources":
        """Return what the settings mean on the cluster that is connected."""
        most = ray._private.state.state.get_max_resources_from_cluster_config() or {}
        gpus = max(sum(_amount(node, "GPU") for node in alive_nodes()), most.get("GPU", 0.0))
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
        """Workers that fit on the machines that the cluster has now."""
        if time.monotonic() - self._seen > FRESH:
            self._room, self._seen = sum(room_on(node, self.of_a_worker) for node in alive_nodes()), time.monotonic()
        return self._room

    @property
    def workers(self) -> int:
        """Packs that are to train at the same time."""
        if self.settings.workers == "max":
            # An autoscaler adds machines for packs that wait. By default it doubles a cluster, so as many wait here.
            return max(self.room, self.grows_to) if self.grows_to is not None else self.room + max(AHEAD, self.room)
        return self.settings.workers if isinstance(self.settings.workers, int) else self.room

    @property
    def limit(self) -> int:
        """Packs that may be under way now: one for each worker that fits; more only where machines may come."""
        # At least one, which then waits for a machine: all machines may be gone for a while.
        return max(1, self.workers if self.settings.workers == "max" else min(self.workers, self.room))

    def check(self) -> None:
        """Raise SweepError where fewer workers fit than were asked for: Ray would wait for the rest forever."""
        if self._lacks():
            raise SweepError(f"{self._lacks()}; --wait-for-resources waits for more")

    def wait(self) -> None:
        """Ask an autoscaler for what the workers take, and wait for it; log what is missing when that changes."""
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
                request_resources(bundles=[])  # else the machines stay forever; from here on packs ask for them

    def _lacks(self) -> str:
        """Return what is missing; empty if nothing is."""
        nodes = alive_nodes()
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


def room_on(node: Mapping[str, Any], takes: Mapping[str, float]) -> int:
    """Return how many workers fit on one machine; a worker never spans two."""
    return min(_fits(name, _amount(node, name), amount) for name, amount in takes.items())


def _fits(resource: str, there: float, amount: float) -> int:
    """Return how many times an amount fits. A share of a GPU is of one GPU: of 0.6, one fits on each GPU."""
    if resource == "GPU" and amount < 1 < there:
        return int(there) * _fits(resource, 1.0, amount) + _fits(resource, there % 1, amount)
    return int(there / amount + 1e-6)


def _share(gpus: float, workers: int) -> float:
    """Return the share of a GPU for each of so many workers, rounded down to ten-thousandths, Ray's unit."""
    return int(1e4 / max(1, math.ceil(workers / gpus))) / 1e4


def alive_nodes() -> list[dict[str, Any]]:
    """Return the machines of the Ray that is connected, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def _amount(node: Mapping[str, Any], resource: str) -> float:
    return float(node["Resources"].get(resource, 0.0))


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"
