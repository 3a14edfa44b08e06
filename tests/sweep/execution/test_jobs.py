"""Packs go out, and outcomes come back: when the strategy learns of them, and which states stay."""

from typing import Any

import pytest

from sweep.errors import TrainingError
from sweep.execution.outcomes import ChainEnded, DiskFull, OutOfMemory, StateLost, WorkerDied
from sweep.store.ledger import Ledger

DIED = WorkerDied("its process ended")
NO_MEMORY = OutOfMemory("tried to allocate 3 GiB")
CHAIN_ENDED = ChainEnded("layer fc1 lost its last weight")
STATE_LOST = StateLost("state abc is damaged")
DISK_FULL = DiskFull("/results/states on east cannot be written: No space left on device")
OK = None
EIGHT = [1, 2, 3, 4, 5, 6, 7, 8]


class TestTelling:
    def test_the_strategy_is_told_of_a_split_pack_once_when_all_parts_are_back(self, make_driver: Any) -> None:
        driver = make_driver()
        pack = driver.next()
        driver.jobs.done(pack, NO_MEMORY)
        one, two = driver.next(), driver.next()
        assert driver.next() is None and not driver.jobs.finished
        driver.succeed(two)
        assert driver.returned == [] and driver.jobs.next() is None
        driver.succeed(one)
        assert driver.returned == [pack]
        driver.run()
        assert driver.returned == [pack] and driver.jobs.finished

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

    def test_an_end_of_a_chain_is_a_row_and_its_reason_a_warning(
        self, make_driver: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        driver = make_driver(decide="per_run", runs=2, cycles=1).run([CHAIN_ENDED])
        assert driver.strategy.ended == ["cycle 0, run 0: nothing was left to prune"]
        assert "cycle 0, run 0: layer fc1 lost its last weight" in caplog.text
        assert driver.jobs.error is None and driver.jobs.finished
        assert {(row["cycle"], row["run"], row["status"]) for row in driver.sweep.rows().values()} == {
            (0, 0, "ended"),
            (0, 1, "ok"),
            (1, 1, "ok"),
        }

    def test_after_the_end_of_a_chain_packs_that_are_still_out_are_waited_for_and_kept(self, make_driver: Any) -> None:
        driver = make_driver(lanes_per_pack=4)
        one, two = driver.next(), driver.next()
        driver.jobs.done(one, CHAIN_ENDED)
        assert driver.strategy.finished and driver.next() is None and not driver.jobs.finished
        driver.succeed(two)
        assert driver.jobs.finished and driver.jobs.error is None
        statuses = [row["status"] for row in driver.sweep.rows().values()]
        assert (statuses.count("ended"), statuses.count("ok")) == (4, 4)

    def test_a_lost_state_stops_the_sweep_with_the_way_out(self, make_driver: Any) -> None:
        driver = make_driver().run([STATE_LOST])
        assert isinstance(driver.jobs.error, TrainingError)
        assert "state abc is damaged; remove it, and the same command" in str(driver.jobs.error)

    def test_a_full_disk_stops_the_sweep_at_once_and_names_it(self, make_driver: Any) -> None:
        driver = make_driver().run([DISK_FULL])
        assert driver.points() == [EIGHT] and isinstance(driver.jobs.error, TrainingError)
        assert "/results/states on east cannot be written: No space left on device; all" in str(driver.jobs.error)

    def test_an_error_of_the_strategy_ends_the_jobs(self, make_driver: Any) -> None:
        driver = make_driver(
            truth=lambda cycle, run, max_lr: None, max_lr="0.1,0.2", cycles=1, runs=2, lanes_per_pack=2
        ).run()
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


def test_rows_say_where_they_were_trained_and_in_what_company(make_driver: Any) -> None:
    driver = make_driver(lanes_per_pack=4, max_lr="0.3:0.7:0.1").run()
    ledger = Ledger(driver.sweep.folder / "lanes")
    assert {(row["device"], row["host"]) for row in ledger.rows.values()} == {("cpu", "here")}
    assert sorted(row["lanes_in_pack"] for row in ledger.rows.values()) == [2, 2, 3, 3, 3]
