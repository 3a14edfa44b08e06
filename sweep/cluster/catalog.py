"""What lies in a storage: how far each sweep is, and copies of it. In: STORAGE. Out: `Stored`, from results alone.

No job and no log is asked, so it is known when the head is gone too.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sweep.cluster import submission
from sweep.errors import FolderError
from sweep.experiments.registry import load
from sweep.experiments.results import Results
from sweep.store.folder import Folder
from sweep.store.identity import check_identity, check_kind
from sweep.store.ledger import READERS, Ledger
from sweep.strategies.protocol import Progress
from trainables.storage import STATE, Location, Replacing, is_file, is_folder, read

WITHIN = ("", "controls/*", "validation", "validation-held-out")
"""Where the results folders of a name lie: its own, and those that other commands put into an oracle's."""


@dataclass(frozen=True)
class Stored:
    """One sweep of a storage."""

    name: str
    """NAME, or NAME/validation and the like."""
    kind: str
    """As the manifest has it; nothing where the sweep has not begun."""
    progress: Progress | None
    finished: bool
    last: datetime | None
    """When its newest lane was finished, UTC."""
    seconds_left: float | None
    """At the pace of the newest session; None where it says nothing of that."""


def survey(storage: Location, name: str | None = None) -> list[Stored]:
    """Return the sweeps of a storage, or of one name. Raises FolderError if there is none of that name."""
    submitted = {each.name for each in submission.records(storage)}
    there = (
        {path.name for path in storage.iterdir() if submission.NAME.fullmatch(path.name)} if storage.exists() else ()
    )
    names = sorted({*submitted, *there} - {submission.RECORDS, submission.DATA}) if name is None else [name]
    found = [each for one in names for each in _of(storage, one, one in submitted)]
    if name is not None and not found:
        known = f"; it has {', '.join(sorted(submitted))}" if submitted else ""
        raise FolderError(f"{storage} has no sweep named {name}{known}")
    return found


def collect(storage: Location, name: str, to: Path, states: bool = False) -> list[str]:
    """Copy the results of a name into a folder of this machine: all but states, and those too if asked for.

    Returns what was copied. What is there already and equal stays; what is written meanwhile comes with the next call.
    Raises FolderError if there is nothing, or the folder cannot be written or holds another experiment.
    """
    source = submission.folder_of(storage, name)
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
    """Remove copies of rows' files that the sweep has moved since, and whose rows now lie in another file."""
    for trials in [to / "lanes", *to.glob("*/trials"), *to.glob("controls/*/trials")]:
        ledger = Ledger(trials, superseded=trials.with_name("superseded"))
        for path, keys in ledger.files.items():
            elsewhere = {key for other, keys in ledger.files.items() if other in there for key in keys}
            if path not in there and elsewhere.issuperset(keys):
                path.unlink()


def _of(storage: Location, name: str, submitted: bool) -> list[Stored]:
    """Return what lies under a name; of one that was submitted and has nothing yet, that."""
    folder = submission.folder_of(storage, name)
    found = []
    for place in WITHIN:
        for path in [folder] if not place else folder.glob(place) if folder.exists() else ():
            with suppress(FolderError):
                found.append(_stored(load(path), "/".join([name, *str(path).removeprefix(str(folder)).split("/")[1:]])))
    return found or ([Stored(name, "", None, False, None, None)] if submitted else [])


def _stored(results: Results, name: str) -> Stored:
    progress, finished = results.progress, results.finished
    times = sorted(time.to_pydatetime() for time in results.lanes["finished_at"])
    began = datetime.fromisoformat(results.manifest["started_at"])
    session = [time for time in times if time >= began]
    left = None
    if session and not finished:
        pace = (session[-1] - began).total_seconds() / len(session)
        left = max(0.0, pace * (progress.lanes_planned - progress.lanes_done) - since(session[-1]))
    return Stored(name, results.kind, progress, finished, times[-1] if times else None, left)


def since(time: datetime) -> float:
    """Return the seconds since a time."""
    return (datetime.now(UTC) - time).total_seconds()


def _files(folder: Location, within: str) -> Iterator[tuple[Location, str]]:
    """Iterate over the files in a folder, with their paths within it; without locks, half-written files and links.

    A bucket may have keys such as NAME/../x or backslashes: what is called so leads out of a folder of this machine.
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
