"""How many workers fit on the machines there are, which come and go, and whether they see the results folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.autoscaler.sdk

from sweep.config.settings import Settings
from sweep.errors import SweepError
from sweep.execution.on_ray import resources as hosts
from sweep.execution.on_ray.resources import Home, Resources, room_on
from sweep.store import lock

MakeSpec = Callable[..., Settings]
Made = Callable[..., Resources]


def host(cpu: float = 0, gpu: float = 0) -> dict[str, Any]:
    """A machine as Ray lists it: what it has none of is left out."""
    amounts = {"CPU": cpu, "GPU": gpu, "memory": 1e10}
    return {"Alive": True, "Resources": {name: float(amount) for name, amount in amounts.items() if amount}}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The machines of a Ray that is not there; more may be added, and some taken away."""
    machines: list[dict[str, Any]] = []
    monkeypatch.setattr(hosts, "_nodes", lambda: [each for each in machines if each["Alive"]])
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


class TestHome:
    """A host sees the results folder if it finds there by whom the folder is held."""

    def test_who_sees_the_file_by_which_it_is_held_sees_it(self, tmp_path: Path) -> None:
        with lock.held(tmp_path, ["oracle"]):
            home = Home.of(tmp_path)
            assert home.lease and home.unseen() == ""

    def test_a_folder_of_that_name_with_nothing_in_it_is_another(self, tmp_path: Path) -> None:
        with lock.held(tmp_path, ["oracle"]):
            home = Home.of(tmp_path)
        unseen = home.unseen()
        assert f"does not see {tmp_path} of {home.host} (nothing is there): give --out on storage that all" in unseen

    def test_so_is_one_that_another_driver_holds(self, tmp_path: Path) -> None:
        with lock.held(tmp_path, ["oracle"]):
            home = Home.of(tmp_path)
        with lock.held(tmp_path, ["oracle"]):
            assert f"({lock.lease_of(tmp_path)})" in home.unseen()

    def test_one_that_cannot_be_read_says_why(self, tmp_path: Path) -> None:
        with lock.held(tmp_path / "o", ["oracle"]):
            home = Home.of(tmp_path / "o")
        (tmp_path / "o" / ".lock").unlink(missing_ok=True)
        (tmp_path / "o").rmdir()
        (tmp_path / "o").write_text("a file")
        unseen = home.unseen()
        assert "NotADirectoryError" in unseen and "\n" not in unseen


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


class TestSearcher:
    """The jobs as Ray Tune asks for them: one for each worker that there is now."""

    @pytest.fixture
    def searching(self, made: Made) -> Callable[..., Any]:
        from sweep.execution.on_ray.engine import JobSearcher

        def make(packs: int, *machines: dict[str, Any], **settings: Any) -> Any:
            return JobSearcher(FakeJobs(packs), None, made(*machines, **settings))  # type: ignore[arg-type]

        return make

    def test_as_many_trials_as_workers_and_more_when_a_machine_joins(
        self, searching: Callable[..., Any], cluster: list[dict[str, Any]]
    ) -> None:
        searcher = searching(9, host(cpu=2), host(cpu=1))
        given = [searcher.suggest(str(number)) for number in range(5)]
        assert [each and each["job"] for each in given] == [0, 1, 2, None, None]
        cluster.append(host(cpu=1))
        assert searcher.suggest("5")["job"] == 3 and searcher.suggest("6") is None
        del cluster[0]
        searcher.on_trial_complete("0", {"outcome": "rows"})
        assert searcher.suggest("7") is None  # three are under way, two workers are left
        assert searcher.jobs.back == [(0, "rows")]

    def test_a_worker_without_work_waits_but_no_machine_is_asked_for_to_wait_on_it(
        self, searching: Callable[..., Any]
    ) -> None:
        from sweep.execution.on_ray.engine import Wait

        searcher = searching(1, host(cpu=2), grows={"CPU": 8.0}, workers="max")
        jobs = [searcher.suggest(str(number)) for number in range(4)]
        assert jobs[0]["job"] == 0 and isinstance(jobs[1]["job"], Wait) and jobs[2:] == [None, None]
        assert not searcher.jobs.idle  # slow packs are for workers that are there
        searcher.on_trial_complete("1", {"outcome": None})
        assert searcher.jobs.back == []
        searcher.jobs.packs = [5, 6, 7]
        assert [searcher.suggest(f"n{number}")["job"] for number in range(3)] == [5, 6, 7]  # for these it is

    def test_when_nothing_is_left_it_says_so(self, searching: Callable[..., Any]) -> None:
        searcher = searching(1, host(cpu=2))
        searcher.jobs.finished = True
        assert searcher.suggest("0") == "FINISHED"

    @pytest.mark.parametrize(("failures", "what"), [(0, "host gone"), (1, "worker died")])
    def test_what_tune_counts_as_no_failure_is_a_host_that_was_drained(
        self, searching: Callable[..., Any], tmp_path: Path, failures: int, what: str
    ) -> None:
        from sweep.execution.on_ray.engine import _PatientScheduler

        searcher = searching(1, host(cpu=1))
        (tmp_path / "error.txt").write_text("Failure # 1\nThe actor died:\n\tits node was drained\n")
        trial = SimpleNamespace(lane_id="0", num_failures=failures, error_file=str(tmp_path / "error.txt"))
        _PatientScheduler(searcher).on_trial_error(None, trial)
        assert searcher.why == {"0": (what, "The actor died: its node was drained")}

    def test_why_a_trial_failed_goes_to_the_jobs(self, searching: Callable[..., Any]) -> None:
        searcher = searching(3, host(cpu=3))
        for number in range(3):
            searcher.suggest(str(number))
        searcher.why["0"] = "host gone", "node was drained"
        searcher.on_trial_complete("0", error=True)
        searcher.on_trial_complete("1", error=True)
        searcher.on_trial_complete("2", None)
        assert [(job, each.failure) for job, each in searcher.jobs.back] == [
            (0, "host gone"),
            (1, "worker died"),
            (2, "worker died"),
        ]
        assert searcher.jobs.back[0][1].reason == "node was drained" and searcher.running == {} == searcher.why


def test_a_ray_that_cannot_write_says_where_and_what_names_another_place(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweep.execution.on_ray.engine import RayEngine

    file = tmp_path / "file"
    file.touch()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(file))
    engine = RayEngine(make_spec(engine="ray"))
    with pytest.raises(SweepError, match=rf"could not be started: .*; it writes to {file} \(no folder\), RAY_TMPDIR"):
        engine.connect(tmp_path)
    engine.close()
    assert not ray.is_initialized()
