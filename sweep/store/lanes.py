"""A lane in the ledger: the columns of its row, and what must hold in a row that training has left.

In: a row. Out: nothing, or an error. Next: `sweep.store.ledger` writes and reads rows; a lane's key is made in
`sweep.store.identity`.
"""

import math
import re
from itertools import pairwise
from typing import Any

import pyarrow as pa

from sweep.store.tables import Table

LANES = Table(
    "lanes",
    (
        ("lane_id", pa.string(), "", "sha256 of all that determines the lane"),
        ("cycle", pa.int32(), "", "prunings before this training"),
        ("run", pa.int32(), "", "repetition, from 0"),
        ("seed", pa.int64(), "", "the run's seed, from which split, weights and batches follow"),
        ("percent_remaining", pa.float64(), "percent", "surviving prunable weights, of all prunable weights"),
        ("schedule", pa.string(), "", "learning-rate schedule within the cycle"),
        ("max_lr", pa.float64(), "1", "peak learning rate of the cycle"),
        ("val_accuracy", pa.float64(), "percent", "validation accuracy at the scored evaluation; null where diverged"),
        ("test_accuracy", pa.float64(), "percent", "test accuracy at the scored evaluation"),
        ("best_step", pa.int64(), "steps", "steps trained at the scored evaluation"),
        ("val_loss", pa.float64(), "nats", "validation cross-entropy at the scored evaluation"),
        ("train_loss", pa.float64(), "nats", "mean training loss between the scored evaluation and the one before"),
        ("steps", pa.int64(), "steps", "optimizer steps trained"),
        ("wall_seconds", pa.float64(), "seconds", "the pack's time divided by its lanes"),
        ("lanes_in_pack", pa.int32(), "", "lanes trained together"),
        ("status", pa.string(), "", "ok, diverged, or ended (nothing was left to prune)"),
        ("parent_state", pa.string(), "", "digest of the state that was pruned; in cycle 0, of the initial weights"),
        ("state", pa.string(), "", "digest of the scored network"),
        ("rewind_state", pa.string(), "", "cycle 0 only: digest of the weights that later cycles rewind to"),
        ("device", pa.string(), "", "device that trained the lane"),
        ("host", pa.string(), "", "host that trained the lane"),
        ("finished_at", pa.timestamp("ms", tz="UTC"), "UTC", "when the driver received the result"),
        ("eval_steps", pa.list_(pa.int64()), "steps", "steps trained at every evaluation"),
        ("eval_val_accuracy", pa.list_(pa.float64()), "percent", "validation accuracy at every evaluation"),
        ("eval_test_accuracy", pa.list_(pa.float64()), "percent", "test accuracy at every evaluation"),
        ("eval_val_loss", pa.list_(pa.float64()), "nats", "validation cross-entropy at every evaluation"),
    ),
)

STATES = ("parent_state", "state", "rewind_state")
"""Columns that name a state by its digest."""
EVALUATIONS = tuple(name for name, *_ in LANES.columns if name.startswith("eval_"))
"""Columns with one entry for each evaluation."""
SCORED = ("best_step", "val_accuracy", "test_accuracy", "val_loss", "train_loss")
"""Columns of the evaluation that scores; null where there is none."""
FILLED = tuple(name for name, *_ in LANES.columns if name not in (*EVALUATIONS, *SCORED, "state", "rewind_state"))
"""Columns that have a value in every row."""
DIGEST = re.compile("[0-9a-f]{64}")


def check(row: dict[str, Any]) -> None:
    """Raise ValueError, with the rule, for a row that training cannot have left; add `scores_from` to a good row.

    `scores_from` is the step after which the score was chosen: the scored evaluation is the best of those after it, and
    the earliest of equals. Whether the row has its lane's key is checked elsewhere, where the lane is known.
    """
    empty = [name for name in FILLED if row[name] is None]
    if empty:
        raise ValueError(f"a row has no {empty[0]}")
    for name, low, high in (("cycle", 0, 10**6), ("run", 0, 10**6), ("seed", 0, 2**32), ("lanes_in_pack", 1, 10**6)):
        if not low <= row[name] < high:
            raise ValueError(f"a row's {name} is {row[name]}")
    for name in ("max_lr", "wall_seconds"):
        if not (math.isfinite(row[name]) and row[name] >= 0) or (name == "max_lr" and row[name] == 0):
            raise ValueError(f"a row's {name} is {row[name]}")
    status, trained = row["status"], row["status"] != "ended"
    if status not in ("ok", "diverged", "ended"):
        raise ValueError(f"a row's status is {status!r}")
    if row["steps"] < trained or (trained and not 0 < row["percent_remaining"] <= 100):
        raise ValueError(f"a row has {row['steps']} steps and {row['percent_remaining']} percent remaining")
    for name in ("lane_id", *STATES):
        if row[name] and not DIGEST.fullmatch(row[name]):
            raise ValueError(f"a row's {name} is no digest")
    ok = status == "ok"
    if ok and not (row["lane_id"] and row["parent_state"] and row["state"]):
        raise ValueError("a row has no digest of its network")
    if not ok and any(row[name] is not None for name in ("state", "rewind_state", *SCORED)):
        raise ValueError(f"a row's status is {status}, but it has a score or a network")
    _check_score(row, ok)


def _check_score(row: dict[str, Any], ok: bool) -> None:
    """Raise ValueError where a row's score does not follow from its evaluations; see `check`."""
    steps, *kinds = (row[name] for name in EVALUATIONS)
    if any(values is None or len(values) != len(steps or ()) for values in (steps, *kinds)):
        raise ValueError("a row's lists of evaluations differ in length")
    if any(value is None for values in (steps, *kinds) for value in values):
        raise ValueError("a row lacks an evaluation")
    if any(low >= high for low, high in pairwise((0, *steps))) or (steps and steps[-1] > row["steps"]):
        raise ValueError("a row's evaluations are not in the order of its steps")
    val, test, loss = kinds
    if not all(0 <= value <= 100 for value in (*val, *test)) or not all(0 <= value < math.inf for value in loss):
        raise ValueError("a row's evaluations are out of range")
    row["scores_from"] = 0
    if not ok:
        return
    if row["best_step"] not in steps:
        raise ValueError("a row's best_step is not the step of an evaluation")
    at = steps.index(row["best_step"])
    if (row["val_accuracy"], row["test_accuracy"], row["val_loss"]) != (val[at], test[at], loss[at]):
        raise ValueError("a row's score is not that of its evaluation")
    if row["train_loss"] is None or not 0 <= row["train_loss"] < math.inf:
        raise ValueError(f"a row's train_loss is {row['train_loss']}")
    if max(val[at:]) > val[at]:
        raise ValueError("a row's score is not that of its best evaluation")
    better = [step for step, value in zip(steps[:at], val[:at], strict=True) if value >= val[at]]
    row["scores_from"] = max(better, default=0)
