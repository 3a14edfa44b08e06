"""Ranges: what they take, refuse, and make of a share of themselves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.ranges import SCYC_BETA, SCYC_Q, Range


def test_the_paper_searches_q_from_0_to_3_and_beta_from_3_to_6() -> None:
    assert Range.parse(SCYC_Q, integer=True) == Range(0, 3, integer=True)
    assert Range.parse(SCYC_BETA) == Range(3.0, 6.0)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("1", {}, "LO:HI.*'1'"),
        ("1:2:3", {}, "LO:HI.*'1:2:3'"),
        ("a:b", {}, "LO:HI.*'a:b'"),
        ("1_0:20", {}, "LO:HI"),
        ("", {}, "LO:HI"),
        ("2:1", {}, "LO <= HI.*2:1"),
        ("0:inf", {}, "finite.*inf"),
        ("nan:1", {}, "finite.*nan"),
        ("0:1", {"log": True}, "above 0.*0"),
        ("-1:1", {"log": True}, "above 0.*-1"),
        ("0.5:2", {"integer": True}, "whole numbers.*0.5"),
        ("-1:2", {"integer": True}, "whole numbers.*-1"),
    ],
)
def test_what_is_no_range_is_refused_with_rule_and_value(text: str, options: dict[str, bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Range.parse(text, **options)


def test_a_range_of_one_value_is_a_range() -> None:
    assert Range.parse("3:3").at(0.7) == 3
    assert Range.parse("2:2", integer=True).at(0.99) == 2


@given(st.floats(1e-6, 1e3), st.floats(1.0, 1e3), st.floats(0, 1, exclude_max=True))
def test_a_share_of_a_range_lies_in_it(low: float, factor: float, share: float) -> None:
    high = low * factor
    for found in (Range(low, high).at(share), Range(low, high, log=True).at(share)):
        assert low * (1 - 1e-12) <= found <= high * (1 + 1e-12)


def test_half_of_a_range_is_its_middle_by_difference_or_by_ratio() -> None:
    assert Range(1.0, 9.0).at(0.5) == 5.0
    assert Range(1.0, 9.0, log=True).at(0.5) == pytest.approx(3.0)


def test_whole_numbers_take_equal_shares() -> None:
    found = [Range(0, 3, integer=True).at(index / 100) for index in range(100)]
    assert [found.count(value) for value in range(4)] == [25] * 4


def test_values_are_rounded_as_a_grid_s() -> None:
    assert Range(0, 1).rounded(0.1 + 0.2) == 0.3
    assert Range(0, 1).rounded(math.pi / 100) == 0.0314159
    whole = Range(0, 3, integer=True).rounded(2)
    assert whole == 2 and isinstance(whole, int)


def test_optuna_s_distributions_have_the_same_ends() -> None:
    optuna = pytest.importorskip("optuna")  # absent where only networks are trained
    assert Range(0.01, 1.0, log=True).distribution() == optuna.distributions.FloatDistribution(0.01, 1.0, log=True)
    assert Range(3.0, 6.0).distribution() == optuna.distributions.FloatDistribution(3.0, 6.0)
    assert Range(0, 3, integer=True).distribution() == optuna.distributions.IntDistribution(0, 3)
