"""Views on a terminal. In: a `View` and a width in characters. Out: what rich prints.

A table that is too wide loses its optional columns, then it is folded into parts. Names are shown as they are: nothing
in them is taken for markup or emoji.
"""

import textwrap
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from sweep.config.messages import printable
from sweep.reporting.views import Cell, Column, Mark, Statement, Table, View

STYLES: dict[Mark, str] = {"": "", "best": "bold", "inside": "green", "outside": "red", "muted": "dim"}
GAP, EDGE = 2, 1
"""Characters between two columns, and before the first."""
ROOMY = (18, 12)
"""Characters that headings are not folded below, where there is room."""


def render(view: View, width: int) -> RenderableType:
    """Return a view for a terminal of `width` characters."""
    parts: list[RenderableType] = [Text(printable(view.title), "bold")] if view.title else []
    for part in view.parts:
        if isinstance(part, Statement):
            parts.append(Text(printable(part.text), "" if part.kind == "finding" else "dim"))
        else:
            parts += _tables(part, width)
    return Group(*parts)


def fitting(table: Table, width: int) -> list[list[int]]:
    """Return the columns (their numbers, from 0) of each part that a table is shown in.

    The first `keys` columns stand in each part. Columns that do not fit by themselves are shown all the same.
    """
    widths, chosen = _widths(table, 0), list(range(len(table.columns)))
    while sum(widths[index] for index in chosen) > width:
        optional = [index for index in chosen if table.columns[index].optional]
        if not optional:
            break
        chosen.remove(max(optional, key=lambda index: table.columns[index].optional))
    keys, rest = chosen[: table.keys], chosen[table.keys :]
    room = width - sum(widths[index] for index in keys)
    if sum(widths[index] for index in rest) <= room or not table.headed:
        return [chosen]
    most = max(1, room // max(widths[index] for index in rest))
    parts = -(-len(rest) // most)
    each = -(-len(rest) // parts)  # parts of one width, rather than full ones and a remainder
    return [[*keys, *rest[start : start + each]] for start in range(0, len(rest), each)]


def _tables(table: Table, width: int) -> Iterator[RenderableType]:
    if table.title:
        yield Text(printable(table.title), "bold")
    parts = fitting(table, width - EDGE)
    for chosen in parts:
        yield _table(table, chosen, width - EDGE)
    shown = {index for chosen in parts for index in chosen}
    hidden = [column.heading for index, column in enumerate(table.columns) if index not in shown]
    if hidden:
        yield Text(f"not shown for lack of width: {printable(', '.join(hidden))}", "dim")


def _table(table: Table, chosen: Sequence[int], width: int) -> RichTable:
    if table.headed:
        shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    else:
        shown = RichTable.grid(padding=(0, GAP, 0, 0))
    fits = (least for least in ROOMY if sum(_widths(table, least)[index] for index in chosen) <= width)
    least = next(fits, 0)
    for index in chosen:
        column = table.columns[index]
        heading = Text("\n".join(_heading(column, [row[index] for row in table.rows], least)))
        shown.add_column(heading, justify=column.align, overflow="fold", vertical="top")
    for row in table.rows:
        shown.add_row(*(_text(row[index]) for index in chosen))
    return shown


def _text(cell: Cell) -> Text:
    text = Text(printable(cell.text), STYLES[cell.mark])
    if cell.note:
        text.append(f"\n{printable(cell.note)}", "not bold dim")
    return text


def _heading(column: Column, cells: Sequence[Cell], least: int) -> list[str]:
    """Return a heading in lines as wide as the cells or its longest word, and at least as `least` characters."""
    title = printable(column.title)
    width = max([least, 1, *map(cell_len, title.split()), *map(_cell_width, cells)])
    if cell_len(title) <= width:
        return [title]
    lines = (printable(column.heading), f"({printable(column.unit)})" if column.unit else "")
    return [part for line in lines for part in textwrap.wrap(line, width, break_long_words=False)]


def _widths(table: Table, least: int) -> list[int]:
    """Return how wide each column is, with the gap behind it, where no heading is folded below `least` characters."""
    found = []
    for index, column in enumerate(table.columns):
        cells = [row[index] for row in table.rows]
        found.append(GAP + max([0, *map(cell_len, _heading(column, cells, least)), *map(_cell_width, cells)]))
    return found


def _cell_width(cell: Cell) -> int:
    return max(cell_len(printable(cell.text)), cell_len(printable(cell.note)))
