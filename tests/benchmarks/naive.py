"""The same lanes by scyc-sweep and by the two scripts that a user would write with Ray Tune: seconds per lane.

Cycle 0 of the embedded default. All three train the same networks on the same batches with the same schedule and
evaluate once an epoch; the column of accuracies shows it. A script's lane is left to train to its end if it diverges,
keeps no weights, and draws batches from tensors in memory, none of which makes it slower. Start-up is excluded for all
three: time runs from the start of the first lane to the end of the last.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

# Ray reads these when it is imported.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # listen on this machine alone
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # or it prints at verbose=0

import ray
from common import report, run_command, training_span
from naive_scripts import SPEC, Reused, tutorial
from ray import tune

from search_spaces.max_lr import MaxLrGrid
from sweep.config.resolve import resolve
from sweep.experiments.oracle.results import OracleResults
from sweep.store.provenance import cores
from trainables.data import datasets

GRID = MaxLrGrid.parse(resolve({}).max_lr).values
EVERY_QUICK = 8
"""With --quick, every so many points of the grid."""

Measured = tuple[float, int, float]
"""Seconds from the first lane to the last, lanes, mean validation accuracy in percent."""


def by_tune(trainable: Callable[..., Any] | type, space: dict[str, Any], reuse_actors: bool, folder: Path) -> Measured:
    """Run a Tune experiment over the space, with Tune's defaults for all that is not given."""
    found = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(metric="best", mode="max", reuse_actors=reuse_actors),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(fail_fast=True),
        ),
    ).fit()
    if found.errors:
        raise RuntimeError(f"a trial failed: {found.errors[0]}")
    lanes = [result.metrics for result in found]
    span = max(lane["ended"] for lane in lanes) - min(lane["started"] for lane in lanes)
    return span, len(lanes), fmean(lane["best"] for lane in lanes)


def by_scyc_sweep(grid: list[float], runs: int, folder: Path) -> Measured:
    """Run the command for cycle 0; lanes beyond the grid, by which it looks past an edge, count as lanes."""
    out = folder / "out"
    run_command(
        "oracle", out, "--cycles", "0", "--runs", str(runs), "--max-lr", ",".join(f"{point:g}" for point in grid)
    )
    trials = OracleResults(out).trials
    of_grid = trials[trials["max_lr"].isin(grid)]
    return training_span(trials), len(trials), float(of_grid["val_accuracy"].mean())


def main() -> None:
    """Run all three and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4 lanes instead of 50")
    quick = parser.parse_args().quick
    runs = 1 if quick else 2
    grid = list(GRID[::EVERY_QUICK] if quick else GRID)
    space = {"max_lr": tune.grid_search(grid), "run": tune.grid_search(list(range(runs)))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = by_scyc_sweep(grid, runs, folder)
        ray.init(
            address="local", num_cpus=cores(), num_gpus=0, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR",
        )  # fmt: skip
        try:
            first = by_tune(tutorial, space, False, folder)
            data = datasets.load(SPEC.dataset, Path())
            second = by_tune(tune.with_parameters(Reused, dataset=data), space, True, folder)
        finally:
            ray.shutdown()
    rows = [
        (
            name,
            str(lanes),
            f"{span:.1f} s",
            f"{span / lanes:.3f} s",
            f"{span / lanes * ours[1] / ours[0]:.1f}",
            f"{a:.2f}",
        )
        for name, (span, lanes, a) in (
            ("scyc-sweep", ours),
            ("Ray Tune, a trial a lane as in its tutorial", first),
            ("Ray Tune, reused actors, data in the object store", second),
        )
    ]
    report(
        f"Cycle 0 of the embedded default: {len(grid)} max_lr x {runs} runs, {SPEC.steps} steps a lane",
        ("", "lanes", "time", "per lane", "x scyc-sweep", "mean val. accuracy"),
        rows,
    )


if __name__ == "__main__":
    main()
