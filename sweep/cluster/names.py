"""Where things lie in a storage: results in STORAGE/NAME, records of submissions and data sets beside them.

In: what was typed. Out: absolute locations, since a job runs elsewhere.
"""

import re
from pathlib import Path

from sweep.config.settings import Settings
from sweep.errors import SettingsError
from sweep.store.folder import location_of
from trainables.storage import Location

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
RECORDS, DATA = "submissions", "data"
"""Folders of a storage that hold no results."""


def storage_of(text: str) -> Location:
    """Return the folder that holds the results folders. Raises FolderError for a URI that is none."""
    return absolute(text)


def folder_of(storage: Location, name: str) -> Location:
    """Return STORAGE/NAME. Raises SettingsError for a name that could lead out of the storage."""
    if not NAME.fullmatch(name) or name in (RECORDS, DATA):
        raise SettingsError(
            f"--name takes letters, digits, '.', '_' and '-', at most 80, not {RECORDS} or {DATA}, but got {name!r}"
        )
    return storage / name


def named(storage: Location, text: str) -> Location:
    """Return a results folder that a command names: NAME is STORAGE/NAME, all else is a location itself."""
    return storage / text if NAME.fullmatch(text) else absolute(text)


def data_folder(storage: Location, settings: Settings, chosen: bool) -> Path:
    """Return the folder in which a job looks for its data set.

    `chosen`: the settings' own, made absolute. Otherwise one that outlives the job, whose working folder is deleted.
    """
    if chosen:
        return Path(str(absolute(str(settings.data_dir))))
    if settings.dataset == "digits":  # it comes with scikit-learn
        return settings.data_dir
    return storage / DATA if isinstance(storage, Path) else Path("~/scyc-sweep-data")


def absolute(text: str) -> Location:
    """Return an absolute location. Raises FolderError for a URI that is none."""
    return location_of(text).absolute()
