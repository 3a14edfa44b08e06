"""What is said of a wrong input, word for word: one line that says what takes what, what it got, and the way out."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.config.messages import printable
from sweep.config.resolve import resolve
from sweep.errors import FolderError, SettingsError
from sweep.experiments.oracle.tables import ORACLE
from sweep.store.folder import Folder
from trainables.states import State, StateError, load_state, save_state


def test_a_line_is_one_line_that_can_be_printed() -> None:
    assert printable("a\nb\x1b[31m\udcff λ") == r"a b\x1b[31m\udcff λ"


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Be a user who may read nothing that is not for all: root may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_may_not_be_read_is_told_as_that_and_not_as_damaged(tmp_path: Path) -> None:
    tmp_path.parent.parent.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    ORACLE.write([], tmp_path / "oracle.parquet")
    (tmp_path / "manifest.json").write_text("{}")
    digest = save_state(tmp_path, State({}, {}))
    for path in tmp_path.iterdir():
        path.chmod(0)
    with nobody():
        for read, error in (
            (lambda: ORACLE.read(tmp_path / "oracle.parquet"), FolderError),
            (lambda: Folder(tmp_path).manifest(), FolderError),
            (lambda: load_state(tmp_path, digest), StateError),
            (lambda: resolve({}, tmp_path / "manifest.json"), SettingsError),
        ):
            with pytest.raises(error, match=r"cannot be read: Permission denied$") as raised:
                read()
            assert str(tmp_path) in str(raised.value)
