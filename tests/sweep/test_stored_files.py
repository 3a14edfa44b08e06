"""What `collect` copies: results, and nothing that could lead out of the folder that it copies to."""

from pathlib import Path

import pytest

from sweep.cluster import catalog as stored
from sweep.cluster.jobs_api import Cluster
from sweep.config.resolve import resolve
from sweep.errors import SweepError
from sweep.store.folder import Folder
from sweep.store.provenance import new_manifest
from trainables.storage import locate


def test_names_that_lead_out_of_a_folder_and_what_notebooks_leave_are_not_copied(bucket: str, tmp_path: Path) -> None:
    there = locate(f"{bucket}/s")
    manifest = new_manifest("oracle", resolve({}), "fingerprint", [], None)
    Folder(there / "digits").write_manifest(manifest)
    for key in ("a/../../../out.txt", "../out.txt", "b\\..\\out.txt", ".ipynb_checkpoints/x.txt", ".driver.json"):
        (there / "digits" / key).write_text("x")
    assert stored.collect(there, "digits", tmp_path / "to") == ["manifest.json"]
    folder = tmp_path / "s" / "digits"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    Folder(folder).write_manifest(manifest)
    assert stored.collect(tmp_path / "s", "digits", tmp_path / "too") == ["manifest.json"]


def test_an_address_with_a_password_is_refused_as_records_would_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SweepError, match="without credentials") as raised:
        Cluster("http://me:secret@127.0.0.1:1")
    assert "secret" not in str(raised.value)
