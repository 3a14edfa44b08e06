"""The figures of an oracle: verdicts differ for everyone's eyes, and nothing is drawn of nothing."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from sweep.experiments.oracle.figures import VERDICTS


def linear(colour: str) -> NDArray[np.float64]:
    """Return red, green and blue as amounts of light, of a colour #RRGGBB."""
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIELAB, in which 2 is a difference that can just be seen."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.clip(to_xyz @ light / [0.9505, 1.0, 1.089], 0.0089, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


SEEN_BY = {
    # Vienot, Brettel, Mollon (1999), as matrices of linear RGB.
    "all cones": np.eye(3),
    "no red cones": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "no green cones": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


def distance(one: str, other: str, eyes: str) -> float:
    return float(np.linalg.norm(lab(SEEN_BY[eyes] @ linear(one)) - lab(SEEN_BY[eyes] @ linear(other))))


def test_the_eyes_of_these_tests_are_colour_blind() -> None:
    """A red and a green that they cannot tell apart, and others can."""
    assert distance("#A04000", "#607000", "all cones") > 40
    assert distance("#A04000", "#607000", "no green cones") < 15


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_verdicts_differ_in_colour_for_everyone_and_in_their_mark(eyes: str) -> None:
    together = [VERDICTS[verdict] for verdict in ("inside", "undecided", "outside")]  # one run stands alone
    assert len({marker for _, marker in together}) == 3
    for (one, _), (other, _) in combinations([*together, VERDICTS["one run"]], 2):
        assert distance(one, other, eyes) > 10
