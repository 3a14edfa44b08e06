"""A host sees the results folder if it finds the lease of the folder's driver there."""

from pathlib import Path

from sweep.execution.on_ray.shared_folder import DriverFolder
from sweep.store.lease import lease_of
from sweep.store.lock import held


def test_who_sees_the_file_by_which_it_is_held_sees_it(tmp_path: Path) -> None:
    with held(tmp_path, ["oracle"]):
        driver = DriverFolder.of(tmp_path)
        assert driver.lease and driver.unseen() == ""


def test_a_folder_of_that_name_with_nothing_in_it_is_another(tmp_path: Path) -> None:
    with held(tmp_path, ["oracle"]):
        driver = DriverFolder.of(tmp_path)
    unseen = driver.unseen()
    assert f"does not see {tmp_path} of {driver.host} (nothing is there): give --out on storage that all" in unseen


def test_so_is_one_that_another_driver_holds(tmp_path: Path) -> None:
    with held(tmp_path, ["oracle"]):
        driver = DriverFolder.of(tmp_path)
    with held(tmp_path, ["oracle"]):
        assert f"({lease_of(tmp_path)})" in driver.unseen()


def test_one_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with held(tmp_path / "o", ["oracle"]):
        driver = DriverFolder.of(tmp_path / "o")
    (tmp_path / "o" / ".lock").unlink(missing_ok=True)
    (tmp_path / "o").rmdir()
    (tmp_path / "o").write_text("a file")
    unseen = driver.unseen()
    assert "NotADirectoryError" in unseen and "\n" not in unseen
