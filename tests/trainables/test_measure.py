"""Which sizes of packs are measured, and when measuring ends: on made rates and a clock of our own."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import torch

from trainables import measure
from trainables.published import DATASETS

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
    assert measure._steps_per_second(make_spec(), DATASETS["digits"], CPU, 2) == 0.25
    assert next(calls) == 4  # the first step, and the one that counts


def test_rates_are_lanes_times_steps_per_second(make_spec: Maker) -> None:
    rates = measure.lane_rates(make_spec(), DATASETS["digits"], CPU, [3, 1])
    assert list(rates) == [1, 3] and all(rate > 0 for rate in rates.values())
