"""The jobs as Ray Tune asks for them: one for each worker that there is now."""

from collections.abc import Callable
from typing import Any

from sweep.execution.on_ray.trials import Wait
from sweep.execution.outcomes import HostGone, WorkerDied


def test_as_many_trials_as_workers_and_more_when_a_machine_joins(
    searching: Callable[..., Any], cluster: list[dict[str, Any]]
) -> None:
    searcher = searching(9, 2, 1)
    given = [searcher.suggest(str(number)) for number in range(5)]
    assert [each and each["job"] for each in given] == [0, 1, 2, None, None]
    cluster.append({"Alive": True, "Resources": {"CPU": 1.0}})
    assert searcher.suggest("5")["job"] == 3 and searcher.suggest("6") is None
    del cluster[0]
    searcher.on_trial_complete("0", {"outcome": "rows"})
    assert searcher.suggest("7") is None  # three are under way, two workers are left
    assert searcher.jobs.back == [(0, "rows")]


def test_a_worker_without_work_waits_but_no_machine_is_asked_for_to_wait_on_it(searching: Callable[..., Any]) -> None:
    searcher = searching(1, 2, grows={"CPU": 8.0}, workers="max")
    jobs = [searcher.suggest(str(number)) for number in range(4)]
    assert jobs[0]["job"] == 0 and isinstance(jobs[1]["job"], Wait) and jobs[2:] == [None, None]
    assert not searcher.jobs.idle  # stragglers are for workers that are there
    searcher.on_trial_complete("1", {"outcome": None})
    assert searcher.jobs.back == []
    searcher.jobs.packs = [5, 6, 7]
    assert [searcher.suggest(f"n{number}")["job"] for number in range(3)] == [5, 6, 7]  # for these it is


def test_when_nothing_is_left_it_says_so(searching: Callable[..., Any]) -> None:
    searcher = searching(1, 2)
    searcher.jobs.finished = True
    assert searcher.suggest("0") == "FINISHED"


def test_why_a_trial_failed_goes_to_the_jobs(searching: Callable[..., Any]) -> None:
    searcher = searching(3, 3)
    for number in range(3):
        searcher.suggest(str(number))
    searcher.failures["0"] = HostGone("node was drained")
    searcher.on_trial_complete("0", error=True)
    searcher.on_trial_complete("1", error=True)
    searcher.on_trial_complete("2", None)
    died = WorkerDied("its process ended; see Ray's logs")
    assert searcher.jobs.back == [(0, HostGone("node was drained")), (1, died), (2, died)]
    assert searcher.running == {} == searcher.failures
