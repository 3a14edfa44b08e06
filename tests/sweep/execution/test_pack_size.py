"""The packs' size: it is measured before the first pack, and the fastest size is taken."""

from typing import Any

import pytest

from sweep.errors import TrainingError
from sweep.execution.outcomes import HostGone, Measured, OutOfMemory
from sweep.execution.pack_size import Measure

NO_MEMORY = OutOfMemory("tried to allocate 3 GiB")


class TestMeasure:
    def test_the_packs_size_is_measured_first_and_nothing_else_until_it_is_known(self, make_driver: Any) -> None:
        measure = Measure(points=8, runs=1, workers=1)
        driver = make_driver(measure)
        assert driver.next() == measure
        assert driver.next() is None and not driver.jobs.finished
        driver.jobs.done(measure, Measured({1: 10.0, 2: 30.0, 4: 20.0, 8: 10.0}))
        assert driver.sizes == [2] and driver.strategy.lanes_per_pack == 2
        driver.run()
        assert driver.points() == [[1, 2], [3, 4], [5, 6], [7, 8]]
        assert driver.handed.count(measure) == 1

    def test_a_measurement_whose_hosts_go_is_made_again_as_often(self, make_driver: Any) -> None:
        driver = make_driver(measure := Measure(points=8, runs=1, workers=1))
        for _ in range(6):
            assert driver.next() == measure
            driver.jobs.done(measure, HostGone("preempted"))
        for _ in range(3):  # which counts for none of the failures of its own
            assert driver.next() == measure
            driver.jobs.done(measure, NO_MEMORY)
        assert driver.jobs.error is None and driver.next() == measure

    def test_a_measurement_that_fails_four_times_stops_the_sweep_with_the_way_out(self, make_driver: Any) -> None:
        driver = make_driver(Measure(points=8, runs=1, workers=1)).run([NO_MEMORY] * 4)
        assert isinstance(driver.jobs.error, TrainingError)
        assert "tried to allocate 3 GiB" in str(driver.jobs.error) and "--lanes N" in str(driver.jobs.error)
        assert driver.points() == [] and driver.jobs.finished


@pytest.mark.parametrize(
    ("points", "sizes"),
    [
        (25, [1, 3, 4, 5, 7, 9, 13, 25]),
        (12, [1, 2, 3, 4, 6, 12]),
        (2, [1, 2]),
        (1, [1]),
    ],
)
def test_the_sizes_measured_split_a_cycle_into_equal_packs(points: int, sizes: list[int]) -> None:
    assert Measure(points, runs=5, workers=2).sizes == sizes


@pytest.mark.parametrize(
    ("points", "runs", "workers", "size", "packs_in_turn"),
    [
        (24, 1, 1, 24, 1),
        (24, 1, 1, 12, 2),
        (25, 1, 1, 13, 2),
        (25, 1, 1, 12, 3),
        (24, 5, 1, 24, 5),
        (24, 5, 2, 24, 3),  # one worker trains three packs, the other two
        (24, 5, 2, 12, 5),
        (24, 5, 8, 24, 1),
        (24, 2, 8, 6, 1),
        (24, 2, 8, 3, 2),
    ],
)
def test_a_cycle_lasts_as_long_as_the_worker_with_most_packs(
    points: int, runs: int, workers: int, size: int, packs_in_turn: int
) -> None:
    # A step of a pack takes size / rate seconds.
    assert Measure(points, runs, workers).seconds(size, rate=50.0) == packs_in_turn * size / 50.0


@pytest.mark.parametrize(
    ("runs", "workers", "rates", "best"),
    [
        (1, 1, {1: 10.0, 12: 40.0, 24: 50.0}, 24),
        (1, 1, {1: 10.0, 12: 40.0, 24: 30.0}, 12),
        # Two workers share a single run's cycle only if it comes in two packs: 12 / 40 < 24 / 50.
        (1, 2, {1: 10.0, 12: 40.0, 24: 50.0}, 12),
        (1, 24, {1: 10.0, 12: 40.0, 24: 50.0}, 1),
        (2, 2, {1: 10.0, 12: 40.0, 24: 50.0}, 24),
        # Of two that end a cycle within 5 % of each other the smaller: 2 * 12 / 49 against 24 / 50.
        (2, 2, {1: 10.0, 12: 49.0, 24: 50.0}, 12),
        (2, 2, {1: 10.0, 12: 47.0, 24: 50.0}, 24),
    ],
)
def test_the_best_size_ends_a_cycle_first_on_the_workers_there_are(
    runs: int, workers: int, rates: dict[int, float], best: int
) -> None:
    assert Measure(24, runs, workers).best(rates) == best
