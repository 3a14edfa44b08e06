"""A pack that takes far longer than comparable packs goes to a second worker: the first to finish counts."""

import heapq
import random
from typing import Any

import pytest

from sweep.execution.outcomes import ChainEnded, FolderUnseen, HostGone, OutOfMemory, StateLost, WorkerDied
from trainables.spec import Pack

DIED = WorkerDied("its process ended")
NO_MEMORY = OutOfMemory("tried to allocate 3 GiB")
CHAIN_ENDED = ChainEnded("layer fc1 lost its last weight")
STATE_LOST = StateLost("state abc is damaged")
HOST_GONE = HostGone("the machine was taken away")
UNSEEN = FolderUnseen("east does not see /results of head: give --out on storage")
OK = None


class TestSlow:
    """A pack that takes far longer than its like is given to a second worker: the first to finish counts."""

    @pytest.fixture
    def driver(self, make_driver: Any) -> Any:
        """Four packs of two lanes."""
        return make_driver(lanes_per_pack=2)

    @pytest.mark.parametrize(("usual", "limit"), [(10.0, 30.0), (2.5, 7.5), (2.0, 7.0), (0.1, 5.1)])
    def test_after_three_times_the_usual_and_five_seconds_more_it_is_handed_out_again_and_so_on(
        self, driver: Any, usual: float, limit: float
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
    def test_the_first_to_finish_counts_and_what_comes_later_is_dropped(self, driver: Any, late: Any) -> None:
        driver.take(1.0, packs=3)
        slow = driver.begin()
        driver.now += 10
        assert driver.next() == slow
        driver.succeed(slow)
        assert driver.next() is None and driver.jobs.finished
        assert driver.returned[-1] == slow and len(driver.returned) == 4
        rows, kept = driver.sweep.rows(), driver.sweep.simulation.kept()
        files = {path: path.stat().st_mtime_ns for path in driver.sweep.folder.glob("lanes/*")}
        for state in list(kept):
            driver.sweep.simulation.lose(state)  # the second has none to go on from any more
        driver.succeed(slow) if late is None else driver.jobs.done(slow, late)
        assert driver.jobs.error is None and driver.jobs.finished and driver.next() is None
        assert len(driver.returned) == 4 and driver.sweep.rows() == rows and len(rows) == 8
        assert {path: path.stat().st_mtime_ns for path in driver.sweep.folder.glob("lanes/*")} == files

    @pytest.mark.parametrize("failure", [DIED, STATE_LOST, HOST_GONE, CHAIN_ENDED, NO_MEMORY, UNSEEN])
    def test_while_one_of_two_has_it_the_other_s_failure_means_nothing(self, driver: Any, failure: Any) -> None:
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

    def test_not_before_three_of_its_like_were_timed(self, driver: Any) -> None:
        slow = driver.begin()
        driver.take(1.0, packs=2)
        driver.now += 1000
        last = driver.next()
        assert last != slow and driver.next() is None
        driver.jobs.started(last)
        driver.now += 1.0
        driver.succeed(last)
        assert driver.next() == slow

    def test_what_failed_says_nothing_of_how_long_its_like_take(self, driver: Any) -> None:
        slow = driver.begin()
        driver.take(1.0, packs=2)
        for _ in range(2):
            driver.jobs.done(driver.begin(), HOST_GONE)
        driver.begin()
        driver.now += 1000
        assert driver.next() is None and slow

    def test_what_it_waited_for_a_worker_counts_until_that_begins_and_says_nothing_of_its_like(
        self, driver: Any
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

    def test_one_whose_worker_never_begins_is_slow_too(self, driver: Any) -> None:
        driver.take(1.0, packs=3)
        waiting = driver.next()
        driver.now += 6.1
        assert driver.next() == waiting

    def test_after_its_host_was_gone_it_waits_anew(self, driver: Any) -> None:
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
