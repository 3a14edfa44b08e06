"""A Ray of one's own listens on loopback only, though `ray` was imported before, and is looked at after its start."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from sweep.errors import SweepError
from sweep.execution.on_ray.address import address_of
from sweep.execution.on_ray.connection import Connection

BUILD = """
import os, sys, threading, time
import ray  # before ours, which sets what Ray reads at its import
import psutil
from types import SimpleNamespace
from sweep import build_oracle
from sweep.execution.on_ray import connection
from sweep.errors import SweepError

settings = {"max_lr": "0.01,0.1", "runs": 1, "cycles": 0, "steps": 17, "lanes": 1, "workers": 2, "progress": False}
settings |= {"engine": "ray", "out": sys.argv[1]}

# First as if a later Ray took no notice of what it is told.
ours = connection.ray_constants
connection.ray_constants = SimpleNamespace(ENABLE_RAY_CLUSTERS_ENV_VAR="ANOTHER")
try:
    build_oracle(**settings)
except SweepError as error:
    print(error)
connection.ray_constants = ours
assert not psutil.Process().children(recursive=True)

def look():
    while not done:
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            try:
                for each in process.net_connections("tcp"):
                    if each.status == "LISTEN":
                        seen.add((each.laddr.ip, process.name()))
            except psutil.Error:
                pass
        time.sleep(0.05)

seen, done = set(), []
watch = threading.Thread(target=look)
watch.start()
try:
    build_oracle(**settings)
finally:
    done.append(True)
watch.join()
print(sorted(seen))
"""


@pytest.mark.ray
def test_a_local_ray_listens_on_loopback_only_though_ray_was_imported_before_or_is_refused(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    result = subprocess.run(
        [sys.executable, "-c", BUILD, tmp_path / "o"], capture_output=True, text=True, timeout=180, env=environment
    )
    assert result.returncode == 0, result.stderr
    refused, found = result.stdout.splitlines()
    assert re.search(r"listens on \S+ port \d+.*, where other machines may reach it", refused)
    seen = ast.literal_eval(found)
    assert {address for address, _ in seen} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}, seen
    names = {name for _, name in seen}
    assert {"gcs_server", "raylet"} <= names and any(name.startswith("ray::") for name in names), seen


def test_a_ray_that_cannot_write_says_where_and_what_names_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(file))
    connection = Connection(address_of(None))
    with pytest.raises(SweepError, match=rf"could not be started: .*; it writes to {file} \(no folder\), RAY_TMPDIR"):
        connection.open()
    connection.close()
    assert not ray.is_initialized()
