"""Which lanes to train, where they run, and what came of them: the Python API, for scripts and notebooks.

`build_oracle`, `control`, `confirm`, `tune`, `fit_scyc` and `compare_schedules` are the commands of the same purpose;
`load` opens what they left. Torch, Ray and pandas are imported when they are needed, so that `scyc-sweep --help`
answers at once.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from search_spaces.trajectories import Trajectory
    from sweep.analyses.fit import Fits
    from sweep.experiments.oracle.results import OracleResults
    from sweep.experiments.results import Results
    from sweep.experiments.schedules.results import SchedulesResults
    from sweep.experiments.tuning.results import TuningResults
    from sweep.experiments.validation.results import ValidationResults

__all__ = ["build_oracle", "compare_schedules", "confirm", "control", "fit_scyc", "load", "tune"]


def _run(name: str, config: "Path | None", progress: bool, settings: "dict[str, Any]") -> Any:
    """Carry out an experiment with settings as the command line takes them."""
    from sweep.config.resolve import resolve
    from sweep.experiments import registry
    from sweep.experiments.runner import run
    from sweep.reporting.live import LiveView

    with LiveView(quiet=not progress) as view:
        return run(registry.experiment(name), resolve(settings, config, kind=registry.settings_class(name)), view)


def build_oracle(config: "Path | None" = None, progress: bool = True, **settings: Any) -> "OracleResults":
    """Build the greedy oracle, or resume one, as `scyc-sweep oracle` does; return its results.

    `settings` are the command's flags, with underscores, as `runs=2`; `config` is a TOML file of them. `max_lr` may be
    a list of numbers, `model` and `dataset` functions that a module defines.
    `progress` shows how far it is. Raises SweepError where the command would print one line and exit.
    """
    results: OracleResults = _run("oracle", config, progress, settings)
    return results


def control(
    folder: "Path | str", pruning: "Sequence[str] | None" = None, progress: bool = True, **execution: Any
) -> "OracleResults":
    """Run an oracle's controls, as `scyc-sweep control` does; return the oracle, whose `trend` has them.

    `execution` are settings of where lanes train, such as `device`. Raises SweepError as the command.
    """
    from sweep.experiments.oracle.control import controls_of, run_controls
    from sweep.experiments.oracle.experiment import EXPERIMENT
    from sweep.experiments.oracle.results import OracleResults
    from sweep.experiments.runner import run
    from sweep.reporting.live import LiveView

    oracle = OracleResults(folder)
    with LiveView(quiet=not progress) as view:
        names = pruning or controls_of(oracle.settings)
        return run_controls(oracle, names, execution, lambda name, each: run(EXPERIMENT, each, view.labelled(name)))


def confirm(
    folder: "Path | str", scyc: "Mapping[str, Trajectory]", runs: int | None, progress: bool = True, **execution: Any
) -> "ValidationResults":
    """Train trajectories, by any names, beside an oracle, as `scyc-sweep compare --confirm` does; return the verdicts.

    `runs`: on so many held-out seeds; None: on the oracle's own runs, as `compare --train`. `execution` and errors as
    `control`.
    """
    from sweep.experiments.oracle.results import OracleResults
    from sweep.experiments.runner import run
    from sweep.experiments.validation.experiment import EXPERIMENT, settings_of
    from sweep.reporting.live import LiveView

    with LiveView(quiet=not progress) as view:
        settings = settings_of(OracleResults(folder), scyc, runs, execution)
        results: ValidationResults = run(EXPERIMENT, settings, view)
        return results


def tune(config: "Path | None" = None, progress: bool = True, **settings: Any) -> "TuningResults":
    """Tune S-Cyc, or another schedule, by training, as `scyc-sweep tune` does; return its results.

    `settings`, `config`, `progress` and errors as `build_oracle` has them. `fit_scyc` is for `by="fit"`.
    """
    results: TuningResults = _run("tune", config, progress, settings)
    return results


def compare_schedules(config: "Path | None" = None, progress: bool = True, **settings: Any) -> "SchedulesResults":
    """Compare schedules over whole chains, as `scyc-sweep schedules` does; return the results.

    `settings`, `config`, `progress` and errors as `build_oracle` has them.
    """
    results: SchedulesResults = _run("schedules", config, progress, settings)
    return results


def fit_scyc(oracle: "Path | str", **settings: Any) -> "Fits":
    """Fit S-Cyc and simpler curves to a finished oracle, as `scyc-sweep tune --by fit` does; return the fits.

    `settings` are the ranges (`epsilon`, `delta`, `q`, `beta`), `seed` and `out`. Raises SweepError as the command.
    """
    from sweep.config.resolve import resolve
    from sweep.experiments.tuning.fitting import run_fit
    from sweep.experiments.tuning.settings import TuningSettings

    return run_fit(resolve({**settings, "by": "fit", "oracle": str(oracle)}, kind=TuningSettings))[1]


def load(folder: "Path | str") -> "Results":
    """Open a results folder; its tables are pandas DataFrames.

    Of an oracle `.oracle`, `.comparison` and `.curves`; of a tuning `.tuning` and `.chain`; of a comparison of
    schedules `.schedules` and `.rates`; of each `.lanes`.
    Raises FolderError if the folder holds no sweep or one of another version, or if rows are damaged or lost.
    """
    from sweep.experiments import registry

    return registry.load(folder)
