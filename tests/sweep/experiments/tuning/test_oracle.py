"""An oracle that a tuning takes over must have the runs and cycles that it takes."""

import os
from pathlib import Path
from typing import Any

import pytest

from sweep import build_oracle, tune
from sweep.errors import FolderError

INLINE: dict[str, Any] = {
    "engine": "inline",
    "device": "cpu",
    "lanes": 4,
    "steps": 10,
    "runs": 2,
    "cycles": 1,
    "max_lr": "0.01:1:x2",
    "hidden": (8,),
}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small oracle in a folder whose name is markup, emoji, formula and no UTF-8."""
    folder = tmp_path_factory.mktemp("names") / "[" / os.fsdecode(b"x]:one:$a\xff")
    build_oracle(progress=False, **INLINE, out=folder)
    return folder


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"runs": 3}, "has 2 runs and cycles up to 1, but this takes 3 runs and cycle 1: give --runs 2, or extend"),
        ({"cycles": 4}, "but this takes 2 runs and cycle 4: give --cycles 1, or extend"),
        ({"runs": 3, "cycles": 4, "target_cycle": 3}, "cycle 3: give --runs 2 --target-cycle 1, or extend"),
    ],
)
def test_an_oracle_that_is_too_small_names_the_words_that_fit_it(
    oracle: Path, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(FolderError) as raised:
        tune(progress=False, **INLINE | given, oracle=oracle, out=tmp_path / "t")
    assert words in str(raised.value) and not (tmp_path / "t").exists()
