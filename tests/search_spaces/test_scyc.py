"""S-Cyc: the formula against the paper's printed rows, its limits and phases, and what it refuses."""

import math
import re
from decimal import ROUND_DOWN, Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.paper import ORACLE_TABLES
from search_spaces.scyc import SCyc, percent_remaining

VGG19 = SCyc(epsilon=0.04, delta=0.06, q=1, beta=4)

RATES = st.floats(1e-3, 0.999)
PARAMETERS = st.builds(SCyc, st.floats(1e-6, 10), st.floats(0, 10), st.integers(0, 10), st.floats(0.01, 1000))


def hundredths_truncated_like(printed: str, max_lr: float) -> str:
    """Write max_lr in units of 1e-2, truncated to as many digits as `printed` has."""
    places = Decimal(1).scaleb(Decimal(printed).as_tuple().exponent)  # type: ignore[arg-type]
    return str((Decimal(repr(max_lr)) * 100).quantize(places, rounding=ROUND_DOWN))


PRINTED = [
    (table.table, cycle, printed)
    for table in ORACLE_TABLES.values()
    for cycle, printed in zip(table.cycle, table.scyc_printed_hundredths, strict=True)
]


@pytest.mark.parametrize(("table", "cycle", "printed"), PRINTED)
def test_the_formula_gives_the_printed_value_truncated(table: int, cycle: int, printed: str) -> None:
    max_lr = ORACLE_TABLES[table].scyc.max_lr(cycle, prune_rate=0.2)
    assert hundredths_truncated_like(printed, max_lr) == printed


def test_the_printed_values_are_21() -> None:
    assert len(PRINTED) == 21


def test_gamma_is_the_share_pruned_since_cycle_q() -> None:
    assert [VGG19.gamma(cycle, 0.2) for cycle in range(5)] == pytest.approx([0, 0, 0.2, 0.36, 0.488])


def test_at_gamma_one_half_half_of_delta_is_reached_whatever_beta() -> None:
    for beta in (0.5, 4, 1e6):
        assert SCyc(0.04, 0.06, 2, beta).max_lr(3, 0.5) == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("cycle", "phase"),
    [
        (0, "no growth"),
        (1, "no growth"),
        (2, "slow growth I"),
        (3, "slow growth I"),
        (4, "fast growth"),
        (5, "fast growth"),
        (6, "slow growth II"),
        (25, "slow growth II"),
        (100_000, "slow growth II"),
    ],
)
def test_the_phases_follow_each_other(cycle: int, phase: str) -> None:
    assert VGG19.phase(cycle, 0.2) == phase


def test_the_phase_changes_where_a_tenth_and_nine_tenths_of_delta_are_reached() -> None:
    for cycle in range(2, 100):
        gamma = VGG19.gamma(cycle, 0.02)
        growth = 1 / (1 + (gamma / (1 - gamma)) ** -4)
        expected = "slow growth I" if growth < 0.1 else "fast growth" if growth <= 0.9 else "slow growth II"
        assert VGG19.phase(cycle, 0.02) == expected


@pytest.mark.parametrize("beta", [1e-3, 4, 1e4, 1e300])
@pytest.mark.parametrize("prune_rate", [1e-12, 0.2, 0.5, 1 - 1e-16])
def test_no_cycle_or_beta_is_too_large_for_the_formula(beta: float, prune_rate: float) -> None:
    scyc = SCyc(0.04, 0.06, 1, beta)
    for cycle in (2, 3, 100, 10**6, 10**18):
        assert 0.04 <= scyc.max_lr(cycle, prune_rate) <= 0.1
    assert scyc.max_lr(10**18, prune_rate) == pytest.approx(0.1)


@settings(deadline=None)
@given(PARAMETERS, RATES)
def test_max_lr_is_epsilon_up_to_q_then_rises_to_at_most_epsilon_plus_delta(scyc: SCyc, prune_rate: float) -> None:
    trajectory = scyc.trajectory(scyc.q + 30, prune_rate)
    assert trajectory[: scyc.q + 1] == [scyc.epsilon] * (scyc.q + 1)
    for before, after in pairwise(trajectory):
        assert before <= after * (1 + 1e-12)
    assert max(trajectory) <= scyc.epsilon + scyc.delta


@settings(deadline=None)
@given(PARAMETERS, st.integers(1, 20), st.floats(0.05, 0.6))
def test_the_stable_form_is_the_papers_formula(scyc: SCyc, past_q: int, prune_rate: float) -> None:
    gamma = 1 - (1 - prune_rate) ** past_q
    try:
        printed_form = scyc.delta / (1 + (gamma / (1 - gamma)) ** -scyc.beta) + scyc.epsilon
    except OverflowError:
        printed_form = scyc.epsilon
    assert scyc.max_lr(scyc.q + past_q, prune_rate) == pytest.approx(printed_form, rel=1e-9)


def test_a_trajectory_has_a_value_for_the_unpruned_network_and_each_pruning() -> None:
    trajectory = VGG19.trajectory(25, 0.2)
    assert len(trajectory) == 26
    assert trajectory == [VGG19.max_lr(cycle, 0.2) for cycle in range(26)]


def test_the_text_of_the_papers_parameters_is_as_the_paper_prints_it() -> None:
    assert str(VGG19) == "0.04,0.06,1,4"
    assert SCyc.parse(" 0.04, 0.06 ,1,4") == VGG19


@settings(deadline=None)
@given(PARAMETERS)
def test_the_text_of_parameters_reads_back_to_equal_parameters(scyc: SCyc) -> None:
    assert SCyc.parse(str(scyc)) == scyc


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "S-Cyc parameters are EPS,DELTA,Q,BETA, such as 0.04,0.06,1,4, but got ''"),
        ("0.04,0.06,1", "such as 0.04,0.06,1,4, but got '0.04,0.06,1'"),
        ("0.04,0.06,1,4,5", "such as 0.04,0.06,1,4, but got"),
        ("0.04,0.06,one,4", "such as 0.04,0.06,1,4, but got"),
        ("0.04,0.06,1,1_0", "such as 0.04,0.06,1,4, but got"),
        ("0,0.06,1,4", "epsilon must be finite and > 0, but got 0.0"),
        ("nan,0.06,1,4", "epsilon must be finite and > 0, but got nan"),
        ("0.04,-0.06,1,4", "delta must be finite and >= 0, but got -0.06"),
        ("0.04,inf,1,4", "delta must be finite and >= 0, but got inf"),
        ("0.04,0.06,1.5,4", "q must be an integer >= 0, but got 1.5"),
        ("0.04,0.06,nan,4", "q must be an integer >= 0, but got nan"),
        ("0.04,0.06,-1,4", "q must be an integer >= 0, but got -1"),
        ("0.04,0.06,1,0", "beta must be finite and > 0, but got 0.0"),
        ("0.04,0.06,1,inf", "beta must be finite and > 0, but got inf"),
    ],
)
def test_bad_parameters_are_refused_with_the_rule_and_the_value(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        SCyc.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("q", [1.5, 1.0, True])
def test_a_q_that_is_not_an_int_is_refused(q: int) -> None:
    with pytest.raises(ValueError, match=f"q must be an integer >= 0, but got {q}"):
        SCyc(0.04, 0.06, q, 4)


def test_a_bool_is_no_learning_rate() -> None:
    with pytest.raises(ValueError, match="epsilon must be finite and > 0, but got True"):
        SCyc(True, 0.06, 1, 4)


@pytest.mark.parametrize("ask", [VGG19.gamma, VGG19.max_lr, VGG19.phase, percent_remaining])
def test_a_cycle_or_prune_rate_out_of_range_is_refused_everywhere(ask) -> None:  # type: ignore[no-untyped-def]
    for cycle in (-1, 1.5, True):
        with pytest.raises(ValueError, match=f"cycle must be an integer >= 0, but got {cycle}"):
            ask(cycle, 0.2)
    for prune_rate in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match=f"0 < prune_rate < 1 must hold, but got {prune_rate}"):
            ask(0, prune_rate)


def test_a_trajectory_of_no_count_of_cycles_is_refused() -> None:
    with pytest.raises(ValueError, match="cycles must be an integer >= 0, but got -1"):
        VGG19.trajectory(-1, 0.2)


def test_percent_remaining_is_the_nominal_density() -> None:
    assert [percent_remaining(m, 0.2) for m in (0, 1, 2, 3, 9)] == pytest.approx([100, 80, 64, 51.2, 13.4217728])
    assert percent_remaining(10**6, 0.2) == 0
