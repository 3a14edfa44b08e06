"""What figures share: names as they are, files that are the same for the same results, no window."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweep.reporting import drawing

NAMES = ["$x", "$x$", "$^$", "_x", r"\$x$", "caf\udce9", "a_b", "[/x]", ":one:", "<script>"]


def test_any_name_can_be_drawn() -> None:
    figure, axes = drawing.panels(1, 1, 4, 3)
    for name in NAMES:
        axes[0, 0].plot([0], [0], label=drawing.label(name))
    assert len(axes[0, 0].get_legend_handles_labels()[1]) == len(NAMES)
    axes[0, 0].legend()
    figure.canvas.draw()


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_figure_is_the_same_file(ending: str, tmp_path: Path) -> None:
    for name in ("one", "other"):
        figure, axes = drawing.panels(1, 1, 4, 3)
        axes[0, 0].plot([0, 1], [1, 0], label="a")
        axes[0, 0].legend()
        drawing.save(figure, tmp_path / f"{name}.{ending}")
    assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"other.{ending}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one.{ending}", f"other.{ending}"]


def test_figures_open_no_window_and_leave_nothing_behind(tmp_path: Path) -> None:
    """Where a display is named that is not there, and a process draws thousands."""
    code = f"""
import sys
from pathlib import Path
from sweep.reporting import drawing
figure, axes = drawing.panels(1, 1, 4, 3)
axes[0, 0].plot([0, 1], [1, 0])
drawing.save(figure, Path({str(tmp_path / "a.png")!r}))
print("matplotlib.pyplot" in sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DISPLAY": ":77", "MPLBACKEND": "tkagg"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "False\n" and (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_error_bars_reach_from_the_value_to_the_ends_and_never_backwards() -> None:
    rows = pd.DataFrame({"gap": [1.0, 2.0], "gap_low": [0.5, 2.5], "gap_high": [3.0, 4.0]})
    found = drawing.error_bars(rows, "gap")
    assert found is not None and np.array_equal(found, [[0.5, 0.0], [2.0, 2.0]])
    assert drawing.error_bars(rows.assign(gap_low=np.nan), "gap") is None
