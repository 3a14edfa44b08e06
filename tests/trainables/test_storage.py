"""A file that is replaced is the old one or the new one, whatever happens in between."""

from pathlib import Path

import pytest

from trainables.storage import Replacing


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("old")
    with Replacing(path) as partial:
        assert partial.parent == tmp_path
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("written", [True, False])
def test_after_an_error_the_old_file_is_all_there_is(tmp_path: Path, written: bool) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), Replacing(path) as partial:
        if written:
            partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_partial_file_is_no_parquet_file_by_its_name(tmp_path: Path) -> None:
    with Replacing(tmp_path / "oracle.parquet") as partial:
        partial.write_text("")
        assert list(tmp_path.glob("*.parquet")) == []
