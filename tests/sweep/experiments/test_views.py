"""Tables in other formats: what is printed parses back out of each, whatever its names hold."""

import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Group
from rich.table import Table
from rich.text import Text
from sweep.reporting.screen import columns

import sweep
from sweep.cli import main as cli
from sweep.config import named_scyc as trajectories
from sweep.experiments.runner import run_control, run_validation, write_comparison
from sweep.reporting.formats import LATEX, Cells, parts_of, write
from sweep.reporting.views import View, view_of

Run = Callable[..., subprocess.CompletedProcess[str]]

SMALL: dict[str, Any] = {"runs": 2, "cycles": 2, "steps": 34, "lanes": 5, "engine": "inline", "progress": False}
NAMED = "9%_|#*&<"
"""A folder whose name no format takes as it is."""
VIEWS = {
    "oracle": ("oracle", ()),
    "rescored": ("oracle", ("--rescore",)),
    "trend": ("oracle", ("--trend",)),
    "trained": ("oracle/trained", ()),
    "tuning": ("tuning", ()),
    "schedules": ("schedules", ()),
}
"""A folder and the flags that show something of it."""
SIGNS = {str(command): chr(sign) for sign, command in LATEX.items()}
EACH = pytest.mark.parametrize("view", VIEWS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an oracle, its control and trained comparison, a tuning and a comparison of schedules."""
    here = tmp_path_factory.mktemp("formats")
    (here / NAMED).mkdir()
    trajectories.write("scyc", {"epsilon": 0.05, "delta": 0.05, "q": 1, "beta": 4.0}, "by hand", here / NAMED)
    file = str(here / NAMED / "scyc.toml")
    oracle = sweep.build_oracle(**SMALL, max_lr="0.02:0.5:x5", out=here / "oracle")
    named = trajectories.parse([file], "mlp", "digits")
    write_comparison(oracle, named)
    run_control(oracle, ["random"], {})
    run_validation(oracle, named, None, {})
    sweep.tune(**SMALL, trials=4, out=here / "tuning")
    sweep.compare_schedules(**SMALL, schedules=("constant=0.1", f"scyc={file}"), out=here / "schedules")
    return here


@pytest.fixture(scope="module")
def shown() -> dict[tuple[str, str], str]:
    """What was shown already, by view and format."""
    return {}


@pytest.fixture
def show(
    here: Run, folders: Path, shown: dict[tuple[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Show a view, in a format, on a terminal so wide that no cell is broken."""
    monkeypatch.setattr(cli.out, "width", 200)

    def show_(view: str, format: str) -> str:
        if (view, format) not in shown:
            folder, flags = VIEWS[view]
            result = here("show", folders / folder, *flags, "--format", format)
            assert result.returncode == 0, result.stderr
            shown[view, format] = result.stdout
        return shown[view, format]

    return show_


def data_of(view: str, folders: Path) -> pd.DataFrame:
    results: Any = sweep.load(folders / VIEWS[view][0])
    return getattr(results, "verdicts" if view == "trained" else view)


Printed = tuple[list[str], list[list[str]]]
"""A table's words: those of its headings, sorted, since a heading may take two lines; those of each row."""


def printed_tables(text: str) -> list[Printed]:
    """Read the tables off a terminal: headings, a rule, and rows, which alone are indented."""
    found, lines = [], text.splitlines()
    for index, line in enumerate(lines):
        if set(line.strip()) == {"─"}:
            headings = re.split(r"\n\s*\n", "\n".join(lines[:index]))[-1]
            rows = []
            for row in lines[index + 1 :]:
                if row.strip() and not row.startswith(" "):
                    break
                rows.append(row.split())
            found.append((sorted(headings.split()), [row for row in rows if row]))
    return found


def words(headings: list[str], rows: list[list[str]]) -> Printed:
    return sorted(" ".join(headings).split()), [" ".join(row).split() for row in rows]


def markdown_tables(text: str) -> list[Printed]:
    """Read GitHub's tables: a bar that nothing escapes ends a cell."""
    found: list[Printed] = []
    for block in text.split("\n\n"):
        if not block.startswith("|"):
            continue
        heads, rule, *rows = (
            [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.strip().splitlines()
        )
        assert all(re.fullmatch(r":?-+:?", cell) for cell in rule)
        assert {len(row) for row in (rule, *rows)} == {len(heads)}
        found.append(words(heads, rows))
    return found


def latex_tables(text: str) -> list[Printed]:
    """Read tabulars: an & that nothing escapes ends a cell, what a comment says is not read."""
    signs = SIGNS | {r"\ensuremath{<}": "<", r"\ensuremath{>}": ">", r"\textasciitilde{}": "~", r"\^{}": "^"}
    found: list[Printed] = []
    text = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    for align, body in re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        head, rest = body.split("\\midrule\n")
        lines = [line for line in [*head.splitlines(), *rest.splitlines()] if not re.fullmatch(r"\\\w+rule", line)]
        rows = []
        for line in lines:
            assert line.endswith(r"\\")
            cells = re.split(r"(?<!\\)&", line.removesuffix(r"\\"))
            assert len(cells) == len(align)
            for command, sign in signs.items():
                cells = [cell.replace(command, sign) for cell in cells]
            assert not re.search(r"(?<!\\)[%_#$]", "".join(cells)), line
            rows.append([re.sub(r"\\([%&_#${}])", r"\1", cell) for cell in cells])
        found.append(words(rows[0], rows[1:]))
    return found


@EACH
def test_markdown_and_latex_have_the_cells_that_are_printed(show: Callable[..., str], view: str) -> None:
    printed = printed_tables(show(view, "text"))
    assert printed and all(rows for _, rows in printed)
    assert markdown_tables(show(view, "markdown")) == printed
    assert latex_tables(show(view, "latex")) == printed


@EACH
def test_lines_beside_the_tables_come_along(show: Callable[..., str], view: str) -> None:
    printed = [line for line in show(view, "text").splitlines() if line.strip() and not line.startswith(" ")]
    text = " ".join(" ".join(printed).split())
    markdown = re.sub(r"\\(.)", r"\1", show(view, "markdown"))
    latex = show(view, "latex")
    for command, sign in SIGNS.items():
        latex = latex.replace(command, sign)
    ours = [line for line in markdown.splitlines() if line and not line.startswith("|")]
    assert " ".join(" ".join(ours).split()) == text
    comments = [line.removeprefix("%") for line in latex.splitlines() if line.startswith("%")]
    assert " ".join(" ".join(comments).split()) == text


@EACH
def test_latex_is_balanced_and_ascii(show: Callable[..., str], view: str) -> None:
    text = show(view, "latex")
    assert text.isascii()
    begun = re.findall(r"\\(begin|end)\{(\w+)\}", text)
    assert begun == [("begin", "tabular"), ("end", "tabular")] * (len(begun) // 2) and begun
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == len(begun) // 2


def test_every_character_outside_ascii_that_may_be_printed_is_known_to_latex() -> None:
    """Whatever the modules of tables say, they say with these."""
    package = Path(sweep.__file__).parent
    modules = (*package.glob("*.py"), *(package.parent / "search_spaces").glob("*.py"))
    used = {character for path in modules for character in path.read_text() if not character.isascii()}
    assert used == set(SIGNS.values())


@EACH
def test_csv_read_back_is_the_table_in_full(show: Callable[..., str], folders: Path, view: str) -> None:
    found = pd.read_csv(io.StringIO(show(view, "csv")), dtype=str)
    data = data_of(view, folders)
    assert len(data) and list(found.columns) == list(data.columns)
    for name, ours in columns(data).items():
        for cell, value in zip(columns(found)[name], ours, strict=True):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            assert (float(cell) == value) if number else cell == (None if value is None else str(value)), name


@EACH
def test_json_is_one_object_of_columns_with_nulls(show: Callable[..., str], folders: Path, view: str) -> None:
    text = show(view, "json")
    assert text.endswith("}\n") and text.count("\n") == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(text, parse_constant=refuse)
    data = data_of(view, folders)
    assert list(content) == list(data.columns)
    for name, values in content.items():
        assert [value is None for value in values] == data[name].isna().tolist()
        assert [value for value in values if value is not None] == data[name].dropna().tolist()


def test_names_with_signs_of_a_format_s_own_are_in_the_tables(show: Callable[..., str]) -> None:
    """Otherwise nothing above would have been escaped."""
    for view in ("oracle", "trained"):
        assert f"{NAMED}/scyc.toml" in show(view, "text")
    assert r"9\%\_|\#*\&\ensuremath{<}/scyc.toml" in show("oracle", "latex")
    assert r"9%_\|#\*&\</scyc.toml" in show("trained", "markdown")


def test_a_line_that_begins_with_a_star_is_no_list_in_markdown(show: Callable[..., str]) -> None:
    """The star is the mark of the best, and a list would swallow it."""
    assert "\n* the best test accuracy" in show("schedules", "text")
    assert "\n\\* the best test accuracy" in show("schedules", "markdown")
    assert not re.search(r"^\s*[*+-] ", show("schedules", "markdown"), re.MULTILINE)


def test_a_table_without_rows_leaves_its_title_and_lines() -> None:
    """LaTeX has no table of no columns; headings of nothing say nothing."""
    table = Table("m", "best", title="mlp on digits")
    view = View(Group(table, Text("no cycle is decided yet")), pd.DataFrame({"cycle": []}))
    assert write(view, "latex") == "% mlp on digits\n\n% no cycle is decided yet\n"
    assert write(view, "markdown").split() == ["mlp", "on", "digits", "no", "cycle", "is", "decided", "yet"]
    assert write(view, "csv") == "cycle\n" and json.loads(write(view, "json")) == {"cycle": []}


def test_columns_stand_as_they_are_printed(folders: Path) -> None:
    cells = next(part for part in parts_of(view_of(sweep.load(folders / "tuning"), None, 110).table))
    assert isinstance(cells, Cells)
    assert dict(zip(cells.headings, cells.align, strict=True))["stage"] == "left"
    assert dict(zip(cells.headings, cells.align, strict=True))["val %"] == "right"


def test_two_tables_at_once_are_refused(here: Run, folders: Path) -> None:
    result = here("show", folders / "oracle", "--rescore", "--trend", "--format", "markdown")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.strip() == "scyc-sweep: --rescore and --trend are two tables: give one"


@pytest.mark.parametrize("flag", ["--rescore", "--trend"])
@pytest.mark.parametrize("folder", ["tuning", "schedules", "oracle/trained"])
def test_only_an_oracle_has_other_tables(here: Run, folders: Path, folder: str, flag: str) -> None:
    result = here("show", folders / folder, flag, "--format", "csv")
    assert result.returncode == 2 and result.stdout == ""
    message = " ".join(result.stderr.split())
    assert f"{flag} needs an oracle with a decided cycle, and {folders / folder} holds none" in message


def test_an_unknown_format_is_refused_with_the_choices(here: Run, folders: Path) -> None:
    result = here("show", folders / "oracle", "--format", "html")
    assert result.returncode == 2 and "markdown" in result.stderr
