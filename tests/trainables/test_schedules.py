"""The learning rate of chosen steps, as Table 1 of the S-Cyc paper defines them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables import schedules
from trainables.spec import RETRAINING, Schedule, ScheduleName, names

Maker = Callable[..., object]

PEAK = 0.03

# (warmup_steps, milestones) -> {step: rate / max_lr}. Update 0 is the first.
SHORT = {0: 0.25, 1: 0.5, 2: 0.75, 3: 1, 4: 1, 5: 1, 6: 0.1, 7: 0.1, 8: 0.01, 9: 0.01}
RESNET20 = {
    0: 1 / 20_000,
    9_999: 0.5,
    19_998: 0.99995,
    19_999: 1,  # the peak lasts one update: warmup and first milestone are the same step
    20_000: 0.1,
    24_999: 0.1,
    25_000: 0.01,
    62_999: 0.01,
}
VGG19 = {
    0: 1 / 10_000,
    4_999: 0.5,
    9_999: 1,
    10_000: 1,
    31_999: 1,
    32_000: 0.1,
    47_999: 0.1,
    48_000: 0.01,
    62_999: 0.01,
}


@pytest.mark.parametrize(
    ("warmup_steps", "milestones", "expected"),
    [
        pytest.param(4, (6, 8), SHORT, id="short"),
        pytest.param(20_000, (20_000, 25_000), RESNET20, id="resnet20"),
        pytest.param(10_000, (32_000, 48_000), VGG19, id="vgg19"),
        pytest.param(0, (2,), {0: 1, 1: 1, 2: 0.1}, id="no warmup"),
        pytest.param(1, (), {0: 1, 1: 1, 999: 1}, id="warmup of one step"),
        pytest.param(0, (0,), {0: 0.1, 5: 0.1}, id="drop at once"),
        pytest.param(2, (3, 4, 5), {0: 0.5, 1: 1, 2: 1, 3: 0.1, 4: 0.01, 5: 0.001, 6: 0.001}, id="three drops"),
    ],
)
def test_warmup_rises_to_max_lr_holds_and_drops_tenfold_at_each_milestone(
    warmup_steps: int, milestones: tuple[int, ...], expected: dict[int, float]
) -> None:
    rates = schedules.rates(Schedule("warmup", warmup_steps, milestones), 63_000, 63_000)
    assert {step: rates.at(step, PEAK) for step in expected} == pytest.approx(
        {step: PEAK * share for step, share in expected.items()}, rel=1e-12
    )
    assert rates.warmup_steps == warmup_steps


def rate_of(name: str, steps: int, first_steps: int | None = None, **own: Any) -> Callable[[int, float], float]:
    return schedules.rates(Schedule(name, **own), steps, first_steps or steps).at


def test_constant_is_max_lr_at_every_step() -> None:
    rate = rate_of("constant", 10)
    assert [rate(step, PEAK) for step in (0, 1, 3, 6, 9)] == [PEAK] * 5


def test_decay_is_linear_from_max_lr_to_nothing() -> None:
    rate = rate_of("decay", 10)
    shares = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert [rate(step, PEAK) for step in range(10)] == pytest.approx([PEAK * share for share in shares], rel=1e-12)


def test_cyclical_goes_up_and_down_in_triangles() -> None:
    rate = rate_of("cyclical", 18, cycle_steps=4)
    shares = [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25] * 2 + [0, 0.25]
    assert [rate(step, PEAK) for step in range(18)] == pytest.approx([PEAK * share for share in shares], rel=1e-12)


@pytest.mark.parametrize("cycle_steps", [1, 3, 8000])
def test_cyclical_is_torch_s_cyclic_rate(cycle_steps: int) -> None:
    rate = rate_of("cyclical", 9, cycle_steps=cycle_steps)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    cyclic = torch.optim.lr_scheduler.CyclicLR(optimizer, 0.0, PEAK, cycle_steps, cycle_momentum=False)
    for step in range(30):
        assert rate(step, PEAK) == pytest.approx(cyclic.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        cyclic.step()


def test_cyclical_without_a_length_is_refused(make_spec: Maker) -> None:
    with pytest.raises(ValueError, match="cycle_steps must be at least 1, but got 0"):
        make_spec(schedule="cyclical")


@given(st.integers(0, 40), st.integers(1, 40), st.sets(st.integers(0, 60), max_size=4), st.floats(1e-6, 1e3))
def test_the_peak_is_reached_and_never_passed_when_no_drop_comes_first(
    warmup_steps: int, held: int, drops: set[int], max_lr: float
) -> None:
    milestones = sorted(warmup_steps + held + drop for drop in drops)
    rates = [schedules.warmup(step, max_lr, warmup_steps, milestones) for step in range(warmup_steps + 110)]
    assert max(rates) == max_lr
    peak = rates.index(max_lr)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert all(rate > 0 for rate in rates)


@pytest.mark.parametrize("name", names(ScheduleName))
def test_the_rate_is_proportional_to_max_lr_and_never_above_it(name: str) -> None:
    rate = rate_of(name, 40, 100, warmup_steps=10, milestones=(50, 75), cycle_steps=7)
    for step in range(40):
        assert rate(step, 0.5) == pytest.approx(50 * rate(step, 0.01), rel=1e-12)
        assert 0 <= rate(step, 0.5) <= 0.5


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown schedule 'cosine'"):
        schedules.rates(Schedule("cosine"), 10, 10)  # type: ignore[arg-type]


# --- Retraining (Le and Hua) -----------------------------------------------------------------------------------------
# Their example, an epoch a step: 160 steps with 0.1 up to 80, 0.01 up to 120, then 0.001; retraining takes 72.

EXAMPLE = {"first_steps": 160, "milestones": (80, 120)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ft", {0: 0.001, 40: 0.001, 71: 0.001}),
        # Steps 88 to 159 of the original: 0.01 up to 120, which is step 32 here.
        ("lrw", {0: 0.01, 31: 0.01, 32: 0.001, 71: 0.001}),
        # Up over 7 steps; 80/160 and 120/160 of the other 65 are 32.5 and 48.75 (rounded to even: 32, 49).
        ("slr", {0: 0.1 / 7, 5: 0.6 / 7, 6: 0.1, 38: 0.1, 39: 0.01, 55: 0.01, 56: 0.001, 71: 0.001}),
        # From 1e-5 up to LRW's 0.01 at step 7, down to 1e-5 at step 71; half way down is step 39.
        ("clr", {0: 1e-5, 7: 0.01, 39: (0.01 + 1e-5) / 2, 71: 1e-5}),
    ],
)
def test_retraining_in_the_example_of_its_source(name: str, expected: dict[int, float]) -> None:
    rate = rate_of(name, 72, **EXAMPLE)
    assert {step: rate(step, 0.1) for step in expected} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("steps", [20, 72, 160])
def test_cyclic_restarting_is_torch_s_one_cycle(steps: int) -> None:
    rate = rate_of("clr", steps, 160, milestones=(80, 120))
    peak = rate(steps // 10, 0.1)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    share = (steps // 10 + 1) / steps  # torch counts the peak's own step
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=steps, pct_start=share, div_factor=1000, final_div_factor=1, cycle_momentum=False
    )
    for step in range(steps):
        assert rate(step, 0.1) == pytest.approx(cycle.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step + 1 < steps:
            cycle.step()


@pytest.mark.parametrize(("steps", "peak"), [(160, 0.1), (81, 0.1), (80, 0.01), (41, 0.01), (40, 0.001), (7, 0.001)])
def test_the_rate_that_rewinding_starts_from_is_the_original_s_at_that_step(steps: int, peak: float) -> None:
    lrw, clr = rate_of("lrw", steps, **EXAMPLE), rate_of("clr", steps, **EXAMPLE)
    assert lrw(0, 0.1) == pytest.approx(peak)
    assert max(clr(step, 0.1) for step in range(steps)) == pytest.approx(peak)


def test_retraining_as_long_as_the_original_rewinds_to_the_whole_of_it() -> None:
    original, again = (rate_of(name, 100, warmup_steps=9, milestones=(50, 75)) for name in ("warmup", "lrw"))
    assert [again(step, PEAK) for step in range(100)] == [original(step, PEAK) for step in range(100)]


def test_longer_retraining_begins_with_the_original_s_first_rate() -> None:
    rate = rate_of("lrw", 12, 10, warmup_steps=4, milestones=(8,))
    assert [rate(step, 1.0) for step in range(12)] == pytest.approx([0.25] * 3 + [0.5, 0.75] + [1.0] * 5 + [0.1] * 2)


@pytest.mark.parametrize(
    ("name", "steps", "warmup_steps"),
    [
        ("ft", 40, 0), ("slr", 40, 4), ("clr", 40, 4), ("decay", 40, 0), ("cyclical", 40, 0), ("constant", 40, 0),
        ("lrw", 40, 0), ("lrw", 95, 5), ("lrw", 100, 10), ("lrw", 105, 15),
    ],
)  # fmt: skip
def test_what_scores_only_after_the_peak_is_reached(name: ScheduleName, steps: int, warmup_steps: int) -> None:
    schedule = Schedule(name, 10, (50, 75), 7)
    assert schedules.rates(schedule, steps, 100).warmup_steps == warmup_steps


@pytest.mark.parametrize("name", RETRAINING)
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_the_shortest_retraining_has_rates_too(name: str, steps: int) -> None:
    rate = rate_of(name, steps, 100, warmup_steps=10, milestones=(50, 75))
    assert all(0 < rate(step, 1.0) <= 1 for step in range(steps))


def test_a_shorter_training_decays_over_its_own_steps() -> None:
    found = schedules.rates(Schedule("decay"), 50, 100)
    assert [found.at(step, 0.4) for step in (0, 25, 49)] == pytest.approx([0.4, 0.2, 0.4 / 50])
