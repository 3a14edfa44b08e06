"""Records of submissions: ids that follow from what was asked for, and what is read back of a storage."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.cluster.names import storage_of
from sweep.cluster.records import Submission, environment, records, write_record
from sweep.cluster.request import Asked
from sweep.errors import FolderError
from sweep.store import lock
from sweep.store.provenance import COMMIT
from trainables.storage import locate

Ask = Callable[..., Asked]


def made(asked: Asked, attempt: int = 1, at: str = "2026-01-01T00:00:00+00:00") -> Submission:
    return Submission(**{**vars(Submission.of(asked, attempt, "http://head:8265")), "submitted_at": at})


def test_the_id_names_what_was_asked_for_and_the_attempt(ask: Ask) -> None:
    asked = ask("oracle", name="night")
    found, digest = made(asked, 3), asked.request.digest
    assert found.id == f"night-oracle-{digest}-3" and found.stem == f"night-oracle-{digest}"
    assert (found.folder, found.address) == ("/nfs/sweeps/night", "http://head:8265")


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_what_is_written_is_read_oldest_first_and_what_is_no_record_is_passed_over(
    ask: Ask, request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    storage = tmp_path / "new" / "s" if kind == "folder" else locate(f"{request.getfixturevalue('bucket')}/s")
    assert records(storage) == []
    asked = ask("oracle")
    wanted = [
        made(asked, 2, "2026-01-01T00:00:00+00:00"),
        made(asked, 10, "2026-01-01T00:00:00+00:00"),
        made(asked, 1, "2026-01-02T00:00:00+00:00"),
    ]
    for each in reversed(wanted):
        write_record(storage, each)
    for name, content in {
        "half.json": '{"name": "di',
        "list.json": "[1, 2]",
        "null.json": "null",
        "other.json": '{"name": "digits"}',
        "more.json": json.dumps({**vars(wanted[0]), "colour": "red"}),
        "notes.txt": "mine",
    }.items():
        (storage / "submissions" / name).write_text(content)
    assert records(storage) == wanted


def test_a_storage_that_cannot_be_written_is_one_clear_line(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a file")
    with pytest.raises(FolderError, match="cannot be written"):
        write_record(tmp_path / "s", made(ask("oracle")))


def test_nothing_that_a_job_is_sent_is_secret(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "a-secret")
    storage, asked = storage_of("s3://b/sweeps"), ask("oracle", storage="s3://b/sweeps")
    found = made(asked)
    env = environment(found, storage)
    assert env[lock.SUBMISSION] == f"s3://b/sweeps/submissions/{found.id}.json"
    assert set(env) <= {lock.SUBMISSION, COMMIT}
    assert "a-secret" not in json.dumps(vars(found) | env) + asked.request.model_dump_json()
