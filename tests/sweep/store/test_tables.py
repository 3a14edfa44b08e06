"""The Parquet files: their columns, types, units and versions, and that they are whole or not there."""

import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweep.analyses import fit, gradient_tables
from sweep.errors import DamagedError, FolderError
from sweep.experiments.registry import EXPERIMENTS
from sweep.store import lanes, tables
from sweep.store.tables import Table

COLUMNS = {
    "lanes": """lane_id cycle run seed percent_remaining schedule max_lr val_accuracy test_accuracy best_step val_loss
        train_loss steps wall_seconds lanes_in_pack status parent_state state rewind_state device host finished_at
        eval_steps eval_val_accuracy eval_test_accuracy eval_val_loss""",
    "oracle": """cycle percent_remaining best_max_lr val_accuracy_mean val_accuracy_std test_accuracy_mean
        test_accuracy_std feasible_low feasible_high hull_low hull_high contiguous grid_low grid_high extended
        points n_not_worse possible_low possible_high low_bound below_low high_bound above_high
        low_at_edge high_at_edge runs lanes diverged trained_steps wall_seconds""",
    "curves": """cycle run percent_remaining max_lr val_accuracy_mean val_accuracy_std test_accuracy_mean shortfall
        shortfall_low shortfall_high worse_than_best verdict runs diverged""",
    "trend": """chain quantity runs cycles factor factor_low factor_high page_l page_p holm_p rises excess excess_low
        excess_high excess_p exceeds_control""",
    "verdicts": """trajectory cycle percent_remaining oracle_max_lr scyc_max_lr held_out runs val_gap val_gap_low
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


def all_tables() -> dict[str, Table]:
    """Every table that is defined anywhere, by name."""
    modules = [entry.experiment.partition(":")[0].rpartition(".")[0] + ".tables" for entry in EXPERIMENTS.values()]
    found = [
        each
        for module in (lanes, fit, gradient_tables, *map(import_module, modules))
        for each in vars(module).values()
        if isinstance(each, Table)
    ]
    return {table.name: table for table in found}


TABLES = all_tables()
ORACLE = TABLES["oracle"]
TABLE = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


def full_row(table: Table) -> dict[str, Any]:
    return {name: FILLED[str(kind).replace("list<item: ", "list<element: ")] for name, kind, *_ in table.columns}


def test_every_table_has_a_name_and_columns_of_its_own() -> None:
    assert TABLES.keys() == COLUMNS.keys()
    assert all(len(set(table.schema.names)) == len(table.columns) for table in TABLES.values())


@TABLE
def test_every_promised_column_is_there(table: Table) -> None:
    assert [name for name in COLUMNS[table.name].split() if name not in table.schema.names] == []


@TABLE
def test_types_units_and_descriptions_are_in_the_file_s_field_metadata(table: Table, tmp_path: Path) -> None:
    table.write([full_row(table)], tmp_path / "t.parquet")
    fields = {field.name: field for field in pq.read_schema(tmp_path / "t.parquet")}
    for name, kind, unit, description in table.columns:
        metadata = fields[name].metadata
        assert fields[name].type == kind
        assert metadata[b"type"].decode() == str(kind)
        assert metadata[b"unit"].decode() == unit
        assert metadata[b"description"].decode() == description and description


def test_accuracies_are_in_percent_and_gaps_in_percent_points() -> None:
    for table in TABLES.values():
        for name, _, unit, _ in table.columns:
            if "accuracy" in name:
                assert unit == ("percent points" if "gap" in name else "percent"), (table.name, name)
            if "gap" in name or name.startswith("shortfall"):
                assert unit == "percent points", (table.name, name)
            elif "max_lr" in name or (unit and name.endswith(("_low", "_high"))) or name == "distance":
                assert unit == "1", (table.name, name)
            if "loss" in name:
                assert unit == "nats"
            if name == "wall_seconds":
                assert unit == "seconds"


@TABLE
def test_the_schema_version_is_in_the_file_metadata(table: Table, tmp_path: Path) -> None:
    for data in ([full_row(table)], table.frame([full_row(table)])):
        table.write(data, tmp_path / "t.parquet")
        metadata = pq.read_schema(tmp_path / "t.parquet").metadata
        assert metadata[b"schema_version"] == b"3" == str(tables.SCHEMA_VERSION).encode()
        assert metadata[b"scyc_sweep_table"] == table.name.encode()


@TABLE
def test_rows_come_back_as_they_were_written_nulls_included(table: Table, tmp_path: Path) -> None:
    rows = [full_row(table), dict.fromkeys(full_row(table)), full_row(table)]
    table.write(rows, tmp_path / "t.parquet")
    assert table.read_rows(tmp_path / "t.parquet") == rows
    found = table.read(tmp_path / "t.parquet")
    assert found.isna().sum(axis=1).tolist() == [0, found.shape[1], 0]


@TABLE
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_frame_survives_writing_and_reading(table: Table, rows: int, tmp_path: Path) -> None:
    made = table.frame([full_row(table), dict.fromkeys(full_row(table))][:rows])
    table.write(made, tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(table.read(tmp_path / "t.parquet"), made)


def test_a_missing_run_leaves_the_other_runs_integers() -> None:
    for runs in ([None, 2], [None, None]):
        made = ORACLE.frame([{"run": run} for run in runs])
        assert str(made["run"].dtype) == "Int32"
    assert ORACLE.frame([{"run": None}, {"run": 2}])["run"].tolist() == [pd.NA, 2]


@TABLE
def test_plain_pandas_reads_the_file(table: Table, tmp_path: Path) -> None:
    table.write([full_row(table)] * 2, tmp_path / "t.parquet")
    found = pd.read_parquet(tmp_path / "t.parquet")
    assert list(found.columns) == [name for name, *_ in table.columns]
    for name, kind, *_ in table.columns:
        if str(kind) in ("int32", "double", "string"):
            assert found[name].tolist() == [FILLED[str(kind)]] * 2
    if table.name == "lanes":
        assert found["eval_val_accuracy"][0].tolist() == [0.1, 1 / 3]
        assert found["finished_at"][0] == pd.Timestamp("2026-01-02T03:04:05.678Z")


def test_a_value_of_the_wrong_type_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid, match="'first'"):
        ORACLE.write([{"cycle": "first"}], tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


class TestRefused:
    @pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet file at all", b"PAR1\0\0\0\0PAR1"])
    def test_what_is_no_parquet_file_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "oracle.parquet"
        path.write_bytes(content)
        with pytest.raises(FolderError, match="damaged or no Parquet file") as raised:
            ORACLE.read(path)
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)

    def test_a_file_of_somebody_else_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "oracle.parquet"
        pd.DataFrame({"cycle": [1]}).to_parquet(path)
        with pytest.raises(FolderError, match=r"oracle\.parquet is no table of oracle of scyc-sweep"):
            ORACLE.read(path)

    @pytest.mark.parametrize(
        ("version", "way"), [("4", "use a newer scyc-sweep"), ("2", "that wrote it"), ("x", "newer")]
    )
    def test_another_version_is_refused_by_its_number(self, tmp_path: Path, version: str, way: str) -> None:
        path = tmp_path / "oracle.parquet"
        schema = ORACLE.schema
        other = schema.with_metadata({**schema.metadata, b"schema_version": version.encode()})
        pq.write_table(pa.Table.from_pylist([], schema=other), path)
        with pytest.raises(FolderError, match=rf"schema version {version}, this scyc-sweep reads version 3: .*{way}"):
            ORACLE.read(path)

    @pytest.mark.parametrize("version", [4, 2, 1, "3", None, 3.0, True])
    def test_a_version_that_is_not_this_one_s_is_refused(self, tmp_path: Path, version: object) -> None:
        with pytest.raises(FolderError, match="schema version"):
            tables.check_version(version, tmp_path)
        tables.check_version(tables.SCHEMA_VERSION, tmp_path)

    @TABLE
    def test_a_file_with_other_columns_is_damaged(self, tmp_path: Path, table: Table) -> None:
        path, schema = tmp_path / "t.parquet", table.schema
        for other in (
            schema.remove(0),
            schema.append(pa.field("more", pa.int32())),
            schema.set(0, pa.field(schema.names[0], pa.binary())),
        ):
            pq.write_table(pa.Table.from_pylist([], schema=other), path)
            with pytest.raises(
                DamagedError, match=f"other columns than a table of {table.name}: (more|{schema.names[0]})"
            ):
                table.read(path)

    def test_a_changed_byte_of_a_column_is_noticed_or_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "oracle.parquet"
        ORACLE.write([full_row(ORACLE) | {"best_max_lr": 0.1 * i} for i in range(9)], path)
        content, wanted = path.read_bytes(), ORACLE.read_rows(path)
        with pq.ParquetFile(path) as file:
            group = file.metadata.row_group(0)
            column = next(group.column(i) for i in range(group.num_columns) if "best" in group.column(i).path_in_schema)
        start = column.dictionary_page_offset or column.data_page_offset
        noticed = 0
        for at in range(start, start + column.total_compressed_size):
            path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
            try:
                assert ORACLE.read_rows(path) == wanted
            except DamagedError:
                noticed += 1
        assert noticed > 100
