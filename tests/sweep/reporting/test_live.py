"""What a log says of a running sweep, and when: by a clock of our own, and strategies that really decide."""

import io
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from sweep.reporting.live import LiveView
from sweep.strategies.progress import Progress
from sweep.strategies.protocol import Strategy


class Log:
    """A live view that writes to a file of 20 columns, and a clock that a test moves."""

    def __init__(self, **console: Any) -> None:
        self.now = 1000.0
        self.file = io.StringIO()
        console = {"file": self.file, "width": 20} | console
        self.view = LiveView(Console(**console), clock=lambda: self.now, now=self.time_of_day)

    def time_of_day(self) -> datetime:
        return datetime(2026, 7, 25, 23, 59) + timedelta(seconds=self.now - 1000)

    @property
    def new(self) -> list[str]:
        """The lines since the last look."""
        text = self.file.getvalue()
        assert not text or text.endswith("\n")
        self.file.seek(0)
        self.file.truncate()
        return text.splitlines()


def progress(done: int = 0, decided: tuple[str, ...] = (), **more: Any) -> Progress:
    return Progress(0, 15, done, 125, 0, None, None, decided=decided, **more)


def test_a_line_comes_a_minute_after_the_last_one_though_no_pack_comes_back() -> None:
    log = Log()
    log.view(progress())
    assert log.new == ["23:59:00 cycle 0 of 15: 0 of 125 lanes done, 0 s elapsed"]
    log.view(progress(under_way=3))  # packs that go out and come back are no news
    log.now += 59
    log.view.tick()
    assert log.new == []
    log.now += 1
    log.view.tick()
    log.view.tick()
    assert log.new == ["00:00:00 cycle 0 of 15: 0 of 125 lanes done, 3 packs in training, 60 s elapsed"]
    log.now += 60
    log.view(progress(25, under_way=1))
    log.view.tick()
    assert log.new == [
        "00:01:00 cycle 0 of 15: 25 of 125 lanes done, 1 pack in training, 2 min elapsed, about 8 min left"
    ]


def test_what_is_decided_is_told_once_and_at_once_and_puts_the_minute_off() -> None:
    log = Log()
    before = ("cycle 0: decided",)
    log.view(progress(decided=before))
    assert log.new == ["23:59:00 cycle 0 of 15: 0 of 125 lanes done, 0 s elapsed"]  # it was decided in another session
    log.now += 40
    now = (*before, "cycle 1: the grid is extended", "cycle 2: decided")
    log.view(progress(5, now))
    log.view(progress(5, now))
    log.view(progress(5, ()))  # a strategy that runs again from the top
    log.view(progress(5, now))
    assert log.new == [
        "23:59:40 cycle 1: the grid is extended",
        "23:59:40 cycle 2: decided; cycle 0 of 15: 5 of 125 lanes done, 40 s elapsed, about 16 min left",
    ]
    log.now += 59
    log.view.tick()
    assert log.new == []


def test_before_anything_is_known_it_says_that_it_is_starting() -> None:
    log = Log()
    log.now += 90
    log.view.tick()
    assert log.new == ["00:00:30 starting, 90 s elapsed"]
    log.view(progress(25))
    log.now += 60
    log.view.tick()
    assert (
        log.new[-1] == "00:01:30 cycle 0 of 15: 25 of 125 lanes done, 2 min elapsed"
    )  # lanes of earlier sessions say nothing of the pace


def test_each_of_several_sweeps_is_named_and_counts_for_itself() -> None:
    log = Log()
    log.view.labelled("random")(progress(100, ("cycle 0: decided",)))
    show = log.view.labelled("none")
    show(progress())
    show(progress(5, ("cycle 0: decided",)))
    assert [line.partition(";")[0] for line in log.new] == [
        "23:59:00 random, cycle 0 of 15: 100 of 125 lanes done, 0 s elapsed",
        "23:59:00 none, cycle 0 of 15: 0 of 125 lanes done, 0 s elapsed",
        "23:59:00 none, cycle 0: decided",
    ]


@pytest.mark.parametrize("how", ["quiet", "terminal"])
def test_no_line_is_written_where_there_is_a_bar_or_nothing_is_wanted(how: str) -> None:
    file = io.StringIO()
    view = LiveView(Console(file=file, force_terminal=how == "terminal"), quiet=how == "quiet", clock=lambda: 0.0)
    view.written = -1e9
    view(progress(decided=("before",)))
    view(progress(decided=("before", "after")))
    view.tick()
    assert file.getvalue() == ""


def test_markup_and_width_leave_a_line_as_it_is() -> None:
    log = Log()
    name = "[/bold] :one: " + "x" * 200
    log.view(progress(label=name))
    assert log.new == [f"23:59:00 {name}, cycle 0 of 15: 0 of 125 lanes done, 0 s elapsed"]


def test_a_message_of_several_lines_is_one_line_and_begins_with_the_local_time() -> None:
    log = Log()
    log.view(progress())
    log.view(progress(decided=("run 0: failed\nas its driver says\x1b[31m",)))
    assert log.new[1:] == [
        r"23:59:00 run 0: failed as its driver says\x1b[31m; cycle 0 of 15: 0 of 125 lanes done, 0 s elapsed"
    ]
    real = io.StringIO()
    before = datetime.now().replace(microsecond=0)
    LiveView(Console(file=real))(progress())
    written = datetime.strptime(real.getvalue()[:8], "%H:%M:%S").time()
    assert written in {before.time(), (before + timedelta(seconds=1)).time(), (before + timedelta(seconds=2)).time()}


def test_lines_are_flushed_and_come_from_a_thread_that_ends_with_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = threading.Event()
    flushed: list[str] = []

    class Slow(io.StringIO):
        """A file that keeps what is written until it is flushed."""

        def flush(self) -> None:
            flushed.append(self.getvalue())
            seen.set()

    monkeypatch.setattr("sweep.reporting.live.LOOK", 0.001)
    log = Log(file=Slow())
    with log.view as view:
        log.now += 61
        assert seen.wait(60)
        assert flushed[-1] == "00:00:01 starting, 61 s elapsed\n"
        timer = view._timer
    assert not timer.is_alive()


def test_a_log_that_cannot_be_written_any_more_ends_the_timer_and_not_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sweep.reporting.live.LOOK", 0.001)
    log = Log()
    with log.view as view:
        log.file.close()
        log.now += 61
        view._timer.join(60)
        assert not view._timer.is_alive()


def told(strategy: Strategy, sweep: Any) -> list[str]:
    """What a strategy has decided at its end, having only ever added to it."""
    heard: tuple[str, ...] = ()
    while (pack := strategy.ask()) is not None:
        sweep.train(strategy, pack)
        now = strategy.progress().decided
        assert now[: len(heard)] == heard
        heard = now
    return list(strategy.progress().decided)


def rising(cycle: int, run: int, max_lr: float) -> float:
    """Better the higher the rate, up to 5."""
    return 90.0 + (max_lr if max_lr < 5 else -max_lr)


def test_the_oracle_tells_of_closed_cycles_and_extended_grids_the_same_in_a_new_process(make_sweep: Any) -> None:
    sweep = make_sweep(rising, max_lr="1,2,3", cycles=1, tolerance=0.1)
    decided = told(sweep.oracle(), sweep)
    assert decided == [
        "cycle 0: the grid is extended by 1 max_lr, it is 1 to 4 now",
        "cycle 0: the grid is extended by 2 max_lr, it is 1 to 6 now",
        "cycle 0: decided: best max_lr 4, validation accuracy 94.00 %",
        "cycle 1: the grid is extended by 1 max_lr, it is 1 to 4 now",
        "cycle 1: the grid is extended by 2 max_lr, it is 1 to 6 now",
        "cycle 1: decided: best max_lr 4, validation accuracy 94.00 %",
    ]
    again = sweep.oracle()
    assert again.ask() is None and list(again.progress().decided) == decided


def test_an_oracle_of_each_run_names_the_run_and_why_it_ended(make_sweep: Any) -> None:
    sweep = make_sweep(lambda cycle, run, max_lr: 90.0 - max_lr, decide="per_run", cycles=1, runs=2, tolerance=0)
    oracle = sweep.oracle()
    while (pack := oracle.ask()) is not None:
        if pack.cycle == 1 and pack.run == 1:
            oracle.end(pack, "nothing is left")
            oracle.tell(pack)
        else:
            sweep.train(oracle, pack)
    decided = oracle.progress().decided
    assert any(each.startswith("run 0, cycle 1: decided: best max_lr ") for each in decided)
    assert "run 1, cycle 1: nothing is left to prune: the chain ends" in decided


def test_a_tuning_tells_of_every_trial_and_stage(make_tuning: Callable[..., Any]) -> None:
    sweep = make_tuning(lambda cycle, run, max_lr: None if max_lr > 0.5 else 90.0, trials=10)
    decided = told(tuning := sweep.tuning(), sweep)
    for stage, count in tuning.settings.stages.items():
        trials = [each for each in decided if each.startswith(f"{stage}: trial ")]
        assert len(trials) == count == len([trial for trial in tuning.trials if trial.stage == stage])
        assert f" of {count} ended: " in trials[0]
        assert len([each for each in decided if each.startswith(f"{stage} is decided: ")]) == 1
    assert any(each.endswith("ended: complete, validation accuracy 90.00 %") for each in decided)


def test_a_comparison_tells_of_tuned_rates_and_of_every_cycle(make_comparison: Callable[..., Any]) -> None:
    sweep = make_comparison(rising, max_lr="1,2,3", schedules=("constant", "decay=0.1"), cycles=1)
    assert told(sweep.comparison(), sweep) == [
        "cycle 0: the grid of constant is extended by 1 max_lr, it is 1 to 4 now",
        "cycle 0: the grid of constant is extended by 2 max_lr, it is 1 to 6 now",
        "cycle 0: best max_lr of constant 4",
        "cycle 0: trained under constant, decay=0.1",
        "cycle 1: trained under constant, decay=0.1",
    ]
