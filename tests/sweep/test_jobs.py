"""What a failure means: packs that run again, whole or in halves, and when a sweep gives up. And the packs' size."""

import heapq
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from sweep.errors import FolderError, TrainingError
from sweep.execution.jobs import Jobs
from sweep.execution.worker import Measure, Outcome
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.store.ledger import Ledger
from trainables.spec import Pack

MakeSweep = Callable[..., Any]

DIED = Outcome(failure="worker died", reason="its process ended")
NO_MEMORY = Outcome(failure="out of memory", reason="tried to allocate 3 GiB")
CHAIN_ENDED = Outcome(failure="chain ended", reason="layer fc1 lost its last weight")
STATE_LOST = Outcome(failure="state lost", reason="state abc is damaged")
HOST_GONE = Outcome(failure="host gone", reason="the machine was taken away")
UNSEEN = Outcome(failure="folder unseen", reason="east does not see /results of head: give --out on storage")
CHANGED = Outcome(failure="code failed", reason="nets.py has changed since the settings were read")
DISK_FULL = Outcome(failure="disk full", reason="/results/states on east cannot be written: No space left on device")
OK = None


def hill(cycle: int, run: int, max_lr: float) -> float:
    """A steep peak at 0.5."""
    return 90.0 - 50 * abs(max_lr - 0.5)


class Driver:
    """Hands jobs to a script of outcomes, one after another, and notes what was handed out and told."""

    def __init__(self, sweep: Any, measure: Measure | None = None) -> None:
        self.sweep = sweep
        self.strategy: GreedyOracle = sweep.oracle()
        self.handed: list[Pack | Measure] = []
        self.told: list[Pack] = []
        self.sizes: list[int] = []
        self.progress = 0
        self.now = 0.0
        """Seconds, by the clock of the jobs."""
        tell = self.strategy.tell

        def note(pack: Pack) -> None:
            self.told.append(pack)
            tell(pack)

        self.strategy.tell = note  # type: ignore[method-assign]
        self.jobs = Jobs(
            self.strategy,
            self.strategy.ledger,
            sweep.simulation.states,
            self.sizes.append,
            self._count,
            measure,
            lambda: self.now,
        )

    def _count(self) -> None:
        self.progress += 1

    def next(self) -> Any:
        job = self.jobs.next()
        if job is not None:
            self.handed.append(job)
        return job

    def succeed(self, pack: Pack) -> None:
        self.jobs.done(pack, Outcome(self.sweep.simulation.train(pack), device="cpu", host="here"))

    def begin(self) -> Pack:
        """Give the next pack to a worker that begins it at once."""
        pack: Pack = self.next()
        self.jobs.started(pack)
        return pack

    def take(self, seconds: float, packs: int = 1) -> None:
        """Have packs trained one after another, each in so many seconds."""
        for _ in range(packs):
            pack = self.begin()
            self.now += seconds
            self.succeed(pack)

    def run(self, script: Iterable[Outcome | None] = ()) -> "Driver":
        """Answer job after job by the script, and all that come after it with success."""
        outcomes = iter(script)
        while (job := self.next()) is not None:
            outcome = next(outcomes, OK)
            if outcome is None:
                self.succeed(job)
            else:
                self.jobs.done(job, outcome)
            assert len(self.handed) < 1000, "this sweep goes round in circles"
        return self

    def points(self) -> list[list[int]]:
        """The max_lr of every pack handed out, in tenths."""
        return [[round(10 * lane.max_lr) for lane in job.lanes] for job in self.handed if isinstance(job, Pack)]


@pytest.fixture
def make_driver(make_sweep: MakeSweep) -> Callable[..., Driver]:
    """One run of cycle 0 on the grid 0.1, 0.2, ... 0.8 in one pack; keyword arguments replace that."""

    def make(measure: Measure | None = None, **changes: object) -> Driver:
        given: dict[str, object] = {"max_lr": "0.1:0.8:0.1", "cycles": 0, "runs": 1, "lanes_per_pack": 8}
        return Driver(make_sweep(hill, **(given | changes)), measure)

    return make


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


class TestTelling:
    def test_the_strategy_is_told_of_a_split_pack_once_when_all_parts_are_back(self, make_driver: Any) -> None:
        driver = make_driver()
        pack = driver.next()
        driver.jobs.done(pack, NO_MEMORY)
        one, two = driver.next(), driver.next()
        assert driver.next() is None and not driver.jobs.finished
        driver.succeed(two)
        assert driver.told == [] and driver.jobs.next() is None
        driver.succeed(one)
        assert driver.told == [pack]
        driver.run()
        assert driver.told == [pack] and driver.jobs.finished

    def test_finished_lanes_of_a_part_are_written_before_the_other_parts_are_back(self, make_driver: Any) -> None:
        driver = make_driver()
        driver.jobs.done(driver.next(), NO_MEMORY)
        driver.succeed(driver.next())
        assert len(driver.sweep.rows()) == 4

    def test_a_pack_that_comes_back_after_another_stopped_the_sweep_is_kept(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=4)
        one, two = driver.next(), driver.next()
        driver.jobs.done(one, STATE_LOST)
        assert driver.jobs.finished
        driver.succeed(two)
        assert len(driver.sweep.rows()) == 4
        assert "state abc is damaged" in str(driver.jobs.error)

    def test_progress_is_reported_after_every_pack(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=2).run([DIED])
        assert driver.progress == len(driver.handed) == 5

    def test_news_are_packs_that_go_out_and_decisions(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=4, cycles=1)
        news: list[tuple[int, int]] = []
        driver.jobs.on_news = lambda: news.append((driver.jobs.under_way, len(driver.strategy.decided)))
        one, two = driver.next(), driver.next()
        assert driver.next() is None  # the cycle is open: no news
        assert news == [(1, 0), (2, 0)]
        driver.succeed(one)
        driver.succeed(two)
        driver.run()
        assert news[2] == (1, 1) and len(news) == 5  # the first pack of cycle 1, and at last that it is decided
        assert news[-1] == (0, 2)

    def test_an_end_of_a_chain_is_passed_on_with_its_reason(self, make_driver: Any) -> None:
        driver = make_driver(decide="per_run", runs=2, cycles=1).run([CHAIN_ENDED])
        assert driver.strategy.ended == ["cycle 0, run 0: layer fc1 lost its last weight"]
        assert driver.jobs.error is None and driver.jobs.finished
        assert {(row["cycle"], row["run"]) for row in driver.sweep.rows().values()} == {(0, 1), (1, 1)}

    def test_after_the_end_of_a_chain_packs_that_are_still_out_are_waited_for_and_kept(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=4)
        one, two = driver.next(), driver.next()
        driver.jobs.done(one, CHAIN_ENDED)
        assert driver.strategy.finished and driver.next() is None and not driver.jobs.finished
        driver.succeed(two)
        assert driver.jobs.finished and driver.jobs.error is None
        assert len(driver.sweep.rows()) == 4

    def test_a_lost_state_stops_the_sweep_with_the_way_out(self, make_driver: Any) -> None:
        driver = make_driver().run([STATE_LOST])
        assert isinstance(driver.jobs.error, TrainingError)
        assert "state abc is damaged; remove it, and the same command" in str(driver.jobs.error)

    def test_a_full_disk_stops_the_sweep_at_once_and_names_it(self, make_driver: Any) -> None:
        driver = make_driver().run([DISK_FULL])
        assert driver.points() == [EIGHT] and isinstance(driver.jobs.error, TrainingError)
        assert "/results/states on east cannot be written: No space left on device; all" in str(driver.jobs.error)

    def test_an_error_of_the_strategy_ends_the_jobs(self, make_sweep: MakeSweep) -> None:
        driver = Driver(make_sweep(lambda cycle, run, max_lr: None, max_lr="0.1,0.2", cycles=1)).run()
        assert "cycle 0: every max_lr" in str(driver.jobs.error) and driver.jobs.finished
        assert {row["status"] for row in driver.sweep.rows().values()} == {"diverged"}

    def test_jobs_are_finished_only_when_the_last_one_is_back(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=4)
        one, two = driver.next(), driver.next()
        for pack in (two, one):
            assert not driver.jobs.finished and driver.jobs.next() is None
            driver.succeed(pack)
        assert driver.jobs.next() is None and driver.jobs.finished


class TestStates:
    def test_after_every_pack_the_states_on_disk_are_those_that_can_still_be_needed(self, make_driver: Any) -> None:
        driver = make_driver(runs=2, cycles=1, lanes_per_pack=2)
        while (pack := driver.next()) is not None and len(driver.handed) < 100:
            driver.succeed(pack)
            assert driver.sweep.simulation.kept() == driver.strategy.needed_states()
        winners = {row["state"] for closed in driver.strategy.closed for row in closed.best_rows}
        initial = {row["parent_state"] for row in driver.strategy.closed[0].rows}
        assert len(winners) == 4
        assert driver.sweep.simulation.kept() == winners | initial

    def test_no_state_is_deleted_while_parts_of_its_pack_are_out(self, make_driver: Any) -> None:
        driver = make_driver()
        driver.jobs.done(driver.next(), NO_MEMORY)
        driver.succeed(driver.next())
        assert len(driver.sweep.simulation.kept()) == 4 + 1
        driver.succeed(driver.next())
        assert len(driver.sweep.simulation.kept()) == 1 + 1

    def test_a_sweep_that_failed_in_every_way_has_the_rows_of_one_that_did_not(self, make_driver: Any) -> None:
        given = {"runs": 2, "cycles": 2, "lanes_per_pack": 4}
        smooth = make_driver(**given).run()
        rough = make_driver(**given).run([DIED, NO_MEMORY, OK, DIED, DIED, OK, OK, NO_MEMORY, OK, DIED, OK, NO_MEMORY])
        assert rough.jobs.error is None
        ours, theirs = ({k: r | {"lanes_in_pack": 0} for k, r in d.sweep.rows().items()} for d in (smooth, rough))
        assert ours == theirs
        assert rough.sweep.simulation.kept() == smooth.sweep.simulation.kept()
        assert len(rough.handed) > len(smooth.handed)


class TestMeasure:
    def test_the_packs_size_is_measured_first_and_nothing_else_until_it_is_known(self, make_driver: Any) -> None:
        measure = Measure(points=8, runs=1, workers=1)
        driver = make_driver(measure)
        assert driver.next() == measure
        assert driver.next() is None and not driver.jobs.finished
        driver.jobs.done(measure, Outcome(rates={1: 10.0, 2: 30.0, 4: 20.0, 8: 10.0}))
        assert driver.sizes == [2] and driver.strategy.lanes_per_pack == 2
        driver.run()
        assert driver.points() == [[1, 2], [3, 4], [5, 6], [7, 8]]
        assert driver.handed.count(measure) == 1

    def test_a_measurement_whose_hosts_go_is_made_again_as_often(self, make_driver: Any) -> None:
        driver = make_driver(measure := Measure(points=8, runs=1, workers=1))
        for _ in range(6):
            assert driver.next() == measure
            driver.jobs.done(measure, Outcome(failure="host gone", reason="preempted"))
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
    def test_the_sizes_measured_split_a_cycle_into_equal_packs(self, points: int, sizes: list[int]) -> None:
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
        self, points: int, runs: int, workers: int, size: int, packs_in_turn: int
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
        self, runs: int, workers: int, rates: dict[int, float], best: int
    ) -> None:
        assert Measure(24, runs, workers).best(rates) == best


class TestSlow:
    """A pack that takes far longer than its like is given to a second worker: the first to finish counts."""

    @pytest.fixture
    def driver(self, make_driver: Any) -> Driver:
        """Four packs of two lanes."""
        driver: Driver = make_driver(lanes_per_pack=2)
        return driver

    @pytest.mark.parametrize(("usual", "limit"), [(10.0, 30.0), (2.5, 7.5), (2.0, 7.0), (0.1, 5.1)])
    def test_after_three_times_the_usual_and_five_seconds_more_it_is_handed_out_again_and_so_on(
        self, driver: Driver, usual: float, limit: float
    ) -> None:
        driver.take(usual, packs=3)
        slow = driver.begin()
        for _ in range(3):  # the second may be no better than the first
            driver.now += limit - 0.01
            assert driver.next() is None
            assert driver.jobs.next(idle=False) is None
            driver.now += 0.02
            assert driver.jobs.next(idle=False) is None
            assert driver.next() == slow
            driver.now -= 0.01
        assert not driver.jobs.finished

    def test_the_usual_is_the_median(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=1)
        for seconds in (10.0, 1000.0, 11.0, 12.0, 0.1):
            driver.take(seconds)
        slow, *others = [driver.begin() for _ in range(3)]
        driver.now += 33.1
        assert {driver.next(), driver.next(), driver.next()} == {slow, *others} and driver.next() is None

    def test_new_packs_come_first(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=1)
        driver.take(1.0, packs=3)
        slow = driver.begin()
        driver.now += 1000
        fresh = [driver.next() for _ in range(4)]
        assert len({slow, *fresh}) == 5
        assert driver.next() == slow

    @pytest.mark.parametrize("late", [OK, DIED, STATE_LOST, HOST_GONE, CHAIN_ENDED, NO_MEMORY, UNSEEN])
    def test_the_first_to_finish_counts_and_what_comes_later_is_dropped(self, driver: Driver, late: Any) -> None:
        driver.take(1.0, packs=3)
        slow = driver.begin()
        driver.now += 10
        assert driver.next() == slow
        driver.succeed(slow)
        assert driver.next() is None and driver.jobs.finished
        assert driver.told[-1] == slow and len(driver.told) == 4
        rows, kept = driver.sweep.rows(), driver.sweep.simulation.kept()
        files = {path: path.stat().st_mtime_ns for path in driver.sweep.folder.glob("trials/*")}
        for state in list(kept):
            driver.sweep.simulation.lose(state)  # the second has none to go on from any more
        driver.succeed(slow) if late is None else driver.jobs.done(slow, late)
        assert driver.jobs.error is None and driver.jobs.finished and driver.next() is None
        assert len(driver.told) == 4 and driver.sweep.rows() == rows and len(rows) == 8
        assert {path: path.stat().st_mtime_ns for path in driver.sweep.folder.glob("trials/*")} == files

    @pytest.mark.parametrize("failure", [DIED, STATE_LOST, HOST_GONE, CHAIN_ENDED, NO_MEMORY, UNSEEN])
    def test_while_one_of_two_has_it_the_other_s_failure_means_nothing(self, driver: Driver, failure: Any) -> None:
        driver.take(1.0, packs=3)
        slow = driver.begin()
        driver.now += 10
        for _ in range(10):
            assert driver.next() == slow  # as slow as before: it goes out again
            driver.jobs.started(slow)
            driver.jobs.done(slow, failure)
        assert driver.jobs.error is None and not driver.jobs.finished and driver.sizes == []
        assert driver.strategy.ended == []
        driver.jobs.done(slow, DIED)  # the last that has it: its first attempt
        again = [driver.next() for _ in range(2)]
        assert again == [slow, None]
        driver.succeed(slow)
        assert driver.next() is None and driver.jobs.finished
        assert driver.jobs.error is None and len(driver.sweep.rows()) == 8

    def test_not_before_three_of_its_like_were_timed(self, driver: Driver) -> None:
        slow = driver.begin()
        driver.take(1.0, packs=2)
        driver.now += 1000
        last = driver.next()
        assert last != slow and driver.next() is None
        driver.jobs.started(last)
        driver.now += 1.0
        driver.succeed(last)
        assert driver.next() == slow

    def test_what_failed_says_nothing_of_how_long_its_like_take(self, driver: Driver) -> None:
        slow = driver.begin()
        driver.take(1.0, packs=2)
        for _ in range(2):
            driver.jobs.done(driver.begin(), HOST_GONE)
        driver.begin()
        driver.now += 1000
        assert driver.next() is None and slow

    def test_what_it_waited_for_a_worker_counts_until_that_begins_and_says_nothing_of_its_like(
        self, driver: Driver
    ) -> None:
        driver.take(1.0, packs=2)
        waiting = driver.next()
        driver.now += 1000
        driver.jobs.started(waiting)
        driver.now += 1.0
        driver.succeed(waiting)  # 1 s is still what they take
        waiting = driver.next()
        driver.now += 5.9
        assert driver.next() is None
        driver.jobs.started(waiting)
        driver.now += 5.9
        assert driver.next() is None
        driver.now += 0.2
        assert driver.next() == waiting
        driver.jobs.started(waiting)  # by the second: the first began when it did
        driver.jobs.done(waiting, DIED)
        assert driver.next() == waiting

    def test_one_whose_worker_never_begins_is_slow_too(self, driver: Driver) -> None:
        driver.take(1.0, packs=3)
        waiting = driver.next()
        driver.now += 6.1
        assert driver.next() == waiting

    def test_after_its_host_was_gone_it_waits_anew(self, driver: Driver) -> None:
        driver.take(1.0, packs=3)
        lost = driver.begin()
        driver.now += 1000
        driver.jobs.done(lost, HOST_GONE)
        assert driver.next() == lost
        driver.now += 5.9
        assert driver.next() is None
        driver.now += 0.2
        assert driver.next() == lost

    def test_a_pack_of_another_size_is_not_its_like(self, make_driver: Any) -> None:
        driver = make_driver(max_lr="0.1:0.7:0.1", lanes_per_pack=2)
        driver.take(1.0, packs=3)
        single = driver.begin()
        assert len(single.lanes) == 1
        driver.now += 1e9
        assert driver.next() is None

    def test_nor_one_of_a_cycle_with_other_steps(self, make_driver: Any) -> None:
        for retrain_steps, alike in ((None, True), (10, True), (20, False)):
            driver = make_driver(lanes_per_pack=2, cycles=1, retrain_steps=retrain_steps)
            driver.take(1.0, packs=4)
            packs = [driver.begin() for _ in range(4)]
            assert {pack.cycle for pack in packs} == {1}
            driver.now += 1000
            assert (driver.next() == packs[0]) is alike

    @pytest.mark.parametrize("seed", range(5))
    def test_with_slow_and_dying_workers_the_oracle_is_that_of_a_calm_night(self, make_driver: Any, seed: int) -> None:
        given = {"runs": 2, "cycles": 2, "lanes_per_pack": 2}
        calm = make_driver(**given).run()
        driver, chance = make_driver(**given), random.Random(seed)
        workers, order = list[tuple[float, int, Pack, Any]](), 0
        handed = dict[Pack, int]()
        while not driver.jobs.finished:
            while len(workers) < 4 and (pack := driver.next()) is not None:
                driver.jobs.started(pack)
                handed[pack] = handed.get(pack, 0) + 1
                seconds = chance.uniform(8, 12) * (30 if chance.random() < 0.2 else 1)
                what = chance.choices([OK, DIED, HOST_GONE], [90, 2, 8])[0]
                heapq.heappush(workers, (driver.now + seconds, order := order + 1, pack, what))
            if workers:
                until, _, pack, what = workers[0]
                # Between two outcomes the searcher looks for slow packs, as an engine's does.
                if len(workers) < 4 and until > driver.now + 1:
                    driver.now += 1
                    continue
                heapq.heappop(workers)
                driver.now = until
                there = all(lane.parent is None or driver.sweep.simulation.has(lane.parent) for lane in pack.lanes)
                if what is None and there:
                    driver.succeed(pack)
                else:
                    driver.jobs.done(pack, what or STATE_LOST)
        assert driver.jobs.error is None
        assert max(handed.values()) > 1

        def without_company(sweep: Any) -> dict[str, Any]:
            return {key: row | {"lanes_in_pack": 0} for key, row in sweep.rows().items()}

        assert without_company(driver.sweep) == without_company(calm.sweep)
        assert driver.strategy.needed_states() == calm.strategy.needed_states() <= driver.sweep.simulation.kept()


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
        self, make_driver: Any, outcome: Outcome
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
        driver.jobs.done(driver.next(), Outcome(rates={4: 1.0}) if when == "measured" else NO_MEMORY)
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


def test_rows_say_where_they_were_trained_and_in_what_company(make_driver: Any) -> None:
    driver = make_driver(lanes_per_pack=4, max_lr="0.3:0.7:0.1").run()
    ledger = Ledger(driver.sweep.folder / "lanes")
    assert {(row["device"], row["host"]) for row in ledger.rows.values()} == {("cpu", "here")}
    assert sorted(row["lanes_in_pack"] for row in ledger.rows.values()) == [2, 2, 3, 3, 3]
