"""How many workers fit on the machines of a Ray, which come and go."""

from collections.abc import Callable
from typing import Any

import pytest
import ray
import ray.autoscaler.sdk

from sweep.config.settings import Settings
from sweep.errors import SweepError
from sweep.execution.on_ray import resources as hosts
from sweep.execution.on_ray.resources import Resources, room_on

MakeSpec = Callable[..., Settings]
Made = Callable[..., Resources]


def host(cpu: float = 0, gpu: float = 0) -> dict[str, Any]:
    """A machine as Ray lists it: what it has none of is left out."""
    amounts = {"CPU": cpu, "GPU": gpu, "memory": 1e10}
    return {"Alive": True, "Resources": {name: float(amount) for name, amount in amounts.items() if amount}}


CPUS_ONLY = [host(cpu=4), host(cpu=3)]
GPUS = [host(cpu=8, gpu=4), host(cpu=8, gpu=2)]
MIXED = [host(cpu=4), host(cpu=8, gpu=2), host(cpu=1, gpu=1), host()]


@pytest.mark.parametrize(
    ("machines", "settings", "takes", "room"),
    [
        (CPUS_ONLY, {}, {"CPU": 1}, 7),
        (CPUS_ONLY, {"cpus_per_worker": 2}, {"CPU": 2}, 3),  # a worker never spans two machines
        (CPUS_ONLY, {"cpus_per_worker": 4}, {"CPU": 4}, 1),
        (CPUS_ONLY, {"workers": 3}, {"CPU": 1}, 7),
        (GPUS, {}, {"CPU": 1, "GPU": 1}, 6),
        (GPUS, {"cpus_per_worker": 3}, {"CPU": 3, "GPU": 1}, 4),
        (GPUS, {"device": "cpu"}, {"CPU": 1}, 16),
        (GPUS, {"device": "cuda"}, {"CPU": 1, "GPU": 1}, 6),
        (GPUS, {"gpus_per_worker": 0.5}, {"CPU": 1, "GPU": 0.5}, 12),
        (GPUS, {"gpus_per_worker": 0.3}, {"CPU": 1, "GPU": 0.3}, 8 + 6),
        (GPUS, {"gpus_per_worker": 0.1}, {"CPU": 1, "GPU": 0.1}, 16),  # by their cores
        (GPUS, {"gpus_per_worker": 2}, {"CPU": 1, "GPU": 2}, 3),
        (GPUS, {"workers": 12}, {"CPU": 1, "GPU": 0.5}, 12),
        (GPUS, {"workers": 3}, {"CPU": 1, "GPU": 1}, 6),  # no more than one for each
        (GPUS, {"gpus_per_worker": 0.6}, {"CPU": 1, "GPU": 0.6}, 6),  # a worker's share is of one GPU
        (GPUS, {"workers": 8}, {"CPU": 1, "GPU": 0.5}, 12),  # so 6 / 8 of one would not do
        ([host(cpu=8, gpu=1)], {"workers": 7}, {"CPU": 1, "GPU": 0.1428}, 7),  # 0.1429 would not fit 7 times
        (GPUS, {"workers": 12, "gpus_per_worker": 1}, {"CPU": 1, "GPU": 1}, 6),
        (MIXED, {}, {"CPU": 1, "GPU": 1}, 3),
        (MIXED, {"device": "cpu"}, {"CPU": 1}, 13),
        (MIXED, {"cpus_per_worker": 2}, {"CPU": 2, "GPU": 1}, 2),
        ([host(cpu=10, gpu=1)], {"gpus_per_worker": 0.1}, {"CPU": 1, "GPU": 0.1}, 10),  # 1 / 0.1 is 10 and not 9
        ([host(cpu=99, gpu=1)], {"workers": 93}, {"CPU": 1, "GPU": 0.0107}, 93),  # Ray counts ten-thousandths
        ([], {}, {"CPU": 1}, 0),
        ([host()], {}, {"CPU": 1}, 0),
    ],
)
def test_what_a_worker_takes_and_how_many_there_is_room_for(
    made: Made, machines: list[Any], settings: dict[str, Any], takes: dict[str, float], room: int
) -> None:
    resources = made(*machines, **settings)
    assert (resources.of_a_worker, resources.room) == (takes, room)
    assert resources.room == sum(room_on(machine, takes) for machine in machines)
    assert resources.grows_to is None


@pytest.mark.parametrize(
    ("workers", "there", "wanted", "limit"),
    [
        ("auto", [host(cpu=4)], 4, 4),
        ("auto", [], 0, 1),  # one job then waits for a machine
        (3, [host(cpu=4)], 3, 3),
        (3, [host(cpu=2)], 3, 2),
        (3, [], 3, 1),
    ],
)
def test_packs_under_way_are_as_many_as_workers_that_there_are(
    made: Made, workers: Any, there: list[Any], wanted: int, limit: int
) -> None:
    resources = made(*there, workers=workers)
    assert (resources.workers, resources.limit) == (wanted, limit)


@pytest.mark.parametrize(
    ("grows", "settings", "there", "grows_to", "wanted", "limit"),
    [
        ({"CPU": 64.0}, {"workers": "max"}, [host(cpu=4)], 64, 64, 64),
        ({"CPU": 64.0}, {"workers": "max"}, [], 64, 64, 64),
        ({"CPU": 64.0}, {"workers": "max", "cpus_per_worker": 3}, [host(cpu=4)], 21, 21, 21),
        ({"CPU": 64.0, "GPU": 8.0}, {"workers": "max"}, [host(cpu=4)], 8, 8, 8),
        ({"CPU": 64.0, "GPU": 8.0}, {"workers": "max", "gpus_per_worker": 0.25}, [], 32, 32, 32),
        ({"CPU": 64.0, "GPU": 8.0}, {"workers": "max", "device": "cpu"}, [], 64, 64, 64),
        ({"CPU": 2.0}, {"workers": "max"}, [host(cpu=4)], 2, 4, 4),  # machines that were added by hand count too
        ({"CPU": 64.0}, {"workers": "auto"}, [host(cpu=4)], 64, 4, 4),
        ({"CPU": 64.0}, {"workers": 9}, [host(cpu=4)], 64, 9, 4),
        (None, {"workers": "max"}, [host(cpu=4)], None, 12, 12),  # it does not say: 8 wait, or as many as there are
        (None, {"workers": "max"}, [host(cpu=40)], None, 80, 80),
        ({}, {"workers": "max"}, [], None, 8, 8),
    ],
)
def test_only_max_counts_on_machines_that_an_autoscaler_may_add(
    made: Made, grows: Any, settings: dict[str, Any], there: list[Any], grows_to: int | None, wanted: int, limit: int
) -> None:
    resources = made(*there, grows=grows, **settings)
    assert (resources.grows_to, resources.workers, resources.limit) == (grows_to, wanted, limit)


def test_a_machine_that_dies_takes_its_workers_along_and_one_that_joins_brings_some(
    made: Made, cluster: list[dict[str, Any]]
) -> None:
    resources = made(host(cpu=2), host(cpu=3))
    assert (resources.room, resources.limit) == (5, 5)
    cluster[1]["Alive"] = False
    assert (resources.room, resources.limit) == (2, 2)
    cluster[0]["Alive"] = False
    assert (resources.room, resources.limit) == (0, 1)
    cluster.append(host(cpu=8))
    assert (resources.room, resources.limit) == (8, 8)


def test_the_size_is_believed_for_a_while_and_then_asked_for_again(
    made: Made, cluster: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(hosts, "FRESH", 1.0)
    monkeypatch.setattr(hosts.time, "monotonic", lambda: now[0])
    resources = made(host(cpu=2))
    assert resources.room == 2
    cluster.append(host(cpu=2))
    now[0] += 0.9
    assert resources.room == 2
    now[0] += 0.2
    assert resources.room == 4


@pytest.mark.parametrize(
    ("machines", "settings", "said"),
    [
        (
            [host(cpu=1), host(cpu=1), host()],
            {"workers": 3},
            "3 workers of 1 core each do not fit: this Ray has 2 cores, 0 GPUs on 3 hosts, room for 2",
        ),
        (
            [host(cpu=3), host(cpu=3)],
            {"cpus_per_worker": 4},
            "1 worker of 4 cores each do not fit: this Ray has 6 cores, 0 GPUs on 2 hosts, room for 0",
        ),
        (
            [host(cpu=1)],
            {"gpus_per_worker": 0.5},
            "workers of 1 core and 0.5 GPUs were asked for, but this Ray has no GPU: 1 core, 0 GPUs on 1 host",
        ),
        (
            [host(cpu=4)],
            {"device": "cuda"},
            "workers of 1 core and 1 GPU were asked for, but this Ray has no GPU: 4 cores, 0 GPUs on 1 host",
        ),
        (
            GPUS,
            {"gpus_per_worker": 1, "workers": 7},
            "7 workers of 1 core and 1 GPU each do not fit: this Ray has 16 cores, 6 GPUs on 2 hosts, room for 6",
        ),
        (
            [host(cpu=1, gpu=0.5)],
            {"workers": "max", "gpus_per_worker": 1},
            "1 worker of 1 core and 1 GPU each do not fit: this Ray has 1 core, 0.5 GPUs on 1 host, room for 0",
        ),
        ([], {}, "1 worker of 1 core each do not fit: this Ray has 0 cores, 0 GPUs on 0 hosts, room for 0"),
    ],
)
def test_less_than_was_asked_for_is_one_line_with_what_there_is(
    made: Made, machines: list[Any], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SweepError) as raised:
        made(*machines, **settings).check()
    assert str(raised.value) == f"{said}; --wait-for-resources waits for more"


@pytest.mark.parametrize(
    ("machines", "grows", "settings"),
    [
        ([host(cpu=1)], None, {}),
        ([host(cpu=1)], None, {"workers": "max"}),
        (CPUS_ONLY, None, {"workers": 7}),
        (GPUS, None, {"workers": 12}),
        ([], {"CPU": 4.0}, {"workers": "max"}),
        ([host(cpu=1)], {"CPU": 4.0, "GPU": 4.0}, {"workers": "max", "device": "cuda"}),
    ],
)
def test_as_much_as_was_asked_for_is_enough(made: Made, machines: list[Any], grows: Any, settings: Any) -> None:
    made(*machines, grows=grows, **settings).check()


@pytest.mark.parametrize(
    ("settings", "wanted"), [({"workers": 3}, 3), ({}, 1), ({"workers": "max", "cpus_per_worker": 2}, 1)]
)
def test_waiting_asks_the_autoscaler_once_and_takes_that_back_when_all_is_there(
    made: Made,
    cluster: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any],
    wanted: int,
) -> None:
    asked, looks = list[Any](), list[float]()
    monkeypatch.setattr(ray.autoscaler.sdk, "request_resources", lambda bundles: asked.append(bundles))

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            cluster.append(host(cpu=8))

    monkeypatch.setattr(hosts.time, "sleep", sleep)
    resources = made(**settings)
    resources.wait()
    assert asked == [[resources.of_a_worker] * wanted, []] and looks == [hosts.POLL] * 3
    (line,) = caplog.messages
    assert line.startswith("waiting: ") and "room for 0" in line
    resources.check()


def test_who_is_stopped_while_waiting_asks_for_no_machines_any_more(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[Any]()

    def stopped(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ray.autoscaler.sdk, "request_resources", lambda bundles: asked.append(bundles))
    monkeypatch.setattr(hosts.time, "sleep", stopped)
    with pytest.raises(KeyboardInterrupt):
        made(host(cpu=1), workers=2).wait()
    assert asked == [[{"CPU": 1}] * 2, []]


def test_who_has_enough_waits_for_nothing_and_asks_nobody(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.autoscaler.sdk, "request_resources", lambda bundles: pytest.fail("asked"))
    made(host(cpu=1)).wait()
