"""The max_lr grid: what it reads, what it refuses, and how it goes on past an edge."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.max_lr import MaxLrGrid

PAPER = (1e-4, *(round(0.002 * i, 3) for i in range(1, 51)))


def at_six_digits(value: float) -> float:
    return float(f"{value:.5e}")


def linear(low: float, step: float, count: int) -> MaxLrGrid:
    return MaxLrGrid(tuple(low + i * step for i in range(count)))


def geometric(low: float, ratio: float, count: int) -> MaxLrGrid:
    return MaxLrGrid(tuple(low * ratio**i for i in range(count)))


LISTS = st.sets(st.integers(1, 999_999), min_size=1, max_size=12).map(
    lambda numbers: MaxLrGrid(tuple(number / 1e6 for number in sorted(numbers)))
)
LINEARS = st.builds(linear, st.floats(1e-4, 0.1), st.floats(1e-4, 0.1), st.integers(2, 40))
GEOMETRICS = st.builds(geometric, st.floats(1e-5, 0.1), st.floats(1.01, 10), st.integers(2, 25))
GRIDS = LISTS | LINEARS | GEOMETRICS


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1:0.5:0.1", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("0.1:0.55:0.1", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("0.1:1.1:0.333333", (0.1, 0.433333, 0.766666, 1.1)),
        ("0.1:1.1:0.333334", (0.1, 0.433334, 0.766668, 1.1)),
        ("0.1:0.2:0.5", (0.1,)),
        (" 1e-2 : 3e-2 : 1e-2 ", (0.01, 0.02, 0.03)),
        ("0.001:1:x4", (0.001, 0.01, 0.1, 1.0)),
        ("0.001:0.01:x4", (0.001, 0.00215443, 0.00464159, 0.01)),
        ("0.3:0.7:x2", (0.3, 0.7)),
        ("0.1", (0.1,)),
        ("1e-4, 0.002,0.004", (1e-4, 0.002, 0.004)),
        ("0.30000000000000004,0.4", (0.3, 0.4)),
    ],
)
def test_each_form_gives_its_points_with_both_ends(text: str, values: tuple[float, ...]) -> None:
    assert MaxLrGrid.parse(text).values == values


def test_the_highest_point_of_every_linear_grid_is_its_end_when_the_step_fits() -> None:
    for steps in range(1, 400):
        grid = MaxLrGrid.parse(f"0.1:{0.1 + steps * 0.002:.3f}:0.002")
        assert grid.values[-1] == at_six_digits(0.1 + steps * 0.002)
        assert len(grid.values) == steps + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "LO:HI:STEP (linear), LO:HI:xN (N geometric points) or a comma list, but got ''"),
        ("  ", "LO:HI:xN"),
        ("fast", "or a comma list, but got 'fast'"),
        ("0.1,", "or a comma list, but got '0.1,'"),
        ("0.1:0.2", "or a comma list, but got '0.1:0.2'"),
        ("0.1:0.2:0.1:3", "or a comma list, but got"),
        ("0.1:0.2:x1.5", "or a comma list, but got"),
        ("0.1,1_0", "or a comma list, but got"),
        ("0.2,0.1", "max_lr values must increase, but got 0.1 after 0.2"),
        ("0.1,0.1", "max_lr values must increase, but got 0.1 after 0.1"),
        ("0.1,0.10000001", "but got 0.1 after 0.1 (at 6 significant digits)"),
        ("0.1:0.2:0.0000001", "at most 10,000 points, but got 1,000,001"),
        ("0.1:0.1001:0.0000001", "max_lr values must increase, but got 0.1 after 0.1"),
        ("0.1:0.2:x10001", "at most 10,000 points, but got 10,001"),
        (",".join(str(i) for i in range(1, 10_002)), "at most 10,000 points, but got 10,001"),
        ("0.2:0.1:0.1", "LO < HI must hold in a max_lr grid, but got LO=0.2, HI=0.1"),
        ("0.1:0.1:x3", "LO < HI must hold in a max_lr grid, but got LO=0.1, HI=0.1"),
        ("nan", "max_lr values must be finite, but got nan"),
        ("0.1,inf", "max_lr values must be finite, but got inf"),
        ("nan:0.1:0.1", "max_lr values must be finite, but got nan"),
        ("0.1:inf:0.1", "max_lr values must be finite, but got inf"),
        ("0,0.1", "max_lr values must be positive, but got 0"),
        ("0:0.1:x3", "max_lr values must be positive, but got 0"),
        ("-0.1:0.1:0.1", "max_lr values must be positive, but got -0.1"),
        ("0.1:0.2:0", "STEP of a max_lr grid must be positive and finite, but got 0"),
        ("0.1:0.2:-0.1", "STEP of a max_lr grid must be positive and finite, but got -0.1"),
        ("0.1:0.2:nan", "STEP of a max_lr grid must be positive and finite, but got nan"),
        ("0.1:0.2:inf", "STEP of a max_lr grid must be positive and finite, but got inf"),
        ("0.1:0.2:x1", "xN of a max_lr grid must have N >= 2, but got x1"),
        ("0.1:0.2:x-3", "xN of a max_lr grid must have N >= 2, but got x-3"),
    ],
)
def test_a_bad_grid_is_refused_with_the_rule_and_the_value(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        MaxLrGrid.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [((), "at least one value"), ((True, 2.0), "must be numbers, but got True"), (("0.1",), "must be numbers")],
)
def test_bad_values_are_refused_by_the_constructor_too(values: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaxLrGrid(values)


def test_the_papers_grid_goes_on_upwards_by_its_step_and_never_downwards() -> None:
    assert MaxLrGrid(PAPER).points(below=5, above=3) == (*PAPER, 0.102, 0.104, 0.106)


def test_a_geometric_grid_goes_on_as_the_exact_sequence_without_drift() -> None:
    ends_at_six = MaxLrGrid.parse("0.001:0.01:x4").points(below=6, above=30)
    assert ends_at_six == tuple(at_six_digits(0.001 * 10 ** (i / 3)) for i in range(-6, 34))


def test_a_long_linear_grid_stays_linear_though_its_last_ratios_nearly_agree() -> None:
    assert MaxLrGrid.parse("0.001:1:0.001").points(above=3)[-3:] == (1.001, 1.002, 1.003)


def test_a_linear_grid_whose_step_has_more_than_6_digits_goes_on_by_that_step() -> None:
    beyond = MaxLrGrid.parse("0.01:0.5:0.00123457").points(above=300)
    assert beyond == pytest.approx([0.01 + i * 0.00123457 for i in range(len(beyond))], rel=1e-5)


def test_each_edge_of_a_mixed_grid_has_its_own_spacing() -> None:
    grid = MaxLrGrid((0.01, 0.02, 0.04, 0.05, 0.06))
    assert grid.points(below=2, above=2) == (0.0025, 0.005, *grid.values, 0.07, 0.08)


def test_without_a_common_step_or_ratio_the_two_outermost_points_give_the_step() -> None:
    grid = MaxLrGrid((0.5, 0.6, 0.9, 1.3))
    assert grid.points(below=2, above=2) == (0.3, 0.4, *grid.values, 1.7, 2.1)


def test_one_point_stays_alone_and_two_points_go_on_by_their_difference() -> None:
    assert MaxLrGrid((0.1,)).points(below=3, above=3) == (0.1,)
    assert MaxLrGrid((0.3, 0.4)).points(below=1, above=2) == (0.2, 0.3, 0.4, 0.5, 0.6)


def test_a_linear_grid_stops_above_zero_even_where_rounding_leaves_a_crumb() -> None:
    assert MaxLrGrid((0.3, 0.4, 0.5)).points(below=9) == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert MaxLrGrid((0.4, 0.5, 0.6)).points(below=9) == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def test_a_grid_ends_where_six_digits_or_floats_end() -> None:
    assert MaxLrGrid((0.999998, 0.999999)).points(above=5) == (0.999998, 0.999999, 1.0)
    top = MaxLrGrid.parse("1e300:1e304:x3").points(above=100)
    assert top[-1] == 1e308


@pytest.mark.parametrize("count", [-1, 1.5, True])
def test_a_count_of_points_that_is_no_count_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"below must be an integer >= 0, but got {count}"):
        MaxLrGrid((0.1, 0.2)).points(below=count)
    with pytest.raises(ValueError, match=rf"above must be an integer >= 0, but got {count}"):
        MaxLrGrid((0.1, 0.2)).points(above=count)


@settings(deadline=None)
@given(GRIDS)
def test_the_text_of_a_grid_reads_back_to_an_equal_grid(grid: MaxLrGrid) -> None:
    assert MaxLrGrid.parse(str(grid)) == grid


@settings(deadline=None)
@given(GRIDS, st.integers(0, 30), st.integers(0, 30))
def test_a_longer_extension_only_adds_points_and_all_stay_a_grid(grid: MaxLrGrid, below: int, above: int) -> None:
    short, long = grid.points(below, above), grid.points(below + 1, above + 1)
    start = long.index(short[0])
    assert long[start : start + len(short)] == short
    assert start in (0, 1) and len(long) - len(short) - start in (0, 1)
    assert MaxLrGrid(long).values == long
    assert short[short.index(grid.values[0]) :][: len(grid.values)] == grid.values


@settings(deadline=None)
@given(LINEARS | GEOMETRICS)
def test_an_extended_grid_goes_on_like_the_grid_itself(grid: MaxLrGrid) -> None:
    extended = grid.points(above=6)
    if len(grid.values) > 2:
        # Rounding at 6 digits (5e-6) is spread over the grid's gaps and grows again over the points beyond it.
        assert MaxLrGrid(grid.points(above=3)).points(above=3) == pytest.approx(extended, rel=1e-4)
