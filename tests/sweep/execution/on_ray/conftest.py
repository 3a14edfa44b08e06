"""The machines of a Ray that is not there."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray

from sweep.config.settings import Settings
from sweep.execution.on_ray import resources as hosts
from sweep.execution.on_ray.resources import Resources
from sweep.execution.on_ray.searcher import JobSearcher

MakeSpec = Callable[..., Settings]
Made = Callable[..., Resources]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The machines of a Ray that is not there; more may be added, and some taken away."""
    machines: list[dict[str, Any]] = []
    monkeypatch.setattr(hosts, "alive_nodes", lambda: [each for each in machines if each["Alive"]])
    monkeypatch.setattr(hosts, "FRESH", -1.0)
    yield machines


@pytest.fixture
def made(cluster: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, make_spec: MakeSpec) -> Made:
    """Resources on these machines; `grows` is what an autoscaler's configuration allows."""

    def make(*machines: dict[str, Any], grows: dict[str, float] | None = None, **settings: Any) -> Resources:
        cluster[:] = machines
        monkeypatch.setattr(ray._private.state.state, "get_max_resources_from_cluster_config", lambda: grows)
        return Resources.of(make_spec(**settings))

    return make


class FakeJobs:
    """As many packs as there are, by number."""

    def __init__(self, packs: int) -> None:
        self.packs, self.finished = list(range(packs)), False
        self.back: list[tuple[Any, Any]] = []

    def next(self, idle: bool) -> Any:
        self.idle = idle
        return self.packs.pop(0) if self.packs else None

    def done(self, job: Any, outcome: Any) -> None:
        self.back.append((job, outcome))


@pytest.fixture
def searching(made: Made) -> Callable[..., JobSearcher]:
    """A searcher with so many packs, on machines with so many cores."""

    def make(packs: int, *cores: float, **settings: Any) -> JobSearcher:
        machines = [{"Alive": True, "Resources": {"CPU": each}} for each in cores]
        return JobSearcher(FakeJobs(packs), None, made(*machines, **settings))  # type: ignore[arg-type]

    return make
