"""A Ray cluster of several hosts on this machine: network namespaces joined by a bridge, one for each host.

Each host has an address, a loopback and a temporary folder of its own; they share the disk. Needs root and `ip`.
"""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyarrow.fs import S3FileSystem

from sweep.cli.main import main

HEAD, EAST, WEST = 0, 1, 2
NETWORK = "10.77.0"
# A host that is silent for three seconds is gone; by default Ray waits for half a minute.
IMPATIENT = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "1000",
}
OPEN = {"RAY_AUTH_MODE": "disabled"}
AWS = {
    "AWS_ACCESS_KEY_ID": "key-of-the-bucket",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-bucket",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": f"http://{NETWORK}.2:5000",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Hosts:
    """Hosts that are joined by a bridge, and what runs on them."""

    def __init__(self) -> None:
        self.names = [f"scyc{os.getpid() % 100000}{letter}" for letter in "abc"]
        self.bridge = f"scycbr{os.getpid() % 100000}"
        self.folder = Path(tempfile.mkdtemp(prefix="scyc-", dir="/tmp"))  # the paths of sockets must be short
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.started: list[subprocess.Popen[bytes]] = []
        self.submitters: list[subprocess.Popen[str]] = []
        self.sessions = 0

    def up(self) -> None:
        ip("link", "add", self.bridge, "type", "bridge")
        ip("link", "set", self.bridge, "up")
        ip("addr", "add", f"{NETWORK}.1/24", "dev", self.bridge)  # this machine, from where sweeps are submitted
        for host, name in enumerate(self.names):
            ip("netns", "add", name)
            ip("link", "add", self.link(host), "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", self.link(host), "master", self.bridge, "up")
            ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                ip("-n", name, "link", "set", device, "up")

    def down(self) -> None:
        for process in [*self.submitters, *self.started]:
            kill_tree(process)
        for host, name in enumerate(self.names):
            subprocess.run(["ip", "link", "del", self.link(host)], capture_output=True)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def link(self, host: int) -> str:
        """The cable between a host and the bridge."""
        return f"{self.names[host]}0"

    def address(self, host: int) -> str:
        return f"{NETWORK}.{host + 2}"

    @property
    def dashboard(self) -> str:
        return f"http://{self.address(HEAD)}:8265"

    def cut(self, host: int) -> None:
        ip("link", "set", self.link(host), "down")

    def mend(self, host: int) -> None:
        ip("link", "set", self.link(host), "up")

    def begin(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start `scyc-sweep` on this machine."""
        command = [sys.executable, "-m", "sweep", *map(str, arguments)]
        log = (self.folder / f"log-submit-{len(self.started)}").open("w")
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment(self.settings))
        log.close()
        self.submitters.append(process)
        return process

    def start(self, host: int, *command: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a command on a host."""
        self.sessions += 1
        with (self.folder / f"log-{self.sessions}").open("wb") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.names[host], *map(str, command)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(env),
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def run(self, *arguments: str | Path) -> "Ran":
        """Run `scyc-sweep` on this machine to its end, in this process: the same, without seconds of imports."""
        out, err = io.StringIO(), io.StringIO()
        before, sys.argv = sys.argv, ["scyc-sweep", *map(str, arguments)]
        try:
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
                main()
        finally:
            sys.argv = before
        return Ran(sys.argv, int(ended.value.code or 0), out.getvalue(), err.getvalue())

    def run_apart(self, *arguments: str | Path, env: dict[str, str]) -> "Ran":
        """Run it in a process of its own, with another environment."""
        return complete(sys.executable, "-m", "sweep", *arguments, env=self.settings | env, timeout=180)

    def on_head(self, *command: str | Path) -> "Ran":
        """Run a command on the head to its end."""
        return complete("ip", "netns", "exec", self.names[HEAD], *command, env=self.settings, timeout=180)

    @property
    def settings(self) -> dict[str, str]:
        """The environment of who uses the cluster."""
        return {"RAY_API_SERVER_ADDRESS": self.dashboard} | OPEN

    def ray(self, host: int, env: dict[str, str] | None = None, *more: str | Path) -> None:
        """Start Ray on a host: a head that trains nothing, or a worker host of one core."""
        ray = Path(sys.executable).with_name("ray")
        common = ["--block", "--node-ip-address", self.address(host), "--disable-usage-stats"]
        self.sessions += 1
        if host == HEAD:
            own = ["--head", "--port", "6379", "--num-cpus", "0", "--dashboard-host", self.address(HEAD)]
            own += ["--temp-dir", str(self.folder / f"r{self.sessions}")]
        else:
            own = ["--address", f"{self.address(HEAD)}:6379", "--num-cpus", "1"]
            own += ["--temp-dir", str(self.folder / f"r{self.sessions}")]
        # Workers that are niced would be starved by whatever else this machine does.
        settings = {"RAY_worker_niceness": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"} | IMPATIENT | OPEN | AWS
        self.running[host] = self.start(host, ray, "start", *common, *own, *more, env=settings | (env or {}))

    def head(self, env: dict[str, str] | None = None, *more: str | Path) -> None:
        """Start a head and wait until it answers."""
        self.ray(HEAD, env, *more)
        self.wait(lambda: self.reaches(HEAD, 6379) and self.reaches(HEAD, 8265), "the head")

    def cluster(self, env: dict[str, str] | None = None) -> None:
        """Start a head and two worker hosts, and wait until the head knows of both."""
        self.head(env)
        for host in (EAST, WEST):
            self.ray(host, env)

    def kill(self, host: int) -> None:
        """End everything of Ray on a host at once, as when its power goes."""
        kill_tree(self.running.pop(host))

    def reaches(self, host: int, port: int) -> bool:
        try:
            socket.create_connection((self.address(host), port), 1).close()
        except OSError:
            return False
        return True

    def wait(self, true: Callable[[], object], what: str, seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < until, f"{what} did not come; {self.logs()}"
            time.sleep(0.2)

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("log-*")))


Ran = subprocess.CompletedProcess


def environment(more: dict[str, str] | None) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # a job is run by the host's own python
    return {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path, **AWS, **(more or {})}


def complete(*command: str | Path, env: dict[str, str], timeout: float) -> "Ran":
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, env=environment(env), timeout=timeout)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def kill_tree(process: "subprocess.Popen[Any]") -> None:
    """Kill a process that we started and all that it started, by their ids."""
    try:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        tree = []
    for each in tree:
        try:
            each.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(tree, timeout=10)


def reason_to_skip() -> str:
    """Return why there can be no such hosts here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip"):
        return "hosts as network namespaces need Linux, root and `ip` (package iproute2)"
    name = f"scyctest{os.getpid() % 100000}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return f"no network namespaces here: {made.stderr.strip()}" if made.returncode else ""


@pytest.fixture
def bucket(hosts: Hosts) -> str:
    """A bucket of an S3 server that runs on the head."""
    server = Path(sys.executable).with_name("moto_server")
    hosts.start(HEAD, server, "-H", hosts.address(HEAD), "-p", "5000")
    hosts.wait(lambda: hosts.reaches(HEAD, 5000), "the S3 server")
    there = S3FileSystem(endpoint_override=AWS["AWS_ENDPOINT_URL"], allow_bucket_creation=True)
    there.create_dir("bucket")
    return "s3://bucket"


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """Three hosts without Ray, and the environment of who uses them."""
    if why := reason_to_skip():
        pytest.skip(why)
    found = Hosts()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (found.settings | AWS).items():
            patch.setenv(name, value)
        try:
            found.up()
            yield found
        finally:
            found.down()
