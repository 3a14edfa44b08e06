"""What a column of a table is; the tables of all kinds are lists of these."""

import pyarrow as pa

Column = tuple[str, pa.DataType, str, str]
"""Name, type, unit, description."""
