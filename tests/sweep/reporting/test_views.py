"""The neutral views themselves."""

import subprocess
import sys

import pytest

from sweep.reporting.views import Cell, Column, Table, listing, marked


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="a table of 2 columns has a row of 1 cells"):
        Table([Column("m"), Column("best")], [[Cell("0"), Cell("1")], [Cell("0")]])


def test_a_heading_has_its_unit() -> None:
    assert (Column("λ", "%").title, Column("m").title) == ("λ (%)", "m")


def test_a_row_is_marked_as_a_whole_and_keeps_its_values() -> None:
    cells = marked([Cell("a", 1.5), Cell("b", note="c")], "best")
    assert cells == [Cell("a", 1.5, "best"), Cell("b", None, "best", "c")]


def test_a_listing_has_names_and_texts() -> None:
    found = listing([("network", "12 parameters")])
    assert [[cell.text for cell in row] for row in found.rows] == [["network", "12 parameters"]] and not found.headed


@pytest.mark.parametrize("module", ["views", "numbers", "wording", "drawing"])
def test_neutral_views_need_no_renderer_and_no_drawing(module: str) -> None:
    """Nor torch or Ray: what only prints starts at once."""
    code = f"import sys, sweep.reporting.{module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"rich", "tabulate", "jinja2", "matplotlib", "torch", "ray"} & set(found)
