"""What there is to show, before it is printed: tables and sentences, with values, units and marks.

In: an experiment's or an analysis' results (`views.py` beside them makes a `View`). Out: nothing of any format. Next:
`sweep.reporting.terminal`, `formats` and `html` render views; they compute no number and look for no word.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Mark = Literal["", "best", "inside", "outside", "muted"]
"""What a cell stands out by. best: of what it is compared with, or not significantly different from that. inside,
outside: of a feasible region or a tolerance. muted: of less weight than the cells around it."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    """As it is shown."""
    value: Any = None
    """The number or name behind the text; None where there is none."""
    mark: Mark = ""
    note: str = ""
    """What stands below the text, such as the paper's value."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    heading: str
    unit: str = ""
    """%, points, s and the like."""
    align: Literal["left", "right"] = "right"
    optional: int = 0
    """Where a table is too wide, the column with the highest number is left out first; one with 0 never is."""

    @property
    def title(self) -> str:
        """Heading and unit."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading


@dataclass(frozen=True)
class Table:
    """Rows of cells."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    """Each with a cell for each column."""
    title: str = ""
    keys: int = 1
    """The first columns, which name a row: they stand in every part of a table that is folded."""
    headed: bool = True
    """False: the first column names what stands in the second, and headings would say nothing."""

    def __post_init__(self) -> None:
        """Raise ValueError where a row has another number of cells than there are columns."""
        wrong = [len(row) for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"a table of {len(self.columns)} columns has a row of {wrong[0]} cells")


@dataclass(frozen=True)
class Statement:
    """One sentence. legend: what a heading or a mark means. note: what to know besides."""

    text: str
    kind: Literal["finding", "legend", "note"] = "finding"


Part = Table | Statement


@dataclass(frozen=True)
class View:
    """One answer: tables and sentences, and the data behind them."""

    heading: str
    """What it answers."""
    title: str
    """What was run, in one line."""
    parts: Sequence[Part]
    data: "pd.DataFrame"
    """All columns in full."""
    figures: Sequence[str] = ()
    """Names of the experiment's figures that show the same."""


def marked(cells: Iterable[Cell], mark: Mark) -> list[Cell]:
    """Return a row whose cells are all marked."""
    return [replace(cell, mark=mark) for cell in cells]


def findings(*lines: str) -> list[Part]:
    """Return lines as statements of what was found."""
    return [Statement(line) for line in lines]


def legend(*lines: str) -> list[Part]:
    """Return lines as statements of what headings and marks mean."""
    return [Statement(line, "legend") for line in lines]


def notes(*lines: str) -> list[Part]:
    """Return lines as statements of what to know besides."""
    return [Statement(line, "note") for line in lines]


def listing(rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of two columns: names, and what stands under them."""
    columns = (Column("name", align="left"), Column("value", align="left"))
    return Table(columns, [(Cell(name), Cell(text, text)) for name, text in rows], headed=False)
