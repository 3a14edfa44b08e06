"""The time left: one estimate for the live view and the catalog."""

import pytest

from sweep.strategies.progress import Progress, seconds_left


def progress(done: int, planned: int) -> Progress:
    return Progress(0, 3, done, planned, 0, None, None)


@pytest.mark.parametrize(
    ("done", "trained", "seconds", "since", "left"),
    [
        (25, 25, 50.0, 0.0, 150.0),  # two seconds a lane, 75 lanes left
        (25, 5, 50.0, 0.0, 750.0),  # 20 of them were there before: they say nothing of the pace
        (25, 25, 50.0, 30.0, 120.0),  # the next lanes are under way for half a minute
        (99, 25, 50.0, 30.0, 0.0),  # late, but never less than nothing
        (100, 100, 50.0, 0.0, 0.0),
        (25, 0, 50.0, 0.0, None),  # no pace yet
        (25, -3, 50.0, 0.0, None),  # lanes were lost, and are trained again
    ],
)
def test_the_time_left_is_that_of_this_session_s_pace(
    done: int, trained: int, seconds: float, since: float, left: float | None
) -> None:
    assert seconds_left(progress(done, 100), trained, seconds, since) == left
