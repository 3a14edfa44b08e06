"""The manifest of a results folder: what was run, with what, and how far. In: its file. Out: its content, checked.

It is one model, read and written here alone. Its digest is that of all the rest, so that a changed letter is noticed.
"""

import hashlib
import json
import reprlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sweep.errors import FolderError
from sweep.store.version import check_version
from trainables.storage import SMALL, Location, Replacing, read, reason

NAME = "manifest.json"
WAY_BACK = (
    "put back a copy of it, or remove it and run the sweep's command again: its finished lanes are found by their keys"
)


def _time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time must have a time zone")
    return text


Time = Annotated[str, AfterValidator(_time)]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Hardware(_Part):
    """The machine of the driver."""

    host: str
    cpu: str
    cores: Count
    memory_bytes: Count | None
    gpus: list[str]


class Session(_Part):
    """One process that drove the sweep."""

    command: str
    started_at: Time
    versions: dict[str, str | None]
    git_commit: str | None
    hardware: Hardware
    threads: Count


class Manifest(Session):
    """What a results folder says of itself; in Python it is handed around as the dict that its file has."""

    schema_version: int
    kind: str
    """Name of the experiment."""
    settings: dict[str, Any]
    """Of the experiment, whole."""
    identity: dict[str, Any]
    """What determines the lanes; see `sweep.store.folder.identity`."""
    lanes_per_pack: Annotated[int, Field(ge=1)] | None
    lanes: list[Count]
    """Of each cycle, the finished lanes that the tables tell of: fewer rows than these in `trials` are lost rows."""
    finished_at: Time | None
    ended_early: list[str]
    earlier_sessions: list[Session]
    digest: str
    """sha256 of all the rest."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not isinstance(self.identity.get("data"), str) or type(self.identity.get("training_version")) is not int:
            raise ValueError("identity must say data and training_version")
        files = self.identity.get("model_files")
        if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
            raise ValueError("identity must say model_files")
        if ":" in str(self.settings.get("model")) and not files:
            raise ValueError("identity must say the model_files of the user's own network")
        return self


def read_manifest(path: Location) -> dict[str, Any] | None:
    """Return a manifest, or None where there is none. Raises FolderError where it cannot be read or is damaged."""
    try:
        found = json.loads(read(path, SMALL), parse_constant=_no_number)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(found, dict) or "schema_version" not in found:
        raise FolderError(f"{path} is not a manifest of scyc-sweep")
    check_version(found["schema_version"], path)
    try:
        manifest = Manifest.model_validate(found).model_dump(mode="json")
        if manifest["digest"] != digest_of(found):
            raise ValueError("its content does not fit its digest")
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    return manifest


def damaged(path: Location, error: Exception) -> FolderError:
    """Return what is raised for a manifest whose content breaks a rule."""
    return FolderError(f"{path} is damaged ({_said(error)}): {WAY_BACK}")


def write_manifest(path: Location, manifest: Mapping[str, Any]) -> None:
    """Replace a manifest; its digest is worked out here."""
    content = dict(manifest) | {"digest": digest_of(manifest)}
    Manifest.model_validate(content)
    with Replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return the sha256 of a manifest's content, its digest aside."""
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(canonical(rest).encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """Return a manifest's content as text that is the same for the same content."""
    return json.dumps(content, sort_keys=True, allow_nan=False)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of a manifest")


def _said(error: Exception) -> str:
    """Return what is wrong, short and in one line."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())[:200]
    found = error.errors(include_url=False)[0]
    name = ".".join(map(str, found["loc"]))
    if found["type"] in ("missing", "extra_forbidden"):
        return f"{name} is missing" if found["type"] == "missing" else f"unknown key {name[:100]}"
    said = found["msg"].removeprefix("Value error, ")
    if found["type"] != "value_error":
        said = f"{said[0].lower()}{said[1:]}, but got {reprlib.repr(found['input'])}"
    return " ".join(f"{name}: {said}".removeprefix(": ").split())[:200]
