"""The compose file: the specification's own schema, Ray's own flags, and who may reach what."""

import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import AUTH_MODE_ENV_VAR

Parse = Callable[..., dict[str, Any]]
SERVICES = ["head", "worker", "gpu-worker"]
UNITS = {"gb": 2**30, "mb": 2**20}


def started(service: dict[str, Any], ray_start: Parse) -> dict[str, Any]:
    """Return the parsed flags of a service's `ray start`."""
    command = [*service["entrypoint"], *service["command"]]
    assert command[:2] == ["ray", "start"]
    return ray_start(command[2:])


def test_it_is_what_the_compose_specification_allows(compose: dict[str, Any]) -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(compose, schema)


def test_the_head_trains_nothing_and_workers_stay_with_it(compose: dict[str, Any], ray_start: Parse) -> None:
    assert set(compose["services"]) == set(SERVICES)
    head, *workers = (started(compose["services"][name], ray_start) for name in SERVICES)
    assert head["head"] and (head["num_cpus"], head["num_gpus"]) == (0, 0)
    for worker in workers:
        assert worker["address"] == f"head:{head['port']}"
    assert all(node["block"] for node in (head, *workers)), "a container ends with its Ray"


@pytest.mark.parametrize("name", SERVICES)
def test_the_object_store_fits_into_shared_memory(name: str, compose: dict[str, Any], ray_start: Parse) -> None:
    size, unit = re.fullmatch(r"(\d+)(\w+)", compose["services"][name]["shm_size"]).groups()
    # Ray leaves a part of it to others.
    assert started(compose["services"][name], ray_start)["object_store_memory"] <= 0.9 * int(size) * UNITS[unit]


def test_a_worker_counts_on_the_cores_that_it_has(compose: dict[str, Any], ray_start: Parse) -> None:
    worker = compose["services"]["worker"]
    assert started(worker, ray_start)["num_cpus"] == worker["cpus"]


def test_only_this_machine_reaches_the_cluster(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published == [f"127.0.0.1:{ray_constants.DEFAULT_DASHBOARD_PORT}:{ray_constants.DEFAULT_DASHBOARD_PORT}"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_token_lies_where_ray_looks(name: str, compose: dict[str, Any]) -> None:
    service = compose["services"][name]
    (secret,) = service["secrets"]
    assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == f"/run/secrets/{secret}"
    assert AUTH_MODE_ENV_VAR in service["environment"]
    assert secret in compose["secrets"]


@pytest.mark.parametrize("name", SERVICES)
def test_health_is_asked_where_ray_answers_without_a_token(name: str, compose: dict[str, Any]) -> None:
    port, route = re.search(r":(\d+)(/\S+)", compose["services"][name]["healthcheck"]["test"][-1]).groups()
    dashboard = Path(ray.__file__).parent / "dashboard"
    port_of, answers = {
        "head": (ray_constants.DEFAULT_DASHBOARD_PORT, "modules/reporter/reporter_head.py"),
    }.get(name, (ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT, "modules/reporter/healthz_agent.py"))
    assert int(port) == port_of
    assert f'"{route}"' in (dashboard / answers).read_text()
    assert f'"{route}"' in (dashboard / "http_server_head.py").read_text()


def test_workers_wait_for_a_healthy_head(compose: dict[str, Any]) -> None:
    for name in SERVICES[1:]:
        assert compose["services"][name]["depends_on"] == {"head": {"condition": "service_healthy"}}


def test_gpus_are_reserved_only_where_they_are_asked_for(compose: dict[str, Any]) -> None:
    assert [name for name in SERVICES if "gpus" in compose["services"][name]] == ["gpu-worker"]
    assert compose["services"]["gpu-worker"]["profiles"] == ["gpu"]


def test_results_and_data_outlive_the_containers_and_belong_to_their_user(
    compose: dict[str, Any], docker: Path
) -> None:
    mounts = {name: dict(m.split(":") for m in compose["services"][name]["volumes"]) for name in SERVICES}
    assert all(set(mount) <= set(compose["volumes"]) and "results" in mount for mount in mounts.values())
    assert [name for name in SERVICES if "data" in mounts[name]] == ["head"], "Ray brings the data to the others"
    assert compose["services"]["head"]["environment"]["SCYC_SWEEP_STORAGE"] == mounts["head"]["results"]
    home, made = re.search(r"^WORKDIR (\S+)\nRUN mkdir -p (.+)$", (docker / "Dockerfile").read_text(), re.M).groups()
    assert {target for mount in mounts.values() for target in mount.values()} == {f"{home}/{f}" for f in made.split()}


def test_it_is_built_by_our_dockerfile(compose: dict[str, Any], docker: Path) -> None:
    for service in compose["services"].values():
        context = (docker / service["build"]["context"]).resolve()
        assert (context / service["build"]["dockerfile"]).samefile(docker / "Dockerfile")
        assert set(service["build"]["args"]) <= set(
            re.findall(r"^ARG (\w+)", (docker / "Dockerfile").read_text(), re.M)
        )


def test_the_commands_in_it_are_commands(told: Callable[[str, str], list[str]], parsed: Parse) -> None:
    for command in told("compose.yaml", "exec head"):
        parsed(command)
