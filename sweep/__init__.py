"""Which lanes to train, where they run, and what came of them. `load(folder)` opens results as DataFrames."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sweep.results import Results, TuningResults

__all__ = ["load"]


def load(folder: "str | Path") -> "Results | TuningResults":
    """Open a results folder; its tables are pandas DataFrames.

    Of an oracle `.oracle`, `.comparison`, `.curves` and `.trials`; of a tuning `.tuning`, `.chain` and `.trials`.
    Raises FolderError if the folder holds no sweep or was written by a newer version.
    """
    from sweep import results  # pandas takes half a second that `scyc-sweep --help` should not wait for

    return results.load(folder)
