"""A cell of the comparison of schedules: the measured value, its mark, the paper's value below it."""

import math

import pytest

from sweep.experiments.schedules.views import standing
from sweep.reporting.views import Cell

ROW = {"test_accuracy_mean": 89.123, "test_accuracy_std": 0.456, "printed_mean": 90.0, "printed_std": 0.3}


def test_the_paper_s_value_stands_below_the_measured_one_and_marks_say_what_is_not_significantly_different() -> None:
    assert standing(ROW | {"best": False, "tied": True}) == Cell("89.12±0.46=", 89.123, "best", "(90±0.3) ")
    assert standing(ROW | {"best": True, "tied": True}) == Cell("89.12±0.46*", 89.123, "best", "(90±0.3) ")
    assert standing(ROW | {"best": False, "tied": False}) == Cell("89.12±0.46 ", 89.123, "", "(90±0.3) ")
    alone = {"best": False, "tied": None, "printed_mean": math.nan, "test_accuracy_std": math.nan}
    assert standing(ROW | alone) == Cell("89.12 ", 89.123)


@pytest.mark.parametrize(("diverged", "text"), [(1, "diverged"), (0, "ended")])
def test_a_chain_that_has_no_accuracy_says_why(diverged: int, text: str) -> None:
    assert standing({"test_accuracy_mean": math.nan, "diverged": diverged}) == Cell(text)
    assert standing(None) == Cell("-")
