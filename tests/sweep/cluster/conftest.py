"""What tests of a submission share: commands as `submit` takes them, typed in an empty folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.cli.cluster import asked_of
from sweep.cli.main import app
from sweep.cluster.request import Asked


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands are typed in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("SCYC_SWEEP_STORAGE", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def ask(somewhere: Path) -> Callable[..., Asked]:
    """Return what `submit -- words` makes of them; nothing is sent."""

    def asked(*words: str, storage: str | Path = "/nfs/sweeps", name: str | None = None) -> Asked:
        return asked_of(app, words, str(storage), name)[1]

    return asked
