"""The RayJob: its fields, its pods by Kubernetes' own schema, its nodes as Ray's autoscaler reads them, its command."""

from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from ray.autoscaler._private.kuberay.autoscaling_config import _generate_available_node_types_from_ray_cr_spec

Parse = Callable[..., dict[str, Any]]


def fields(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
POD = fields({"spec": {"type": "object"}}, {"metadata": {"type": "object"}})
HEAD = fields({"rayStartParams": TEXTS, "template": POD}, {"serviceType": {"enum": ["ClusterIP"]}})
WORKERS = fields(
    {"groupName": TEXT, "minReplicas": COUNT, "maxReplicas": COUNT, "rayStartParams": TEXTS, "template": POD},
    {"replicas": COUNT, "numOfHosts": COUNT, "idleTimeoutSeconds": COUNT},
)
CLUSTER = fields(
    {"rayVersion": TEXT, "headGroupSpec": HEAD, "workerGroupSpecs": {"type": "array", "items": WORKERS}},
    {
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": fields(
            {}, {"idleTimeoutSeconds": COUNT, "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]}}
        ),
        "authOptions": fields({"mode": {"enum": ["disabled", "token"]}}, {"secretName": TEXT}),
    },
)
JOB = fields(
    {"entrypoint": TEXT, "rayClusterSpec": CLUSTER},
    {
        "backoffLimit": COUNT,
        "activeDeadlineSeconds": COUNT,
        "shutdownAfterJobFinishes": {"type": "boolean"},
        "ttlSecondsAfterFinished": COUNT,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
    },
)
RAYJOB = fields(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": fields({"name": TEXT}, {"namespace": TEXT, "labels": TEXTS}),
        "spec": JOB,
    }
)
"""The fields of ray.io/v1 that one may want here, of KubeRay 1.5.1 and newer. The API server drops others silently."""


@pytest.fixture
def cluster(rayjob: dict[str, Any]) -> dict[str, Any]:
    """Return the RayCluster of the RayJob."""
    return rayjob["spec"]["rayClusterSpec"]


def groups(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the head's group and the workers'."""
    yield cluster["headGroupSpec"]
    yield from cluster["workerGroupSpecs"]


def test_every_field_is_one_of_kuberays(rayjob: dict[str, Any]) -> None:
    jsonschema.validate(rayjob, RAYJOB)


def test_the_pods_are_what_kubernetes_allows(cluster: dict[str, Any]) -> None:
    for group in groups(cluster):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "template": group["template"]}
        kubernetes_validate.validate(template, kubernetes_validate.latest_version(), strict=True)


def test_the_start_parameters_are_rays(cluster: dict[str, Any], ray_start: Parse) -> None:
    for group in groups(cluster):
        ray_start([f"--{name}={value}" for name, value in group["rayStartParams"].items()])


def test_the_autoscaler_sees_gpus_from_none_and_a_head_that_trains_nothing(cluster: dict[str, Any]) -> None:
    head, gpu = _generate_available_node_types_from_ray_cr_spec(cluster).values()
    assert head["resources"]["CPU"] == 0 and "GPU" not in head["resources"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert gpu["min_workers"] == 0 < gpu["max_workers"]
    assert gpu["resources"]["GPU"] >= 1 and gpu["resources"]["CPU"] >= 1
    assert cluster["autoscalerOptions"]["idleTimeoutSeconds"] > 60


def test_a_lost_head_is_tried_again_and_nothing_is_left_to_pay_for(rayjob: dict[str, Any]) -> None:
    spec = rayjob["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] <= 3600


def test_the_command_goes_to_a_bucket_on_this_cluster_and_grows_it(rayjob: dict[str, Any], parsed: Parse) -> None:
    command = rayjob["spec"]["entrypoint"]
    parsed(command)
    for needed in ("--address auto", "--workers max", "--wait-for-resources", "--out s3://"):
        assert needed in command
    assert "\n" not in command, "a shell would run two commands"


def test_credentials_come_from_a_secret_alone(cluster: dict[str, Any]) -> None:
    for group in groups(cluster):
        for container in group["template"]["spec"]["containers"]:
            assert "env" not in container
            assert all(set(source) == {"secretRef"} for source in container["envFrom"])


def test_one_image_for_all(cluster: dict[str, Any]) -> None:
    images = {c["image"] for group in groups(cluster) for c in group["template"]["spec"]["containers"]}
    assert len(images) == 1, "a cluster speaks one version of Ray and of Python"
