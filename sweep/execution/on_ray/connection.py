"""The connection to a Ray: joining one, or starting and ending one of our own. In: an address. Out: a connected `ray`.

A Ray of our own listens on loopback only, and when one of its servers dies, the command ends.
"""

import os
import re
import select
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.services import psutil  # it comes with Ray
from ray.job_config import JobConfig

from sweep.errors import SweepError
from sweep.execution import signals
from sweep.execution.on_ray.address import LOCAL, TOKEN_HINT, check_address
from trainables import users_own


class Connection:
    """A connection of this process to a Ray, from `open` to `close`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._servers: list[Any] = []
        """Processes of a Ray of our own."""
        self._closing = False

    def open(self) -> None:
        """Join the Ray at the address, or start one. Raises SweepError where that cannot be."""
        check_address(self.address)
        local = self.address == LOCAL
        others, own_ports = signals.children(), _public_ports([psutil.Process()])
        if local:
            # Ray may have been imported before the variable was set. The servers that it starts read it again.
            ray_constants.ENABLE_RAY_CLUSTER = False
            os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
        try:
            with signals.deferred(), signals.kept():
                ray.init(
                    address=self.address,
                    include_dashboard=False if local else None,
                    num_cpus=len(os.sched_getaffinity(0)) if local and hasattr(os, "sched_getaffinity") else None,
                    log_to_driver=False,
                    logging_level="ERROR",
                    job_config=_DriverFolderLast(_py_driver_sys_path=_project_folder()),
                )
        except Exception as error:  # Ray has no type for a start that fails
            raise SweepError(_why_no_ray(self.address, " ".join(str(error).split())[:200])) from error
        finally:
            self._servers = [each for each in signals.children() if each not in others]
        public = _public_ports([psutil.Process(), *self._servers]) - own_ports if local else set()
        if public:
            raise SweepError(
                f"the Ray that was started here listens on {', '.join(sorted(public))}, where other machines may reach "
                "it, and not on loopback only; give --engine inline, or --address of a Ray that is meant for others"
            )
        threading.Thread(target=self._watch_servers, name="servers", daemon=True).start()

    def close(self) -> None:
        """Leave the cluster, or end our own Ray."""
        self._closing = True
        started = [each for server in self._servers for each in (server, *signals.children(server))]
        with signals.deferred(), signals.kept():
            ray.shutdown()
        signals.end(started)  # those that needed more time than Ray gives them

    def _watch_servers(self) -> None:
        """Wait until a server of our own Ray dies, and end this process with one line that says so.

        Otherwise Ray's library ends it, at once, after 15 s or after a minute, and its log is the last thing printed.
        """
        names = {}
        for process in self._servers:
            with suppress(psutil.Error, OSError, AttributeError):  # AttributeError: not on Linux
                name = _server_name(" ".join(process.cmdline()[:3]))
                if name:
                    names[os.pidfd_open(process.pid)] = f"{name} (process {process.pid})"
        if names:
            dead = select.select(names, [], [])[0]
            if not self._closing:
                signals.fail(f"Ray's {names[dead[0]]} died")
        for each in names:
            os.close(each)


class _DriverFolderLast(JobConfig):  # type: ignore[misc]
    """Keeps Ray's workers from searching the driver's working folder for modules first, as Ray would have them do.

    The folder may hold a `torch.py` or a `sweep.py` of the user's. `Worker.search_path` has the order that we want.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def _project_folder() -> list[str]:
    """Return the folder in which workers find this project; nothing where the project is installed."""
    folder = Path(__file__).parents[3]
    return [] if folder.name in users_own.INSTALLED else [str(folder)]


def _why_no_ray(address: str, reason: str) -> str:
    """Return the message for a Ray that could not be joined or started."""
    if address != LOCAL:
        # Something listens there. That a token is wrong, Ray says in its log only.
        return f"no Ray at {address}: {reason}; {TOKEN_HINT}"
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    free = f"{shutil.disk_usage(folder).free / 1e6:.0f} MB free" if Path(folder).is_dir() else "no folder"
    return f"Ray could not be started: {reason}; it writes to {folder} ({free}), RAY_TMPDIR names another folder"


def _server_name(command: str) -> str:
    """Return the name of a server without which a Ray of one machine ends; empty for other processes."""
    found = re.search(r"(gcs_server|raylet|DashboardAgent|RuntimeEnvAgent)( |$)", command)
    if found:
        return found[1]
    # Before a process has given itself a name.
    scripts = {"dashboard/agent.py": "DashboardAgent", "runtime_env/agent/main.py": "RuntimeEnvAgent"}
    return next((name for script, name in scripts.items() if f"/{script}" in command), "")


def _public_ports(processes: Iterable[Any]) -> set[str]:
    """Return the addresses and ports on which processes listen, except loopback, as far as they can be seen."""
    found = set()
    for process in processes:
        with suppress(psutil.Error, OSError):
            for each in process.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN and not _is_loopback(each.laddr.ip):
                    found.add(f"{each.laddr.ip} port {each.laddr.port}")
    return found


def _is_loopback(host: str) -> bool:
    address = ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
