"""A Ray of one's own listens on loopback only, though `ray` was imported before, and is looked at after its start."""

import ast
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

BUILD = """
import os, sys, threading, time
import ray  # before ours, which sets what Ray reads at its import
import psutil
from sweep import build_oracle

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
    build_oracle(
        max_lr="0.01,0.1", runs=1, cycles=0, steps=17, lanes=1, engine="ray", workers=2, out=sys.argv[1], progress=False
    )
finally:
    done.append(True)
watch.join()
print(sorted(seen))
"""


@pytest.mark.ray
def test_a_local_ray_listens_on_loopback_only_though_ray_was_imported_before(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    result = subprocess.run(
        [sys.executable, "-c", BUILD, tmp_path / "o"], capture_output=True, text=True, timeout=180, env=environment
    )
    assert result.returncode == 0, result.stderr
    seen = ast.literal_eval(result.stdout)
    assert {address for address, _ in seen} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}, seen
    names = {name for _, name in seen}
    assert {"gcs_server", "raylet"} <= names and any(name.startswith("ray::") for name in names), seen


def test_a_ray_that_others_can_reach_is_refused_with_one_line_that_says_where() -> None:
    import psutil

    from sweep.errors import SweepError
    from sweep.ray_tune import _check_loopback

    own = psutil.Process()
    with socket.create_server(("127.0.0.1", 0)):
        _check_loopback([own])
        with socket.create_server(("0.0.0.0", 0)) as public:
            port = public.getsockname()[1]
            with pytest.raises(SweepError, match=rf"listens on 0\.0\.0\.0 port {port}, where other machines"):
                _check_loopback([own])
