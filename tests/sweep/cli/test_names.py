"""Commands go with a folder of any name, and consoles print it as it is."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep import build_oracle, load
from sweep.cli.console import err, out
from sweep.errors import FolderError
from sweep.reporting.live import LiveView
from sweep.store.folder import Folder

Run = Callable[..., subprocess.CompletedProcess[str]]


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


def test_consoles_print_names_as_they_are() -> None:
    for console in (out, err, LiveView().console):
        with console.capture() as capture:
            console.print("t/[/x] [red]:one:", soft_wrap=True)
        assert capture.get() == "t/[/x] [red]:one:\n"


def test_commands_go_with_a_folder_of_any_name(run: Run, oracle: Path) -> None:
    (oracle / "scyc.toml").write_text('schedule = "scyc"\nepsilon = 0.04\ndelta = 0.02\nq = 0\nbeta = 4.0\n')
    env = {"PYTHONIOENCODING": "utf-8:strict"}
    for words in (
        ("compare", oracle, "--scyc", oracle / "scyc.toml"),
        ("report", oracle, "--output", oracle / "report.html"),
        ("submit", "--dry-run", "--storage", oracle, "--", "oracle"),
    ):
        result = run(*words, env=env)
        assert result.returncode == 0, result.stderr
    assert r"x]:one:$a\udcff/scyc.toml" in set(load(oracle).comparison["trajectory"])
    lost = run("show", oracle / "lost", env=env)
    assert lost.returncode == 2 and lost.stderr.count("\n") == 1 and r"[/x]:one:$a\udcff/lost" in lost.stderr


def test_gradients_before_a_decided_cycle_are_one_line(oracle: Path, tmp_path: Path) -> None:
    from sweep.analyses.gradients import gradients

    manifest = Folder(oracle).manifest()
    assert manifest is not None
    Folder(tmp_path).write_manifest(manifest | {"finished_at": None, "lanes": []})
    with pytest.raises(FolderError) as raised:
        gradients(load(tmp_path))  # type: ignore[arg-type]
    assert str(raised.value) == f"{tmp_path} has no decided cycle yet, and so no network to measure"
