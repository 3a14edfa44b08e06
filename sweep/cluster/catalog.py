"""What lies in a storage: how far each sweep is, and copies of it. In: STORAGE. Out: `CatalogEntry`.

Results alone are read, no job and no log: a storage can be listed after its cluster is gone.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sweep.cluster.names import DATA, NAME, RECORDS, folder_of
from sweep.cluster.records import records
from sweep.errors import FolderError
from sweep.experiments.registry import load
from sweep.experiments.results import Results
from sweep.store.folder import Folder
from sweep.store.identity import check_identity, check_kind
from sweep.store.ledger import READERS, Ledger
from sweep.strategies.progress import Progress, seconds_left
from trainables.storage import STATE, Location, Replacing, is_file, is_folder, read

WITHIN = ("", "controls/*", "validation", "validation-held-out")
"""Where the results folders of a name lie: its own, and in an oracle's those of its controls and validations."""


@dataclass(frozen=True)
class CatalogEntry:
    """One sweep of a storage."""

    name: str
    """NAME, or NAME/validation and the like."""
    kind: str
    """Name of the experiment; empty where the sweep has not begun."""
    progress: Progress | None
    finished: bool
    last: datetime | None
    """When its newest lane was finished, in UTC."""
    seconds_left: float | None
    """At the pace of the newest session; None where that has no lane yet, or nothing is left to train."""


def survey(storage: Location, name: str | None = None) -> list[CatalogEntry]:
    """Return the sweeps of a storage, or of one name. Raises FolderError if no sweep has that name."""
    submitted = {each.name for each in records(storage)}
    there = {path.name for path in storage.iterdir() if NAME.fullmatch(path.name)} if storage.exists() else ()
    names = sorted({*submitted, *there} - {RECORDS, DATA}) if name is None else [name]
    found = [each for one in names for each in _of(storage, one, one in submitted)]
    if name is not None and not found:
        known = f"; it has {', '.join(sorted(submitted))}" if submitted else ""
        raise FolderError(f"{storage} has no sweep named {name}{known}")
    return found


def collect(storage: Location, name: str, to: Path, states: bool = False) -> list[str]:
    """Copy the results of a name into a folder of this machine, with `states` the networks too.

    Returns the paths that were copied, within the folder. Files that are equal already are not copied again; what the
    sweep writes meanwhile comes with the next call.
    Raises FolderError if there is nothing, or the folder cannot be written or holds another experiment.
    """
    source = folder_of(storage, name)
    there, here = Folder(source).manifest(), Folder(to).manifest()
    if there is None:
        raise FolderError(f"{source} holds no results yet")
    if here is not None:
        check_kind(Folder(to), here, there["kind"])
        check_identity(Folder(to), here["identity"], there["identity"], "give another --to")
    wanted = [(path, to / within) for path, within in _files(source, "") if states or "states/" not in within]
    folders = {to / parent for _, target in wanted for parent in target.relative_to(to).parents} - {to}
    for linked in sorted(folder for folder in folders if folder.is_symlink()):
        raise FolderError(f"{linked} is a link, not a folder: nothing is written there; give another --to")

    def fetch(path: Location, target: Path) -> str:
        try:
            content = read(path, STATE)
        except FileNotFoundError:  # a sweep under way has let it go
            return ""
        with suppress(FileNotFoundError):
            if read(target, STATE) == content:
                return ""
        target.parent.mkdir(parents=True, exist_ok=True)
        with Replacing(target) as partial:
            partial.write_bytes(content)
        return str(target.relative_to(to))

    try:
        with ThreadPoolExecutor(READERS) as readers:
            fetched = sorted(filter(None, readers.map(lambda pair: fetch(*pair), wanted)))
        _drop_moved(to, {target for _, target in wanted})
        return fetched
    except OSError as error:
        raise FolderError(f"{source} cannot be copied to {to}: {error}") from error


def _drop_moved(to: Path, there: Collection[Path]) -> None:
    """Remove copies of files of rows that the sweep has moved since, if all their rows lie in another file."""
    for lanes in [to / "lanes", *to.glob("*/lanes"), *to.glob("controls/*/lanes")]:
        ledger = Ledger(lanes, superseded=lanes.with_name("superseded"))
        for path, keys in ledger.files.items():
            elsewhere = {key for other, keys in ledger.files.items() if other in there for key in keys}
            if path not in there and elsewhere.issuperset(keys):
                path.unlink()


def _of(storage: Location, name: str, submitted: bool) -> list[CatalogEntry]:
    """Return what lies under a name: one entry without progress where it was submitted and has no results yet."""
    folder = folder_of(storage, name)
    found = []
    for within in WITHIN:
        for path in [folder] if not within else folder.glob(within) if folder.exists() else ():
            with suppress(FolderError):
                found.append(_entry(load(path), "/".join([name, *str(path).removeprefix(str(folder)).split("/")[1:]])))
    return found or ([CatalogEntry(name, "", None, False, None, None)] if submitted else [])


def _entry(results: Results, name: str) -> CatalogEntry:
    progress, finished = results.progress, results.finished
    times = sorted(time.to_pydatetime() for time in results.lanes["finished_at"])
    began = datetime.fromisoformat(results.manifest["started_at"])
    session = [time for time in times if time >= began]
    left = None
    if session and not finished:
        left = seconds_left(progress, len(session), (session[-1] - began).total_seconds(), since(session[-1]))
    return CatalogEntry(name, results.kind, progress, finished, times[-1] if times else None, left)


def since(time: datetime) -> float:
    """Return the seconds that have passed since a time."""
    return (datetime.now(UTC) - time).total_seconds()


def _files(folder: Location, within: str) -> Iterator[tuple[Location, str]]:
    """Yield the files in a folder, with their paths within it; no locks, no half-written files, no links.

    A bucket may hold keys with ".." or backslashes, which would lead out of a folder of this machine. They
    are left out.
    """
    for path in folder.iterdir():
        name = f"{within}{path.name}"
        if path.name.startswith(".") or "\\" in path.name:  # no result, neither is what notebooks and editors leave
            continue
        # In a bucket every file has an ending, and no folder: to ask for each takes long.
        if is_file(path) if isinstance(path, Path) else path.suffix:
            yield path, name
        elif not isinstance(path, Path) or is_folder(path):
            yield from _files(path, f"{name}/")
