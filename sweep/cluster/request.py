"""A command as it shall run on a cluster. In: its parsed arguments. Out: `Asked`, whose request a job carries out.

All that can be wrong is found here, before anything is sent. Nothing here talks to a cluster. Next:
`sweep.cluster.jobs_api` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sweep.cluster.document import Request
from sweep.cluster.names import absolute, data_folder, folder_of, named
from sweep.config.settings import Settings
from sweep.errors import FolderError, SweepError
from sweep.experiments.registry import EXPERIMENTS, manifest_of
from sweep.store.folder import Folder
from sweep.store.identity import check_identity, check_kind, identity
from trainables.storage import Location

BESIDE = ("compare", "control")
"""Commands that train beside an oracle, in whose folder their results lie."""


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

    @cached_property
    def request(self) -> Request:
        """What the job is sent."""
        return Request.of(self.typed, self.sweeps)

    def check(self) -> None:
        """Raise FolderError where the storage shows that the job would be refused."""
        for experiment, settings in self.sweeps:
            folder = Folder(settings.folder)
            found = manifest_of(folder)
            if found is not None:
                check_kind(folder, found, experiment)
                check_identity(folder, found["identity"], identity(settings, found["identity"]["data"]), "give --name")


def submittable() -> list[str]:
    """Return the commands that can be submitted."""
    return list(dict.fromkeys([*EXPERIMENTS, *BESIDE]))


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
            raise SweepError(f"submit takes no --{flag} after --: a job prints to its log; scyc-sweep show prints results")


def ask_sweep(
    command: str, settings: Settings, storage: Location, name: str | None, own_data: bool, typed: Sequence[str]
) -> Asked:
    """Return what an experiment's own command comes to; `own_data`: its data folder was given.

    Raises SweepError for what means nothing in a job.
    """
    if settings.address is not None:
        raise SweepError("submit takes no address in --config: --address stands before --")
    if getattr(settings, "by", None) == "fit":
        raise SweepError("--by fit trains nothing: run it here")
    name = settings.folder.name if name is None else name
    folder = folder_of(storage, name)
    changes: dict[str, Any] = {"out": str(folder), "data_dir": data_folder(storage, settings, own_data)}
    oracle = getattr(settings, "oracle", None)
    if oracle is not None:
        changes["oracle"] = str(named(storage, oracle))
    return Asked(command, name, folder, [(command, settings.model_copy(update=changes))], typed)


def ask_beside(
    command: str, arguments: Mapping[str, Any], given: Mapping[str, Any], storage: Location, typed: Sequence[str]
) -> Asked:
    """Return what `compare` or `control` comes to, which take the folder of an oracle.

    `given` are the settings of `EXECUTION` that were typed. Raises SweepError for what cannot be trained.
    """
    from sweep.experiments.oracle.results import OracleResults  # pandas, which other commands need not wait for

    train, confirm = arguments.get("train"), arguments.get("confirm")
    if command == "compare" and not train and confirm is None:
        raise SweepError("compare trains nothing without --train or --confirm: run it here")
    folder = named(storage, str(arguments["folder"]))
    folder_of(storage, folder.name)  # raises for what is no name
    if folder.parent != storage:
        raise FolderError(f"{folder} lies elsewhere than --storage {storage}: give the NAME of a sweep there")
    oracle = OracleResults(folder)
    execution = dict(given)
    if "data_dir" in execution:
        execution["data_dir"] = absolute(str(execution["data_dir"]))
    sweeps: list[tuple[str, Settings]]
    if command == "control":
        from sweep.experiments.oracle.control import control_settings, controls_of

        controls = arguments.get("pruning") or controls_of(oracle.settings)
        sweeps = [("oracle", each) for each in control_settings(oracle, controls, execution).values()]
    else:
        from sweep.experiments.validation.experiment import settings_of, trajectories_of

        trajectories = trajectories_of(oracle, arguments.get("scyc"))
        wanted = [*([None] if train else []), *([] if confirm is None else [confirm])]
        sweeps = [("compare", settings_of(oracle, trajectories, each, execution)) for each in wanted]
    there = [
        (name, each.model_copy(update={"address": None, "data_dir": _data_of(each, storage)})) for name, each in sweeps
    ]
    return Asked(command, folder.name, folder, there, typed)


def _data_of(settings: Settings, storage: Location) -> Any:
    """Return the oracle's data folder; a relative one was that of another machine."""
    return data_folder(storage, settings, settings.data_dir.expanduser().is_absolute())
