"""The views of every experiment: what they show is in their data, and comes out of every format."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sweep
from search_spaces.paper import table_of
from search_spaces.scyc import SCyc
from sweep.cli.console import out
from sweep.config import named_scyc as trajectories
from sweep.experiments.oracle.experiment import write_comparison
from sweep.experiments.oracle.reference_views import paper
from sweep.experiments.oracle.table_views import compared
from sweep.experiments.registry import experiment
from sweep.reporting.formats import LATEX, columns
from sweep.reporting.numbers import missing
from sweep.reporting.views import Cell, Statement, Table, View
from sweep.reporting.wording import why_edge

Run = Callable[..., subprocess.CompletedProcess[str]]

SMALL: dict[str, Any] = {"runs": 2, "cycles": 2, "steps": 34, "lanes": 5, "engine": "inline", "progress": False}
NAMED = "9%_|#*&<"
"""A folder whose name no format takes as it is."""
VIEWS = {
    "oracle": ("oracle", ()),
    "rescored": ("oracle", ("--rescore",)),
    "trend": ("oracle", ("--trend",)),
    "validation": ("oracle/validation", ()),
    "held out": ("oracle/validation-held-out", ()),
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
    sweep.control(here / "oracle", ["random"], progress=False)
    for runs in (None, 2):
        sweep.confirm(here / "oracle", named, runs, progress=False)
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
    monkeypatch.setattr(out, "width", 200)

    def show_(view: str, format: str) -> str:
        if (view, format) not in shown:
            folder, flags = VIEWS[view]
            result = here("show", folders / folder, *flags, "--format", format)
            assert result.returncode == 0, result.stderr
            shown[view, format] = result.stdout
        return shown[view, format]

    return show_


def view_of(view: str, folders: Path) -> View:
    results = sweep.load(folders / VIEWS[view][0])
    views = experiment(results.kind).views
    return views[view if view in views else next(iter(views))](results)


def data_of(view: str, folders: Path) -> pd.DataFrame:
    results: Any = sweep.load(folders / VIEWS[view][0])
    data: pd.DataFrame = getattr(results, "verdicts" if view in ("validation", "held out") else view)
    return data


def tables_of(view: View) -> Iterator[Table]:
    return (part for part in view.parts if isinstance(part, Table))


def said(view: View) -> str:
    return "\n".join(part.text for part in view.parts if isinstance(part, Statement))


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
        if not block.lstrip("\n").startswith("|"):
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
    ours = [line.removeprefix("**").removesuffix("**") for line in markdown.splitlines()]
    ours = [line for line in ours if line and not line.startswith("|")]
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
    for view in ("oracle", "validation"):
        assert f"{NAMED}/scyc.toml" in show(view, "text")
    assert r"9\%\_|\#*\&\ensuremath{<}/scyc.toml" in show("oracle", "latex")
    assert r"9%\_\|\#\*\&\</scyc.toml" in show("validation", "markdown")


def test_a_line_that_begins_with_a_star_is_no_list_in_markdown(show: Callable[..., str]) -> None:
    """The star is the mark of the best, and a list would swallow it."""
    assert "\n*: the best mean test accuracy" in show("schedules", "text")
    assert "\n\\*: the best mean test accuracy" in show("schedules", "markdown")
    assert not re.search(r"^\s*[*+-] ", show("schedules", "markdown"), re.MULTILINE)


NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def shows(text: str, value: Any) -> bool:
    """Whether a text's numbers are a cell's value, to the digits that are shown."""
    values = value if isinstance(value, tuple | list) else [value]
    found = [number.replace(",", "") for number in NUMBER.findall(text)]
    if all(missing(each) or isinstance(each, str | bool) for each in values):
        return True
    if not found:  # what diverged or ended, or a rule that changes nothing
        return all(missing(each) for each in values)
    digits = [len(number.partition("e")[0].lstrip("+-0.").replace(".", "")) or 1 for number in found]
    return all(
        abs(float(number) - each) <= 0.51 * 10 ** -(decimals(number)) or f"{each:.{n}g}" == f"{float(number):.{n}g}"
        for number, each, n in zip(found, values, digits, strict=False)
    )


def decimals(number: str) -> int:
    return len(number.partition(".")[2]) if "e" not in number else 99


@EACH
def test_every_number_shown_is_its_cell_s_value(folders: Path, view: str) -> None:
    cells = [cell for table in tables_of(view_of(view, folders)) for row in table.rows for cell in row]
    assert len(cells) >= 12
    assert not [cell for cell in cells if not shows(cell.text, cell.value)]


def test_a_wrong_number_would_be_noticed() -> None:
    assert shows("97.50±0.42*", 97.499) and shows("[0.0562, 0.1]~", (0.0562341, 0.1)) and shows("1,020", 1020)
    assert not shows("97.50", 97.51) and not shows("[0.0562, 0.1]", (0.0562341, 0.2)) and not shows("1,020", 1021)


SOURCES = {
    "oracle": {"m": "cycle", "best max_lr": "best_max_lr", "validation accuracy": "val_accuracy_mean"},
    "trend": {"pruning": "chain", "quantity": "quantity", "growth per cycle": "factor", "p": "holm_p"},
    "validation": {"λ": "percent_remaining", "predicted max_lr": "scyc_max_lr", "validation gap": "val_gap"},
    "held out": {"test gap of its own chain": "own_test_gap", "verdict": "verdict", "equivalent": "equivalent"},
    "tuning": {"stage": "stage", "trial": "number", "epsilon": "epsilon", "validation accuracy": "value"},
}
"""Headings, and the columns that their cells' values are of."""


@pytest.mark.parametrize("view", SOURCES)
def test_values_are_those_of_the_data(folders: Path, view: str) -> None:
    shown, data = view_of(view, folders), data_of(view, folders)
    table = next(tables_of(shown))
    headings = [column.heading for column in table.columns]
    for heading, source in SOURCES[view].items():
        values = [row[headings.index(heading)].value for row in table.rows]
        assert len(values) == len(data)
        for ours, theirs in zip(values, data[source], strict=True):
            assert ours == theirs or (missing(ours) and (missing(theirs) or source == "percent_remaining")), heading


def test_schedules_stand_beside_each_other_with_marks_that_are_in_the_data(folders: Path) -> None:
    [table] = tables_of(view_of("schedules", folders))
    data = data_of("schedules", folders).set_index(["schedule", "cycle"])
    for row in table.rows:
        for column, cell in list(zip(table.columns, row, strict=True))[table.keys :]:
            wanted = data.loc[column.heading, row[0].value]
            assert cell.value == wanted["test_accuracy_mean"]
            sign = "*" if wanted["best"] else "=" if wanted["tied"] else " "
            assert cell.text.endswith(sign) and (cell.mark == "best") == (sign != " ")


def test_the_counts_of_the_sentences_are_those_of_the_data(folders: Path) -> None:
    oracle, text = sweep.load(folders / "oracle"), said(view_of("oracle", folders))
    table, comparison = oracle.oracle, oracle.comparison  # type: ignore[attr-defined]
    assert (
        f"median over cycles: {table['n_not_worse'].median():g} of {table['points'].median():g} max_lr values are not "
        "significantly worse than the best (95 %, simultaneous)"
    ) in text
    assert f"inside the feasible region in {comparison['inside'].sum()} of {len(table)} cycles" in text
    assert f"mean gap {comparison['accuracy_gap'].mean():+.2f} points" in text
    assert f"{table['lanes'].sum():,} lanes ({table['diverged'].sum()} diverged)" in text
    verdicts = data_of("held out", folders)
    counts = verdicts[verdicts["cycle"].notna()]["verdict"].value_counts()
    counted = ", ".join(f"{name} in {counts.get(name, 0)}" for name in ("inside", "undecided", "outside"))
    assert f"trained from the oracle's states: {counted} of 3 cycles" in said(view_of("held out", folders))


def test_columns_stand_as_they_are_read(folders: Path) -> None:
    align = {column.heading: column.align for column in next(tables_of(view_of("tuning", folders))).columns}
    assert (align["stage"], align["state"], align["validation accuracy"]) == ("left", "left", "right")


def test_views_name_figures_that_there_are(folders: Path) -> None:
    for folder, _ in VIEWS.values():
        results = sweep.load(folders / folder)
        found = experiment(results.kind)
        for view in found.views.values():
            assert set(view(results).figures) <= set(found.figures)


def test_a_prediction_outside_a_region_does_not_look_as_if_it_were_its_bound(folders: Path) -> None:
    results: Any = sweep.load(folders / "oracle")
    high = results.oracle["feasible_high"].iloc[0]
    comparison = results.compare({"S-Cyc": SCyc(high * 1.0002, 0, 0, 4)})
    [table] = tables_of(compared(results, comparison))
    row = dict(zip([column.heading for column in table.columns], table.rows[0], strict=True))
    assert not comparison["inside"].iloc[0] and row["S-Cyc"].mark == "outside"
    written = row["S-Cyc"].text.removesuffix(" out")
    assert f"{high * 1.0002:.3g}" == f"{high:.3g}" and written != f"{high:.3g}"
    bound = row["feasible region"].text.partition(", ")[2].rstrip("]>~")
    assert float(written) > float(bound) and f"{float(written):.3g}" == f"{float(bound):.3g}"


def test_the_paper_s_oracle_stands_beside_this_one(folders: Path) -> None:
    printed = table_of("vgg19", "cifar10")
    assert printed is not None
    view = paper(sweep.load(folders / "oracle"), printed)  # type: ignore[arg-type]
    [table] = tables_of(view)
    assert [row[0].value for row in table.rows] == list(printed.cycle)
    assert table.rows[0][2] == Cell("0.04", 0.04) and table.rows[0][3].text == "[0.036, 0.042]"
    assert [row[5].text == "-" for row in table.rows] == [cycle > 2 for cycle in printed.cycle]
    assert "Table 3: the stated grid ends at 0.1" in said(view)


def test_why_a_grid_ends_at_its_edge() -> None:
    assert "0 or less" in why_edge("0.01:0.1:0.01", 0.01)
    assert "four times its points" in why_edge("0.01:0.1:0.01", None)
    assert "four times its points" in why_edge("0.01:0.1:x5", 0.0001)
    assert "one point" in why_edge("0.1", 0.1)


def test_what_a_tuning_took_of_an_oracle_is_no_trial(folders: Path, tmp_path: Path) -> None:
    given = {"trials": 4, "oracle": str(folders / "oracle"), "max_lr": "0.02:0.5:x5"}
    results = sweep.tune(**SMALL | given, out=tmp_path / "t")
    points = len(results.settings.given.points)
    text = said(experiment("tune").views["tuning"](results))
    assert points >= 5 and f" and {points} max_lr values of the oracle's cycle 0, " in text
    assert f"(oracle: {results.oracle.oracle['test_accuracy_mean'].mean():.2f} %)" in text


def test_two_tables_at_once_are_refused(here: Run, folders: Path) -> None:
    result = here("show", folders / "oracle", "--rescore", "--trend", "--format", "markdown")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.strip() == "scyc-sweep: --rescore and --trend are two tables: give one"


@pytest.mark.parametrize("flag", ["--rescore", "--trend"])
@pytest.mark.parametrize("folder", ["tuning", "schedules", "oracle/validation"])
def test_only_an_oracle_has_other_tables(here: Run, folders: Path, folder: str, flag: str) -> None:
    result = here("show", folders / folder, flag, "--format", "csv")
    assert result.returncode == 2 and result.stdout == ""
    message = " ".join(result.stderr.split())
    assert f"{flag} needs an oracle, but {folders / folder} holds the results of " in message


def test_an_unknown_format_is_refused_with_the_choices(here: Run, folders: Path) -> None:
    result = here("show", folders / "oracle", "--format", "html")
    assert result.returncode == 2 and "markdown" in result.stderr


def test_what_only_shows_does_not_wait_for_what_draws() -> None:
    """Experiments name their figures; matplotlib is imported when one is drawn."""
    code = (
        "import sys; from sweep.experiments import registry, report\n"
        "assert all(registry.experiment(name).figures for name in registry.EXPERIMENTS)\n"
        "print('matplotlib' in sys.modules, 'jinja2' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False False\n"
