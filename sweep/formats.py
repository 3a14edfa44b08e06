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

from sweep.screen import columns
from sweep.views import View

Format = Literal["markdown", "latex", "csv", "json"]

LATEX = {"λ": r"$\lambda$", "±": r"$\pm$"}
"""What a LaTeX without Unicode fonts has not."""


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
    parts = [_table(part, format) if isinstance(part, Cells) else _line(part, format) for part in parts_of(view.table)]
    return "\n".join(parts) + "\n"


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


def _table(cells: Cells, format: Format) -> str:
    kind = "github" if format == "markdown" else "latex_booktabs"
    text = tabulate(cells.rows, cells.headings, kind, disable_numparse=True, colalign=cells.align)
    for character, command in LATEX.items() if format == "latex" else ():
        text = text.replace(character, command)
    return f"{_line(cells.title, format)}\n{text}\n" if cells.title else f"{text}\n"


def _line(text: str, format: Format) -> str:
    return f"% {text}" if format == "latex" else f"{text}\n"
