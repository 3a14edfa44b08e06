"""What goes wrong at night: kills, Ctrl-C, dead workers, two drivers. The tables must not show it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest

from sweep import load
from sweep.config.settings import Settings
from sweep.errors import TrainingError
from sweep.experiments.oracle.experiment import EXPERIMENT
from sweep.experiments.runner import run as run_experiment

Small = Callable[..., list[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

TIMES = ["wall_seconds", "finished_at"]


@pytest.fixture(scope="module")
def undisturbed(made: Callable[..., str], small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small oracle, trained in one process from beginning to end."""
    folder = tmp_path_factory.mktemp("undisturbed") / "o"
    made(*small(out=folder))
    return folder


def assert_equal_tables(folder: Path, undisturbed: Path) -> None:
    """All that a sweep measured and decided is equal, bit for bit; only times and places may differ."""
    ours, theirs = load(folder), load(undisturbed)
    pd.testing.assert_frame_equal(ours.lanes.drop(columns=TIMES), theirs.lanes.drop(columns=TIMES), check_exact=True)
    for name in ("oracle", "comparison"):
        one, other = (pd.read_parquet(path / f"{name}.parquet") for path in (folder, undisturbed))
        drop = ["wall_seconds"] if name == "oracle" else []
        pd.testing.assert_frame_equal(one.drop(columns=drop), other.drop(columns=drop), check_exact=True)


def wait_for_packs(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until a running sweep has finished so many packs."""
    deadline = time.monotonic() + 120
    while len(list((folder / "lanes").glob("*.parquet"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no packs within two minutes"
        time.sleep(0.02)


def files(folder: Path) -> dict[str, int]:
    """The lanes' files and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "lanes").glob("*.parquet")}


def end_group(process: subprocess.Popen[str]) -> None:
    """Send SIGKILL to a process alone, as the kernel or an operator would."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("packs", [0, 1, 5, 8, 10])
def test_killed_at_any_moment_the_same_command_goes_on_to_the_same_tables(
    start: Start, here: Run, small: Small, undisturbed: Path, tmp_path: Path, packs: int
) -> None:
    process = start(*small(out=tmp_path / "o"))
    wait_for_packs(process, tmp_path / "o", packs)
    end_group(process)
    before = files(tmp_path / "o")
    assert len(before) < len(files(undisturbed))  # it was not finished
    result = here(*small(out=tmp_path / "o"))
    assert result.returncode == 0, result.stderr
    after = files(tmp_path / "o")
    assert {name: after[name] for name in before} == before  # nothing finished was trained again
    assert len(after) == len(files(undisturbed))  # names have the time of a row in them
    assert_equal_tables(tmp_path / "o", undisturbed)
    assert {p.name for p in (tmp_path / "o" / "states").iterdir()} == {
        p.name for p in (undisturbed / "states").iterdir()
    }


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    start: Start, here: Run, small: Small, undisturbed: Path, tmp_path: Path
) -> None:
    process = start(*small(out=tmp_path / "o"))
    wait_for_packs(process, tmp_path / "o", 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"To go on: scyc-sweep {' '.join(small(out=tmp_path / 'o'))}" in err
    assert "Traceback" not in err
    assert here(*small(out=tmp_path / "o")).returncode == 0
    assert_equal_tables(tmp_path / "o", undisturbed)


def test_a_second_command_on_a_folder_is_refused_naming_the_first(
    start: Start, here: Run, small: Small, tmp_path: Path
) -> None:
    first = start(*small(out=tmp_path / "o", steps=2000))
    wait_for_packs(first, tmp_path / "o", 0)
    while not (tmp_path / "o" / "manifest.json").exists():
        time.sleep(0.02)
    second = here(*small(out=tmp_path / "o", steps=2000))
    shown = here("show", tmp_path / "o")
    end_group(first)
    assert second.returncode == 2
    assert f"in use by process {first.pid}" in second.stderr
    assert shown.returncode == 0  # reading needs no lock
    assert "unfinished" in shown.stdout


def test_a_lost_winner_s_pack_is_trained_again_and_nothing_else(here: Run, small: Small, tmp_path: Path) -> None:
    # Fewer stacked lanes of so narrow a network have other last bits, from which all later cycles would start anew.
    command = (*small(out=tmp_path / "o", lanes=4, cycles=1), "--hidden", "4")
    assert here(*command).returncode == 0
    whole, states = load(tmp_path / "o").lanes, {path.name for path in (tmp_path / "o" / "states").iterdir()}
    lost = load(tmp_path / "o").replay.closed[0].best_rows[0]
    (tmp_path / "o" / "states" / f"{lost['state']}.safetensors").unlink()
    assert here(*command).returncode == 0
    again = load(tmp_path / "o").lanes
    pd.testing.assert_frame_equal(again.drop(columns=TIMES), whole.drop(columns=TIMES), check_exact=True)
    assert {path.name for path in (tmp_path / "o" / "states").iterdir()} == states
    trained = again[again["finished_at"] != whole["finished_at"]]
    assert len(trained) == lost["lanes_in_pack"] and lost["lane_id"] in set(trained["lane_id"])


def test_a_damaged_state_stops_the_sweep_with_its_name(run: Run, here: Run, small: Small, tmp_path: Path) -> None:
    assert here(*small(out=tmp_path / "o", cycles=0)).returncode == 0
    winner = load(tmp_path / "o").replay.closed[0].best_rows[0]["state"]
    path = tmp_path / "o" / "states" / f"{winner}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = run(*small(out=tmp_path / "o", cycles=1))
    assert result.returncode == 1
    assert path.name in result.stderr
    assert "Traceback" not in result.stderr
    path.unlink()
    assert here(*small(out=tmp_path / "o", cycles=1)).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_fills_up_ends_the_sweep_naming_it_and_with_room_it_goes_on(
    small_disk: Path, tiny: Callable[..., Settings]
) -> None:
    ballast = small_disk / "ballast"

    def fill(progress: object) -> None:
        if not ballast.exists():
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

    with pytest.raises(TrainingError) as error:
        run_experiment(EXPERIMENT, tiny(small_disk / "o"), fill)
    assert f"{small_disk}/o/states on {socket.gethostname()} cannot be written: No space left on device" in str(
        error.value
    )
    ballast.write_bytes(b"")
    assert run_experiment(EXPERIMENT, tiny(small_disk / "o"), fill).finished


# --- The same on Ray -------------------------------------------------------------------------------------------------


@pytest.fixture
def ray_processes() -> Iterator[Callable[[subprocess.Popen[str]], list[psutil.Process]]]:
    """Give all processes below a driver; end those still alive after the test, by their ids."""
    seen: list[psutil.Process] = []

    def below(process: subprocess.Popen[str]) -> list[psutil.Process]:
        seen.extend(psutil.Process(process.pid).children(recursive=True))
        return list(seen)

    yield below
    for process in seen:
        if process.is_running():
            process.kill()


def workers_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that train. Ray calls a worker by its method while it does, and by its class between two packs."""
    names = ("Trainable", "PackTrial")
    found = [p for p in processes if any("ray::" in part and any(n in part for n in names) for part in p.cmdline())]
    assert found
    return found


@pytest.mark.ray
def test_both_engines_give_equal_tables(run: Run, small: Small, undisturbed: Path, tmp_path: Path) -> None:
    result = run(*small(out=tmp_path / "o", engine="ray", workers=2))
    assert result.returncode == 0, result.stderr
    assert_equal_tables(tmp_path / "o", undisturbed)


@pytest.mark.ray
def test_a_driver_killed_on_ray_goes_on_to_the_same_tables(
    start: Start,
    run: Run,
    small: Small,
    undisturbed: Path,
    tmp_path: Path,
    ray_processes: Callable[..., list[psutil.Process]],
) -> None:
    arguments = small(out=tmp_path / "o", engine="ray", workers=2)
    process = start(*arguments)
    wait_for_packs(process, tmp_path / "o", 5)
    children = ray_processes(process)
    assert any("raylet" in child.name() for child in children)
    end_group(process)
    # The local Ray ends with its driver; its agents look for their parent only now and then.
    _, alive = psutil.wait_procs([child for child in children if "Agent" not in child.name()], timeout=30)
    assert not alive
    before = files(tmp_path / "o")
    assert run(*arguments).returncode == 0
    after = files(tmp_path / "o")
    assert {name: after[name] for name in before} == before
    assert_equal_tables(tmp_path / "o", undisturbed)


@pytest.mark.ray
def test_ctrl_c_on_ray_ends_ray_with_status_130(
    start: Start, small: Small, tmp_path: Path, ray_processes: Callable[..., list[psutil.Process]]
) -> None:
    process = start(*small(out=tmp_path / "o", engine="ray", workers=2, steps=340))
    wait_for_packs(process, tmp_path / "o", 2)
    children = ray_processes(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "To go on: scyc-sweep oracle" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert len(files(tmp_path / "o")) >= 2


@pytest.mark.ray
@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_the_pack_of_a_worker_that_dies_or_hangs_is_trained_by_another(
    start: Start,
    small: Small,
    here: Run,
    tmp_path: Path,
    ray_processes: Callable[..., list[psutil.Process]],
    signal_sent: signal.Signals,
) -> None:
    # Ray takes a stopped process for a slow one, and so it looks to a sweep.
    assert here(*small(out=tmp_path / "calm", steps=340)).returncode == 0
    process = start(*small(out=tmp_path / "o", engine="ray", workers=2, steps=340), "--json")
    wait_for_packs(process, tmp_path / "o", 4)
    workers_of(ray_processes(process))[0].send_signal(signal_sent)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["cycle"] == [0, 1, 2]  # Ray says on stdout that a worker died
    assert_equal_tables(tmp_path / "o", tmp_path / "calm")


@pytest.mark.ray
@pytest.mark.parametrize("server", ["raylet", "DashboardAgent"])
def test_where_a_server_of_ray_dies_the_command_says_so_at_once_and_leaves_nothing(
    start: Start, small: Small, tmp_path: Path, ray_processes: Callable[..., list[psutil.Process]], server: str
) -> None:
    process = start(*small(out=tmp_path / "o", engine="ray", workers=2, steps=340))
    wait_for_packs(process, tmp_path / "o", 2)
    children = ray_processes(process)
    victim = next(child for child in children if server in " ".join(child.cmdline()[:1]))
    victim.kill()
    _, err = process.communicate(timeout=60)
    line = f"scyc-sweep: Ray's {server} (process {victim.pid}) died; all finished lanes are kept. To go on: scyc-sweep "
    assert process.returncode == 1 and err.splitlines()[-1].startswith(line), err
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


@pytest.mark.ray
def test_more_workers_than_cores_are_refused(run: Run, small: Small, tmp_path: Path) -> None:
    result = run(*small(engine="ray", workers=1000), cwd=tmp_path)
    assert result.returncode == 2
    assert "1000 workers of 1 core each do not fit" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def cluster_with_a_token() -> Iterator[str]:
    """A Ray of one core that was started beforehand, on loopback, and asks for the token `aaa...`; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # the paths of sockets must be short
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--include-dashboard=false"]
    options = [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=1", f"--temp-dir={folder}"]
    head = subprocess.Popen(
        [*map(str, command), *options],
        env={**os.environ, **TOKEN, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    family = psutil.Process(head.pid)
    deadline = time.monotonic() + 60
    while not any(child.name().startswith("raylet") for child in family.children(recursive=True)):
        assert head.poll() is None and time.monotonic() < deadline, "no Ray within a minute"
        time.sleep(0.2)
    time.sleep(3)  # until its workers may be asked for
    yield f"127.0.0.1:{port}"
    left = [*family.children(recursive=True), family]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    head.wait()
    shutil.rmtree(folder, ignore_errors=True)


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}


@pytest.mark.ray
def test_a_cluster_that_asks_for_another_token_is_refused_and_says_what_to_set(
    run: Run, small: Small, cluster_with_a_token: str, tmp_path: Path
) -> None:
    other = TOKEN | {"RAY_AUTH_TOKEN": "b" * 64}
    result = run(*small(engine="ray", address=cluster_with_a_token, out=tmp_path / "o"), env=other)
    assert result.returncode == 2
    assert "RAY_AUTH_TOKEN_PATH to its own" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "o").exists()


@pytest.mark.ray
def test_with_the_clusters_token_it_trains_there(
    run: Run, small: Small, cluster_with_a_token: str, tmp_path: Path, undisturbed: Path
) -> None:
    result = run(*small(engine="ray", address=cluster_with_a_token, out=tmp_path / "o"), env=TOKEN)
    assert result.returncode == 0, result.stderr
    assert_equal_tables(tmp_path / "o", undisturbed)
