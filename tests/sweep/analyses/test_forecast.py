"""What a forecast makes of measured costs: packs dealt to workers by hand-made costs, and processes side by side."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sweep.analyses import forecast
from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.errors import TrainingError
from sweep.execution.dataset import outline_of
from sweep.execution.pack_size import Measure
from sweep.experiments.schedules.settings import SchedulesSettings
from trainables import measure
from trainables.data.published import DATASETS, Outline
from trainables.measure import PackCosts

FIRST = PackCosts(start=1.0, scoring=0.0, step=0.5, evaluation=2.0)
LATER = PackCosts(start=3.0, scoring=4.0, step=0.25, evaluation=1.0)
DATA = Outline(size=1000, test_size=0, shape=(1, 8, 8), classes=10)  # 600 training images, 19 batches an epoch
RATES = {1: 2.0, 4: 4.0}  # a lane takes 0.5 s a step, 4 take 1 s


@pytest.fixture
def deal() -> Callable[..., Any]:
    """Deal a round of packs of 4 lanes, at the made costs and nothing in between; keyword arguments are settings."""

    def deal(cycle: int, width: int, workers: int, kind: type[Settings] = Settings, **settings: Any) -> Any:
        settings = {"runs": 1, "cycles": 3, "steps": 38, "batch_size": 32, "engine": "inline"} | settings
        return forecast._Dealer(resolve(settings, kind=kind), DATA, 4, workers, RATES, (FIRST, LATER)).deal(
            cycle, width
        )

    return deal


@pytest.fixture(autouse=True)
def no_handing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "HAND_SECONDS", {"inline": 0.0, "ray": 0.5})


def test_a_pack_takes_its_start_its_steps_and_an_evaluation_an_epoch(deal: Any) -> None:
    found = deal(cycle=0, width=4, workers=1)
    assert (found.training, found.evaluation, found.scoring, found.packs) == (38 * 0.5, 2 * 2.0, 0.0, 1.0)
    assert found.wall == 38 * 0.5 + 2 * 2.0 + 1.0
    assert deal(cycle=0, width=4, workers=1, steps=39).evaluation == 3 * 2.0  # the last step is always evaluated
    assert deal(cycle=0, width=4, workers=1, eval_every=10).evaluation == 4 * 2.0


def test_later_cycles_have_their_own_costs_and_steps(deal: Any) -> None:
    found = deal(cycle=2, width=4, workers=1, retrain_steps=19, pruning="global_gradient")
    assert (found.training, found.evaluation, found.scoring, found.packs) == (19 * 0.25, 1.0, 4.0, 3.0)


def test_smaller_packs_cost_what_was_measured_between_but_one_winner_is_scored_once_a_pack(deal: Any) -> None:
    whole, some = deal(cycle=1, width=4, workers=1), deal(cycle=1, width=2, workers=1)
    share = (0.5 + 0.5 / 3) / 1.0
    assert some.training == pytest.approx(share * whole.training)
    assert some.scoring == whole.scoring == 4.0
    chains: dict[str, Any] = {"kind": SchedulesSettings, "schedules": ("constant=0.1", "decay=0.1")}
    assert deal(cycle=1, width=2, workers=1, **chains).scoring == 2.0


@pytest.mark.parametrize(
    ("width", "runs", "workers", "in_turn"), [(4, 1, 1, 1), (4, 5, 2, 3), (4, 4, 2, 2), (8, 1, 2, 1), (16, 5, 4, 5)]
)
def test_a_round_ends_with_the_worker_that_gets_most_packs(
    deal: Any, width: int, runs: int, workers: int, in_turn: int
) -> None:
    one = deal(cycle=0, width=4, workers=1).wall
    found = deal(cycle=0, width=width, workers=workers, runs=runs)
    assert found.wall == pytest.approx(in_turn * one)
    busy = found.training + found.evaluation + found.scoring + found.packs
    assert busy == pytest.approx(width // 4 * runs * one)


def test_what_lies_between_packs_counts_for_each(deal: Any) -> None:
    found = deal(cycle=0, width=16, workers=2, engine="ray")
    assert found.packs == 4 * (1.0 + 0.5)


class Told:
    """A forecast of made costs: what it measured, and what came of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.sizes: list[list[int]] = []
        self.timed: list[tuple[int, float]] = []

        def lane_rates(settings: object, dataset: Any, device: object, sizes: list[int]) -> dict[int, float]:
            self.sizes.append(list(sizes))
            self.augment = dataset.augment
            return {size: 2.0 * size**0.5 for size in sizes}

        def take(timing: Any, *rest: object) -> tuple[PackCosts, PackCosts]:
            self.timed.append((timing.size, timing.step_seconds))
            return FIRST, LATER

        monkeypatch.setattr(measure, "lane_rates", lane_rates)
        monkeypatch.setattr(forecast._Timing, "take", take)
        monkeypatch.setattr(forecast, "pick_device", lambda name: torch.device("cpu"))
        self.settings = {"runs": 1, "cycles": 1, "steps": 34, "max_lr": "0.01:1:x4", "engine": "inline"} | settings
        self.lanes: int | None = self.settings.pop("lanes_per_pack", None)
        self.settings = resolve(self.settings)

    def __call__(self) -> forecast.Forecast:
        return forecast.forecast(self.settings, outline_of(self.settings), self.lanes)


def test_it_measures_the_sizes_that_the_sweep_would_and_takes_the_one_that_it_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(monkeypatch)
    job = Measure(4, 1, 1)
    found = told()
    assert told.sizes == [job.sizes] and found.size == job.best({size: 2.0 * size**0.5 for size in job.sizes}) == 4
    assert told.timed == [(4, 1.0)] and found.lane_steps_per_second == 4.0


def test_a_settled_size_is_measured_beside_a_single_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch, lanes_per_pack=2)
    assert told().size == 2
    assert told.sizes == [[1], [2]]


@pytest.mark.parametrize(("dataset", "augment"), [("digits", False), ("cifar10", True)])
def test_what_is_augmented_in_the_sweep_is_here(monkeypatch: pytest.MonkeyPatch, dataset: str, augment: bool) -> None:
    told = Told(monkeypatch, dataset=dataset)
    told()
    assert told.augment is augment


def test_the_parts_are_the_whole_and_extensions_come_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch, runs=3)
    found = told()
    cycle_0, cycle_1 = 34 * 0.5 + 2.0 + 1.0, 34 * 0.25 + 1.0 + 4.0 + 3.0
    reading = 1797 * 64 / forecast.READ_BYTES
    once = forecast.START_SECONDS["inline"] + reading + forecast.END_SECONDS
    assert found.training == pytest.approx(3 * 34 * 0.75) and found.evaluation == pytest.approx(9.0)
    assert found.waiting == pytest.approx(0.0)
    assert found.seconds == pytest.approx(once + 3 * (cycle_0 + cycle_1), abs=0.1)  # measuring takes a moment
    # The grid of 4 grows by 2, 4, 6 points: of 4 lanes a pack, a round more each, two for the last.
    assert told.settings.growth == [(0, 2), (0, 4), (0, 6), (1, 2), (1, 4), (1, 6)]
    assert found.at_most > found.seconds + 2 * 3 * (cycle_0 + cycle_1)
    alone = Told(monkeypatch, max_lr="0.1")()
    assert alone.at_most == alone.seconds  # one point has no spacing to be extended by


def test_workers_wait_for_the_last_pack_of_a_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch, runs=3, engine="ray", workers=2)
    monkeypatch.setattr(forecast._Timing, "side_by_side", lambda *rest: (FIRST, LATER))
    found = told()
    two_cycles = 34 * 0.75 + 3.0 + 4.0 + 4.0 + 2 * 0.5
    assert found.workers == 2 and found.waiting == pytest.approx(2 * two_cycles - 1.5 * two_cycles)


def test_runs_that_decide_for_themselves_wait_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast._Timing, "side_by_side", lambda *rest: (FIRST, LATER))
    chain = 34 * 0.75 + 3.0 + 4.0 + 4.0 + 2 * 0.5
    for runs, work in ((3, 1.5), (1, 1.0)):  # of chains, by two workers; one cannot be shared
        found = Told(monkeypatch, runs=runs, engine="ray", workers=2, decide="per_run", lanes_per_pack=4)()
        at_work = found.training + found.evaluation + found.scoring + found.packs
        assert at_work == pytest.approx(runs / 2 * chain)
        assert at_work + found.waiting == pytest.approx(work * chain)


def test_histograms_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    without, found = Told(monkeypatch)(), Told(monkeypatch, histograms=True)()
    passes = 2 * 1078 / 32  # networks, training images, batches
    assert found.end - without.end == pytest.approx(passes * 0.5 * 4 / 3)


class TestSideBySide:
    @pytest.fixture
    def timing(self, make_spec: Any) -> Callable[..., Any]:
        def make(**settings: Any) -> Any:
            training = make_spec(**settings).training()
            return forecast._Timing(training, DATASETS["digits"], False, torch.device("cpu"), 2, 0.2, False)

        return make

    def test_processes_train_packs_at_the_same_time(self, timing: Any, tmp_path: Path) -> None:
        first, later = timing(hidden=(8,)).side_by_side(2, 1, tmp_path)
        assert first.step > 0 and later.step > 0 and later.start > 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]

    @pytest.mark.parametrize(
        ("body", "message"),
        [("raise OSError('no weights here')", "no weights here"), ("os._exit(9)", "was ended: is there enough memory")],
    )
    def test_one_that_fails_ends_all(
        self, timing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
    ) -> None:
        (tmp_path / "own.py").write_text(f"import os\n\n\ndef net(shape, classes):\n    {body}\n")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(TrainingError, match=message):
            timing(model="own:net", preset="digits").side_by_side(2, 1, tmp_path)
        assert not multiprocessing.active_children()


def test_too_little_memory_is_told_from_a_bug() -> None:
    with pytest.raises(TrainingError, match="is there enough memory"), forecast._enough_memory():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(RuntimeError, match="a bug"), forecast._enough_memory():
        raise RuntimeError("a bug")
