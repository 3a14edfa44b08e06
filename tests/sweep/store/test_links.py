"""A results folder may come from a stranger: nothing outside is written, locked or deleted, and nothing is waited for.

Every file and folder that real sweeps leave is replaced by a link, a pipe or the like, one after another, and every
command runs again.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from sweep import load
from sweep.errors import FolderError

Run = Callable[..., subprocess.CompletedProcess[str]]

SMALL = ["--runs", "1", "--cycles", "1", "--steps", "17", "--lanes", "2", "--engine", "inline"]
CONSTANTS = ["--schedules", "constant=0.1", "--schedules", "constant=0.2"]
COMMANDS = {
    "digits": [
        ["oracle", *SMALL, "--max-lr", "0.01:1:x3", "--scyc", "0.04,0.1,1,4", "--histograms", "--out", "digits"],
        ["control", "digits", "--pruning", "random"],
        ["compare", "digits", "--train"],
        ["compare", "digits", "--confirm", "2"],
        ["gradients", "digits", "--images", "50"],
    ],
    "tuning": [["tune", *SMALL, "--trials", "2", "--epsilon", "0.01:0.1", "--by", "joint", "--out", "tuning"]],
    "schedules": [["schedules", *SMALL, *CONSTANTS, "--histograms", "--out", "schedules"]],
}
"""By the folder that they fill."""
READERS = [["show"], ["report", "-o", "page.html"]]
PASSING = (".lock", ".driver.json", "superseded", "fit.parquet", "fit.png", "scyc.toml", "trend.parquet")
"""What is there at times, besides what a finished sweep leaves."""


@pytest.fixture(scope="module")
def made_once(
    tmp_path_factory: pytest.TempPathFactory, made: Callable[..., str], quick_pictures: None
) -> Iterator[Path]:
    """OracleResults of every kind, beside each other."""
    root = tmp_path_factory.mktemp("links") / "results"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for commands in COMMANDS.values():
            for command in commands:
                made(*command)
        yield root


@pytest.fixture
def results(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them, which is the working folder too."""
    monkeypatch.chdir(shutil.copytree(made_once, tmp_path / "results"))
    return tmp_path / "results"


def tree(folder: Path) -> dict[str, object]:
    """What lies in a folder: of a file its content, of a link where it leads."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = (
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else path.lstat().st_mode
        )
    return found


def names(folder: Path) -> list[Path]:
    """Every file and folder that a sweep left, two of each kind at most where there are many, and what may come."""
    found: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        kind = path.name if path.parent.name not in ("lanes", "states") else ""
        found.setdefault((path.parent, kind), []).append(path)
    passing = {folder / name for name in PASSING}
    return sorted({path for paths in found.values() for path in paths[:2]} | passing)


def planted(path: Path, kind: str, outside: Path) -> str:
    """Put something else in the place of a file or a folder, which goes outside; return what it is called."""
    moved = outside / path.name
    if path.exists():
        path.rename(moved)
    elif path.suffix or path.name == ".lock":
        moved.write_text("the user's own")
    else:
        moved.mkdir()
        (moved / f"{'0' * 64}.safetensors").write_text("the user's own")
        (moved / "a.parquet").write_text("the user's own")
    if kind == "pipe":
        os.mkfifo(path)
        return "a named pipe"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as one, chdir(path.parent):  # such names are short
            one.bind(path.name)
        return "a socket"
    path.symlink_to(moved if kind == "link" else outside / "nowhere")
    return "a link"


def restored(path: Path, outside: Path, was_there: bool) -> None:
    path.unlink()
    if was_there:
        (outside / path.name).rename(path)
    else:
        shutil.rmtree(outside)
        outside.mkdir()


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe", "socket"])
@pytest.mark.parametrize("folder", COMMANDS)
def test_what_is_no_file_or_folder_is_refused_wherever_it_lies_and_nothing_outside_changes(
    here: Run, results: Path, tmp_path: Path, folder: str, kind: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    commands = [*COMMANDS[folder], *([first, folder, *rest] for first, *rest in READERS)]
    if kind != "link":
        commands = [commands[0], commands[-2]]
    for path in names(results / folder):
        was_there = path.exists()
        what = planted(path, kind, outside)
        before = tree(tmp_path)
        for command in commands:
            ran = here(*command)
            said = f"scyc-sweep: {path.relative_to(results)} is {what}, not a "
            *announced, last = ran.stderr.splitlines()
            assert last.startswith(said), (path, ran.stderr)
            assert ran.returncode == 2 and len(announced) < 2 and not ran.stdout
        with pytest.raises(FolderError, match=f"is {what}, not a "):
            load(results / folder)
        assert tree(tmp_path) == before, path
        restored(path, outside, was_there)
    for command in commands:
        assert here(*command).returncode == 0


@pytest.mark.parametrize("folder", COMMANDS)
def test_other_names_of_a_file_keep_what_it_was_and_what_is_not_ours_stays(
    here: Run, results: Path, tmp_path: Path, folder: str
) -> None:
    outside = tmp_path / "outside"
    for path in (results / folder).rglob("*"):
        if path.is_file():
            other = outside / path.relative_to(results)
            other.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, other)
    (outside / "notes").mkdir()
    (outside / "notes" / "page.txt").write_text("mine")
    own = results / folder
    for path in (own / "notes", own / "states" / "notes", own / "lanes" / "notes"):
        path.symlink_to(outside / "notes")
    for name in ("best.safetensors", f"{'0' * 64}.safetensors", "README", f".{'0' * 64}.safetensors-x.partial"):
        (own / "states" / name).write_text("mine")
    (own / "states" / "linked.safetensors").symlink_to(outside / "notes" / "page.txt")
    foreign = {
        name: content
        for name, content in tree(own).items()
        if "notes" in name or content == b"mine" or name.endswith("linked.safetensors")
    }
    assert len(foreign) == 8
    before = tree(outside)
    for first, *rest in COMMANDS[folder]:
        ran = here(first, *rest)
        assert ran.returncode == 0, ran.stderr
        longer = ["2" if word == "1" and rest[index - 1] == "--cycles" else word for index, word in enumerate(rest)]
        ran = here(first, *longer)
        assert ran.returncode == 0, ran.stderr
    assert tree(outside) == before
    assert foreign.items() <= tree(own).items()


def test_a_results_folder_may_be_a_link_itself_and_so_may_those_above_it(
    here: Run, results: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").symlink_to(results)
    (tmp_path / "mine").symlink_to(tmp_path / "disk" / "digits")
    first = COMMANDS["digits"][0]
    for command in ([*first[:-1], tmp_path / "mine"], ["show", tmp_path / "mine"], ["show", tmp_path / "disk/digits"]):
        ran = here(*command)
        assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "mine").is_symlink()
