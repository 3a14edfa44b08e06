"""The image: lint, what the build sees of the repository, versions, and a health check that asks where Ray answers."""

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import ray
from packaging.specifiers import SpecifierSet
from ray._common.utils import get_ray_address_file
from ray._private import ray_constants


def dockerfile(docker: Path) -> str:
    """Return the Dockerfile, continued lines joined."""
    return (docker / "Dockerfile").read_text().replace("\\\n", " ")


def test_hadolint_has_nothing_to_say(docker: Path, lint: Callable[..., None]) -> None:
    lint("hadolint", docker / "Dockerfile")


def test_the_image_has_the_tested_ray_on_a_python_that_we_support(
    docker: Path, project: dict[str, Any], ray_version: str
) -> None:
    tag = re.search(r"^ARG RAY_IMAGE=rayproject/ray:(.+)-py(\d)(\d+)-\$\{DEVICE\}$", dockerfile(docker), re.MULTILINE)
    assert tag, "Ray's tags are VERSION-pyXY-DEVICE"
    assert tag[1] == ray_version == version("ray")
    assert f"{tag[2]}.{tag[3]}" in SpecifierSet(project["requires-python"])


def test_every_version_of_ray_or_of_ours_in_docker_is_the_same(
    docker: Path, project: dict[str, Any], ray_version: str
) -> None:
    texts = {path.name: path.read_text() for path in docker.iterdir()}
    rays = {name: re.findall(r"rayproject/ray:([\d.]+)|rayVersion: \"?([\d.]+)", text) for name, text in texts.items()}
    assert {part for found in rays.values() for pair in found for part in pair if part} == {ray_version}
    ours = {tag for text in texts.values() for tag in re.findall(r"scyc-sweep:(\d[\w.]*)", text)}
    assert ours == {project["version"]}


def top_packages(docker: Path) -> list[str]:
    """Return the packages that are installed, as pyproject.toml has setuptools find them; without those within them."""
    found = tomllib.loads((docker.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    return [pattern.removesuffix("*") for pattern in found["include"]]


def test_every_folder_with_code_is_a_package_that_is_installed(docker: Path) -> None:
    root = docker.parent
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True).stdout.splitlines()
    if not tracked:
        pytest.skip("no checkout")
    folders = {Path(name).parent for name in tracked if name.split("/")[0] in top_packages(docker)}
    assert not [str(folder) for folder in folders if f"{folder}/__init__.py" not in tracked]


def test_the_build_sees_what_is_installed_and_nothing_else(docker: Path, project: dict[str, Any]) -> None:
    rules = [line for line in (docker.parent / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    packages = top_packages(docker)
    needed = {"pyproject.toml", "constraints.txt", project["readme"], *project["license-files"], *packages}
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == needed
    for name in needed:
        assert (docker.parent / name).exists()


def test_the_dependencies_are_installed_from_stand_ins_of_every_package(docker: Path) -> None:
    text = dockerfile(docker)
    packages = top_packages(docker)
    assert f"mkdir {' '.join(packages)} " in text
    for package in packages:
        assert f" {package}/__init__.py" in text
    dependencies, code = text.index("--constraint constraints.txt ."), text.index("COPY --chown=ray:users . .")
    assert dependencies < code, "a change of code would install everything again"


def test_it_does_not_run_as_root(docker: Path) -> None:
    users = re.findall(r"^USER (\S+)$", dockerfile(docker), re.MULTILINE)
    assert int(users[-1]) > 0, "a number: Kubernetes' runAsNonRoot takes no name"


def test_the_health_check_looks_where_ray_writes_and_asks_where_ray_answers(docker: Path) -> None:
    check = re.search(r"^HEALTHCHECK .* CMD (\[.+\])$", dockerfile(docker), re.MULTILINE)[1]
    *_, shell = json.loads(check)
    assert get_ray_address_file(None) in shell.split("||")[0]
    port, route = re.search(r"http://127\.0\.0\.1:(\d+)(/\S+)", shell.split("||")[1]).groups()
    assert int(port) == ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    agent = Path(ray.__file__).parent / "dashboard/modules/reporter/healthz_agent.py"
    assert f'"{route}"' in agent.read_text()


def test_the_command_in_the_dockerfile_is_one(
    told: Callable[[str, str], list[str]], parsed: Callable[[str], dict[str, Any]]
) -> None:
    for command in told("Dockerfile", "docker run .* scyc-sweep"):
        parsed(f"scyc-sweep {command}")
