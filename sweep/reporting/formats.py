"""A view in other formats. In: a `View`. Out: Markdown, LaTeX, CSV or JSON, as text.

Markdown and LaTeX take the cells as they are printed, so that a table says the same wherever it stands.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from sweep.reporting.screen import columns
from sweep.reporting.views import View

Format = Literal["markdown", "latex", "csv", "json"]

LATEX = str.maketrans({"λ": r"$\lambda$", "±": r"$\pm$"})
"""What a LaTeX without Unicode fonts has not."""
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\|*<"})
"""What Markdown takes for its own: the end of a cell, an item of a list, a tag."""


@dataclass(frozen=True)
class Cells:
    """A printed table, cell by cell."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    align: list[str]
    """`left` or `right`, by column."""


def write(view: View, format: Format) -> str:
    """Return a view in a format; ends with a new line."""
    if format == "csv":
        return view.data.to_csv(index=False)
    if format == "json":
        return json.dumps(columns(view.data)) + "\n"
    write_part = _latex if format == "latex" else _markdown
    return "\n".join(map(write_part, parts_of(view.table))) + "\n"


def parts_of(table: RenderableType) -> Iterator[Cells | str]:
    """Yield what a printed view is made of: tables, and the lines between them."""
    if isinstance(table, Group):
        for part in table.renderables:
            yield from parts_of(part)
    elif isinstance(table, Table):
        cells = [[_plain(cell) for cell in column.cells] for column in table.columns]
        yield Cells(
            _plain(table.title) if table.title else "",
            [_plain(column.header) for column in table.columns],
            [list(row) for row in zip(*cells, strict=True)],
            [column.justify if column.justify == "right" else "left" for column in table.columns],
        )
    else:
        yield _plain(table)


def _plain(part: RenderableType) -> str:
    text = part.plain if isinstance(part, Text) else str(part)
    return " ".join(text.split())


def _markdown(part: Cells | str) -> str:
    if isinstance(part, str):
        return f"{_escaped(part)}\n"
    rows = [[_escaped(cell) for cell in row] for row in part.rows]
    text = _tabulated(rows, [_escaped(heading) for heading in part.headings], part.align, "github")
    return f"{_escaped(part.title)}\n\n{text}" if part.title else text


def _escaped(text: str) -> str:
    return text.translate(MARKDOWN)


def _latex(part: Cells | str) -> str:
    """Return a table as a tabular, its title and any line as comments."""
    if isinstance(part, str):
        return f"% {part}".translate(LATEX)
    text = _tabulated(part.rows, part.headings, part.align, "latex_booktabs")
    return (f"% {part.title}\n{text}" if part.title else text).translate(LATEX)


def _tabulated(rows: list[list[str]], headings: list[str], align: list[str], kind: str) -> str:
    """Return a table; without rows, which LaTeX cannot set, nothing."""
    return tabulate(rows, headings, kind, disable_numparse=True, colalign=align) + "\n" if rows else ""
