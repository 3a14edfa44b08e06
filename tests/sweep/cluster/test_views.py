"""The table of `status`: what is shown of a sweep, by what its results and its job say."""

from datetime import UTC, datetime, timedelta

import pytest

from sweep.cluster.catalog import CatalogEntry
from sweep.cluster.views import status
from sweep.reporting.views import Table
from sweep.strategies.progress import Progress

UNDER_WAY = Progress(2, 15, 1250, 4000, 0, 0.04217, 97.5)


def shown(entry: CatalogEntry, jobs: dict[str, str]) -> dict[str, str]:
    [table] = status([entry], jobs).parts
    assert isinstance(table, Table)
    return {column.heading: cell.text for column, cell in zip(table.columns, table.rows[0], strict=True)}


def entry(**changes: object) -> CatalogEntry:
    last = datetime.now(UTC) - timedelta(minutes=10)
    given = {"progress": UNDER_WAY, "finished": False, "last": last, "seconds_left": 7200.0}
    return CatalogEntry(name="digits/validation", kind="compare", **given | changes)  # type: ignore[arg-type]


def test_a_sweep_under_way_has_all_that_is_known_of_it() -> None:
    assert shown(entry(), {"digits": "running", "other": "failed"}) == {
        "name": "digits/validation",
        "sweep": "compare",
        "job": "running",
        "cycle": "2 of 15",
        "lanes done": "1,250 of 4,000",
        "best max_lr": "0.04217",
        "validation accuracy": "97.50",
        "time left": "2.0 h",
        "last lane": "10 min ago",
    }


@pytest.mark.parametrize(
    ("changes", "job", "left"),
    [
        ({"finished": True, "seconds_left": None}, "succeeded", "finished"),
        ({}, "failed", ""),  # it does not go on
        ({}, "", "2.0 h"),  # it was not submitted
        ({"seconds_left": None}, "running", ""),
    ],
)
def test_the_time_left_is_shown_where_the_sweep_goes_on(changes: dict[str, object], job: str, left: str) -> None:
    assert shown(entry(**changes), {"digits": job})["time left"] == left


def test_what_has_not_begun_says_so_and_nothing_else() -> None:
    cells = shown(CatalogEntry("name", "", None, False, None, None), {"name": "pending"})
    assert [text for text in cells.values() if text] == ["name", "not begun", "pending"]
