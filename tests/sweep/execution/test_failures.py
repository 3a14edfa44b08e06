"""The retry policy: packs that run again, whole or in halves, and when a sweep gives up."""

from typing import Any

import pytest

from sweep.errors import FolderError, TrainingError
from sweep.execution.outcomes import (
    CodeFailed,
    Failure,
    FolderUnseen,
    HostGone,
    Measured,
    OutOfMemory,
    StateLost,
    WorkerDied,
)
from sweep.execution.pack_size import Measure

DIED = WorkerDied("its process ended")
NO_MEMORY = OutOfMemory("tried to allocate 3 GiB")
STATE_LOST = StateLost("state abc is damaged")
HOST_GONE = HostGone("the machine was taken away")
UNSEEN = FolderUnseen("east does not see /results of head: give --out on storage")
CHANGED = CodeFailed("nets.py has changed since the settings were read")
OK = None
EIGHT = [1, 2, 3, 4, 5, 6, 7, 8]


class TestWorkerDied:
    def test_a_pack_runs_again_whole_the_first_time_and_halved_the_second(self, make_driver: Any) -> None:
        driver = make_driver().run([DIED, DIED])
        assert driver.points() == [EIGHT, EIGHT, [1, 2, 3, 4], [5, 6, 7, 8]]
        assert driver.jobs.error is None and driver.jobs.finished
        assert driver.sizes == []  # memory was not the reason: packs keep their size

    def test_each_half_has_its_own_attempts_and_is_halved_again(self, make_driver: Any) -> None:
        driver = make_driver().run([DIED, DIED, DIED, OK, OK, OK])
        assert driver.points() == [EIGHT, EIGHT, [1, 2, 3, 4], [5, 6, 7, 8], [1, 2], [3, 4]]
        assert driver.jobs.error is None
        assert {row["max_lr"] for row in driver.sweep.rows().values()} == {point / 10 for point in EIGHT}

    def test_after_three_retries_the_sweep_stops_and_names_cycle_run_and_lanes(self, make_driver: Any) -> None:
        driver = make_driver().run([DIED] * 3 + [OK] + [DIED] * 9)
        error = driver.jobs.error
        assert isinstance(error, TrainingError)
        assert "cycle 0, run 0, 2 lanes: worker died: its process ended" in str(error)
        assert driver.points() == [EIGHT, EIGHT, [1, 2, 3, 4], [5, 6, 7, 8], [1, 2]]
        assert driver.jobs.next() is None and driver.jobs.finished
        assert {round(10 * row["max_lr"]) for row in driver.sweep.rows().values()} == {5, 6, 7, 8}

    def test_a_single_lane_is_tried_four_times_in_all(self, make_driver: Any) -> None:
        patient = make_driver(max_lr="0.5").run([DIED] * 3)
        assert patient.points() == [[5]] * 4 and patient.jobs.error is None and patient.jobs.finished
        driver = make_driver(max_lr="0.5").run([DIED] * 9)
        assert driver.points() == [[5]] * 4
        assert "cycle 0, run 0, 1 lanes" in str(driver.jobs.error)

    def test_every_pack_has_its_own_attempts(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=4).run([DIED, OK, DIED, OK])
        assert driver.points() == [[1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8], [5, 6, 7, 8]]
        assert driver.jobs.error is None


class TestOutOfMemory:
    def test_a_pack_is_halved_at_once_and_later_packs_are_as_small(self, make_driver: Any) -> None:
        driver = make_driver(cycles=1, max_lr="0.1:0.7:0.1").run([NO_MEMORY])
        first, *rest = driver.points()
        assert first == [1, 2, 3, 4, 5, 6, 7]
        assert rest == [[1, 2, 3, 4], [5, 6, 7], [1, 2, 3, 4], [5, 6, 7]]  # the next cycle's too
        assert driver.sizes == [4] and driver.strategy.lanes_per_pack == 4

    def test_halving_goes_on_down_to_a_single_lane_however_often(self, make_driver: Any) -> None:
        driver = make_driver().run([NO_MEMORY, NO_MEMORY, NO_MEMORY, NO_MEMORY])
        assert driver.jobs.error is None and driver.jobs.finished
        assert driver.points()[:3] == [EIGHT, [1, 2, 3, 4], [5, 6, 7, 8]]
        assert driver.strategy.lanes_per_pack == min(driver.sizes) == 1
        assert len(driver.sweep.rows()) == 8

    def test_a_large_pack_that_fails_late_does_not_raise_the_size_again(self, make_driver: Any) -> None:
        driver = make_driver(runs=2).run([NO_MEMORY, NO_MEMORY, OK, OK, OK, NO_MEMORY])
        assert driver.points()[:6] == [EIGHT, [1, 2, 3, 4], [5, 6, 7, 8], [1, 2], [3, 4], EIGHT]
        assert driver.sizes == [4, 2, 2] and driver.strategy.lanes_per_pack == 2
        assert driver.jobs.error is None and len(driver.sweep.rows()) == 16

    def test_one_lane_that_does_not_fit_stops_the_sweep(self, make_driver: Any) -> None:
        driver = make_driver(max_lr="0.5").run([NO_MEMORY])
        assert isinstance(driver.jobs.error, TrainingError)
        assert "cycle 0, run 0, 1 lanes: out of memory: tried to allocate 3 GiB" in str(driver.jobs.error)
        assert driver.points() == [[5]]

    def test_want_of_memory_uses_up_none_of_the_retries_of_a_dying_worker(self, make_driver: Any) -> None:
        driver = make_driver(max_lr="0.1:0.2:0.1").run([DIED, DIED, OK, DIED, DIED])
        assert driver.jobs.error is not None
        driver = make_driver(max_lr="0.4:0.6:0.1").run([DIED, NO_MEMORY, DIED, OK, DIED, DIED])
        assert driver.jobs.error is None and driver.jobs.finished


class TestHostGone:
    def test_it_is_no_failure_of_the_pack_however_often(self, make_driver: Any) -> None:
        driver = make_driver().run([HOST_GONE] * 20)
        assert driver.points() == [EIGHT] * 21
        assert driver.jobs.error is None and driver.jobs.finished

    def test_nor_does_it_forgive_one(self, make_driver: Any) -> None:
        driver = make_driver(max_lr="0.5").run([DIED, HOST_GONE, DIED, HOST_GONE, HOST_GONE, DIED, HOST_GONE, DIED])
        assert "cycle 0, run 0, 1 lanes: worker died" in str(driver.jobs.error)
        assert driver.points() == [[5]] * 8


class TestEnd:
    @pytest.mark.parametrize("outcome", [UNSEEN, CHANGED])
    def test_a_host_that_does_not_see_the_folder_or_has_other_code_ends_the_sweep_with_its_words(
        self, make_driver: Any, outcome: Failure
    ) -> None:
        driver = make_driver(lanes_per_pack=4)
        one, two = driver.next(), driver.next()
        driver.jobs.done(one, outcome)
        assert isinstance(driver.jobs.error, TrainingError) and str(driver.jobs.error) == outcome.reason
        assert driver.next() is None and driver.jobs.finished
        driver.succeed(two)
        assert len(driver.sweep.rows()) == 4

    def test_other_code_found_by_the_measurement_ends_it_too(self, make_driver: Any) -> None:
        driver = make_driver(Measure(8, 1, 1))
        driver.jobs.done(driver.next(), CHANGED)
        assert isinstance(driver.jobs.error, TrainingError) and str(driver.jobs.error) == CHANGED.reason
        assert driver.next() is None and driver.jobs.finished

    def test_rows_that_cannot_be_written_end_the_sweep(self, make_driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        driver = make_driver(lanes_per_pack=4)
        driver.succeed(driver.next())

        def full(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(driver.strategy.ledger, "append", full)
        driver.succeed(driver.next())
        assert isinstance(driver.jobs.error, TrainingError)
        where = driver.jobs.states.parent
        told = f"results cannot be written to {where} any more: [Errno 28] No space left on device; all"
        assert told in str(driver.jobs.error)
        assert driver.next() is None and driver.jobs.finished
        assert len(driver.sweep.rows()) == 4

    @pytest.mark.parametrize("when", ["measured", "halved"])
    def test_a_manifest_that_cannot_be_written_ends_it_too(self, make_driver: Any, when: str) -> None:
        measure = Measure(points=8, runs=1, workers=1)
        driver = make_driver(measure if when == "measured" else None)

        def full(lanes: int) -> None:
            raise OSError(28, "No space left on device")

        driver.jobs.on_lanes_per_pack = full
        driver.jobs.done(driver.next(), Measured({4: 1.0}) if when == "measured" else NO_MEMORY)
        assert isinstance(driver.jobs.error, TrainingError) and "No space left" in str(driver.jobs.error)
        assert driver.next() is None and driver.jobs.finished

    def test_a_lease_that_is_lost_ends_it_when_the_pack_is_written(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=4)

        def lost() -> None:
            raise FolderError("was taken over")

        driver.jobs.on_progress = lost
        driver.succeed(driver.next())
        assert isinstance(driver.jobs.error, FolderError) and driver.next() is None and driver.jobs.finished
        assert len(driver.sweep.rows()) == 4

    def test_the_first_error_is_the_one_that_is_told(self, make_driver: Any) -> None:
        driver = make_driver()

        def lost() -> None:
            raise FolderError("was taken over")

        driver.jobs.on_progress = lost
        driver.jobs.done(driver.next(), STATE_LOST)
        assert "state abc is damaged" in str(driver.jobs.error)
