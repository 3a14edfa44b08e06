"""Where results come from: command, versions, commit and hardware, as a manifest states them."""

import importlib.metadata
import os
import platform
import shlex
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweep.config.settings import Settings
from sweep.store import clock, version
from sweep.store.identity import identity

PACKAGES = ("scyc-sweep", "torch", "torchvision", "ray", "optuna", "numpy", "pandas", "pyarrow", "safetensors")
COMMIT = "SCYC_SWEEP_COMMIT"
"""In the environment of a job: the commit that it was submitted from."""


def new_manifest(
    kind: str, settings: Settings, fingerprint: str, command: Sequence[str], found: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the manifest of a session that begins or goes on: whole settings, versions, commit, hardware.

    `kind` is the name of the experiment. `found` is the manifest of the session before, if there was one; its session
    is kept under `earlier_sessions`, since a night's lanes may come from several machines and versions.
    """
    session = {
        # Bytes of a name that are no text are shown as numbers.
        "command": shlex.join(command).encode(errors="backslashreplace").decode(),
        "started_at": clock.now(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "git_commit": git_commit(),
        "hardware": hardware(),
        "threads": settings.cpus_per_worker,
    }
    earlier = [*found["earlier_sessions"], {name: found[name] for name in session}] if found else []
    return {
        "schema_version": version.SCHEMA_VERSION,
        "kind": kind,
        "settings": settings.model_dump(mode="json"),
        "identity": identity(settings, fingerprint),
        "lanes_per_pack": found["lanes_per_pack"] if found else None,
        "lanes": found["lanes"] if found else [],
        **session,
        "finished_at": None,
        "ended_early": [],
        "earlier_sessions": earlier,
    }


def hardware() -> dict[str, Any]:
    """Return this machine's processor, cores, memory and GPUs, as far as they are known."""
    import torch

    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {"host": socket.gethostname(), "cpu": cpu, "cores": cores(), "memory_bytes": memory, "gpus": gpus}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, with + where files differ from it.

    In a job that brought the code along it is what that was submitted from.
    """
    if COMMIT in os.environ:
        return os.environ[COMMIT]
    here = Path(__file__).parent
    try:
        describe = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        tracked = subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=here, capture_output=True)
        if tracked.returncode:  # installed: the folder may lie in some other checkout
            return None
        return subprocess.run(describe, cwd=here, capture_output=True, text=True).stdout.strip() or None
    except OSError:
        return None
