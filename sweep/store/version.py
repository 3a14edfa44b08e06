"""The version of the files in a results folder. Imports no pandas, so that a manifest is checked at once."""

from sweep.errors import FolderError
from trainables.storage import Location

SCHEMA_VERSION = 3
"""Raised when a column or a file changes its meaning or name. Folders of other versions are refused, not misread."""


def check_version(found: object, path: Location) -> None:
    """Raise FolderError if something was written by a newer or an older version than this."""
    if found == SCHEMA_VERSION and isinstance(found, int):
        return
    older = isinstance(found, int) and found < SCHEMA_VERSION
    way = "use the scyc-sweep that wrote it, or begin a new folder" if older else "use a newer scyc-sweep"
    raise FolderError(
        f"{path} has schema version {str(found)[:20]}, this scyc-sweep reads version {SCHEMA_VERSION}: {way}"
    )
