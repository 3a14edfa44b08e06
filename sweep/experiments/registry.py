"""The kinds of sweep by name, and how a results folder of any kind is opened.

An entry names modules and imports none, so that help and checks need not wait for what training takes. A third party's
experiment is one more entry.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sweep.config.settings import Settings
from sweep.errors import FolderError
from sweep.store import manifest
from sweep.store.folder import Folder, location_of
from trainables.storage import Location

if TYPE_CHECKING:
    from sweep.experiments.base import Experiment
    from sweep.experiments.results import Results


@dataclass(frozen=True)
class Entry:
    """Where an experiment is defined, each as "module:OBJECT"."""

    settings: str
    """Its class of settings, which imports little."""
    experiment: str


EXPERIMENTS: dict[str, Entry] = {
    "oracle": Entry(
        "sweep.experiments.oracle.settings:OracleSettings", "sweep.experiments.oracle.experiment:EXPERIMENT"
    ),
    "tune": Entry("sweep.experiments.tuning.settings:TuningSettings", "sweep.experiments.tuning.experiment:EXPERIMENT"),
    "schedules": Entry(
        "sweep.experiments.schedules.settings:SchedulesSettings", "sweep.experiments.schedules.experiment:EXPERIMENT"
    ),
    "compare": Entry(
        "sweep.experiments.validation.settings:ValidationSettings", "sweep.experiments.validation.experiment:EXPERIMENT"
    ),
}
"""By the command, which is also the kind that a manifest states."""


def settings_class(name: str) -> type[Settings]:
    """Return the class of an experiment's settings."""
    found: type[Settings] = _object(EXPERIMENTS[name].settings)
    return found


def experiment(name: str) -> "Experiment":
    """Return an experiment."""
    found: Experiment = _object(EXPERIMENTS[name].experiment)
    return found


def manifest_of(folder: Folder) -> dict[str, Any] | None:
    """Return a folder's manifest, or None if there is none yet.

    Raises FolderError if it cannot be read, is damaged or of an unknown kind, and where the folder is not plain.
    """
    found = folder.manifest()
    if found is None:
        return None
    if found["kind"] not in EXPERIMENTS:
        raise FolderError(
            f"{folder.path} holds the results of {found['kind']!r}, an experiment that is not known here; known are "
            f"{', '.join(EXPERIMENTS)}"
        )
    try:
        settings_of(found)
    except (ValueError, RecursionError) as error:
        raise manifest.damaged(folder.path / manifest.NAME, error) from error
    return found


def settings_of(found: dict[str, Any]) -> Any:
    """Return the settings that a manifest states. Raises ValueError where they break a rule."""
    context = {"model_files": found["identity"]["model_files"]}
    settings = settings_class(found["kind"]).model_validate(found["settings"], context=context)
    written = manifest.canonical(settings.model_dump(mode="json"))
    if written != manifest.canonical(found["settings"]):  # 5.0 for 5, or one is left out
        raise ValueError("settings are not as they were written")
    return settings


def load(location: Location | str) -> "Results":
    """Open a results folder of any kind.

    Raises FolderError if it holds no sweep or one of another version, or if rows of lanes are damaged or lost.
    """
    found = manifest_of(Folder(location_of(location)))
    results = experiment(found["kind"] if found else "oracle").results(location)
    _ = results.rows  # damaged or lost rows are reported at once
    return results


def _object(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
