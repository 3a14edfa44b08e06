"""One driver a folder: a second one is refused, whatever lies where the first says who it is."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import FolderError
from sweep.store import lock
from sweep.store.lease import DRIVER, lease_of
from sweep.store.lock import held
from trainables.storage import Location, locate

COMMAND = ["scyc-sweep", "oracle", "--runs", "2"]


def refused(location: Location) -> str:
    with pytest.raises(FolderError) as raised, held(location, ["another"]):
        raise AssertionError
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("said", [{"pid": 7}, {"pid": 7, "host": "h"}, {}])
def test_a_folder_whose_driver_says_little_of_itself_is_in_use_all_the_same(tmp_path: Path, said: Any) -> None:
    with held(tmp_path, COMMAND):
        (tmp_path / DRIVER).write_text(json.dumps(said))
        assert f"{tmp_path} is in use by " in refused(tmp_path)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_lies_where_its_driver_says_who_it_is_changes_nothing_of_that(tmp_path: Path, kind: str) -> None:
    folder, victim = tmp_path / "results", tmp_path / "victim"
    victim.write_text("the user's own")
    driver = folder / DRIVER
    with held(folder, COMMAND):
        driver.unlink()
        if kind == "folder":
            driver.mkdir()
        elif kind == "pipe":
            os.mkfifo(driver)
        else:
            driver.symlink_to(victim)
        assert f"{folder} is in use by another scyc-sweep" in refused(folder)
    if kind == "link":
        driver.symlink_to(victim)
        with held(folder, COMMAND):
            assert lease_of(folder) and not driver.is_symlink()
    assert victim.read_text() == "the user's own"


def test_every_holding_of_a_folder_has_a_lease_of_its_own(tmp_path: Path) -> None:
    leases = []
    for _ in range(2):
        with held(tmp_path, COMMAND):
            leases.append(lease_of(tmp_path))
        assert lease_of(tmp_path) == ""
    assert all(leases) and len(set(leases)) == 2


class TestRecord:
    """A job must see what the submitter wrote, else it would write where nobody looks."""

    @pytest.fixture(params=["folder", "bucket"])
    def storage(self, request: pytest.FixtureRequest, tmp_path: Path) -> Location:
        return locate(request.getfixturevalue("bucket")) if request.param == "bucket" else tmp_path / "storage"

    def test_a_job_that_does_not_see_its_record_writes_nothing(
        self, storage: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = storage / "submissions" / "digits-oracle-00000000-1.json"
        monkeypatch.setenv(lock.SUBMISSION, str(record))
        message = refused(storage / "digits")
        assert f"{socket.gethostname()} does not see {record}" in message and "--storage" in message
        assert not (storage / "digits").exists()
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text("{}")
        with held(storage / "digits", COMMAND):
            assert (storage / "digits" / DRIVER).exists()
