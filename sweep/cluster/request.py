"""A command as it shall run on a cluster. In: its parsed arguments. Out: `Asked`, whose request a job carries out.

All that can be wrong is found here, before anything is sent. Nothing here talks to a cluster. Next:
`sweep.cluster.jobs_api` does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweep.cluster.document import Request
from sweep.cluster.names import absolute, data_folder, folder_of, named
from sweep.config.settings import Settings
from sweep.errors import FolderError, SweepError
from sweep.experiments.registry import manifest_of
from sweep.store.folder import Folder
from sweep.store.identity import check_identity, check_kind, identity
from trainables.storage import Location

if TYPE_CHECKING:
    from sweep.experiments.oracle.results import OracleResults


@dataclass(frozen=True)
class Asked:
    """What a command comes to."""

    command: str
    """`oracle`, `control`, ..."""
    name: str
    folder: Location
    """STORAGE/NAME."""
    sweeps: Sequence[tuple[str, Settings]]
    """Experiments by name, with their settings, in the order in which they train."""
    typed: Sequence[str]
    """The command as it was typed."""
    at_once: Callable[[], None] = lambda: None
    """What needs no training, and is done where it is submitted."""

    @cached_property
    def request(self) -> Request:
        """What the job is sent."""
        return Request.of(self.typed, self.sweeps)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        manifests = [Folder(settings.folder).manifest() for _, settings in self.sweeps]
        return all(found is not None and found["finished_at"] for found in manifests)

    def check(self) -> None:
        """Raise FolderError where the storage shows that the job would be refused."""
        for experiment, settings in self.sweeps:
            folder = Folder(settings.folder)
            found = manifest_of(folder)
            if found is not None:
                check_kind(folder, found, experiment)
                check_identity(folder, found["identity"], identity(settings, found["identity"]["data"]), "give --name")


def check_arguments(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise SweepError for an argument that means nothing in a job. `given`: the settings that were typed as flags."""
    if "out" in given:
        raise SweepError("submit takes no --out after --: --storage and --name say where results go")
    if given.get("address") is not None:
        raise SweepError("submit takes no --address after --: --address stands before --")
    for flag in ("plan", "pilot", "spread"):
        if arguments.get(flag) not in (None, False):
            raise SweepError(f"--{flag} trains nothing: run it here")
    for flag in ("json", "paper"):
        if arguments.get(flag):
            raise SweepError(
                f"submit takes no --{flag} after --: a job prints to its log; scyc-sweep show prints results"
            )


def ask_sweep(command: str, settings: Settings, storage: Location, name: str | None, typed: Sequence[str]) -> Asked:
    """Return what an experiment's own command comes to, whose settings were resolved.

    `name`: that of the results; None: as the folder is called on this machine. Raises SweepError for what means nothing
    in a job.
    """
    if settings.address is not None:
        raise SweepError("submit takes no address in --config: --address stands before --")
    if getattr(settings, "by", None) == "fit":
        raise SweepError("--by fit trains nothing: run it here")
    name = settings.folder.name if name is None else name
    folder, given = folder_of(storage, name), settings.model_fields_set
    changes: dict[str, Any] = {"out": str(folder), "data_dir": data_folder(storage, settings, "data_dir" in given)}
    oracle = getattr(settings, "oracle", None)
    if oracle is not None:
        changes["oracle"] = str(named(storage, oracle))
    return Asked(command, name, folder, [(command, settings.model_copy(update=changes))], typed)


def ask_control(
    folder: str, pruning: Sequence[str] | None, execution: Mapping[str, Any], storage: Location, typed: Sequence[str]
) -> Asked:
    """Return what `control` comes to: an oracle with other settings for each control.

    `execution` are the settings of `EXECUTION` that were typed. Raises SweepError for what cannot be trained.
    """
    from sweep.experiments.oracle.control import control_settings, controls_of

    oracle = _oracle(folder, storage)
    controls = control_settings(oracle, pruning or controls_of(oracle.settings), _absolute(execution))
    return _beside("control", oracle, [("oracle", settings) for settings in controls.values()], storage, typed)


def ask_compare(
    folder: str,
    scyc: Sequence[str] | None,
    held_out_runs: Sequence[int | None],
    execution: Mapping[str, Any],
    storage: Location,
    typed: Sequence[str],
) -> Asked:
    """Return what `compare` comes to: a validation for each of `held_out_runs`, None for the oracle's own runs.

    `execution` and errors as `ask_control` has them.
    """
    from sweep.experiments.oracle.experiment import write_comparison
    from sweep.experiments.validation.experiment import settings_of, trajectories_of

    if not held_out_runs:
        raise SweepError("compare trains nothing without --train or --confirm: run it here")
    oracle = _oracle(folder, storage)
    trajectories = trajectories_of(oracle, scyc, training=True)
    sweeps = [("compare", settings_of(oracle, trajectories, runs, _absolute(execution))) for runs in held_out_runs]
    asked = _beside("compare", oracle, sweeps, storage, typed)
    return replace(asked, at_once=lambda: write_comparison(oracle, trajectories))


def _oracle(text: str, storage: Location) -> "OracleResults":
    """Return the oracle that a command names. Raises FolderError where the storage has none of that name."""
    from sweep.experiments.oracle.results import OracleResults

    folder = named(storage, text)
    folder_of(storage, folder.name)  # raises for what is no name
    if folder.parent != storage:
        raise FolderError(f"{folder} lies elsewhere than --storage {storage}: give the NAME of a sweep there")
    return OracleResults(folder)


def _beside(
    command: str,
    oracle: "OracleResults",
    sweeps: Sequence[tuple[str, Settings]],
    storage: Location,
    typed: Sequence[str],
) -> Asked:
    """Return what trains beside an oracle, on the cluster that the job is submitted to."""

    def there(settings: Settings) -> Settings:
        # A relative folder of data was that of the machine that trained the oracle.
        data_dir = data_folder(storage, settings, settings.data_dir.is_absolute())
        return settings.model_copy(update={"address": None, "data_dir": data_dir})

    folder = oracle.folder.path
    return Asked(command, folder.name, folder, [(name, there(settings)) for name, settings in sweeps], typed)


def _absolute(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that were typed, with the data folder where it is on this machine."""
    typed = dict(execution)
    return typed | ({"data_dir": str(absolute(str(typed["data_dir"])))} if "data_dir" in typed else {})
