"""The tables of a tuning: the trials, and the winner's own chain. In: a replayed tuning. Out: DataFrames."""

from typing import Any

import pyarrow as pa

from sweep.experiments.tuning.strategy import TunedTrial
from sweep.store.tables import Table

_STD = "its standard deviation over runs (n-1); null for one run"

TUNING = Table(
    "tuning",
    (
        (
            "stage",
            pa.string(),
            "",
            "the parameters that the trial was for: epsilon, delta, shape (q and beta), joint or max_lr",
        ),
        (
            "number",
            pa.int32(),
            "",
            "number of the trial in the stage's Optuna study, from 0; of a given oracle, the point of its cycle 0",
        ),
        ("epsilon", pa.float64(), "1", "S-Cyc's epsilon; null for other schedules"),
        ("delta", pa.float64(), "1", "S-Cyc's delta; null before it is tuned"),
        ("q", pa.int32(), "cycles", "S-Cyc's q; null before it is tuned"),
        ("beta", pa.float64(), "1", "S-Cyc's beta; null before it is tuned"),
        ("max_lr", pa.float64(), "1", "max_lr of all cycles, for schedules other than S-Cyc"),
        (
            "value",
            pa.float64(),
            "percent",
            "validation accuracy at the chain's last cycle, mean over runs; null unless the trial is complete",
        ),
        ("test_accuracy", pa.float64(), "percent", "likewise for test accuracy; nothing is chosen by it"),
        ("state", pa.string(), "", "complete, pruned, diverged, or ended (nothing was left to prune)"),
        ("cycles_completed", pa.int32(), "", "cycles that all runs of the chain completed"),
        ("trained_steps", pa.int64(), "steps", "optimizer steps of all lanes of the trial"),
        ("new_steps", pa.int64(), "steps", "of these, steps that no earlier trial and no oracle had trained"),
        ("seconds", pa.float64(), "seconds", "device time of the new steps"),
    ),
)

CHAIN = Table(
    "chain",
    (
        ("cycle", pa.int32(), "", "number of prunings before this training"),
        ("percent_remaining", pa.float64(), "percent", "remaining prunable weights, mean over runs"),
        ("max_lr", pa.float64(), "1", "peak learning rate of the cycle"),
        ("val_accuracy_mean", pa.float64(), "percent", "validation accuracy, mean over runs"),
        ("val_accuracy_std", pa.float64(), "percent", _STD),
        ("test_accuracy_mean", pa.float64(), "percent", "test accuracy, mean over runs"),
        ("test_accuracy_std", pa.float64(), "percent", _STD),
        ("runs", pa.int32(), "", "number of runs"),
    ),
)


def tuning_row(trial: TunedTrial) -> dict[str, Any]:
    """Return the row of a trial that ended."""
    row = {name: trial.params.get(name) for name in ("epsilon", "delta", "q", "beta", "max_lr")}
    return {
        "stage": trial.stage,
        "number": trial.number,
        **row,
        "q": None if row["q"] is None else int(row["q"]),
        "value": trial.value,
        "test_accuracy": trial.test_accuracy,
        "state": trial.state,
        "cycles_completed": len(trial.chain),
        "trained_steps": trial.trained_steps,
        "new_steps": trial.new_steps,
        "seconds": trial.seconds,
    }
