"""What the tests of docker/ share: its files, versions, linters, judges of a command line: our CLI and Ray's."""

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def docker() -> Path:
    """Return the folder docker/."""
    return ROOT / "docker"


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """Return the project's table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="session")
def ray_version() -> str:
    """Return the version of Ray that constraints.txt has."""
    return re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


@pytest.fixture(scope="session")
def compose(docker: Path) -> dict[str, Any]:
    """Return compose.yaml as Compose reads it where none of its variables is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (docker / "compose.yaml").read_text())
    assert "${" not in text, "a variable without a default"
    return yaml.safe_load(text)


@pytest.fixture(scope="session")
def rayjob(docker: Path) -> dict[str, Any]:
    """Return rayjob.yaml."""
    return yaml.safe_load((docker / "rayjob.yaml").read_text())


@pytest.fixture(scope="session")
def lint() -> Callable[..., None]:
    """Run a linter of the dev extras: whatever it says is a failure."""

    def run(tool: str, *arguments: str | Path) -> None:
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        found = shutil.which(tool, path=path)
        assert found, f"{tool} is not installed: pip install '.[dev]'"
        result = subprocess.run([found, *arguments], capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr

    return run


@pytest.fixture(scope="session")
def parsed() -> Callable[[str | list[str]], dict[str, Any]]:
    """Parse a command of scyc-sweep, without running it; a command behind `--`, such as submit's, likewise."""
    from sweep.cli.main import app

    def parse(command: str | list[str]) -> dict[str, Any]:
        name, *arguments = shlex.split(command) if isinstance(command, str) else command
        assert name == "scyc-sweep"
        _, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        if "--" in arguments:
            parse(["scyc-sweep", *arguments[arguments.index("--") + 1 :]])
        return bound.arguments

    return parse


@pytest.fixture(scope="session")
def ray_start() -> Callable[[list[str]], dict[str, Any]]:
    """Parse what stands behind `ray start` by Ray's own command, without starting anything."""
    from ray.scripts.scripts import start

    return lambda arguments: start.make_context("start", list(arguments)).params


@pytest.fixture(scope="session")
def told(docker: Path) -> Callable[[str, str], list[str]]:
    """Return what follows a phrase in the comments at the head of a file: the commands that it tells its reader."""

    def find(file: str, phrase: str) -> list[str]:
        commands = re.findall(rf"^# .*{phrase} (.+?)(?:   +#.*)?$", (docker / file).read_text(), re.MULTILINE)
        assert commands, f"{file} tells no {phrase}"
        return commands

    return find
