"""Views in other formats: what is shown parses back out of each, whatever names it has."""

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest

import search_spaces
import sweep
from sweep.reporting.formats import LATEX, columns, write
from sweep.reporting.views import Cell, Column, Statement, Table, View, listing

NAMES = ["9%_|#*&<", "[/x]", ":one:", "<script>", "$x$ ~^{}\\", "- a_b_c `d` [e](f)", "&amp; **g**", "a\nb", "λ±"]
"""Names that a format takes for its own."""
EACH = pytest.mark.parametrize("name", NAMES)
SIGNS = {str(command): chr(sign) for sign, command in LATEX.items()}
"""LaTeX's commands for what it has no letters for, and what they stand for."""


def view_of(name: str) -> View:
    columns = [Column("m"), Column(name, align="left"), Column("accuracy", "%")]
    rows = [[Cell("0", 0), Cell(name, name, "best"), Cell("97.50±0.42", 97.5, note="(96±1)")], [Cell("1")] * 3]
    parts = [Table(columns, rows, name), Statement(name), Statement(name, "legend")]
    return View("heading", f"title {name}", parts, pd.DataFrame({"cycle": [0, 1], name: [name, None]}))


def one_line(text: str) -> str:
    return " ".join(text.split())


def markdown_table(text: str) -> list[list[str]]:
    """Read GitHub's table: a bar that nothing escapes ends a cell."""
    heads, rule, *rows = (
        [plain_markdown(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    )
    assert all(re.fullmatch(r":?-+:?", cell) for cell in rule)
    assert {len(row) for row in (rule, *rows)} == {len(heads)}
    return [heads, *rows]


def plain_markdown(text: str) -> str:
    """Return a text of Markdown, in which nothing is left that means more than itself."""
    text = text.strip()
    assert not re.search(r"(?<!\\)[*_`<>[$|~]|(?<!\\)&\w|(?<!\\):\w+:|^[-+] ", text), text
    return re.sub(r"\\(.)", r"\1", text)


def latex_table(text: str) -> list[list[str]]:
    """Read a tabular: an & that nothing escapes ends a cell."""
    signs = SIGNS | {r"\ensuremath{<}": "<", r"\ensuremath{>}": ">", r"\textasciitilde{}": "~", r"\^{}": "^"}
    [(align, body)] = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    rows = []
    for line in body.splitlines():
        if re.fullmatch(r"\\(top|mid|bottom)rule", line):
            continue
        assert line.endswith(r"\\")
        cells = re.split(r"(?<!\\)&", line.removesuffix(r"\\"))
        assert len(cells) == len(align)
        for command, sign in signs.items():
            cells = [cell.replace(command, sign) for cell in cells]
        cells = [cell.replace(r"\textbackslash{}", "\0") for cell in cells]
        assert not re.search(r"(?<!\\)[%_#$]", "".join(cells)), line
        rows.append([re.sub(r"\\([%&_#${}])", r"\1", cell).replace("\0", "\\").strip() for cell in cells])
    return rows


@EACH
def test_markdown_and_latex_have_every_cell_as_it_is(name: str) -> None:
    wanted = [["m", one_line(name), "accuracy (%)"], ["0", one_line(name), "97.50±0.42 (96±1)"], ["1"] * 3]
    assert [list(map(one_line, row)) for row in markdown_table(write(view_of(name), "markdown"))] == wanted
    assert [list(map(one_line, row)) for row in latex_table(write(view_of(name), "latex"))] == wanted


@EACH
def test_titles_and_sentences_come_along_as_comments_in_latex(name: str) -> None:
    wanted = [f"title {one_line(name)}", *[one_line(name)] * 3]
    blocks = write(view_of(name), "markdown").split("\n\n")
    ours = [block.strip() for block in blocks if not block.startswith("|")]
    ours = [block[2:-2] if block.startswith("**") and block.endswith("**") else block for block in ours]
    assert [one_line(plain_markdown(block)) for block in ours if block] == wanted
    latex = write(view_of(name), "latex")
    for command, sign in SIGNS.items():
        latex = latex.replace(command, sign)
    comments = [one_line(line.removeprefix("%")) for line in latex.splitlines() if line.startswith("%")]
    assert comments == wanted


@EACH
def test_csv_and_json_have_the_data_in_full(name: str) -> None:
    view = view_of(name)
    found = pd.read_csv(io.StringIO(write(view, "csv")), keep_default_na=False)
    assert found.to_dict("list") == {"cycle": [0, 1], name: [name, ""]}
    text = write(view, "json")
    assert json.loads(text) == {"cycle": [0, 1], name: [name, None]} and text.count("\n") == 1


def test_json_has_nulls_for_all_that_is_missing() -> None:
    data = pd.DataFrame({"a": [1.5, float("nan")], "b": pd.array([1, None], dtype="Int32"), "c": [None, "x"]})
    assert columns(data) == {"a": [1.5, None], "b": [1, None], "c": [None, "x"]}
    assert "NaN" not in json.dumps(columns(data))


def test_latex_is_balanced_and_ascii_where_names_are() -> None:
    text = write(view_of("a"), "latex")
    assert text.isascii()
    assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [("begin", "tabular"), ("end", "tabular")]
    assert all(text.count(f"\\{rule}") == 1 for rule in ("toprule", "midrule", "bottomrule"))


def test_columns_keep_their_alignment() -> None:
    assert r"\begin{tabular}{rlr}" in write(view_of("a"), "latex")
    assert re.search(r"\|-+:\|:-+\|-+:\|", write(view_of("a"), "markdown"))


def test_every_character_outside_ascii_that_is_written_is_known_to_latex() -> None:
    """Whatever the modules of views say, they say with these."""
    packages = [Path(str(package.__file__)).parent for package in (sweep, search_spaces)]
    modules = [path for package in packages for path in package.rglob("*.py")]
    used = {character for path in modules for character in path.read_text() if not character.isascii()}
    assert len(modules) > 60 and used == set(SIGNS.values())


def test_a_table_without_rows_leaves_its_title_and_sentences() -> None:
    """LaTeX has no table of no columns; headings of nothing say nothing."""
    table = Table([Column("m"), Column("best")], [], title="mlp on digits")
    view = View("", "", [table, Statement("no cycle is decided yet")], pd.DataFrame({"cycle": []}))
    assert write(view, "latex") == "% mlp on digits\n\n% no cycle is decided yet\n\n"
    assert write(view, "markdown").split() == ["**mlp", "on", "digits**", "no", "cycle", "is", "decided", "yet"]
    assert write(view, "csv") == "cycle\n" and json.loads(write(view, "json")) == {"cycle": []}


def test_a_listing_has_headings_since_these_formats_have_no_table_without() -> None:
    text = write(View("", "", [listing([("network", "a | b")])], pd.DataFrame()), "markdown")
    assert markdown_table(text) == [["name", "value"], ["network", "a | b"]]
