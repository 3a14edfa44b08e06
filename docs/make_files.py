"""Write the columns of every table into docs/files.md, from the definitions in the code.

    python docs/make_files.py            # writes
    python docs/make_files.py --check    # writes nothing; exit status 1 if the page is not as the code

All else on the page is written by hand. A test compares too.
"""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path

PAGE = Path(__file__).parent / "files.md"
BEGIN, END = "<!-- columns: begin -->\n", "<!-- columns: end -->\n"

TABLES = {
    "lanes": ("lanes/*.parquet", "a lane. `superseded/*.parquet` have the same columns"),
    "oracle": ("oracle.parquet", "a cycle (with `--decide per_run`, a cycle and run)"),
    "curves": ("curves.parquet", "a cycle and max_lr"),
    "trend": ("trend.parquet", "a chain and quantity"),
    "comparison": ("comparison.parquet", "a trajectory and cycle"),
    "verdicts": ("verdicts.parquet", "a trajectory and cycle, and one for the mean over all cycles"),
    "tuning": ("tuning.parquet", "a trial"),
    "chain": ("chain.parquet", "a cycle of the winner's own chain"),
    "fit": ("fit.parquet", "a curve"),
    "schedules": ("schedules.parquet", "a schedule and cycle"),
    "rates": ("rates.parquet", "a schedule and max_lr"),
    "runs": ("runs.parquet", "a schedule, cycle and run"),
    "histograms": ("histograms.parquet", "a bin of a network's histogram"),
    "tails": ("tails.parquet", "a network and kind (gradients or activations)"),
    "rescored": (
        "No file: `show --rescore`",
        "a rule and cycle. `scyc-sweep show DIR --rescore --format csv` writes it; in Python it is `results.rescored`",
    ),
}
"""By the table's name: its file, and what one row is. In the order of the page."""


def columns() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield (table, column, type, unit, description) of every table that the code defines, wherever it does."""
    root = PAGE.parent.parent
    for path in sorted((root / "sweep").rglob("*.py")):
        names = re.findall(r"^([A-Z_]+) = Table\($", path.read_text(encoding="utf-8"), re.MULTILINE)
        if not names:
            continue
        module = import_module(".".join(path.relative_to(root).with_suffix("").parts))
        for table in (getattr(module, name) for name in names):
            for name, kind, unit, description in table.columns:
                yield table.name, name, str(kind), unit, description


def generated() -> str:
    """Return the part of the page that follows from the definitions."""
    defined = {table: list(rows) for table, rows in groupby(columns(), key=lambda column: column[0])}
    if unknown := defined.keys() ^ TABLES.keys():
        raise SystemExit(f"docs/make_files.py and the code do not define the same tables: {', '.join(sorted(unknown))}")
    parts = []
    for table, (file, row) in TABLES.items():
        parts.append(
            f"### {file}\n\nOne row is {row}.\n\n| column | type | unit | description |\n| --- | --- | --- | --- |\n"
        )
        parts += [
            f"| `{name}` | {kind} | {unit} | {description} |\n" for _, name, kind, unit, description in defined[table]
        ]
        parts.append("\n")
    return "\n" + "".join(parts)


def page(text: str) -> str:
    """Return the page with its generated part made anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + generated() + END + after


def main() -> None:
    """Write the page, or say that it is not as the code."""
    text = PAGE.read_text(encoding="utf-8")
    made = page(text)
    if "--check" in sys.argv[1:] and made != text:
        raise SystemExit("docs/files.md is not as the code: run `python docs/make_files.py`")
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
