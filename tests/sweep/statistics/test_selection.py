"""Which max_lr is best and which are as good: by hand, and what must hold for all scores."""

from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sweep.statistics.selection import Choice, choose, mean_scores

Scores = dict[float, float | None]

SCORES = st.dictionaries(
    st.integers(1, 1000).map(lambda n: n / 1000),
    st.none() | st.sampled_from([88.0, 89.25, 89.5, 89.75, 90.0]) | st.floats(1, 100),
    min_size=1,
    max_size=12,
)
KINDS = st.sampled_from(["absolute", "relative"])
TOLERANCES = st.sampled_from([0.0, 0.25, 0.5]) | st.floats(0, 20)


def table(*scores: float | None) -> Scores:
    """Scores at max_lr 0.1, 0.2, 0.3, ..."""
    return {round(0.1 * (i + 1), 1): score for i, score in enumerate(scores)}


def chosen(scores: Mapping[float, float | None], tolerance: float = 0.5, kind: str = "absolute") -> Choice:
    choice = choose(scores, tolerance, kind)  # type: ignore[arg-type]
    assert choice is not None
    return choice


@pytest.mark.parametrize(
    ("scores", "best", "feasible", "hull", "edges"),
    [
        pytest.param(
            table(80.0, 89.6, 90.0, 89.5, 89.4), 0.3, (0.2, 0.4), (0.2, 0.4), (False, False), id="a plain hill"
        ),
        pytest.param(table(80.0, 90.0, 80.0), 0.2, (0.2, 0.2), (0.2, 0.2), (False, False), id="a lone peak"),
        pytest.param(table(90.0, 89.7, 80.0), 0.1, (0.1, 0.2), (0.1, 0.2), (True, False), id="best at the low edge"),
        pytest.param(table(80.0, 89.7, 90.0), 0.3, (0.2, 0.3), (0.2, 0.3), (False, True), id="best at the high edge"),
        pytest.param(table(89.5, 90.0, 80.0), 0.2, (0.1, 0.2), (0.1, 0.2), (True, False), id="a bound at the low edge"),
        pytest.param(
            table(80.0, 90.0, 89.5), 0.2, (0.2, 0.3), (0.2, 0.3), (False, True), id="a bound at the high edge"
        ),
        pytest.param(
            table(80.0, 90.0, 89.0, 89.7, 80.0), 0.2, (0.2, 0.2), (0.2, 0.4), (False, False), id="a gap above the best"
        ),
        pytest.param(
            table(80.0, 89.7, 89.0, 90.0, 80.0), 0.4, (0.4, 0.4), (0.2, 0.4), (False, False), id="a gap below the best"
        ),
        pytest.param(
            table(89.9, 80.0, 90.0, 80.0, 89.9), 0.3, (0.3, 0.3), (0.1, 0.5), (False, False), id="edges beyond gaps"
        ),
        pytest.param(
            table(80.0, 90.0, None, 89.9, 80.0), 0.2, (0.2, 0.2), (0.2, 0.4), (False, False), id="a diverged gap"
        ),
        pytest.param(
            table(None, 89.8, 90.0, None), 0.3, (0.2, 0.3), (0.2, 0.3), (False, False), id="diverged at both edges"
        ),
        pytest.param(table(None, None, 12.0), 0.3, (0.3, 0.3), (0.3, 0.3), (False, True), id="one that did not"),
        pytest.param({0.07: 55.0}, 0.07, (0.07, 0.07), (0.07, 0.07), (True, True), id="a grid of one point"),
        pytest.param(
            table(90.0, 90.0, 90.0, 80.0), 0.2, (0.1, 0.3), (0.1, 0.3), (True, False), id="the middle of three tied"
        ),
        pytest.param(
            table(80.0, 90.0, 90.0, 80.0), 0.2, (0.2, 0.3), (0.2, 0.3), (False, False), id="of two tied the lower"
        ),
        pytest.param(
            table(80.0, 90.0, 90.0, 90.0, 90.0, 80.0), 0.3, (0.2, 0.5), (0.2, 0.5), (False, False), id="of four tied"
        ),
        pytest.param(
            table(90.0, 80.0, 80.0, 90.0, 90.0), 0.4, (0.4, 0.5), (0.1, 0.5), (False, True), id="tied across a gap"
        ),
        pytest.param(
            table(80.0, 90.0 - 1e-13, 90.0, 90.0 + 1e-13, 80.0),
            0.3,
            (0.2, 0.4),
            (0.2, 0.4),
            (False, False),
            id="tied but for rounding",
        ),
    ],
)
def test_best_region_hull_and_edges_come_out_as_by_hand(
    scores: Scores, best: float, feasible: tuple[float, float], hull: tuple[float, float], edges: tuple[bool, bool]
) -> None:
    choice = chosen(scores)
    assert choice.best_max_lr == best
    assert (choice.feasible_low, choice.feasible_high) == feasible
    assert (choice.hull_low, choice.hull_high) == hull
    assert (choice.low_at_edge, choice.high_at_edge) == edges
    assert choice.contiguous == (feasible == hull)


def test_there_is_no_choice_where_everything_diverged() -> None:
    assert choose(table(None, None, None), 0.5, "absolute") is None
    assert choose({}, 0.5, "absolute") is None


@pytest.mark.parametrize(
    ("kind", "tolerance", "low", "high"),
    [
        ("absolute", 0.5, 0.3, 0.3),
        ("relative", 0.5, 0.3, 0.3),
        ("absolute", 1.0, 0.2, 0.4),
        ("relative", 1.0, 0.2, 0.3),  # 1 % of 60 is 0.6 points
        ("relative", 2.0, 0.2, 0.4),
        ("absolute", 0.0, 0.3, 0.3),
        ("relative", 0.0, 0.3, 0.3),
    ],
)
def test_relative_tolerance_is_a_percentage_of_the_best(kind: str, tolerance: float, low: float, high: float) -> None:
    choice = chosen(table(50.0, 59.45, 60.0, 59.0, 50.0), tolerance, kind)
    assert (choice.feasible_low, choice.feasible_high) == (low, high)


def test_a_score_exactly_at_the_tolerance_is_feasible_and_one_just_below_is_not() -> None:
    assert 88.01 - 0.3 > 87.71 and 20.01 * (1 - 0.5 / 100) > 19.90995  # in floats; the choice must not hang on that
    assert chosen(table(80.0, 87.71, 88.01), 0.3).feasible_low == 0.2
    assert chosen(table(10.0, 19.90995, 20.01), 0.5, "relative").feasible_low == 0.2
    assert chosen(table(80.0, 87.70999, 88.01), 0.3).feasible_low == 0.3


def test_with_tolerance_zero_only_tied_points_are_feasible() -> None:
    choice = chosen(table(90.0, 90.0, 89.99, 90.0), 0.0)
    assert (choice.best_max_lr, choice.feasible_low, choice.feasible_high) == (0.2, 0.1, 0.2)
    assert (choice.hull_low, choice.hull_high, choice.contiguous) == (0.1, 0.4, False)


@given(SCORES, TOLERANCES, KINDS)
def test_the_best_lies_in_the_region_and_the_region_in_the_hull(scores: Scores, tolerance: float, kind: str) -> None:
    assume(any(score is not None for score in scores.values()))
    choice = chosen(scores, tolerance, kind)
    assert choice.hull_low <= choice.feasible_low <= choice.best_max_lr <= choice.feasible_high <= choice.hull_high
    assert {choice.best_max_lr, choice.feasible_low, choice.hull_high} <= set(scores)
    assert scores[choice.best_max_lr] == pytest.approx(max(s for s in scores.values() if s is not None), abs=1e-8)
    assert choice.contiguous == (choice.feasible_low == choice.hull_low and choice.feasible_high == choice.hull_high)


@given(SCORES, TOLERANCES, KINDS)
def test_the_region_reaches_from_the_best_as_far_as_every_point_is_good_enough(
    scores: Scores, tolerance: float, kind: str
) -> None:
    assume(any(score is not None for score in scores.values()))
    choice = chosen(scores, tolerance, kind)
    top = max(score for score in scores.values() if score is not None)
    floor = top - tolerance if kind == "absolute" else top * (1 - tolerance / 100)
    # Points within rounding of the floor may fall either way.
    assume(all(score is None or score == top or abs(score - floor) > 1e-6 for score in scores.values()))
    good = {point for point, score in scores.items() if score is not None and score >= floor}
    stretch = {p for p in scores if choice.feasible_low <= p <= choice.feasible_high}
    assert stretch <= good
    below = [p for p in scores if p < choice.feasible_low]
    above = [p for p in scores if p > choice.feasible_high]
    assert choice.low_at_edge == (not below) and choice.high_at_edge == (not above)
    assert not below or max(below) not in good
    assert not above or min(above) not in good
    assert (choice.hull_low, choice.hull_high) == (min(good), max(good))


@given(SCORES, TOLERANCES, TOLERANCES, KINDS)
def test_a_wider_tolerance_never_shrinks_region_or_hull(scores: Scores, one: float, other: float, kind: str) -> None:
    assume(any(score is not None for score in scores.values()))
    narrow, wide = (chosen(scores, tolerance, kind) for tolerance in sorted((one, other)))
    assert narrow.best_max_lr == wide.best_max_lr
    assert wide.feasible_low <= narrow.feasible_low and narrow.feasible_high <= wide.feasible_high
    assert wide.hull_low <= narrow.hull_low and narrow.hull_high <= wide.hull_high


@given(st.data(), SCORES, TOLERANCES, KINDS)
def test_the_order_in_which_scores_are_given_changes_nothing(
    data: st.DataObject, scores: Scores, tolerance: float, kind: str
) -> None:
    shuffled = dict(data.draw(st.permutations(list(scores.items()))))
    assert choose(shuffled, tolerance, kind) == choose(scores, tolerance, kind)  # type: ignore[arg-type]


@given(st.integers(1, 40), st.integers(0, 6), st.integers(0, 6))
def test_a_plateau_is_represented_by_its_middle_wherever_it_lies(width: int, left: int, right: int) -> None:
    scores = table(*[80.0] * left, *[90.0] * width, *[80.0] * right)
    points = sorted(scores)
    position = points.index(chosen(scores).best_max_lr) - left
    assert position in {(width - 1) / 2, (width - 2) / 2}


def test_a_max_lr_scores_the_mean_of_its_runs_and_nothing_if_one_diverged() -> None:
    by_run = [(80.0, 70.0), (83.0, None), (86.0, 99.0)]
    rows = [
        {"run": run, "max_lr": max_lr, "val_accuracy": accuracy}
        for run, accuracies in enumerate(by_run)
        for max_lr, accuracy in zip((0.1, 0.2), accuracies, strict=True)
    ]
    assert mean_scores(rows) == {0.1: 83.0, 0.2: None}
