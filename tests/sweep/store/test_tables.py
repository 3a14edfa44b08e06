"""The Parquet files: their columns, types, units and versions, and that they are whole or not there."""

import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweep.errors import DamagedError, FolderError
from sweep.store import tables

COLUMNS = {
    "lanes": """lane_id cycle run seed percent_remaining schedule max_lr val_accuracy test_accuracy best_step val_loss
        train_loss steps wall_seconds lanes_in_pack status parent_state state rewind_state device host finished_at
        eval_steps eval_val_accuracy eval_test_accuracy eval_val_loss""",
    "oracle": """cycle percent_remaining best_max_lr val_accuracy_mean val_accuracy_std test_accuracy_mean
        test_accuracy_std feasible_low feasible_high hull_low hull_high contiguous grid_low grid_high extended
        points n_not_worse possible_low possible_high low_bound below_low high_bound above_high
        low_at_edge high_at_edge runs lanes diverged trained_steps wall_seconds""",
    "curves": """cycle run percent_remaining max_lr val_accuracy_mean val_accuracy_std test_accuracy_mean lead shortfall_low
        shortfall_high told verdict runs diverged""",
    "trend": """chain quantity runs cycles factor factor_low factor_high page_l page_p holm_p rises excess excess_low
        excess_high excess_p exceeds_control""",
    "verdicts": """trajectory cycle percent_remaining oracle_max_lr scyc_max_lr held-out runs val_gap val_gap_low
        val_gap_high verdict test_gap test_gap_low test_gap_high own_val_gap own_test_gap own_test_gap_low
        own_test_gap_high equivalence_p holm_p equivalent""",
    "comparison": """trajectory cycle percent_remaining best_max_lr feasible_low feasible_high scyc_max_lr inside
        distance val_accuracy_at_scyc test_accuracy_at_scyc accuracy_gap test_accuracy_gap""",
    "tuning": "stage number epsilon delta q beta value state cycles_completed trained_steps new_steps seconds",
    "chain": "cycle percent_remaining max_lr val_accuracy_mean test_accuracy_mean runs",
    "fit": "curve parameters cycles inside left_out_inside left_out_gap",
    "schedules": """schedule kind source cycle percent_remaining max_lr peak_lr val_accuracy_mean test_accuracy_mean
        test_accuracy_std best difference p_value tied printed_mean printed_std runs diverged trained_steps""",
    "runs": "schedule kind cycle run max_lr val_accuracy test_accuracy status lane_id",
    "rates": "schedule cycle max_lr val_accuracy_mean val_accuracy_std chosen at_edge runs diverged trained_steps",
    "rescored": "rule cycle run best_max_lr feasible_low feasible_high same_best same_region scyc_inside",
    "histograms": "schedule kind cycle run percent_remaining low high count",
    "tails": "schedule kind cycle run percent_remaining count mean std zeros low high beyond beyond_2std",
}
"""The columns that every reader of a results folder may rely on."""

FILLED: dict[str, Any] = {
    "string": "text",
    "int32": 3,
    "int64": 2**40,
    "double": 0.1,
    "bool": True,
    "timestamp[ms, tz=UTC]": datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.UTC),
    "list<element: int64>": [1, 2**40],
    "list<element: double>": [0.1, 1 / 3],
}
TABLE = pytest.mark.parametrize("table", tables.TABLES)


def full_row(table: str) -> dict[str, Any]:
    return {name: FILLED[str(kind).replace("list<item: ", "list<element: ")] for name, kind, *_ in tables.TABLES[table]}


@TABLE
def test_every_promised_column_is_there(table: str) -> None:
    assert [name for name in COLUMNS[table].split() if name not in tables.schema(table).names] == []


@TABLE
def test_types_units_and_descriptions_are_in_the_file_s_field_metadata(table: str, tmp_path: Path) -> None:
    tables.write(table, [full_row(table)], tmp_path / "t.parquet")
    fields = {field.name: field for field in pq.read_schema(tmp_path / "t.parquet")}
    for name, kind, unit, description in tables.TABLES[table]:
        metadata = fields[name].metadata
        assert fields[name].type == kind
        assert metadata[b"type"].decode() == str(kind)
        assert metadata[b"unit"].decode() == unit
        assert metadata[b"description"].decode() == description and description


def test_accuracies_are_in_percent_and_gaps_in_percent_points() -> None:
    for table, columns in tables.TABLES.items():
        for name, _, unit, _ in columns:
            if "accuracy" in name:
                assert unit == ("percent points" if "gap" in name else "percent"), (table, name)
            if "gap" in name or name.startswith("shortfall"):
                assert unit == "percent points", (table, name)
            elif "max_lr" in name or (unit and name.endswith(("_low", "_high"))) or name == "distance":
                assert unit == "1", (table, name)
            if "loss" in name:
                assert unit == "nats"
            if name == "wall_seconds":
                assert unit == "seconds"


@TABLE
def test_the_schema_version_is_in_the_file_metadata(table: str, tmp_path: Path) -> None:
    for data in ([full_row(table)], tables.frame(table, [full_row(table)])):
        tables.write(table, data, tmp_path / "t.parquet")
        metadata = pq.read_schema(tmp_path / "t.parquet").metadata
        assert metadata[b"schema_version"] == b"2" == str(tables.SCHEMA_VERSION).encode()
        assert metadata[b"scyc_sweep_table"] == table.encode()


@TABLE
def test_rows_come_back_as_they_were_written_nulls_included(table: str, tmp_path: Path) -> None:
    rows = [full_row(table), dict.fromkeys(full_row(table)), full_row(table)]
    tables.write(table, rows, tmp_path / "t.parquet")
    assert tables.read_rows(table, tmp_path / "t.parquet") == rows
    found = tables.read(table, tmp_path / "t.parquet")
    assert found.isna().sum(axis=1).tolist() == [0, found.shape[1], 0]


@TABLE
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_frame_survives_writing_and_reading(table: str, rows: int, tmp_path: Path) -> None:
    made = tables.frame(table, [full_row(table), dict.fromkeys(full_row(table))][:rows])
    tables.write(table, made, tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(tables.read(table, tmp_path / "t.parquet"), made)


def test_a_missing_run_leaves_the_other_runs_integers() -> None:
    for runs in ([None, 2], [None, None]):
        made = tables.frame("oracle", [{"run": run} for run in runs])
        assert str(made["run"].dtype) == "Int32"
    assert tables.frame("oracle", [{"run": None}, {"run": 2}])["run"].tolist() == [pd.NA, 2]


@TABLE
def test_plain_pandas_reads_the_file(table: str, tmp_path: Path) -> None:
    tables.write(table, [full_row(table)] * 2, tmp_path / "t.parquet")
    found = pd.read_parquet(tmp_path / "t.parquet")
    assert list(found.columns) == [name for name, *_ in tables.TABLES[table]]
    for name, kind, *_ in tables.TABLES[table]:
        if str(kind) in ("int32", "double", "string"):
            assert found[name].tolist() == [FILLED[str(kind)]] * 2
    if table == "lanes":
        assert found["eval_val_accuracy"][0].tolist() == [0.1, 1 / 3]
        assert found["finished_at"][0] == pd.Timestamp("2026-01-02T03:04:05.678Z")


def test_a_value_of_the_wrong_type_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid, match="'first'"):
        tables.write("oracle", [{"cycle": "first"}], tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


class TestRefused:
    @pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet file at all", b"PAR1\0\0\0\0PAR1"])
    def test_what_is_no_parquet_file_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "oracle.parquet"
        path.write_bytes(content)
        with pytest.raises(FolderError, match="damaged or no Parquet file") as raised:
            tables.read("oracle", path)
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)

    def test_a_file_of_somebody_else_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "oracle.parquet"
        pd.DataFrame({"cycle": [1]}).to_parquet(path)
        with pytest.raises(FolderError, match=r"oracle\.parquet is no table of oracle of scyc-sweep"):
            tables.read("oracle", path)

    @pytest.mark.parametrize(
        ("version", "way"), [("3", "use a newer scyc-sweep"), ("1", "that wrote it"), ("x", "newer")]
    )
    def test_another_version_is_refused_by_its_number(self, tmp_path: Path, version: str, way: str) -> None:
        path = tmp_path / "oracle.parquet"
        schema = tables.schema("oracle")
        other = schema.with_metadata({**schema.metadata, b"schema_version": version.encode()})
        pq.write_table(pa.Table.from_pylist([], schema=other), path)
        with pytest.raises(FolderError, match=rf"schema version {version}, this scyc-sweep reads version 2: .*{way}"):
            tables.read("oracle", path)

    @pytest.mark.parametrize("version", [3, 1, "2", None, 2.0, True])
    def test_a_version_that_is_not_this_one_s_is_refused(self, tmp_path: Path, version: object) -> None:
        with pytest.raises(FolderError, match="schema version"):
            tables.check_version(version, tmp_path)
        tables.check_version(tables.SCHEMA_VERSION, tmp_path)

    @TABLE
    def test_a_file_with_other_columns_is_damaged(self, tmp_path: Path, table: str) -> None:
        path, schema = tmp_path / "t.parquet", tables.schema(table)
        for other in (
            schema.remove(0),
            schema.append(pa.field("more", pa.int32())),
            schema.set(0, pa.field(schema.names[0], pa.binary())),
        ):
            pq.write_table(pa.Table.from_pylist([], schema=other), path)
            with pytest.raises(DamagedError, match=f"other columns than a table of {table}: (more|{schema.names[0]})"):
                tables.read(table, path)

    def test_a_changed_byte_of_a_column_is_noticed_or_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "oracle.parquet"
        tables.write("oracle", [full_row("oracle") | {"best_max_lr": 0.1 * i} for i in range(9)], path)
        content, wanted = path.read_bytes(), tables.read_rows("oracle", path)
        with pq.ParquetFile(path) as file:
            group = file.metadata.row_group(0)
            column = next(group.column(i) for i in range(group.num_columns) if "best" in group.column(i).path_in_schema)
        start = column.dictionary_page_offset or column.data_page_offset
        noticed = 0
        for at in range(start, start + column.total_compressed_size):
            path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
            try:
                assert tables.read_rows("oracle", path) == wanted
            except DamagedError:
                noticed += 1
        assert noticed > 100
