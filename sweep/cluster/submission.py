"""A sweep as a job of a Ray cluster: what is sent there. In: the words of a local command. Out: `Asked`, `Submission`.

Settings are checked before anything is sent, results go to STORAGE/NAME, and the id follows from what was asked for,
so that the same words mean the same job. Nothing here talks to a cluster. Next: `sweep.cluster.jobs_api` does.
"""

import hashlib
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import search_spaces
import sweep
import trainables
from sweep.config.settings import EXECUTION, Settings
from sweep.errors import FolderError, SettingsError, SweepError
from sweep.store import clock, lock
from sweep.store.folder import Folder, location_of
from sweep.store.identity import check_identity, check_kind, identity
from sweep.store.provenance import COMMIT, git_commit
from trainables import users_own
from trainables.storage import SMALL, Location, Replacing, read

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
RECORDS, DATA = "submissions", "data"
LEFT_OUT = ("__pycache__", "*.pyc", ".git", ".venv", "results", "data", "*.parquet", "*.safetensors")
PARCEL_BYTES = 50_000_000


@dataclass(frozen=True)
class Submission:
    """One attempt at a sweep on a cluster; a record of it lies in the storage."""

    name: str
    command: str
    """`oracle`, `schedules`, ..."""
    digest: str
    """Of what was asked for: settings and folder, but not how they are carried out."""
    attempt: int
    folder: str
    entrypoint: str
    address: str = ""
    commit: str | None = None
    submitted_at: str = field(default_factory=clock.now)

    @property
    def stem(self) -> str:
        """The id without the attempt: what all attempts at one thing share."""
        return f"{self.name}-{self.command}-{self.digest}"

    @property
    def id(self) -> str:
        """The submission id; Ray takes none twice."""
        return f"{self.stem}-{self.attempt}"


@dataclass(frozen=True)
class Asked:
    """A command as it shall run on a cluster."""

    command: str
    name: str
    folder: Location
    words: Sequence[str]
    """As they are typed there."""
    digest: str
    modules: Sequence[str] | None
    """Of the user's own functions; None: those that the folder was trained with."""
    files: Mapping[str, Path]
    """By the name that they have there."""

    @property
    def entrypoint(self) -> str:
        """The shell command that the job runs."""
        return shlex.join(["python", "-m", "sweep", *self.words])


def storage_of(text: str) -> Location:
    """Return the folder that holds the results folders: absolute, since a job runs elsewhere. Raises FolderError."""
    return location_of(text).absolute()


def folder_of(storage: Location, name: str) -> Location:
    """Return STORAGE/NAME. Raises SettingsError for a name that could lead out of it."""
    if not NAME.fullmatch(name) or name in (RECORDS, DATA):
        raise SettingsError(
            f"--name takes letters, digits, '.', '_' and '-', at most 80, not {RECORDS} or {DATA}, but got {name!r}"
        )
    return storage / name


def ask(
    words: Sequence[str],
    command: str,
    given: Mapping[str, Any],
    settings: Settings | None,
    storage: Location,
    name: str | None,
) -> Asked:
    """Return what a command shall be on the cluster.

    `words` are those of the local command and `given` its arguments as they were parsed; `settings` is what they come to,
    or None for a command on a finished folder. Raises SweepError for what means nothing there.
    """
    words = [_dashed(word) for word in words]
    for flag, instead in (
        ("--out", "--storage and --name say where results go"),
        ("--address", "--address stands before --"),
    ):
        if _has(words, flag):
            raise SweepError(f"submit takes no {flag} after --: {instead}")
    if settings is not None and settings.address is not None:
        raise SweepError("submit takes no address in --config: --address stands before --")
    for flag in ("--plan", "--pilot", "--spread", "--help", "-h", "--version"):
        if _has(words, flag):
            raise SweepError(f"{flag} trains nothing: run it here")
    files: dict[str, Path] = {}

    def along(text: str) -> str:
        """Have a file that is named travel with the job, under a name that no other has."""
        file = location_of(text)
        if not isinstance(file, Path) or not file.is_file():
            return text
        there = f"{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}-{file.name}"
        files[there] = file
        return there

    rules = {"--config": along, "--scyc": along, "--data-dir": _absolute}
    typed = _with(words, rules | {"--oracle": lambda text: str(_named(text, storage))})
    if settings is None:
        where = _named(str(given["folder"]), storage)
        typed[_position(words, str(given["folder"]))] = str(where)
        name = where.name if name is None else name
        folder_of(storage, name)  # it is one, too
        wanted: Any = {key: value for key, value in given.items() if key not in ("folder", "settings", "json")}
        wanted["scyc"] = [along(text) for text in given.get("scyc") or ()]  # of files what is in them
        trains = command == "control" or given.get("train") or given.get("confirm") is not None
        modules: list[str] | None = None if trains else []
    else:
        name = settings.folder.name if name is None else name
        where = folder_of(storage, name)
        typed += ["--out", str(where)]
        # What --config has of these is as relative as what is typed.
        if not _has(typed, "--data-dir"):
            typed += _data_dir(settings, storage)
        oracle = getattr(settings, "oracle", None)
        if oracle and not _has(typed, "--oracle"):
            typed += ["--oracle", str(_named(oracle, storage))]
        wanted = settings.model_dump(mode="json", exclude={*EXECUTION, "out"})
        wanted["model_source"] = settings.training().model_source
        modules = _users_own(settings.model, settings.dataset)
    content = json.dumps([command, wanted, str(where)], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return Asked(command, name, where, typed, digest, modules, files)


def check(asked: Asked, settings: Settings | None, storage: Location) -> None:
    """Raise FolderError where the storage tells beforehand that the job would be refused."""
    folder = Folder(asked.folder)
    found = folder.manifest()
    if settings is not None and found is not None:
        check_kind(folder, found, asked.command)
        check_identity(folder, found["identity"], identity(settings, found["identity"]["data"]), "give --name")
    elif settings is None and asked.folder.parent != storage:
        raise FolderError(f"{asked.folder} lies elsewhere than --storage {storage}: give the NAME of a sweep there")
    elif settings is None and found is None:
        raise FolderError(f"{asked.folder} holds no sweep: there is no manifest.json")


@contextmanager
def parcel(asked: Asked) -> Iterator[Path]:
    """Yield a folder with what the job brings along: this project, the user's own modules, files that it names.

    No data, no results, no `.git`. Raises SweepError if that is too much to send.
    """
    modules = asked.modules
    if modules is None:
        settings = (Folder(asked.folder).manifest() or {"settings": {}})["settings"]
        modules = _users_own(*(str(settings.get(name)) for name in ("model", "dataset")))
    with tempfile.TemporaryDirectory(prefix="scyc-sweep-parcel-") as folder:
        for package in (search_spaces, sweep, trainables):
            _copy(Path(str(package.__file__)).parent, Path(folder) / package.__name__)
        for name, file in _own_files(modules).items():
            within = name.split("/")
            top = Path(folder) / within[0]
            if not top.exists():
                _copy(file.parents[len(within) - 2] if len(within) > 1 else file, top)
            if not (Path(folder) / name).exists():  # in a folder that is left out elsewhere
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, Path(folder) / name)
        for name, file in asked.files.items():
            shutil.copyfile(file, Path(folder) / name)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        if size > PARCEL_BYTES:
            raise SweepError(
                f"{', '.join(modules)}: the package holds {size / 1e6:.0f} MB, at most {PARCEL_BYTES / 1e6:.0f} "
                "are sent; keep data out of it"
            )
        yield Path(folder)


def _users_own(*names: str) -> list[str]:
    return [name for name in names if ":" in name]


def _own_files(functions: Sequence[str]) -> dict[str, Path]:
    """Return the files that users' functions are made of, by name. Raises SettingsError where one is not there."""
    try:
        return {name: file for function in functions for name, file in users_own.sources(function).items()}
    except ValueError as error:
        raise SettingsError(str(error)) from error


def environment(submission: Submission, storage: Location) -> dict[str, str]:
    """Return the environment variables of a job; no secret is among them, as the dashboard shows them."""
    found = {lock.SUBMISSION: str(record_of(storage, submission.id))}
    return found | ({COMMIT: submission.commit} if submission.commit else {})


def new(asked: Asked, attempt: int, address: str) -> Submission:
    """Return an attempt at what was asked for."""
    return Submission(
        asked.name,
        asked.command,
        asked.digest,
        attempt,
        str(asked.folder),
        asked.entrypoint,
        address,
        git_commit(),
    )


def record_of(storage: Location, submission_id: str) -> Location:
    """Return where the record of a submission lies."""
    return storage / RECORDS / f"{submission_id}.json"


def write_record(storage: Location, submission: Submission) -> None:
    """Write the record of a submission. Raises FolderError where the storage cannot be written."""
    path = record_of(storage, submission.id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Replacing(path) as partial:
            partial.write_text(json.dumps(asdict(submission), indent=2) + "\n")
    except OSError as error:
        raise FolderError(f"{storage} cannot be written: {error}") from error


def records(storage: Location) -> list[Submission]:
    """Return the records of a storage, oldest first; what is none is passed over."""
    found = []
    folder = storage / RECORDS
    for path in folder.glob("*.json") if folder.exists() else ():
        try:
            found.append(Submission(**json.loads(read(path, SMALL))))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda each: (each.submitted_at, each.attempt))


def _named(text: str, storage: Location) -> Location:
    """Return a results folder that a command on a cluster names: NAME is STORAGE/NAME, all else is itself."""
    return storage / text if NAME.fullmatch(text) else location_of(text).absolute()


def _data_dir(settings: Settings, storage: Location) -> list[str]:
    """Return where the job finds the data set; if nobody said, not in its working folder, which goes when it ends."""
    if "data_dir" in settings.model_fields_set:
        return ["--data-dir", _absolute(str(settings.data_dir))]
    if settings.dataset == "digits":
        return []
    return ["--data-dir", str(storage / DATA) if isinstance(storage, Path) else "~/scyc-sweep-data"]


def _absolute(text: str) -> str:
    return str(location_of(text).absolute())


def _dashed(word: str) -> str:
    """Return a flag as it is listed: the command line takes --data_dir for --data-dir."""
    flag, given, value = word.partition("=")
    return flag.replace("_", "-") + given + value if flag.startswith("--") else word


def _position(words: Sequence[str], folder: str) -> int:
    """Return which word is the FOLDER: not the command, nor the value of a flag, if they are called alike."""
    found = [index for index, word in enumerate(words) if index and word == folder]
    return next((index for index in found if not words[index - 1].startswith("--")), found[0])


def _has(words: Sequence[str], flag: str) -> bool:
    return any(word.partition("=")[0] == flag for word in words)


def _with(words: Sequence[str], rules: Mapping[str, Callable[[str], str]]) -> list[str]:
    """Return a command's words with the values of some flags replaced by what their rule makes of them."""
    found: list[str] = []
    for word in words:
        flag, given, value = word.partition("=")
        if found and found[-1] in rules:
            found.append(rules[found[-1]](word))
        elif given and flag in rules:
            found.append(f"{flag}={rules[flag](value)}")
        else:
            found.append(word)
    return found


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
