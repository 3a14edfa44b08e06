"""Which lanes to train, where they run, and what came of them. `load(folder)` opens results as DataFrames."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sweep.results import Results

__all__ = ["load"]


def load(folder: "str | Path") -> "Results":
    """Open a results folder: `.trials`, `.oracle`, `.comparison` and `.curves` are pandas DataFrames.

    Raises FolderError if the folder holds no sweep or was written by a newer version.
    """
    from sweep.results import Results  # pandas takes half a second that `scyc-sweep --help` should not wait for

    return Results(folder)
