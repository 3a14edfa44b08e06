"""Which lanes to train, where they run, and what came of them: the Python API, for scripts and notebooks.

`build_oracle`, `control`, `confirm`, `tune`, `fit_scyc` and `compare_schedules` are the commands of the same purpose;
`load` opens what they left. Torch, Ray and pandas are imported when they are needed, so that `scyc-sweep --help`
answers at once.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from search_spaces.scyc import SCyc
    from sweep.analyses.fit import Fits
    from sweep.experiments.results import AnyResults, OracleResults, SchedulesResults, TuningResults, ValidationResults

__all__ = ["build_oracle", "compare_schedules", "confirm", "control", "fit_scyc", "load", "tune"]


def build_oracle(config: "Path | None" = None, progress: bool = True, **settings: Any) -> "OracleResults":
    """Build the greedy oracle, or go on with one, as `scyc-sweep oracle` does; return its results.

    `settings` are the command's flags, with underscores, as `runs=2`; `config` is a TOML file of them. `max_lr` may be
    a list of numbers, `model` and `dataset` functions that a module defines.
    `progress` shows how far it is. Raises SweepError where the command would print one line and exit.
    """
    from sweep.config.resolve import resolve
    from sweep.experiments.runner import run_oracle
    from sweep.reporting.live import LiveView

    with LiveView(quiet=not progress) as view:
        return run_oracle(resolve(settings, config), view)


def control(
    folder: "Path | str", pruning: "Sequence[str] | None" = None, progress: bool = True, **execution: Any
) -> "OracleResults":
    """Run an oracle's controls, as `scyc-sweep control` does; return the oracle, whose `trend` has them.

    `execution` are settings of where lanes train, such as `device`. Raises SweepError as the command.
    """
    from sweep.experiments.results import OracleResults
    from sweep.experiments.runner import controls_of, run_control
    from sweep.reporting.live import LiveView

    oracle = OracleResults(folder)
    with LiveView(quiet=not progress) as view:
        return run_control(oracle, pruning or controls_of(oracle.settings), execution, view.labelled)


def confirm(
    folder: "Path | str", scyc: "Mapping[str, SCyc]", runs: int | None, progress: bool = True, **execution: Any
) -> "ValidationResults":
    """Train S-Cyc, by any names, beside an oracle, as `scyc-sweep compare --confirm` does; return the verdicts.

    `runs`: so many held-out ones; None: the oracle's own, as `compare --train`. `execution` and errors as `control`.
    """
    from sweep.experiments.results import OracleResults
    from sweep.experiments.runner import run_validation
    from sweep.reporting.live import LiveView

    with LiveView(quiet=not progress) as view:
        return run_validation(OracleResults(folder), scyc, runs, execution, view)


def tune(config: "Path | None" = None, progress: bool = True, **settings: Any) -> "TuningResults":
    """Tune S-Cyc, or another schedule, by training, as `scyc-sweep tune` does; return its results.

    `settings`, `config`, `progress` and errors as `build_oracle` has them. `fit_scyc` is for `by="fit"`.
    """
    from sweep.config.resolve import resolve
    from sweep.experiments.runner import run_tuning
    from sweep.experiments.tuning.settings import TuningSettings
    from sweep.reporting.live import LiveView

    with LiveView(quiet=not progress) as view:
        return run_tuning(resolve(settings, config, kind=TuningSettings), view)


def compare_schedules(config: "Path | None" = None, progress: bool = True, **settings: Any) -> "SchedulesResults":
    """Compare schedules over whole chains, as `scyc-sweep schedules` does; return the results.

    `settings`, `config`, `progress` and errors as `build_oracle` has them.
    """
    from sweep.config.resolve import resolve
    from sweep.experiments.runner import run_schedules
    from sweep.experiments.schedules.settings import SchedulesSettings
    from sweep.reporting.live import LiveView

    with LiveView(quiet=not progress) as view:
        return run_schedules(resolve(settings, config, kind=SchedulesSettings), view)


def fit_scyc(oracle: "Path | str", **settings: Any) -> "Fits":
    """Fit S-Cyc and simpler curves to a finished oracle, as `scyc-sweep tune --by fit` does; return the fits.

    `settings` are the ranges (`epsilon`, `delta`, `q`, `beta`), `seed` and `out`. Raises SweepError as the command.
    """
    from sweep.config.resolve import resolve
    from sweep.experiments.runner import run_fit
    from sweep.experiments.tuning.settings import TuningSettings

    return run_fit(resolve({**settings, "by": "fit", "oracle": str(oracle)}, kind=TuningSettings))[1]


def load(folder: "Path | str") -> "AnyResults":
    """Open a results folder; its tables are pandas DataFrames.

    Of an oracle `.oracle`, `.comparison` and `.curves`; of a tuning `.tuning` and `.chain`; of a comparison of
    schedules `.schedules` and `.rates`; of each `.trials`.
    Raises FolderError if the folder holds no sweep is of another version, or has damaged or lost rows.
    """
    from sweep.experiments import results

    return results.load(folder)
