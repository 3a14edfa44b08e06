"""The finished oracle that a tuning or a fit is given: whether it fits. In: settings. Out: the oracle, or an error."""

from sweep.errors import FolderError
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.tuning.settings import TuningSettings
from sweep.store.identity import check_identity, identity


def finished_oracle(settings: TuningSettings, fitting: bool = False) -> OracleResults:
    """Return the oracle that a tuning is given. Raises FolderError if it is unfinished or too short.

    A fit takes the oracle as it is; a tuning asks for its own runs and cycles.
    """
    assert settings.oracle is not None
    oracle = OracleResults(settings.oracle)
    if oracle.oracle.empty:
        raise FolderError(f"{settings.oracle} has no decided cycle; its lanes are of another version, or none")
    if not oracle.finished:
        raise FolderError(
            f"{settings.oracle} is unfinished; its own command goes on with it: {oracle.manifest['command']}"
        )
    if fitting and settings.target_cycle is None:
        return oracle
    if oracle.settings.decide == "per_run" and not fitting:
        raise FolderError(f"{settings.oracle} has an oracle for each run; a tuning takes one with --decide shared")
    cycles = int(oracle.oracle["cycle"].max())
    words_that_fit = [] if fitting or oracle.settings.runs == settings.runs else [f"--runs {oracle.settings.runs}"]
    if cycles < settings.target:
        words_that_fit.append(f"--{'cycles' if settings.target_cycle is None else 'target-cycle'} {cycles}")
    if words_that_fit:
        wanted = f"cycle {settings.target}" if fitting else f"{settings.runs} runs and cycle {settings.target}"
        raise FolderError(
            f"{settings.oracle} has {oracle.settings.runs} runs and cycles up to {cycles}, but this takes {wanted}: "
            f"give {' '.join(words_that_fit)}, or extend the oracle"
        )
    return oracle


def check_same(settings: TuningSettings, oracle: OracleResults) -> None:
    """Raise FolderError where an oracle's lanes were trained otherwise than a tuning's will be, but for a schedule."""
    from sweep.execution.dataset import dataset_of  # torch, which results do not need

    wanted = identity(settings, dataset_of(settings).fingerprint)
    found = oracle.manifest["identity"]
    if not settings.takes_over:  # then it is there to be compared with
        found = found | {"schedule": wanted["schedule"]}
    check_identity(oracle.folder, found, wanted, "tune with its settings, or give another --oracle")
