"""How numbers are written: with the digits that compared ones need, and a sign for what is missing."""

import math

import pandas as pd
import pytest

from sweep.reporting import numbers
from sweep.reporting.numbers import rate_format


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ((0.0562341, 0.0316228, 0.1), ["0.0562", "0.0316", "0.1"]),  # three digits do
        ((0.0965478, 0.0965478), ["0.0965", "0.0965"]),  # the same
        ((0.09653, 0.09649), ["0.09653", "0.09649"]),
        ((0.09661, 0.09654), ["0.09661", "0.09654"]),  # 0.0966 and 0.0965 look like one number, rounded twice
        ((0.0, 0.1), ["0", "0.1"]),
        ((0.1, 0.1 + 1e-12), ["0.1", "0.1"]),  # rounding
        ((0.1001, 0.1002, 0.035), ["0.1001", "0.1002", "0.035"]),
        ((0.1, float("nan")), ["0.1", "nan"]),
    ],
)
def test_rates_that_are_compared_have_the_digits_that_tell_them_apart(
    values: tuple[float, ...], written: list[str]
) -> None:
    write = rate_format(*values)
    assert [write(value) for value in values] == written


@pytest.mark.parametrize("nothing", [None, math.nan, pd.NA, float("nan")])
def test_what_is_missing_has_a_sign(nothing: float) -> None:
    assert numbers.missing(nothing)
    assert numbers.signed(nothing) == numbers.p_value(nothing) == numbers.yes_no(nothing) == "-"
    assert numbers.interval(nothing, 1.0) == numbers.interval(1.0, nothing) == numbers.factor(nothing) == "-"
    assert numbers.with_std(95.6, nothing) == "95.60"


def test_zero_false_and_nothing_to_say_are_not_missing() -> None:
    assert not any(map(numbers.missing, (0, 0.0, False, "", "NA", pd.Timestamp(0))))
    assert numbers.yes_no(False) == "no" and numbers.yes_no(True) == "yes"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (numbers.with_std(95.6, 0.425), "95.60±0.42"),
        (numbers.signed(0.123), "+0.12"),
        (numbers.signed(-0.126), "-0.13"),
        (numbers.interval(-1.234, 2.0), "[-1.23, 2.00]"),
        (numbers.interval(0.5, 2.0, digits=3), "[0.500, 2.000]"),
        (numbers.percent_remaining(51.2345), "51.2"),
        (numbers.factor(2.371), "2.37"),
        (numbers.factor(1000.0), "1,000"),
        (numbers.p_value(0.0123), "0.012"),
        (numbers.count(1, "run"), "1 run"),
        (numbers.count(2500, "run"), "2,500 runs"),
        (numbers.count(2, "process"), "2 processes"),
        (numbers.duration(48.4), "48 s"),
        (numbers.duration(119.4), "119 s"),
        (numbers.duration(720), "12 min"),
        (numbers.duration(12_600), "3.5 h"),
        (numbers.duration(181_440), "2.1 days"),
        (numbers.size(812), "812 bytes"),
        (numbers.size(999_600), "1e+03 kB"),
        (numbers.size(1_440_000), "1.44 MB"),
        (numbers.size(5.4e12), "5.4e+03 GB"),
    ],
)
def test_numbers_have_units_and_few_digits(written: str, text: str) -> None:
    assert written == text
