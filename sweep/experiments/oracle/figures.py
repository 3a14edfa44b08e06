"""Temporary."""

from typing import Any

from sweep.reporting import plots
from trainables.storage import Location


def trajectory(results: Any, path: Location, comparison: Any = None) -> None:
    """Draw."""
    plots.trajectory(results, comparison, path)


controls = plots.controls
FIGURES = {"shortfalls": plots.shortfalls}
