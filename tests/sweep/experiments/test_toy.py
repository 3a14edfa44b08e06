"""A third party's experiment, `toy.py`: one file and one entry of the registry, and every command knows it."""

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweep.cli.main import app
from sweep.cluster.document import Request
from sweep.cluster.parcel import ENTRYPOINT, parcel
from sweep.config.resolve import resolve
from sweep.experiments import registry
from sweep.experiments.registry import EXPERIMENTS
from sweep.experiments.runner import run
from sweep.strategies.progress import Progress

Run = Callable[..., subprocess.CompletedProcess[str]]
FILE = Path(__file__).with_name("toy.py")
SETTINGS: dict[str, Any] = {
    "cycles": 2,
    "runs": 2,
    "steps": 34,
    "lanes": 2,
    "engine": "inline",
    "device": "cpu",
    "rates": (0.05, 0.2, 0.5),
}
FLAGS = [
    part
    for name, value in SETTINGS.items()
    for part in (f"--{name}", *map(str, value if isinstance(value, tuple) else [value]))
]
TIMES = ["wall_seconds", "finished_at"]


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, in the working folder as a user's; afterwards nobody knows of it."""
    shutil.copy(FILE, tmp_path / "toy.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy", raising=False)
    import toy  # type: ignore[import-not-found]

    yield toy
    EXPERIMENTS.pop("toy", None)
    sys.modules.pop("toy", None)
    if "toy" in app:
        del app["toy"]


def trained(listener: Callable[[Progress], None] = lambda progress: None, **changes: Any) -> Any:
    settings = resolve(SETTINGS | changes, kind=registry.settings_class("toy"))
    return run(registry.experiment("toy"), settings, listener, ["scyc-sweep", "toy"])


def lanes(results: Any) -> pd.DataFrame:
    return results.lanes.drop(columns=TIMES)


def test_it_takes_eighty_lines() -> None:
    assert len(FILE.read_text().splitlines()) <= 80


def test_it_trains_every_chain_and_writes_its_table_and_figure(tmp_path: Path) -> None:
    results = trained(out="t")
    assert results.finished and len(results.lanes) == 3 * 3 * 2
    written = pd.read_parquet(tmp_path / "t" / "toy.parquet")
    assert list(written["max_lr"]) == [0.05, 0.2, 0.5]
    last = results.lanes.query("cycle == 2").groupby("max_lr")["val_accuracy"].mean()
    assert list(written["val_accuracy_mean"]) == pytest.approx(list(last))
    assert (tmp_path / "t" / "bars.png").read_bytes().startswith(b"\x89PNG")
    assert registry.load("t").kind == "toy"


def test_killed_it_goes_on_and_trains_no_lane_twice(here: Run, tmp_path: Path) -> None:
    whole = trained(out="whole")
    for packs in (1, 4, 8):

        def interrupt(progress: Progress, packs: int = packs) -> None:
            if progress.lanes_done >= 2 * packs:
                raise KeyboardInterrupt

        out = f"t{packs}"
        with pytest.raises(KeyboardInterrupt):
            trained(interrupt, out=out)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / out / "lanes").iterdir()}
        begun = registry.load(out)
        assert before and not begun.finished and len(begun.toy) in (0, 3)  # type: ignore[attr-defined]
        assert here("show", out).returncode == 0
        results = trained(out=out)
        pd.testing.assert_frame_equal(lanes(results), lanes(whole))
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / out / "lanes").iterdir()}
        assert before.items() <= after.items() and len(after) == len(list((tmp_path / "whole" / "lanes").iterdir()))
    states = [{path.name for path in (tmp_path / out / "states").iterdir()} for out in ("whole", "t4")]
    assert states[0] == states[1]


def test_more_cycles_extend_it_and_other_settings_are_refused(here: Run) -> None:
    before = trained(out="t", cycles=1)
    after = trained(out="t")
    assert set(before.lanes["lane_id"]) < set(after.lanes["lane_id"])
    result = here("toy", *[("17" if word == "34" else word) for word in FLAGS], "--out", "t")
    assert result.returncode == 2 and "--steps was 34, now 17" in result.stderr
    result = here("oracle", "--out", "t")
    assert result.returncode == 2 and "holds the results of `toy`, not of `oracle`" in result.stderr


def test_it_is_a_command_with_flags_and_help(here: Run) -> None:
    result = here("toy", *FLAGS, "--out", "t")
    assert result.returncode == 0, result.stderr
    assert "The best max_lr is " in result.stdout
    text = here("toy", "--help").stdout
    assert "--rates" in text and "Each max_lr to train." in text and "--prune-rate" in text
    assert "toy" in here("--help").stdout


def test_it_is_shown_as_text_and_in_other_formats(here: Run) -> None:
    results = trained(out="t")
    shown = here("show", "t")
    assert shown.returncode == 0 and "The best max_lr is " in shown.stdout
    assert re.search(rf"^ *0\.2 +{results.toy['val_accuracy_mean'][1]:.2f}", shown.stdout, re.MULTILINE)
    content = json.loads(here("show", "t", "--format", "json").stdout)
    assert content == {name: list(results.toy[name]) for name in ("max_lr", "val_accuracy_mean")}
    for format in ("markdown", "latex", "csv"):
        assert "0.5" in here("show", "t", "--format", format).stdout


def test_it_has_a_page_with_its_answers_and_its_figure(here: Run, tmp_path: Path) -> None:
    trained(out="t")
    result = here("report", "t", "-o", "page.html")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "page.html").read_text()
    assert "The best max_lr is " in page and "Which max_lr?" in page
    assert "Which max_lr? (bars)" in page and "<svg" in page.replace("data:image/svg+xml", "<svg")
    assert "rates" in page and "0.05, 0.2, 0.5" in page


def test_it_is_listed_among_the_results_of_a_storage(here: Run) -> None:
    trained(out="all/t")
    result = here("status", "--storage", "all", "--json")
    assert result.returncode == 0, result.stderr
    assert '"t"' in result.stdout and "finished" in result.stdout


def test_submitted_it_is_a_document_that_names_its_module_which_travels_too(here: Run) -> None:
    result = here("submit", "--dry-run", "--storage", "all", "--name", "t", "--", "toy", *FLAGS)
    assert result.returncode == 0, result.stderr
    command, _, sent = result.stdout.partition("\n")
    request = json.loads(sent)["request"]
    assert command == ENTRYPOINT
    [document] = request["documents"]
    assert (document["experiment"], document["reference"]) == ("toy", "toy:EXPERIMENT")
    assert document["settings"]["rates"] == [0.05, 0.2, 0.5] and document["settings"]["out"].endswith("all/t")
    assert "toy.py" in json.loads(sent)["runtime_env"]["working_dir"]


def test_its_job_needs_what_travelled_with_it_and_nothing_else(tmp_path: Path) -> None:
    here = trained(out="here")
    settings = resolve(SETTINGS | {"out": str(tmp_path / "all" / "t")}, kind=registry.settings_class("toy"))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with parcel(Request.of(["scyc-sweep", "submit"], [("toy", settings)])) as folder:
        assert (folder / "toy.py").read_text() == FILE.read_text()
        (tmp_path / "toy.py").unlink()
        command = [sys.executable, *shlex.split(ENTRYPOINT)[1:]]
        job = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert job.returncode == 0, job.stderr
    there = registry.load(tmp_path / "all" / "t")
    assert there.finished and there.manifest["command"] == "scyc-sweep submit"
    pd.testing.assert_frame_equal(lanes(there), lanes(here))


@pytest.mark.ray
def test_a_real_ray_runs_its_job(here: Run, tmp_path: Path, ray_head: str) -> None:
    submit = ["submit", "--address", ray_head, "--storage", tmp_path / "all", "--name", "t", "--wait", "--", "toy"]
    result = here(*submit, *("ray" if word == "inline" else word for word in FLAGS))
    assert result.returncode == 0, result.stderr + result.stdout
    pd.testing.assert_frame_equal(lanes(registry.load(tmp_path / "all" / "t")), lanes(trained(out="here")))


@pytest.fixture
def ray_head(tmp_path: Path) -> Iterator[str]:
    """The address of the dashboard of a Ray of one host, which takes jobs from this test alone."""
    from ray._private.authentication_test_utils import reset_auth_token_state

    port, dashboard, client = (free_port() for _ in range(3))
    ports = ["--port", str(port), "--dashboard-port", str(dashboard), "--ray-client-server-port", str(client)]
    where = ["--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1", "--num-cpus", "2"]
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--disable-usage-stats"]
    with (tmp_path / "ray.log").open("w") as log, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # a job's `python`
        reset_auth_token_state()  # another test of this process may have used a Ray without a token
        head = subprocess.Popen([*command, *ports, *where], stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 60
            while not answers(f"http://127.0.0.1:{dashboard}/api/version"):
                assert head.poll() is None and time.monotonic() < deadline, (tmp_path / "ray.log").read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{dashboard}"
        finally:
            os.killpg(head.pid, signal.SIGTERM)
            head.wait(timeout=60)
    reset_auth_token_state()  # nor must the next one use this test's


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
        return True
    except urllib.error.HTTPError:  # it asks for the token
        return True
    except OSError:
        return False
