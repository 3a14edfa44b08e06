"""Where things lie in a storage, and which names lead nowhere else."""

from pathlib import Path

import pytest

from sweep.cluster.names import absolute, folder_of, named, storage_of
from sweep.errors import FolderError, SettingsError
from trainables.storage import Remote

NOWHERE_ELSE = [
    *("../x", "a/b", ".", "..", "", "submissions", "data", ".hidden", "-x", "a b", "x" * 81, "a\nb", "s3://b", "~"),
    "\u00e4",
]


@pytest.mark.parametrize("name", NOWHERE_ELSE)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="--name takes letters") as raised:
        folder_of(Path("/nfs"), name)
    assert "\n" not in str(raised.value)


def test_a_name_is_a_folder_of_the_storage() -> None:
    for name in ("a", "night-1", "a..b", "A_1.x", "x" * 80, "9"):
        assert folder_of(Path("/nfs"), name) == Path("/nfs") / name
    assert folder_of(Remote("s3://b/sweeps"), "x") == Remote("s3://b/sweeps/x")


def test_a_relative_storage_is_that_of_the_submitter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_of("results") == tmp_path / "results"
    assert storage_of("s3://b/sweeps") == Remote("s3://b/sweeps")
    with pytest.raises(FolderError):
        storage_of("s3://user:secret@b/sweeps")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("digits", "/nfs/digits"),
        ("s3://other/digits", "s3://other/digits"),
        ("/elsewhere/digits", "/elsewhere/digits"),
    ],
)
def test_a_folder_may_be_a_name_of_the_storage_or_lie_elsewhere(typed: str, found: str) -> None:
    assert str(named(Path("/nfs"), typed)) == found


def test_a_relative_path_that_is_no_name_is_that_of_the_submitter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named(Path("/nfs"), "results/digits") == absolute("results/digits") == tmp_path / "results" / "digits"
