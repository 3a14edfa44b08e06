"""The greedy oracle as an experiment."""

from collections.abc import Mapping

import pandas as pd

from search_spaces.scyc import SCyc
from search_spaces.trajectories import Trajectory
from sweep.config.named_scyc import OWN
from sweep.experiments.base import Experiment
from sweep.experiments.oracle import control, figures, views
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.oracle.strategy import GreedyOracle
from sweep.experiments.oracle.tables import COMPARISON, CURVES, ORACLE, TREND


def write_comparison(results: OracleResults, predicted: Mapping[str, Trajectory]) -> None:
    """Write the comparison with predicted trajectories, and draw it."""
    comparison = _compare(results, predicted)
    figures.trajectory(results, results.folder.path / "trajectory.png", comparison)


def _compare(results: OracleResults, predicted: Mapping[str, Trajectory]) -> pd.DataFrame | None:
    """Write the comparison with predicted trajectories; without any there is no such table."""
    comparison = results.compare(predicted) if predicted else None
    path = COMPARISON.path(results.folder.path)
    if comparison is not None:
        COMPARISON.write(comparison, path)
    else:
        path.unlink(missing_ok=True)
    return comparison


def _finish(results: OracleResults) -> None:
    scyc = results.settings.scyc
    _compare(results, {OWN: SCyc.parse(scyc)} if scyc else {})
    if results.settings.histograms:
        from sweep.analyses.gradients import write_gradients  # torch, which results do not need

        write_gradients(results)
    oracle = control.oracle_of(results.folder)
    if oracle is not None:
        control.write_trend(oracle)


EXPERIMENT = Experiment(
    name="oracle",
    settings=OracleSettings,
    strategy=GreedyOracle,
    results=OracleResults,
    tables={
        ORACLE: lambda results: results.oracle,
        CURVES: lambda results: results.curves,
        TREND: lambda results: results.trend,
    },
    views=views.VIEWS,
    figures=figures.FIGURES,
    answers=views.answers,
    extend=control.extend,
    finish=_finish,
)
