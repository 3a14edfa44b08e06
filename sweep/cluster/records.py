"""Records of submissions in a storage: what was submitted, and to which cluster. In: `Asked`. Out: `Submission`.

A job looks for its record when it begins. If it does not see it, its storage is not that of the submitter.
"""

import json
from dataclasses import asdict, dataclass, field

from sweep.cluster.names import RECORDS
from sweep.cluster.request import Asked
from sweep.errors import FolderError
from sweep.store import clock, lock
from sweep.store.provenance import COMMIT, git_commit
from trainables.storage import SMALL, Location, Replacing, read


@dataclass(frozen=True)
class Submission:
    """One attempt at a command on a cluster."""

    name: str
    command: str
    """`oracle`, `control`, ..."""
    digest: str
    """That of the request: settings and folder, but not how they are carried out."""
    attempt: int
    folder: str
    """STORAGE/NAME."""
    address: str = ""
    commit: str | None = None
    submitted_at: str = field(default_factory=clock.now)

    @classmethod
    def of(cls, asked: Asked, attempt: int, address: str) -> "Submission":
        """Return an attempt at what was asked for."""
        digest = asked.request.digest
        return cls(asked.name, asked.command, digest, attempt, str(asked.folder), address, git_commit())

    @property
    def stem(self) -> str:
        """The id without the attempt: all attempts at one thing share it."""
        return f"{self.name}-{self.command}-{self.digest}"

    @property
    def id(self) -> str:
        """The submission id; Ray takes none twice."""
        return f"{self.stem}-{self.attempt}"


def environment(submission: Submission, storage: Location) -> dict[str, str]:
    """Return the environment variables of a job. The dashboard shows them: no secret is among them."""
    found = {lock.SUBMISSION: str(record_of(storage, submission.id))}
    return found | ({COMMIT: submission.commit} if submission.commit else {})


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
    """Return the records of a storage, oldest first. Files that are no records are passed over."""
    found = []
    folder = storage / RECORDS
    for path in folder.glob("*.json") if folder.exists() else ():
        try:
            found.append(Submission(**json.loads(read(path, SMALL))))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda each: (each.submitted_at, each.attempt))
