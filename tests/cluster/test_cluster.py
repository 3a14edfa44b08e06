"""Sweeps on a real Ray of several hosts: submitted, cut off, beheaded, in a bucket, behind a token."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FakeMultiNodeProvider
from ray.autoscaler._private.monitor import BASE_READONLY_CONFIG
from ray.util.state import list_nodes

import sweep
from trainables.storage import locate

pytestmark = pytest.mark.cluster

HEAD, EAST, WEST = 0, 1, 2
SMALL = ["oracle", "--max-lr", "0.01:1:x4", "--runs", "2", "--cycles", "2", "--lanes", "2", "--eval-every", "34"]
QUICK, LONG = ["--steps", "68"], ["--steps", "680"]
"""12 packs of 2 lanes: a fifth of a second each, or two seconds."""
ON_BOTH = ["--workers", "2", "--wait-for-resources"]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
LANE = ["cycle", "run", "max_lr", "val_accuracy", "test_accuracy", "state"]


@pytest.fixture(scope="module")
def inline(hosts: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], Any]:
    """The same sweep by the inline engine, undisturbed."""
    folders: dict[str, Path] = {}

    def run(steps: list[str]) -> Any:
        if steps[1] not in folders:
            folders[steps[1]] = tmp_path_factory.mktemp("inline") / "o"
            assert hosts.run(*SMALL, *steps, "--engine", "inline", "--out", folders[steps[1]]).returncode == 0
        return sweep.load(folders[steps[1]])

    return run


@pytest.fixture(scope="module")
def cluster(hosts: Any) -> Iterator[Any]:
    """A head that trains nothing and two worker hosts of one core."""
    hosts.cluster()
    yield hosts
    for host in list(hosts.running):
        hosts.kill(host)


@pytest.fixture
def autoscaling(hosts: Any, tmp_path: Path) -> Iterator[Any]:
    """A head that starts worker hosts of one core on itself when they are asked for, up to two."""
    for host in list(hosts.running):
        hosts.kill(host)
    provider = {
        "type": "external",  # by its own name Ray would look for defaults that are not in its wheels
        "module": f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__name__}",
        "head_node_id": FAKE_HEAD_NODE_ID,
        "launch_multiple": True,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    worker = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    config = BASE_READONLY_CONFIG | {
        "max_workers": 8,
        "idle_timeout_minutes": 5,
        "provider": provider,
        "available_node_types": {"worker": worker, "ray.head.default": head},
    }
    (tmp_path / "growing.yaml").write_text(json.dumps(config))
    env = {"RAY_enable_autoscaler_v2": "1", "RAY_FAKE_CLUSTER": "1", "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID}
    env |= {"AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    hosts.head(env, "--autoscaling-config", tmp_path / "growing.yaml")
    yield hosts
    hosts.kill(HEAD)


def assert_same(found: Any, wanted: Any) -> None:
    """Packs are of one size and threads of one number: the lanes are equal bit for bit, and so are the tables."""
    pd.testing.assert_frame_equal(found.lanes[LANE], wanted.lanes[LANE])
    for table in ("oracle", "curves"):
        timed = ["wall_seconds"] if table == "oracle" else []
        pd.testing.assert_frame_equal(
            getattr(found, table).drop(columns=timed), getattr(wanted, table).drop(columns=timed)
        )


def packs(folder: Path) -> dict[str, int]:
    """The rows' files by name, with when they were written: a pack that is trained again is written again."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("lanes/*.parquet")}


def assert_once(folder: Path) -> None:
    """No lane was trained twice: no two files hold a row of it."""
    lanes = pd.concat([pd.read_parquet(folder / "lanes" / name) for name in packs(folder)])["lane_id"]
    assert lanes.is_unique and len(lanes) >= 24


def test_submitted_it_gives_the_tables_of_the_inline_engine(cluster: Any, inline: Any, tmp_path: Path) -> None:
    storage = ["--storage", tmp_path / "s"]
    submit = ["submit", *storage, "--wait", "--", *SMALL, *QUICK, *ON_BOTH]
    ran = cluster.run(*submit)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "cycle 2 of 2" in ran.stdout and "24 lanes (0 diverged)" in ran.stdout
    found = sweep.load(tmp_path / "s" / "digits")
    assert_same(found, inline(QUICK))

    again = cluster.run(*submit)
    assert again.returncode == 0 and "-1: finished already" in again.stderr
    status = cluster.run("status", "digits", *storage, "--json")
    (row,) = json.loads(status.stdout)
    assert (row["job"], row["finished"], row["progress"]["lanes_done"]) == ("succeeded", True, 24)
    assert "24 of 24" in cluster.run("status", *storage).stdout
    assert "cycle 2 of 2" in cluster.run("logs", "digits", *storage).stdout
    assert cluster.run("collect", "digits", *storage, "--to", tmp_path / "here").returncode == 0
    pd.testing.assert_frame_equal(sweep.load(tmp_path / "here").oracle, found.oracle)

    compare = cluster.run(
        "submit", *storage, "--wait", "--", "compare", "digits", "--confirm", "2", "--scyc", "0.04,0.1,1,4"
    )
    assert compare.returncode == 0, compare.stdout + compare.stderr
    assert len(found.held_out_validation.verdicts) == 4
    control = cluster.run("submit", *storage, "--wait", "--", "control", "digits", "--pruning", "random")
    assert control.returncode == 0, control.stdout + control.stderr
    assert list(sweep.load(tmp_path / "s" / "digits").controls) == ["random"]
    bad = cluster.run("submit", *storage, "--", *SMALL, "--runs", "0")
    assert bad.returncode == 2 and "--runs" in bad.stderr


def test_a_folder_that_the_hosts_do_not_share_is_refused_before_training(cluster: Any, tmp_path: Path) -> None:
    # A file system of its own is mounted where the driver writes; the workers see what is beneath.
    out = tmp_path / "own"
    out.mkdir()
    command = [sys.executable, "-m", "sweep", *SMALL, *QUICK, "--out", f"{out}/o"]
    command += ["--address", f"{cluster.address(HEAD)}:6379"]
    mounted = f"mount -t tmpfs none {out} && exec {' '.join(command)}"
    ran = cluster.on_head("unshare", "--mount", "sh", "-c", mounted)
    assert ran.returncode == 2, ran.stderr
    assert "does not see" in ran.stderr and "s3:// or gs://" in ran.stderr and "Traceback" not in ran.stderr


def test_a_cluster_smaller_than_asked_is_an_error_that_says_what_there_is(cluster: Any, tmp_path: Path) -> None:
    address = ["--address", f"{cluster.address(HEAD)}:6379", "--out", tmp_path / "o"]
    for more, said in (
        (
            ["--workers", "3"],
            "3 workers of 1 core each do not fit: this Ray has 2 cores, 0 GPUs on 3 hosts, room for 2",
        ),
        (["--gpus-per-worker", "0.5"], "workers of 1 core and 0.5 GPUs were asked for, but this Ray has no GPU"),
    ):
        ran = cluster.run(*SMALL, *QUICK, *more, *address)
        assert ran.returncode == 2 and said in ran.stderr, ran.stderr
    assert not (tmp_path / "o").exists()


def test_stopped_and_submitted_again_and_then_a_worker_host_is_cut_off(
    cluster: Any, inline: Any, tmp_path: Path
) -> None:
    storage, folder = ["--storage", tmp_path / "s"], tmp_path / "s" / "digits"
    submit = ["submit", *storage, "--wait", "--", *SMALL, *LONG, *ON_BOTH]
    first = cluster.begin(*submit)
    cluster.wait(lambda: len(packs(folder)) >= 1, "the first pack")
    stopped = cluster.run("stop", "digits", *storage)
    assert stopped.returncode == 0 and "-1: stopped" in stopped.stderr
    assert first.wait(30) == 143  # the job's
    assert "terminated; all finished lanes are kept. To go on: " in cluster.run("logs", "digits", *storage).stdout
    kept = packs(folder)

    second = cluster.begin(*submit)
    cluster.wait(lambda: len(packs(folder)) >= len(kept) + 2, "two more packs")
    cluster.cut(WEST)
    attached = cluster.run(*submit)
    assert attached.returncode == 0 and "-2: attached" in attached.stderr, attached.stdout + attached.stderr
    assert second.wait(30) == 0
    assert kept.items() <= packs(folder).items()
    assert_once(folder)
    assert_same(sweep.load(folder), inline(LONG))
    cluster.kill(WEST)
    cluster.mend(WEST)
    cluster.ray(WEST)


def test_in_a_bucket_after_the_head_is_lost_the_same_submit_goes_on_on_a_new_one(
    cluster: Any, bucket: str, inline: Any, tmp_path: Path
) -> None:
    storage = ["--storage", f"{bucket}/sweeps"]
    submit = ["submit", *storage, "--wait", "--", *SMALL, *LONG, *ON_BOTH]
    lanes = locate(f"{bucket}/sweeps/digits/lanes")
    process = cluster.begin(*submit)
    cluster.wait(lambda: len(list(lanes.glob("*.parquet"))) >= 3, "the third pack")
    for host in (HEAD, EAST, WEST):
        cluster.kill(host)
    assert process.wait(60) == 1
    before = {path.name: path.read_bytes() for path in lanes.glob("*.parquet")}
    status = json.loads(cluster.run("status", "digits", *storage, "--json").stdout)
    assert (status[0]["job"], status[0]["progress"]["lanes_done"]) == ("head gone", 2 * len(before))

    cluster.cluster()
    ran = cluster.run(*submit)
    assert ran.returncode == 0 and "-2: submitted" in ran.stderr, ran.stdout + ran.stderr
    assert f": {2 * len(before)} of " in ran.stdout  # what it began with
    assert cluster.run("collect", "digits", *storage, "--to", tmp_path / "here").returncode == 0
    for name, content in before.items():  # finished_at stands in them: none was trained and written again
        assert (tmp_path / "here" / "lanes" / name).read_bytes() == content
    assert_once(tmp_path / "here")
    assert_same(sweep.load(tmp_path / "here"), inline(LONG))
    assert not any(secret in ran.stdout for secret in ("secret-of-the-bucket", "key-of-the-bucket"))


def test_with_its_token_a_cluster_takes_a_sweep_and_refuses_it_with_none_or_another(
    cluster: Any, inline: Any, tmp_path: Path
) -> None:
    for host in (HEAD, EAST, WEST):
        cluster.kill(host)
    cluster.cluster(TOKEN)
    submit = ["submit", "--storage", tmp_path / "s", "--wait", "--", *SMALL, *QUICK, *ON_BOTH]
    for token in ({"RAY_AUTH_MODE": "disabled"}, {**TOKEN, "RAY_AUTH_TOKEN": "b" * 64}):
        refused = cluster.run_apart(*submit, env=token)
        assert refused.returncode == 2 and "RAY_AUTH_TOKEN" in refused.stderr, refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    ran = cluster.run_apart(*submit, env=TOKEN)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert_same(sweep.load(tmp_path / "s" / "digits"), inline(QUICK))
    assert TOKEN["RAY_AUTH_TOKEN"] not in ran.stdout + ran.stderr


def test_max_makes_an_autoscaling_cluster_grow_from_no_worker_to_all(
    autoscaling: Any, inline: Any, tmp_path: Path
) -> None:
    # No job: its folder is deleted by the first host of several on one disk that has no more use for it.
    command = [sys.executable, "-m", "sweep", *SMALL, *QUICK, "--workers", "max", "--wait-for-resources"]
    at = ["--address", f"{autoscaling.address(HEAD)}:6379", "--out", tmp_path / "o"]
    ran = autoscaling.on_head(*command, *at)
    assert ran.returncode == 0 and "room for 0" in ran.stderr, ran.stderr
    assert_same(sweep.load(tmp_path / "o"), inline(QUICK))

    def workers() -> int:
        nodes = list_nodes(autoscaling.dashboard, filters=[("state", "=", "ALIVE")])
        return sum(not node.is_head_node for node in nodes)

    autoscaling.wait(lambda: workers() == 2, "the second worker")
