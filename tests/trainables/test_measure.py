"""Which sizes of packs are measured, when measuring ends, what a pack costs: on made costs and a clock of our own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import measure
from trainables.data.datasets import Dataset
from trainables.data.published import DATASETS, Outline
from trainables.pack import Lap, train_pack
from trainables.spec import LaneResult, Pack, TrainSpec

Maker = Callable[..., Any]
CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that stands still until a test moves it."""
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    yield now


def measured(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float | Exception], clock: list[float]
) -> dict[int, float]:
    """What `lane_rates` makes of these lane-steps per second; measuring K lanes takes K seconds."""

    def steps_per_second(spec: object, data: object, device: torch.device, size: int) -> float:
        clock[0] += size
        rate = rates[size]
        if isinstance(rate, Exception):
            raise rate
        return rate / size

    monkeypatch.setattr(measure, "_steps_per_second", steps_per_second)
    return measure.lane_rates(None, None, CPU, list(rates))  # type: ignore[arg-type]


def test_it_ends_with_the_second_size_in_a_row_that_gains_less_than_5_percent(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.setattr(measure, "BUDGET_SECONDS", 1e9)
    rates: dict[int, float | Exception] = {1: 10.0, 2: 20.0, 3: 20.5, 4: 22.0, 5: 22.0, 6: 23.0, 7: 99.0}
    assert list(measured(monkeypatch, rates, clock)) == [1, 2, 3, 4, 5, 6]


def test_it_ends_where_memory_does_and_not_before_the_smallest_size(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    full = MemoryError("can't allocate memory")
    assert measured(monkeypatch, {1: 10.0, 2: RuntimeError("can't allocate memory"), 3: 99.0}, clock) == {1: 10.0}
    with pytest.raises(MemoryError):
        measured(monkeypatch, {1: full, 2: 10.0}, clock)
    with pytest.raises(RuntimeError, match="a bug"):
        measured(monkeypatch, {1: 10.0, 2: RuntimeError("a bug")}, clock)


def test_a_size_that_would_probably_outlast_the_time_is_not_tried(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    # 1 + 2 s are spent; 5 lanes would take 5 s, and are tried within 8 s and not within 7.9.
    rates: dict[int, float | Exception] = {1: 10.0, 2: 20.0, 5: 50.0}
    for budget, sizes in ((8.0, [1, 2, 5]), (7.9, [1, 2]), (0.0, [1])):
        monkeypatch.setattr(measure, "BUDGET_SECONDS", budget)
        assert list(measured(monkeypatch, rates, clock)) == sizes


def test_a_step_of_more_than_a_second_is_measured_once_and_counted_as_it_was(
    monkeypatch: pytest.MonkeyPatch, make_spec: Maker
) -> None:
    calls = count()
    monkeypatch.setattr(measure.time, "process_time", lambda: 4.0 * next(calls))  # every look is 4 s later
    torch.set_num_threads(1)
    assert measure._steps_per_second(make_spec(), measure.made(DATASETS["digits"], False), CPU, 2) == 0.25
    assert next(calls) == 4  # the first step, and the one that counts


def test_rates_are_lanes_times_steps_per_second(make_spec: Maker) -> None:
    rates = measure.lane_rates(make_spec(), measure.made(DATASETS["digits"], False), CPU, [3, 1])
    assert list(rates) == [1, 3] and all(rate > 0 for rate in rates.values())


def test_a_step_is_measured_with_the_batch_that_it_takes(monkeypatch: pytest.MonkeyPatch, make_spec: Maker) -> None:
    drawn: list[tuple[int, bool]] = []
    batch = Dataset.batch

    def noted(self: Dataset, indices: torch.Tensor, dtype: torch.dtype, generator: Any = None) -> torch.Tensor:
        drawn.append((len(set(indices.tolist())), generator is not None and self.augment))
        return batch(self, indices, dtype, generator)

    monkeypatch.setattr(Dataset, "batch", noted)
    measure.lane_rates(make_spec(batch_size=16), measure.made(DATASETS["digits"], True), CPU, [1])
    assert len(drawn) > 2 and all(augmented and images > 8 for images, augmented in drawn)


@pytest.mark.parametrize(("name", "images"), [("digits", None), ("cifar10", 1000), ("cifar10", 777)])
def test_made_data_have_the_sizes_of_the_real_ones(name: str, images: int | None) -> None:
    source = DATASETS[name]
    made = measure.made(source, source.augment, images)
    size = images or source.size
    assert made.outline == Outline(size, round(source.test_size * size / source.size), source.shape, source.classes)
    assert made.augment == source.augment and made.images.dtype == torch.uint8
    assert (made.images.min(), made.images.max(), len(set(made.labels.tolist()))) == (0, 255, source.classes)


COSTS = {"start": 3.0, "step": 0.25, "validation": 0.002, "scoring": 0.001}
"""Made costs, in seconds: of a pack, a step, an image that is evaluated, an image that is scored."""


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Pack, int, int]]]:
    """Packs that take the made costs by the clock, and are noted with the steps and images that they had."""
    now, seen = [0.0], []
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(measure.time, clock, lambda: now[0])

    def pretend(
        spec: TrainSpec, pack: Pack, dataset: Dataset, states: Path, device: torch.device, lap: Lap
    ) -> list[LaneResult]:
        train = dataset.outline.train_size(spec.split)
        seen.append((pack, spec.steps, dataset.outline.size))

        def spend(part: Any, seconds: float) -> None:
            now[0] += seconds
            lap(part)

        if pack.cycle:
            spend("scoring", COSTS["scoring"] * spec.scored_images(train))
        spend("start", COSTS["start"])
        for step in range(1, spec.steps + 1):
            now[0] += COSTS["step"]
            if step % spec.evaluated_every(train) == 0 or step == spec.steps:
                lap("steps")
                spend("evaluations", COSTS["validation"] * (dataset.outline.size - train))
        return [
            LaneResult(lane.max_lr, "", f"state {index}", 100.0, "constant", "ok", spec.steps, "initial")
            for index, lane in enumerate(pack.lanes)
        ]

    monkeypatch.setattr(measure, "train_pack", pretend)
    yield seen


@pytest.mark.parametrize("step_seconds", [1e-4, 0.02, 0.9, 4.0], ids="{:g} s a step".format)
@pytest.mark.parametrize(("split", "score_batches"), [("pooled", None), ("pooled", 8), ("fixed_test", None)])
def test_costs_are_those_of_real_sizes_however_little_is_timed(
    make_spec: Maker,
    pretended: list[tuple[Pack, int, int]],
    tmp_path: Path,
    step_seconds: float,
    split: str,
    score_batches: int | None,
) -> None:
    spec = make_spec(
        split=split,
        pruning="global_gradient",
        score_batches=score_batches,
        steps=500,
        warmup_steps=0,
        milestones=(),
        batch_size=128,
        eval_every=None,
        rewind=400,
    )
    data = replace(DATASETS["cifar10"], size=6000, test_size=1000)
    train = data.train_size(spec.split)
    first, later = measure.pack_costs(spec, data, True, CPU, 2, step_seconds, False, tmp_path)
    for costs, scored in ((first, 0), (later, 8 * 128 if score_batches else train)):
        assert costs.start == pytest.approx(COSTS["start"])
        assert costs.step == pytest.approx(COSTS["step"])
        assert costs.evaluation == pytest.approx(COSTS["validation"] * (data.size - train), rel=0.01)
        assert costs.scoring == pytest.approx(COSTS["scoring"] * scored, rel=0.01)
    _, steps, images = pretended[-1]
    assert 2 <= steps <= 500 and (steps - 1) * step_seconds <= max(measure.PART_SECONDS, step_seconds)
    assert images == data.size if step_seconds < 0.1 else images < data.size


@pytest.mark.parametrize("own_parents", [False, True])
def test_later_packs_go_on_from_one_network_or_from_one_each(
    make_spec: Maker, pretended: list[tuple[Pack, int, int]], tmp_path: Path, own_parents: bool
) -> None:
    ready: list[int] = []
    measure.pack_costs(
        make_spec(rewind="init"),
        DATASETS["digits"],
        False,
        CPU,
        3,
        0.01,
        own_parents,
        tmp_path,
        lambda: ready.append(len(pretended)),
    )
    packs = [pack for pack, _, _ in pretended]
    assert [pack.cycle for pack in packs] == [0, 0, 1] and ready == [1]  # what warms up does not count
    assert len(set(packs[1].lanes)) == 3 and {lane.parent for lane in packs[1].lanes} == {None}
    states = [f"state {index}" for index in range(3)] if own_parents else ["state 0"] * 3
    assert [(lane.parent, lane.rewind_to) for lane in packs[2].lanes] == [(state, "initial") for state in states]


def test_the_parts_of_a_pack_are_its_whole_time_in_order(make_spec: Maker, tmp_path: Path) -> None:
    spec = make_spec(pruning="global_gradient", steps=10, eval_every=4)
    parts: list[str] = []
    dataset = measure.made(replace(DATASETS["digits"], size=200), False)
    lane = measure.Lane(0.01, None)
    [result] = train_pack(spec, Pack(0, 0, 0, (lane,)), dataset, tmp_path, CPU, parts.append)
    evaluated = ["steps", "evaluations"] * 3
    assert parts == ["start", *evaluated, "start"]
    parts.clear()
    lane = measure.Lane(0.01, result.state)
    train_pack(spec, Pack(1, 0, 0, (lane,)), dataset, tmp_path, CPU, parts.append)
    assert parts == ["start", "scoring", "start", *evaluated, "start"]
