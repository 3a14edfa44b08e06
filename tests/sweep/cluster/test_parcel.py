"""What travels with a job: this project, the user's own modules and the request, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sweep
from sweep.cluster import parcel as parcels
from sweep.cluster.document import Request
from sweep.cluster.job import read_request
from sweep.cluster.parcel import parcel
from sweep.cluster.request import Asked
from sweep.config.resolve import resolve
from sweep.errors import SweepError
from sweep.experiments.oracle.settings import OracleSettings
from sweep.store.folder import Folder
from sweep.store.provenance import new_manifest

Ask = Callable[..., Asked]
OWN = Path(str(sweep.__file__)).parents[1]
PACKAGES = ("sweep", "trainables", "search_spaces")


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def brought(asked: Asked) -> set[str]:
    """What a job brings along besides this project and its request."""
    with parcel(asked.request) as folder:
        return {name for name in files_of(folder) if name.partition("/")[0] not in PACKAGES} - {"request.json"}


@pytest.fixture
def mine(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module and a package with networks, beside things that stay here."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for path, content in {
        "parcelnets.py": "def small(shape, classes): ...",
        "parcelpkg/__init__.py": "def small(shape, classes): ...",
        "parcelpkg/deep/__init__.py": "def small(shape, classes): ...",
        "parcelpkg/deep/nets.py": "def small(shape, classes): ...",
        "parcelpkg/table.csv": "1",
        "parcelpkg/.git/config": "",
        "parcelpkg/data/images.bin": "",
        "parcelpkg/results/digits/manifest.json": "",
        "parcelpkg/__pycache__/deep.pyc": "",
        "parcelpkg/rows.parquet": "",
        "parcelpkg/net.safetensors": "",
        "notes.txt": "mine",
    }.items():
        file = somewhere / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return somewhere


def test_it_holds_this_project_the_request_and_nothing_else(ask: Ask, mine: Path) -> None:
    own = {
        str(path.relative_to(OWN))
        for package in PACKAGES
        for path in (OWN / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    asked = ask("oracle")
    with parcel(asked.request) as folder:
        assert files_of(folder) == own | {"request.json"}
        for name in own:
            assert (folder / name).read_bytes() == (OWN / name).read_bytes()
        assert read_request(folder / "request.json") == asked.request
    assert not folder.exists()


@pytest.mark.parametrize(
    ("function", "files"),
    [
        ("parcelnets:small", {"parcelnets.py"}),
        ("parcelpkg:small", {"parcelpkg/**"}),
        ("parcelpkg.deep:small", {"parcelpkg/**"}),
        ("parcelpkg.deep.nets:small", {"parcelpkg/**"}),
    ],
)
def test_an_own_network_brings_its_module_or_package_without_data_and_results(
    ask: Ask, mine: Path, function: str, files: set[str]
) -> None:
    if files == {"parcelpkg/**"}:
        files = {f"parcelpkg/{name}" for name in ("__init__.py", "deep/__init__.py", "deep/nets.py", "table.csv")}
    (mine / "c.toml").write_text("runs = 1")
    assert brought(ask("oracle", "--preset", "digits", "--model", function, "--config", "c.toml")) == files


def test_an_own_data_set_does_likewise(ask: Ask, mine: Path) -> None:
    assert brought(ask("oracle", "--dataset", "parcelnets:small")) == {"parcelnets.py"}


def test_and_the_module_of_a_third_partys_experiment(mine: Path) -> None:
    document = Request.of([], [("oracle", resolve({}, kind=OracleSettings))]).documents[0]
    third = document.model_copy(update={"reference": "parcelpkg.deep:EXPERIMENT"})
    with parcel(Request(command=(), documents=(third,))) as folder:
        assert (folder / "parcelpkg" / "deep" / "__init__.py").exists()


def test_too_much_is_refused_naming_whose_it_is(ask: Ask, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "PARCEL_BYTES", 3_000_000)
    with parcel(ask("oracle").request):
        pass
    with (mine / "parcelpkg" / "large.bin").open("wb") as file:
        file.truncate(3_000_000)
    asked = ask("oracle", "--preset", "digits", "--model", "parcelpkg:small")
    with (
        pytest.raises(SweepError, match="parcelpkg:small: the package holds 4 MB, at most 3 are sent"),
        parcel(asked.request),
    ):
        raise AssertionError


def test_unpacked_alone_it_runs(ask: Ask, mine: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = (
        "import runpy, sys, sweep, trainables, search_spaces\n"
        "sys.argv = 'sweep trajectory --epsilon 0.04 --delta 0.06 --q 1 --beta 4 --cycles 13 --json'.split()\n"
        "try: runpy.run_module('sweep', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print([each.__file__ for each in (sweep, trainables, search_spaces)])"
    )
    with parcel(ask("oracle").request) as folder:
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert '"percent_remaining": [' in done.stdout and done.stdout.count(f"{folder}/") == 3


def test_what_an_own_module_imports_from_beside_it_travels_along(
    ask: Ask, somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(somewhere))
    (somewhere / "beside").mkdir()
    (somewhere / "beside" / "__init__.py").write_text("import deeper_helper")
    (somewhere / "deeper_helper.py").write_text("import torch")
    (somewhere / "not_needed.py").write_text("")
    (somewhere / "helpednets.py").write_text("import beside\n\n\ndef small(shape, classes): ...")
    asked = ask("oracle", "--preset", "digits", "--model", "helpednets:small")
    assert brought(asked) == {"helpednets.py", "beside/__init__.py", "deeper_helper.py"}


def test_code_travels_along_from_folders_that_are_left_out_elsewhere_too(
    ask: Ask, somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("torch.py", "mypkg/__init__.py", "mypkg/data/__init__.py", "mypkg/data/sets.py", "mypkg/data/x.npy"):
        (somewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (somewhere / name).write_text("")
    (somewhere / "mypkg" / "nets.py").write_text("import torch\nfrom .data import sets\ndef small(shape, classes): ...")
    asked = ask("oracle", "--preset", "digits", "--model", "mypkg.nets:small")
    assert brought(asked) == {
        f"mypkg/{name}" for name in ("__init__.py", "nets.py", "data/__init__.py", "data/sets.py")
    }


def test_a_control_brings_along_what_its_oracle_was_trained_with(
    ask: Ask, somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, text in {"nets.py": "import helper", "helper.py": "", "pics.py": "", "other.py": ""}.items():
        (somewhere / name).write_text(text)
    typed = {"preset": "digits", "model": "nets:small", "dataset": "pics:load", "out": "s/digits"}
    settings = resolve(typed, kind=OracleSettings)
    (somewhere / "s" / "digits").mkdir(parents=True)
    Folder(somewhere / "s" / "digits").write_manifest(new_manifest("oracle", settings, "fingerprint", [], None))
    assert brought(ask("control", "digits", storage="s")) == {"nets.py", "helper.py", "pics.py"}
