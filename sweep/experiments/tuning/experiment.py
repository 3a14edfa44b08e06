"""Tuning as an experiment. With a finished oracle, its cycle 0 takes the place of the stage that tunes epsilon."""

from sweep.config import named_scyc
from sweep.errors import SweepError
from sweep.experiments.base import Experiment, Reuse
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.tuning import figures, views
from sweep.experiments.tuning.oracle import check_same, finished_oracle
from sweep.experiments.tuning.results import TuningResults
from sweep.experiments.tuning.settings import Given, TuningSettings
from sweep.experiments.tuning.strategy import Tuning
from sweep.experiments.tuning.tables import CHAIN, TUNING
from sweep.statistics.selection import ClosedCycle
from sweep.store.lanes import STATES


def extend(settings: TuningSettings, begun: TuningSettings | None) -> TuningSettings:
    """Return the settings with what an oracle says of cycle 0. Raises SweepError where the oracle does not fit."""
    if settings.by == "fit":
        raise SweepError("by fit trains nothing: use fit_scyc, or scyc-sweep tune --by fit")
    if settings.oracle is None:
        return settings
    oracle = finished_oracle(settings)
    check_same(settings, oracle)
    if not settings.takes_over:
        return settings
    first = _cycle_0(oracle)
    points = tuple(sorted({row["max_lr"] for row in first.rows}))
    return settings.model_copy(update={"given": Given(points=points, epsilon=first.choice.best_max_lr)})


def reuse(settings: TuningSettings) -> Reuse | None:
    """Return the lanes of the oracle's cycle 0, and the networks of its winners."""
    if not settings.takes_over or settings.oracle is None:
        return None
    oracle = OracleResults(settings.oracle)
    first, ledger = _cycle_0(oracle), oracle.replay.ledger
    wanted = {row["lane_id"] for row in first.rows}
    return Reuse(
        rows={key: row for key, row in ledger.rows.items() if row["cycle"] == 0},
        states=oracle.folder.states,
        digests=frozenset(row[name] for row in first.best_rows for name in STATES if row[name]),
        files={path: [key for key in keys if key in wanted] for path, keys in ledger.files.items()},
    )


def _cycle_0(oracle: OracleResults) -> ClosedCycle:
    return next(closed for closed in oracle.replay.closed if closed.cycle == 0)


def _finish(results: TuningResults) -> None:
    """Write the winner's parameters as a file that `compare --scyc` takes."""
    settings, winner = results.settings, results.winner
    if winner is None:
        return
    own = ("epsilon", "delta", "q", "beta") if settings.schedule == "scyc" else ("max_lr",)
    value = f"mean validation accuracy {winner.value:.2f} % over {settings.runs} runs at cycle {settings.target}"
    origin = f"scyc-sweep tune --by {settings.by}, seed {settings.seed}: {value}"
    named_scyc.write(settings.schedule, {name: winner.params[name] for name in own}, origin, results.folder.path)


EXPERIMENT = Experiment(
    name="tune",
    settings=TuningSettings,
    strategy=Tuning,
    results=TuningResults,
    tables={TUNING: lambda results: results.tuning, CHAIN: lambda results: results.chain},
    views=views.VIEWS,
    figures=figures.FIGURES,
    answers=views.answers,
    extend=extend,
    reuse=reuse,
    finish=_finish,
)
