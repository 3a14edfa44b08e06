"""Views on a terminal: every cell and sentence as it is, in the width that there is."""

import io
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from sweep.reporting.terminal import EDGE, fitting, render
from sweep.reporting.views import Cell, Column, Part, Statement, Table, View, findings, legend, listing, notes

NAMES = ["[/x]", "[red]name", ":one:", "<script>", "50 % & more_$x$ ~#{}\\", "λ ± é", "日本"]
"""Names that a format takes for its own."""


def view_of(*parts: Part, title: str = "") -> View:
    return View("heading", title, parts, pd.DataFrame())


def printed(view: View, width: int = 80, **options: Any) -> str:
    file = io.StringIO()
    Console(width=width, file=file, **options).print(render(view, width))
    return file.getvalue()


def table(*columns: Column, rows: int = 2, keys: int = 1) -> Table:
    cells = [[Cell(f"{column.heading}{row}") for column in columns] for row in range(rows)]
    return Table(columns, cells, keys=keys)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are_though_the_console_knows_markup_and_emoji(name: str) -> None:
    shown = Table([Column(name), Column("x", name)], [[Cell(name), Cell("1", note=name)]], title=name)
    text = printed(view_of(shown, Statement(name), title=name), markup=True, emoji=True, width=200)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    wanted = " ".join(name.split())
    assert lines[:2] == [wanted, wanted]  # the view's title, the table's
    assert lines.count(wanted) >= 3 and lines[-1] == wanted
    assert text.count(name) >= 5


def test_what_cannot_be_printed_goes_by_its_number_on_one_line() -> None:
    text = printed(view_of(Statement("a\nb\x1b[31m\udcff"), title="one\rtwo"))
    assert text.splitlines() == ["one two", r"a b\x1b[31m\udcff"]


def test_columns_are_aligned_as_they_say_and_headings_fold_with_the_unit_below() -> None:
    columns = [Column("pruning", align="left"), Column("validation accuracy", "%")]
    shown = Table(columns, [[Cell("imp"), Cell("97.50")], [Cell("random"), Cell("9.50")]])
    lines = printed(view_of(shown), width=24).splitlines()
    assert [line.strip() for line in lines[1:4]] == ["validation", "accuracy", "pruning         (%)"]
    assert lines[5].split() == ["imp", "97.50"] and lines[5].index("imp") == lines[6].index("random")
    assert lines[5].rindex("0") == lines[6].rindex("0")


def test_a_table_that_is_too_wide_loses_optional_columns_the_highest_rank_first_and_says_which() -> None:
    shown = table(
        Column("key" * 3), Column("kept" * 3), Column("later" * 3, optional=1), Column("first" * 3, optional=2)
    )
    widths = [len(column.heading) + 1 + 2 for column in shown.columns]
    for width, wanted in ((sum(widths), [0, 1, 2, 3]), (sum(widths) - 1, [0, 1, 2]), (sum(widths[:3]) - 1, [0, 1])):
        assert fitting(shown, width) == [wanted]
    text = printed(view_of(shown), width=sum(widths) + EDGE - 1)
    assert "not shown for lack of width: firstfirstfirst\n" in text and "laterlaterlater1" in text
    assert "not shown" not in printed(view_of(shown), width=sum(widths) + EDGE)


def test_a_table_that_is_still_too_wide_is_folded_into_parts_of_like_width_with_its_keys_in_each() -> None:
    columns = [Column("m"), Column("n"), *(Column(f"schedule {index}") for index in range(7))]
    shown = table(*columns, keys=2)
    found = fitting(shown, 65)
    assert found == [[0, 1, 2, 3, 4, 5], [0, 1, 6, 7, 8]]
    text = printed(view_of(shown), width=66)
    assert max(map(len, text.splitlines())) <= 66
    for column in columns[2:]:
        for row in range(2):
            assert text.count(f"{column.heading}{row}") == 1
    assert text.count("m0") == text.count("n1") == 2


@pytest.mark.parametrize("width", [12, 20, 200])
def test_every_cell_is_there_in_any_width(width: int) -> None:
    columns = [Column("a key"), *(Column(f"c{index}") for index in range(9))]
    rows = [[Cell(f"{row}{index}") for index in range(10)] for row in range(3)]
    text = "".join(printed(view_of(Table(columns, rows)), width).split())
    for row in rows:
        for cell in row:
            assert cell.text in text


def test_marks_are_styles_and_notes_stand_below() -> None:
    row = [Cell("a", mark="best"), Cell("b", mark="outside"), Cell("c", note="(d)"), Cell("e")]
    text = printed(view_of(Table([Column("x")] * 4, [row])), force_terminal=True, color_system="standard")
    assert "\x1b[1ma" in text and "\x1b[31mb" in text and "\x1b[2m(d)" in text
    plain = [line.split() for line in printed(view_of(Table([Column("x")] * 4, [row]))).splitlines()]
    assert ["a", "b", "c", "e"] in plain and ["(d)"] in plain


def test_findings_stand_out_from_legends_and_notes() -> None:
    text = printed(view_of(*findings("found"), *legend("meaning"), *notes("besides")), force_terminal=True)
    assert text.splitlines() == ["found", "\x1b[2mmeaning\x1b[0m", "\x1b[2mbesides\x1b[0m"]


def test_a_listing_has_no_headings_and_folds_its_text() -> None:
    lines = printed(view_of(listing([("network", "x" * 50), ("states", "few")])), width=40).splitlines()
    assert lines[0].split() == ["network", lines[0].split()[1]] and lines[-1].split() == ["states", "few"]
    assert "".join(line.split()[-1] for line in lines[:-1]) == "x" * 50


def test_a_table_without_rows_shows_its_headings() -> None:
    assert "m  best max_lr" in printed(view_of(Table([Column("m"), Column("best max_lr")], [])))
