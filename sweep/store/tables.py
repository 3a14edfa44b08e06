"""The tables of a results folder: their columns, types and units, and how they are written and read.

In: rows. Out: Parquet files that pandas, Polars or DuckDB open without this project. Next: `sweep.experiments.results`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.errors import DamagedError, FolderError
from sweep.store.columns import Column
from sweep.store.lanes import LANES
from trainables import storage
from trainables.storage import TABLE, Location, Replacing, reason

SCHEMA_VERSION = 2
"""Raised when a column or a file changes its meaning or name. Folders of other versions are refused, not misread."""

ORACLE: list[Column] = [
    ("cycle", pa.int32(), "", "prunings before this training"),
    ("run", pa.int32(), "", "the run, where each run decides for itself; null where all decide together"),
    ("percent_remaining", pa.float64(), "percent", "surviving prunable weights, mean over runs"),
    ("best_max_lr", pa.float64(), "1", "max_lr of the highest mean validation accuracy; of a tie, the middle"),
    ("val_accuracy_mean", pa.float64(), "percent", "validation accuracy at best_max_lr, mean over runs"),
    ("val_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("test_accuracy_mean", pa.float64(), "percent", "test accuracy at best_max_lr, mean over runs"),
    ("test_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("feasible_low", pa.float64(), "1", "lowest max_lr of the unbroken stretch within the tolerance of the best"),
    ("feasible_high", pa.float64(), "1", "highest max_lr of that stretch"),
    ("hull_low", pa.float64(), "1", "lowest max_lr within the tolerance, gaps allowed"),
    ("hull_high", pa.float64(), "1", "highest max_lr within the tolerance, gaps allowed"),
    ("contiguous", pa.bool_(), "", "whether stretch and hull are the same"),
    ("points", pa.int32(), "", "max_lr values tried"),
    ("n_not_worse", pa.int32(), "", "of these, those not told from the best, itself included; null for one run"),
    ("possible_low", pa.float64(), "1", "lowest max_lr that is not surely outside the region; null for one run"),
    ("possible_high", pa.float64(), "1", "highest such max_lr"),
    ("low_bound", pa.string(), "", "feasible_low is surely inside, or undecided; null for one run"),
    ("below_low", pa.string(), "", "the point below it: inside, outside, undecided; null at the grid's edge"),
    ("high_bound", pa.string(), "", "likewise feasible_high"),
    ("above_high", pa.string(), "", "likewise the point above it"),
    ("grid_low", pa.float64(), "1", "lowest max_lr tried"),
    ("grid_high", pa.float64(), "1", "highest max_lr tried"),
    ("extended", pa.bool_(), "", "whether the grid was extended in this cycle"),
    ("low_at_edge", pa.bool_(), "", "whether best or feasible_low is the lowest max_lr tried all the same"),
    ("high_at_edge", pa.bool_(), "", "whether best or feasible_high is the highest max_lr tried all the same"),
    ("runs", pa.int32(), "", "runs that decided"),
    ("lanes", pa.int32(), "", "lanes trained in this cycle"),
    ("diverged", pa.int32(), "", "of these, diverged"),
    ("trained_steps", pa.int64(), "steps", "optimizer steps trained in this cycle, all lanes"),
    ("wall_seconds", pa.float64(), "seconds", "device time of this cycle, all lanes"),
]

CURVES: list[Column] = [
    ("cycle", pa.int32(), "", "prunings before this training"),
    ("run", pa.int32(), "", "the run, where each run decides for itself; null where all decide together"),
    ("percent_remaining", pa.float64(), "percent", "surviving prunable weights, mean over runs"),
    ("max_lr", pa.float64(), "1", "peak learning rate of the cycle"),
    ("val_accuracy_mean", pa.float64(), "percent", "validation accuracy, mean over runs; null where one diverged"),
    ("val_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("test_accuracy_mean", pa.float64(), "percent", "test accuracy, mean over runs; nothing is chosen by it"),
    ("test_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("shortfall", pa.float64(), "percent points", "mean validation accuracy of the best max_lr minus this one's"),
    (
        "shortfall_low",
        pa.float64(),
        "percent points",
        "it falls short of the best, whichever that is, by at least this; all rows of a cycle hold at once",
    ),
    ("shortfall_high", pa.float64(), "percent points", "and by at most this; null for one run"),
    ("worse_than_best", pa.bool_(), "", "whether it is told from the best; null for one run"),
    ("verdict", pa.string(), "", "of the feasible region: inside, outside, undecided; null for one run"),
    ("runs", pa.int32(), "", "runs"),
    ("diverged", pa.int32(), "", "of these, diverged"),
]

TREND: list[Column] = [
    ("chain", pa.string(), "", "how it was pruned; the first is the oracle, others are its controls"),
    ("quantity", pa.string(), "", "best max_lr, low or high end of the feasible region, or its geometric middle"),
    ("runs", pa.int32(), "", "runs, each judged by its own curve"),
    ("cycles", pa.int32(), "", "cycles"),
    ("factor", pa.float64(), "1", "growth a cycle: least squares on the logarithm, mean over runs"),
    ("factor_low", pa.float64(), "1", "lower end of its interval (t over runs); null for one run"),
    ("factor_high", pa.float64(), "1", "upper end"),
    ("page_l", pa.float64(), "", "L of Page's trend test, runs by cycles"),
    ("page_p", pa.float64(), "", "its p, one-sided"),
    (
        "rise_p",
        pa.float64(),
        "",
        "the larger of this and of the p of a t-test of the runs' slopes, two-sided; 1 where they fall",
    ),
    ("holm_p", pa.float64(), "", "with Holm's correction over the quantities"),
    ("rises", pa.bool_(), "", "whether it surely rises; null for one run"),
    ("excess", pa.float64(), "1", "of a control: the oracle's growth a cycle divided by the control's, paired by run"),
    ("excess_low", pa.float64(), "1", "lower end of its interval (t over runs)"),
    ("excess_high", pa.float64(), "1", "upper end"),
    ("excess_p", pa.float64(), "", "t-test that the oracle grows faster, two-sided; 1 where it does not"),
    ("excess_holm_p", pa.float64(), "", "with Holm's correction over the quantities"),
    ("exceeds_control", pa.bool_(), "", "whether the oracle rises, and surely faster than this control"),
]

COMPARISON: list[Column] = [
    ("trajectory", pa.string(), "", "name of the predicted trajectory"),
    ("cycle", pa.int32(), "", "prunings before this training"),
    ("run", pa.int32(), "", "the run, where each run decides for itself; null where all decide together"),
    ("percent_remaining", pa.float64(), "percent", "surviving prunable weights"),
    ("best_max_lr", pa.float64(), "1", "the oracle's choice"),
    ("feasible_low", pa.float64(), "1", "lower end of the feasible region"),
    ("feasible_high", pa.float64(), "1", "upper end of the feasible region"),
    ("scyc_max_lr", pa.float64(), "1", "the prediction"),
    ("inside", pa.bool_(), "", "whether the prediction lies in the feasible region"),
    ("distance", pa.float64(), "1", "in max_lr: 0 inside, else to the nearer bound"),
    ("val_accuracy_at_scyc", pa.float64(), "percent", "measured curve, interpolated in log max_lr; null beyond it"),
    ("test_accuracy_at_scyc", pa.float64(), "percent", "likewise for test accuracy"),
    (
        "accuracy_gap",
        pa.float64(),
        "percent points",
        "validation accuracy of the oracle's choice minus the prediction's",
    ),
    ("test_accuracy_gap", pa.float64(), "percent points", "likewise for test accuracy"),
]

VERDICTS: list[Column] = [
    ("trajectory", pa.string(), "", "name of the predicted trajectory"),
    ("cycle", pa.int32(), "", "prunings before this training; null: mean over all cycles"),
    ("percent_remaining", pa.float64(), "percent", "surviving prunable weights, mean over runs"),
    ("oracle_max_lr", pa.float64(), "1", "the oracle's choice"),
    ("scyc_max_lr", pa.float64(), "1", "the prediction"),
    ("held_out", pa.bool_(), "", "whether on runs that had no part in the oracle's choices"),
    ("runs", pa.int32(), "", "runs"),
    ("val_gap", pa.float64(), "percent points", "oracle's validation accuracy minus the prediction's, from one start"),
    (
        "val_gap_low",
        pa.float64(),
        "percent points",
        "lower end: on held-out runs of the t interval; else how far it is short of the best of all, as in curves",
    ),
    ("val_gap_high", pa.float64(), "percent points", "upper end likewise; null for one run"),
    ("verdict", pa.string(), "", "of the prediction: inside the tolerance, outside, undecided; null for one run"),
    ("test_gap", pa.float64(), "percent points", "likewise for test accuracy"),
    ("test_gap_low", pa.float64(), "percent points", "lower end of its paired t interval; null for one run"),
    ("test_gap_high", pa.float64(), "percent points", "upper end"),
    (
        "own_val_gap",
        pa.float64(),
        "percent points",
        "oracle's validation accuracy minus that of the prediction's chain",
    ),
    ("own_test_gap", pa.float64(), "percent points", "likewise for test accuracy"),
    ("own_test_gap_low", pa.float64(), "percent points", "lower end of the interval of both one-sided tests"),
    ("own_test_gap_high", pa.float64(), "percent points", "upper end; null for one run"),
    (
        "equivalence_p",
        pa.float64(),
        "",
        "two one-sided paired t-tests that own_test_gap lies within the tolerance on both sides",
    ),
    ("holm_p", pa.float64(), "", "with Holm's correction over the cycles"),
    ("equivalent", pa.bool_(), "", "whether the prediction's own chain is surely as good; null for one run"),
]

TUNING: list[Column] = [
    ("stage", pa.string(), "", "what the trial was for: epsilon, delta, shape (q and beta), joint or max_lr"),
    ("number", pa.int32(), "", "trial of the stage's study, from 0; with an oracle, point of its cycle 0"),
    ("epsilon", pa.float64(), "1", "S-Cyc's epsilon; null in other schedules"),
    ("delta", pa.float64(), "1", "S-Cyc's delta; null before it is tuned"),
    ("q", pa.int32(), "cycles", "S-Cyc's q; null before it is tuned"),
    ("beta", pa.float64(), "1", "S-Cyc's beta; null before it is tuned"),
    ("max_lr", pa.float64(), "1", "max_lr of all cycles, in schedules other than S-Cyc"),
    (
        "value",
        pa.float64(),
        "percent",
        "validation accuracy at the chain's last cycle, mean over runs; null if not complete",
    ),
    ("test_accuracy", pa.float64(), "percent", "likewise for test accuracy; nothing is chosen by it"),
    ("state", pa.string(), "", "complete, pruned, diverged, or ended: nothing was left to prune"),
    ("cycles_completed", pa.int32(), "", "cycles that all runs of the chain completed"),
    ("trained_steps", pa.int64(), "steps", "optimizer steps of all lanes of the trial"),
    ("new_steps", pa.int64(), "steps", "of these, steps that no earlier trial and no oracle had trained"),
    ("seconds", pa.float64(), "seconds", "device time of the new steps"),
]

CHAIN: list[Column] = [
    ("cycle", pa.int32(), "", "prunings before this training"),
    ("percent_remaining", pa.float64(), "percent", "surviving prunable weights, mean over runs"),
    ("max_lr", pa.float64(), "1", "peak learning rate of the cycle"),
    ("val_accuracy_mean", pa.float64(), "percent", "validation accuracy, mean over runs"),
    ("val_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("test_accuracy_mean", pa.float64(), "percent", "test accuracy, mean over runs"),
    ("test_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("runs", pa.int32(), "", "runs"),
]

FIT: list[Column] = [
    ("curve", pa.string(), "", "what was fitted (scyc, constant, line, exponential), or whose parameters these are"),
    ("parameters", pa.string(), "", "S-Cyc: EPS,DELTA,Q,BETA; else max_lr at the first and the last cycle"),
    ("free", pa.int32(), "", "parameters that were fitted; 0 where they were given"),
    ("cycles", pa.int32(), "", "rows of the oracle table"),
    ("inside", pa.int32(), "", "of these, rows whose feasible region holds the curve"),
    ("widths_outside", pa.float64(), "widths", "mean distance to the region, in widths of the region in log max_lr"),
    ("widths_to_best", pa.float64(), "widths", "likewise to the best max_lr"),
    (
        "left_out_inside",
        pa.float64(),
        "",
        "mean share of cycles inside, fitted to all runs but one and scored on that one",
    ),
    ("left_out_gap", pa.float64(), "percent points", "likewise the oracle's validation accuracy minus the curve's"),
]

SCHEDULES: list[Column] = [
    ("schedule", pa.string(), "", "row of the comparison: a schedule and where its max_lr comes from"),
    ("kind", pa.string(), "", "the schedule within this cycle"),
    ("source", pa.string(), "", "where max_lr comes from; of S-Cyc its parameters"),
    ("cycle", pa.int32(), "", "prunings before this training"),
    ("percent_remaining", pa.float64(), "percent", "surviving prunable weights, mean over runs"),
    ("max_lr", pa.float64(), "1", "the schedule's max_lr; of retraining, that of the original training"),
    ("peak_lr", pa.float64(), "1", "highest learning rate of the cycle: less than max_lr in ft, lrw and clr"),
    ("val_accuracy_mean", pa.float64(), "percent", "validation accuracy, mean over runs; null where one diverged"),
    ("val_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("test_accuracy_mean", pa.float64(), "percent", "test accuracy, mean over runs; null where one diverged"),
    ("test_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("best", pa.bool_(), "", "whether its mean test accuracy is the highest of this cycle"),
    ("difference", pa.float64(), "percent points", "mean test accuracy minus the best one's"),
    (
        "p_value",
        pa.float64(),
        "",
        "paired t-test over runs against the best, two-sided, uncorrected",
    ),
    ("tied", pa.bool_(), "", "best, or not told from it: p of at least 0.05; null for one run"),
    ("printed_mean", pa.float64(), "percent", "the paper's mean test accuracy in this cycle"),
    ("printed_std", pa.float64(), "percent", "the paper's standard deviation"),
    ("runs", pa.int32(), "", "runs"),
    ("diverged", pa.int32(), "", "of these, diverged; the chain ends here"),
    ("ended", pa.int32(), "", "of these, with nothing left to prune; the chain ends here"),
    (
        "trained_steps",
        pa.int64(),
        "steps",
        "optimizer steps of all runs; what schedules share counts in each",
    ),
]

RUNS: list[Column] = [
    ("schedule", pa.string(), "", "row of the comparison"),
    ("kind", pa.string(), "", "the schedule within this cycle"),
    ("cycle", pa.int32(), "", "prunings before this training"),
    ("run", pa.int32(), "", "repetition, from 0; runs of one number share split, initial weights and batches"),
    ("percent_remaining", pa.float64(), "percent", "surviving prunable weights"),
    ("max_lr", pa.float64(), "1", "the schedule's max_lr; of retraining, that of the original training"),
    ("val_accuracy", pa.float64(), "percent", "validation accuracy at the scored evaluation; null where diverged"),
    ("test_accuracy", pa.float64(), "percent", "test accuracy at the scored evaluation"),
    ("best_step", pa.int64(), "steps", "steps trained at the scored evaluation"),
    ("status", pa.string(), "", "ok, diverged, or ended: nothing was left to prune"),
    ("lane_id", pa.string(), "", "the lane, in trials"),
]

RATES: list[Column] = [
    ("schedule", pa.string(), "", "schedule that was tuned"),
    ("cycle", pa.int32(), "", "cycle that it was tuned on"),
    ("max_lr", pa.float64(), "1", "peak learning rate that was tried"),
    ("val_accuracy_mean", pa.float64(), "percent", "validation accuracy, mean over runs; null where one diverged"),
    ("val_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("test_accuracy_mean", pa.float64(), "percent", "test accuracy, mean over runs; nothing is chosen by it"),
    ("test_accuracy_std", pa.float64(), "percent", "its standard deviation over runs (n-1); null for one run"),
    ("chosen", pa.bool_(), "", "whether this max_lr was taken"),
    ("at_edge", pa.bool_(), "", "whether the one taken is the lowest or highest tried, as far as the grid may grow"),
    ("runs", pa.int32(), "", "runs"),
    ("diverged", pa.int32(), "", "of these, diverged"),
    ("trained_steps", pa.int64(), "steps", "optimizer steps of all runs"),
]

RESCORED: list[Column] = [
    ("rule", pa.string(), "", "how lanes are judged: as it was run, or with one thing changed"),
    ("cycle", pa.int32(), "", "prunings before this training"),
    ("run", pa.int32(), "", "the run, where each run decides for itself; null where all decide together"),
    ("best_max_lr", pa.float64(), "1", "max_lr of the highest mean validation accuracy by this rule"),
    ("feasible_low", pa.float64(), "1", "lower end of the feasible region by this rule"),
    ("feasible_high", pa.float64(), "1", "upper end of it"),
    ("same_best", pa.bool_(), "", "whether the best is that of the oracle as it was run"),
    ("same_region", pa.bool_(), "", "whether both ends of the region are"),
    ("scyc_inside", pa.bool_(), "", "whether S-Cyc's prediction lies in the region; null without parameters"),
]

_NETWORK: list[Column] = [
    ("schedule", pa.string(), "", "oracle, or the schedule of the chain"),
    ("kind", pa.string(), "", "gradient: of surviving prunable weights; activation: outputs of every ReLU"),
    ("cycle", pa.int32(), "", "prunings before this network was trained"),
    ("run", pa.int32(), "", "repetition, from 0"),
    ("percent_remaining", pa.float64(), "percent", "surviving prunable weights"),
    ("max_lr", pa.float64(), "1", "peak learning rate of its cycle"),
]

HISTOGRAMS: list[Column] = [
    *_NETWORK,
    ("low", pa.float64(), "1", "lower edge of the bin"),
    ("high", pa.float64(), "1", "upper edge; the last bin's belongs to it"),
    ("count", pa.int64(), "", "values in the bin"),
]

TAILS: list[Column] = [
    *_NETWORK,
    ("images", pa.int64(), "", "training images that it was taken over"),
    ("count", pa.int64(), "", "values"),
    ("minimum", pa.float64(), "1", "smallest value"),
    ("maximum", pa.float64(), "1", "largest value"),
    ("mean", pa.float64(), "1", "mean"),
    ("std", pa.float64(), "1", "standard deviation of the values"),
    ("zeros", pa.float64(), "percent", "share of exact zeros"),
    ("low", pa.float64(), "1", "of gradients: lower bound, as given"),
    ("high", pa.float64(), "1", "of gradients: upper bound, as given"),
    ("beyond", pa.float64(), "percent", "of gradients: share beyond these bounds"),
    ("low_2std", pa.float64(), "1", "two standard deviations below the mean of the run's unpruned network"),
    ("high_2std", pa.float64(), "1", "two above it"),
    ("beyond_2std", pa.float64(), "percent", "share of values beyond those"),
]

TABLES: dict[str, list[Column]] = {
    "lanes": LANES,
    "oracle": ORACLE,
    "curves": CURVES,
    "trend": TREND,
    "comparison": COMPARISON,
    "verdicts": VERDICTS,
    "tuning": TUNING,
    "chain": CHAIN,
    "fit": FIT,
    "schedules": SCHEDULES,
    "rates": RATES,
    "runs": RUNS,
    "rescored": RESCORED,
    "histograms": HISTOGRAMS,
    "tails": TAILS,
}


def schema(table: str) -> pa.Schema:
    """Return a table's Arrow schema; type, unit and description of each column are in its field metadata."""
    fields = [
        pa.field(name, kind, metadata={"type": str(kind), "unit": unit, "description": description})
        for name, kind, unit, description in TABLES[table]
    ]
    return pa.schema(fields, metadata={"scyc_sweep_table": table, "schema_version": str(SCHEMA_VERSION)})


def frame(table: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a DataFrame with the table's columns and types."""
    return _to_pandas(pa.Table.from_pylist([dict(row) for row in rows], schema=schema(table)))


def write(table: str, data: pd.DataFrame | Iterable[Mapping[str, Any]], path: Location) -> None:
    """Write a table; the file appears under its name only when it is complete."""
    content = encode(table, data)
    with Replacing(path) as partial:
        partial.write_bytes(content)


def encode(table: str, data: pd.DataFrame | Iterable[Mapping[str, Any]]) -> bytes:
    """Return a table as the bytes of a Parquet file, with a checksum for each page."""
    columns = schema(table)
    if isinstance(data, pd.DataFrame):
        content = pa.Table.from_pandas(data, schema=columns, preserve_index=False)
    else:
        content = pa.Table.from_pylist([dict(row) for row in data], schema=columns)
    content = content.replace_schema_metadata(columns.metadata)  # pandas adds its own
    buffer = pa.BufferOutputStream()
    pq.write_table(content, buffer, write_page_checksum=True)
    return buffer.getvalue().to_pybytes()  # type: ignore[no-any-return]


def read(table: str, path: Location) -> pd.DataFrame:
    """Read a table as a DataFrame.

    Raises DamagedError, naming the file, if it is damaged or foreign; FolderError if it cannot be read or is of
    another schema version.
    """
    return _to_pandas(decode(table, content_of(path), path))


def read_rows(table: str, path: Location) -> list[dict[str, Any]]:
    """Read a table as rows; raises as `read` does."""
    return decode(table, content_of(path), path).to_pylist()  # type: ignore[no-any-return]


def content_of(path: Location) -> bytes:
    """Return the bytes of a table's file. Raises FolderError where they cannot be read."""
    try:
        return storage.read(path, TABLE)
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {reason(error)}") from error


def decode(table: str, content: bytes, path: Location) -> pa.Table:
    """Return the table in the bytes of a file; raises as `read` does."""
    try:
        # A folder has thousands of small files: read_table would look for a data set in each, threads would cost more
        # than they give.
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            metadata = file.schema_arrow.metadata or {}
            if metadata.get(b"scyc_sweep_table") != table.encode():
                raise DamagedError(f"{path} is no table of {table} of scyc-sweep: it does not belong in this folder")
            version = metadata.get(b"schema_version", b"none").decode()
            check_version(int(version) if version.isdecimal() else version, path)
            found, wanted = ({field.name: field.type for field in each} for each in (file.schema_arrow, schema(table)))
            if list(found.items()) != list(wanted.items()):
                different = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
                raise DamagedError(f"{path} has other columns than a table of {table}: {', '.join(different)[:200]}")
            return file.read(use_threads=False)
    except FolderError:
        raise
    except Exception as error:  # pyarrow has many for bytes that were made to mislead, MemoryError among them
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise DamagedError(f"{path} is damaged or no Parquet file ({said})") from error


def check_version(found: object, path: Location) -> None:
    """Raise FolderError if something was written by a newer or an older version than this."""
    if found == SCHEMA_VERSION and isinstance(found, int):
        return
    older = isinstance(found, int) and found < SCHEMA_VERSION
    way = "use the scyc-sweep that wrote it, or begin a new folder" if older else "use a newer scyc-sweep"
    raise FolderError(
        f"{path} has schema version {str(found)[:20]}, this scyc-sweep reads version {SCHEMA_VERSION}: {way}"
    )


def _to_pandas(content: pa.Table) -> pd.DataFrame:
    data: pd.DataFrame = content.to_pandas()
    for field in content.schema:
        if pa.types.is_integer(field.type) and content[field.name].null_count:
            data[field.name] = data[field.name].astype(str(field.type).capitalize())  # Int32: a null is no NaN
    return data
