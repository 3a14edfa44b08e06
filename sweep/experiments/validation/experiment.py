"""Validation as an experiment: trajectories trained beside an oracle's choices, on its runs or on held-out seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.scyc import SCyc
from search_spaces.trajectories import Trajectory
from sweep.config import named_scyc
from sweep.config.settings import EXECUTION
from sweep.errors import FolderError, SweepError
from sweep.experiments.base import Experiment, Reuse
from sweep.experiments.oracle.control import check_unchanged
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.validation import figures, views
from sweep.experiments.validation.results import ValidationResults
from sweep.experiments.validation.settings import ValidationSettings
from sweep.experiments.validation.strategy import Validation
from sweep.experiments.validation.tables import VERDICTS
from sweep.store.lanes import STATES


def trajectories_of(oracle: OracleResults, scyc: Sequence[str] | None, training: bool) -> dict[str, SCyc]:
    """Return the predictions to compare an oracle with, by name; `scyc` None: the S-Cyc of the oracle's settings.

    Raises SweepError where there is none: `none` stands for the oracle alone, with which nothing is trained.
    """
    settings = oracle.settings
    texts = scyc or ([settings.scyc] if settings.scyc else [])
    if not texts:
        raise SweepError(f"{oracle.folder.path} was run without S-Cyc parameters: give --scyc, {named_scyc.FORMS}")
    found = named_scyc.parse(texts, settings.model, settings.dataset, settings.scyc)
    if training and not found:
        raise SweepError(f"--train and --confirm train what --scyc gives: {named_scyc.FORMS}")
    return found


def settings_of(
    oracle: OracleResults,
    predicted: Mapping[str, Trajectory],
    held_out_runs: int | None,
    execution: Mapping[str, Any],
) -> ValidationSettings:
    """Return the settings that train trajectories beside an oracle's choices.

    `held_out_runs`: on so many held-out seeds; None: on the oracle's own runs. `execution` are settings of `EXECUTION`
    that replace the oracle's. Raises SweepError for what cannot be trained.
    """
    settings, closed = oracle.settings, oracle.replay.closed
    if held_out_runs is not None and held_out_runs < 1:
        raise SweepError(f"--confirm must be at least 1, but got {held_out_runs}")
    if settings.decide == "per_run":
        raise SweepError(f"{oracle.folder.path} has an oracle for each run; --train takes one with --decide shared")
    if not closed:
        raise FolderError(f"{oracle.folder.path} has no decided cycle yet")
    cycles = range(len(closed))
    return ValidationSettings.of(
        settings,
        {
            **execution,
            "cycles": len(closed) - 1,
            "runs": held_out_runs or settings.runs,
            "lanes": oracle.manifest["lanes_per_pack"] or settings.lanes,
            "histograms": False,
            "oracle": str(oracle.folder.path),
            "held_out": held_out_runs is not None,
            "choices": tuple(cycle.choice.best_max_lr for cycle in closed),
            "trajectories": {
                name: tuple(each.max_lr(cycle, settings.prune_rate) for cycle in cycles)
                for name, each in predicted.items()
            },
        },
    )


def extend(settings: ValidationSettings, begun: ValidationSettings | None) -> ValidationSettings:
    """Return the settings with the trajectories and runs that a folder has: new ones stand beside them.

    Raises FolderError where network or data are no longer what the oracle trained.
    """
    check_unchanged(OracleResults(settings.oracle), {name: getattr(settings, name) for name in EXECUTION})
    if begun is None or begun.choices != settings.choices:
        return settings
    both = {**begun.trajectories, **settings.trajectories}
    return settings.model_copy(update={"trajectories": both, "runs": max(settings.runs, begun.runs)})


def reuse(settings: ValidationSettings) -> Reuse | None:
    """Return the oracle's lanes, on whose own runs none of them is trained again, and the states of its chain."""
    if settings.held_out:
        return None
    oracle = OracleResults(settings.oracle)
    winners = [row for cycle in oracle.replay.closed for row in cycle.best_rows]
    return Reuse(
        rows=oracle.replay.ledger.rows,
        states=oracle.folder.states,
        digests=frozenset(row[name] for row in winners for name in STATES if row[name]),
    )


EXPERIMENT = Experiment(
    name="compare",
    settings=ValidationSettings,
    strategy=Validation,
    results=ValidationResults,
    tables={VERDICTS: lambda results: results.verdicts},
    views=views.VIEWS,
    figures=figures.FIGURES,
    answers=views.answers,
    extend=extend,
    reuse=reuse,
)
