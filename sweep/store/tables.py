"""A table of a results folder: its columns with types and units, and how it is written and read.

In: rows. Out: Parquet files that pandas, Polars or DuckDB open without this project. The tables themselves are defined
where their rows are made: `store.lanes`, `experiments/*/tables.py`, `analyses`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.errors import DamagedError, FolderError
from sweep.store.version import SCHEMA_VERSION, check_version
from trainables import storage
from trainables.storage import TABLE, Location, Replacing, reason

Column = tuple[str, pa.DataType, str, str]
"""Name, type, unit, description."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table: its name, which is that of its file too, and its columns."""

    name: str
    columns: tuple[Column, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema; type, unit and description of each column are in its field metadata."""
        fields = [
            pa.field(name, kind, metadata={"type": str(kind), "unit": unit, "description": description})
            for name, kind, unit, description in self.columns
        ]
        return pa.schema(fields, metadata={"scyc_sweep_table": self.name, "schema_version": str(SCHEMA_VERSION)})

    def path(self, folder: Location) -> Location:
        """Return the table's file in a results folder."""
        return folder / f"{self.name}.parquet"

    def frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Return rows as a DataFrame with the table's columns and types."""
        return _to_pandas(pa.Table.from_pylist([dict(row) for row in rows], schema=self.schema))

    def write(self, data: pd.DataFrame | Iterable[Mapping[str, Any]], path: Location) -> None:
        """Write the table; the file appears under its name only when it is complete."""
        content = self.encode(data)
        with Replacing(path) as partial:
            partial.write_bytes(content)

    def encode(self, data: pd.DataFrame | Iterable[Mapping[str, Any]]) -> bytes:
        """Return the table as the bytes of a Parquet file, with a checksum for each page."""
        if isinstance(data, pd.DataFrame):
            content = pa.Table.from_pandas(data, schema=self.schema, preserve_index=False)
        else:
            content = pa.Table.from_pylist([dict(row) for row in data], schema=self.schema)
        content = content.replace_schema_metadata(self.schema.metadata)  # pandas adds its own
        buffer = pa.BufferOutputStream()
        pq.write_table(content, buffer, write_page_checksum=True)
        return buffer.getvalue().to_pybytes()  # type: ignore[no-any-return]

    def read(self, path: Location) -> pd.DataFrame:
        """Read the table as a DataFrame.

        Raises DamagedError, naming the file, if it is damaged or foreign; FolderError if it cannot be read or has
        another schema version.
        """
        return _to_pandas(self.decode(content_of(path), path))

    def read_rows(self, path: Location) -> list[dict[str, Any]]:
        """Read the table as rows; raises as `read` does."""
        return self.decode(content_of(path), path).to_pylist()  # type: ignore[no-any-return]

    def decode(self, content: bytes, path: Location) -> pa.Table:
        """Return the table in the bytes of a file; raises as `read` does."""
        try:
            # A folder has thousands of small files: read_table would look for a data set in each, threads would cost
            # more than they save.
            with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
                self._check(file.schema_arrow, path)
                return file.read(use_threads=False)
        except FolderError:
            raise
        except Exception as error:  # pyarrow has many for bytes that were made to mislead, MemoryError among them
            said = " ".join(str(error).split())[:120] or type(error).__name__
            raise DamagedError(f"{path} is damaged or no Parquet file ({said})") from error

    def _check(self, found: pa.Schema, path: Location) -> None:
        metadata = found.metadata or {}
        if metadata.get(b"scyc_sweep_table") != self.name.encode():
            raise DamagedError(f"{path} is no table of {self.name} of scyc-sweep: it does not belong in this folder")
        version = metadata.get(b"schema_version", b"none").decode()
        check_version(int(version) if version.isdecimal() else version, path)
        here, wanted = ({field.name: field.type for field in each} for each in (found, self.schema))
        if list(here.items()) != list(wanted.items()):
            different = sorted(name for name in here | wanted if here.get(name) != wanted.get(name))
            raise DamagedError(f"{path} has other columns than a table of {self.name}: {', '.join(different)[:200]}")


def content_of(path: Location) -> bytes:
    """Return the bytes of a table's file. Raises FolderError where they cannot be read."""
    try:
        return storage.read(path, TABLE)
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {reason(error)}") from error


def _to_pandas(content: pa.Table) -> pd.DataFrame:
    data: pd.DataFrame = content.to_pandas()
    for field in content.schema:
        if pa.types.is_integer(field.type) and content[field.name].null_count:
            data[field.name] = data[field.name].astype(str(field.type).capitalize())  # Int32: a null is no NaN
    return data
