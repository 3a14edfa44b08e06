"""Fit S-Cyc to a finished oracle, without training. In: settings with an oracle. Out: fits, the winner, a picture."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict

from search_spaces.ranges import Range
from search_spaces.scyc import SCyc
from sweep.analyses import fit
from sweep.config import named_scyc
from sweep.errors import FolderError, SweepError
from sweep.experiments.oracle import figures
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.registry import manifest_of
from sweep.experiments.tuning.oracle import finished_oracle
from sweep.experiments.tuning.settings import TuningSettings
from sweep.store.folder import Folder, location_of
from sweep.store.identity import check_kind


def run_fit(settings: TuningSettings, command: Sequence[str] = ()) -> tuple[OracleResults, fit.Fits]:
    """Fit S-Cyc to a finished oracle, without training; write the fits, the winner and a picture beside the oracle.

    Raises FolderError for an oracle that is unfinished or too short.
    """
    results = finished_oracle(settings, fitting=True)
    low, high = float(results.oracle["grid_low"].min()), float(results.oracle["grid_high"].max())
    given = settings.ranges()
    ranges = given | {
        "epsilon": given["epsilon"] if settings.epsilon else Range(low, high, log=True),
        "delta": given["delta"] if settings.delta else Range(0.0, high),  # without growth S-Cyc is a constant
    }
    where = Folder(location_of(settings.out)) if settings.out else results.folder
    path = fit.FIT.path(where.path)
    with where.locked(command):
        if settings.out and where.path.absolute() != results.folder.path.absolute():
            there = manifest_of(where)
            check_kind(where, there, "oracle")
            if there is None and where.foreign() and not path.exists():
                raise FolderError(f"{where.path} has other files: give another --out")
        closed, prune_rate = results.replay.closed, results.settings.prune_rate
        fits = fit.fit(closed, results.rules, prune_rate, ranges, _known(results), settings.seed)
        fit.FIT.write(fits.table, path)
        row = fits.table.iloc[0]
        origin = f"scyc-sweep tune --by fit: inside the feasible region at {row['inside']} of {row['cycles']} cycles"
        named_scyc.write("scyc", asdict(fits.scyc), origin, where.path)
        figures.trajectory(results, where.path / "fit.png", results.compare(fits.curves))
    return results, fits


def _known(results: OracleResults) -> dict[str, SCyc]:
    """Return the parameters of S-Cyc that are known for an oracle's network and data, by their source."""
    known: dict[str, SCyc] = {}
    for name in ("paper", "silo"):
        with suppress(SweepError):
            known |= named_scyc.parse([name], results.settings.model, results.settings.dataset)
    if results.settings.scyc and SCyc.parse(results.settings.scyc) not in known.values():
        known["preset"] = SCyc.parse(results.settings.scyc)
    return known
