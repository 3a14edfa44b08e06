"""Controls of an oracle: the same oracle with other pruning. In: an oracle. Out: its controls, and the trend table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sweep.config.resolve import changed
from sweep.config.settings import EXECUTION, Settings
from sweep.errors import SweepError
from sweep.experiments.oracle import figures
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.oracle.tables import TREND
from sweep.store.folder import Folder
from trainables.spec import FILTER_CRITERIA


def controls_of(settings: Settings) -> list[str]:
    """Return the controls that mean something beside an oracle: as much pruned at random, or nothing pruned."""
    at_random = "random_filter" if settings.pruning in FILTER_CRITERIA else "random"
    found = [at_random] if settings.rewind != "none" else ["none", at_random]
    return [name for name in found if name != settings.training().pruning]


def control_settings(
    oracle: OracleResults, controls: Sequence[str], execution: Mapping[str, Any]
) -> dict[str, OracleSettings]:
    """Return the settings of each control, whose folder lies in the oracle's.

    `execution` are settings of `EXECUTION` that replace the oracle's. Raises SweepError for a control that would
    control nothing.
    """
    for name in controls:
        if name == "none" and oracle.settings.rewind != "none":
            raise SweepError(
                "--pruning none is no control where every cycle rewinds: it trains the same unpruned network anew each "
                "time; --pruning random is one"
            )
        if ("global_magnitude" if name == "imp" else name) == oracle.settings.training().pruning:
            raise SweepError(f"--pruning {name} is the pruning of the oracle in {oracle.folder.path}")
    return {
        name: changed(
            oracle.settings,
            {
                **execution,
                "pruning": name,
                "lanes": oracle.manifest["lanes_per_pack"] or oracle.settings.lanes,
                "histograms": False,
                "out": oracle.folder.controls / name,
            },
        )
        for name in controls
    }


def check_unchanged(oracle: OracleResults, execution: Mapping[str, Any]) -> None:
    """Raise FolderError where network or data are no longer those of an oracle that others are to be trained beside."""
    from sweep.execution.dataset import dataset_of  # torch, which results do not need

    now = changed(oracle.settings, execution)
    oracle.check_unchanged(now)
    oracle.check_unchanged(now, dataset_of(now).fingerprint)


def run_controls(
    oracle: OracleResults,
    controls: Sequence[str],
    execution: Mapping[str, Any],
    run: Callable[[str, OracleSettings], object],
) -> OracleResults:
    """Run an oracle again with other pruning, each control in a folder of its own; return the oracle with them.

    `run(name, settings)` carries one out. Raises as `control_settings`, and where a control cannot be trained.
    """
    from sweep.execution.network import check_network  # torch, which results do not need

    check_unchanged(oracle, execution)
    wanted = control_settings(oracle, controls, execution)
    for settings in wanted.values():
        check_network(settings)  # all that can be wrong is found before the first is trained
    for name, settings in wanted.items():
        run(name, settings)
    return OracleResults(oracle.folder.path)


def oracle_of(folder: Folder) -> OracleResults | None:
    """Return the oracle that a folder holds a control of, by where it lies; None: it is no control."""
    beside = Folder(folder.path.absolute().parent.parent)
    if folder.path.absolute().parent != beside.controls:
        return None
    found = beside.manifest()
    return OracleResults(beside.path) if found is not None and found["kind"] == OracleResults.kind else None


def extend(settings: OracleSettings, begun: OracleSettings | None) -> OracleSettings:
    """Return the settings unchanged. Raises FolderError for a control whose oracle trained another network or data."""
    oracle = oracle_of(Folder(settings.folder))
    if oracle is not None:
        check_unchanged(oracle, {name: getattr(settings, name) for name in EXECUTION})
    return settings


def write_trend(results: OracleResults) -> None:
    """Write the trend table of an oracle and its controls, and draw it."""
    TREND.write(results.trend, TREND.path(results.folder.path))
    figures.controls(results, results.folder.path / "controls.png")
