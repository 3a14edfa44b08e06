"""The learning rate of chosen steps, as Table 1 of the S-Cyc paper defines them."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables import schedules

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
    warmup_steps: int, milestones: tuple[int, ...], expected: dict[int, float], make_spec: Maker
) -> None:
    spec = make_spec(steps=63_000, warmup_steps=warmup_steps, milestones=milestones)
    rate = schedules.rate(spec)
    assert {step: rate(step, PEAK) for step in expected} == pytest.approx(
        {step: PEAK * share for step, share in expected.items()}, rel=1e-12
    )


def test_constant_is_max_lr_at_every_step(make_spec: Maker) -> None:
    rate = schedules.rate(make_spec(schedule="constant", warmup_steps=4, milestones=(6,)))
    assert [rate(step, PEAK) for step in (0, 1, 3, 6, 9)] == [PEAK] * 5


def test_decay_is_linear_from_max_lr_to_nothing(make_spec: Maker) -> None:
    rate = schedules.rate(make_spec(schedule="decay", steps=10, warmup_steps=0, milestones=()))
    shares = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert [rate(step, PEAK) for step in range(10)] == pytest.approx([PEAK * share for share in shares], rel=1e-12)


def test_cyclical_goes_up_and_down_in_triangles(make_spec: Maker) -> None:
    rate = schedules.rate(make_spec(schedule="cyclical", steps=18, warmup_steps=0, milestones=(), cycle_steps=4))
    shares = [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25] * 2 + [0, 0.25]
    assert [rate(step, PEAK) for step in range(18)] == pytest.approx([PEAK * share for share in shares], rel=1e-12)


@pytest.mark.parametrize("cycle_steps", [1, 3, 8000])
def test_cyclical_is_torch_s_cyclic_rate(cycle_steps: int, make_spec: Maker) -> None:
    rate = schedules.rate(
        make_spec(schedule="cyclical", steps=9, warmup_steps=0, milestones=(), cycle_steps=cycle_steps)
    )
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


def test_the_rate_is_proportional_to_max_lr(make_spec: Maker) -> None:
    rate = schedules.rate(make_spec())
    for step in range(10):
        assert rate(step, 0.5) == pytest.approx(50 * rate(step, 0.01), rel=1e-12)


def test_an_unknown_schedule_is_refused(make_spec: Maker) -> None:
    with pytest.raises(ValueError, match="unknown schedule 'cosine'"):
        schedules.rate(make_spec(schedule="cosine"))
