"""Views as text for other programs. In: a `View`. Out: Markdown, LaTeX, CSV or JSON.

Markdown and LaTeX (booktabs) have the cells and sentences as they are shown; CSV and JSON have the data in full.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate

from sweep.config.messages import printable
from sweep.reporting.numbers import missing
from sweep.reporting.views import Cell, Statement, Table, View

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["markdown", "latex", "csv", "json"]

LATEX = str.maketrans({"λ": r"$\lambda$", "±": r"$\pm$"})
"""Characters that LaTeX without Unicode fonts lacks."""
MARKDOWN = re.compile(r"[\\|*_`<>[&~#$]|:(?=[\w+-]+:)|^[-+](?= )")
"""What Markdown takes for markup: emphasis, code, the end of a cell, a tag, a link, a formula, an emoji, a list."""


def write(view: View, format: Format) -> str:
    """Return a view in a format; ends with a new line."""
    if format == "csv":
        return view.data.to_csv(index=False)
    if format == "json":
        return json.dumps(columns(view.data)) + "\n"
    parts = _latex(view) if format == "latex" else _markdown(view)
    return "\n".join(parts) + "\n"


def columns(data: "pd.DataFrame") -> dict[str, list[Any]]:
    """Return a table as one JSON object of columns; what is missing is null."""
    return {str(name): [None if missing(value) else value for value in data[name].tolist()] for name in data.columns}


def _markdown(view: View) -> list[str]:
    parts = [f"**{_escaped(view.title)}**\n"] if view.title else []
    for part in view.parts:
        if isinstance(part, Statement):
            parts.append(f"{_escaped(part.text)}\n")
        else:
            parts += [f"**{_escaped(part.title)}**\n"] if part.title else []
            parts += _tabulated(part, "pipe", _escaped)
    return parts


def _escaped(text: str) -> str:
    return MARKDOWN.sub(r"\\\g<0>", printable(text))


def _latex(view: View) -> list[str]:
    """Return each table as a tabular; titles and sentences are comments."""
    parts = [_comment(view.title)] if view.title else []
    for part in view.parts:
        if isinstance(part, Statement):
            parts.append(_comment(part.text))
        else:
            parts += [_comment(part.title)] if part.title else []
            parts += [text.translate(LATEX) for text in _tabulated(part, "latex_booktabs", printable)]
    return parts


def _comment(text: str) -> str:
    return f"% {printable(text)}\n".translate(LATEX)


def _tabulated(table: Table, kind: str, write_text: Callable[[str], str]) -> list[str]:
    """Return a table; without rows, which LaTeX cannot set, nothing."""
    if not table.rows:
        return []
    headings = [write_text(column.title) for column in table.columns]
    rows = [[write_text(_text(cell)) for cell in row] for row in table.rows]
    align: Sequence[str] = [column.align for column in table.columns]
    return [tabulate(rows, headings, kind, disable_numparse=True, colalign=align) + "\n"]


def _text(cell: Cell) -> str:
    return f"{cell.text} {cell.note}" if cell.note else cell.text
