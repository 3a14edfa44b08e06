"""The Slurm script, run with stand-ins for Slurm and Ray that write down how they were called."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run

Parse = Callable[..., dict[str, Any]]
SLURM = {"SLURM_JOB_ID": "42", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "32", "SLURM_GPUS_ON_NODE": "4"}
RECORD = """#!/bin/sh
name=${0##*/}
{ echo "$name"; for word; do echo "  $word"; done; } >>"$CALLS"
"""
STAND_INS = {
    "hostname": 'echo "10.1.2.3 192.168.0.1 fe80::1 "',
    "ray": 'umask >"$HOME/umask"',
    "scontrol": "",
    "srun": 'test -z "$SLEEP" || sleep "$SLEEP"; exit "${STATUS:-0}"',
}
OPTIONS = {
    *("job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time", "partition", "account"),
    *("exclusive", "requeue", "open-mode", "signal"),
}
"""Options of sbatch that one may want here."""


@pytest.fixture
def start(docker: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the script with arguments; keyword arguments are variables of its environment."""
    for name, does in STAND_INS.items():
        (tmp_path / name).write_text(f"{RECORD}{does}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "CALLS": str(tmp_path / "calls")}

    def popen(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [shutil.which("bash"), docker / "slurm.sh", *arguments],
            env={**env, **SLURM, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return popen


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the status of the script and what it said."""
    said, _ = process.communicate(timeout=10)
    return process.returncode, said


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[str], list[list[str]]]:
    """Return the arguments of every call of a stand-in so far."""

    def read(name: str) -> list[list[str]]:
        path = tmp_path / "calls"
        blocks = re.findall(r"^(\S+)\n((?:  .*\n)*)", path.read_text() if path.exists() else "", re.MULTILINE)
        return [[line[2:] for line in block.splitlines()] for found, block in blocks if found == name]

    return read


def test_bash_and_shellcheck_have_nothing_to_say(docker: Path, lint: Callable[..., None]) -> None:
    lint("bash", "-n", docker / "slurm.sh")
    lint("shellcheck", docker / "slurm.sh")


def test_its_options_are_slurms_and_stand_before_the_first_command(docker: Path) -> None:
    lines = (docker / "slurm.sh").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    options = [line.split(maxsplit=1)[1] for line in lines if line.startswith("#SBATCH")]
    assert not any(line.startswith("#SBATCH") for line in lines[first:]), "sbatch does not read on"
    assert {option.removeprefix("--").partition("=")[0] for option in options} <= OPTIONS
    assert "--requeue" in options and "--ntasks-per-node=1" in options, "one Ray a node"


def test_one_ray_on_all_nodes_runs_the_command(
    start: Callable[..., subprocess.Popen[str]],
    calls: Callable[[str], list[list[str]]],
    ray_start: Parse,
    parsed: Parse,
) -> None:
    assert ended(start("oracle", "--model", "vgg19", "--out", "a folder/vgg19")) == (0, "")
    (srun,) = calls("srun")
    options, command = srun[: srun.index("ray")], srun[srun.index("ray") :]
    assert options == ["--cpus-per-task=32"], "srun does not take them over from sbatch"
    assert command[:2] == ["ray", "symmetric-run"]
    separator = command.index("--")
    flags = symmetric_run.make_context("symmetric-run", command[2:separator]).params
    assert (flags["address"], flags["min_nodes"]) == ("10.1.2.3:6379", 2)
    started = ray_start(["--head", *curate_and_validate_ray_start_args(command[2:separator])])
    assert (started["num_cpus"], started["num_gpus"]) == (32, 4)
    entrypoint = command[separator + 1 :]
    assert entrypoint == [
        *("scyc-sweep", "oracle", "--model", "vgg19", "--out", "a folder/vgg19", "--address", "auto"),
    ]
    parsed(entrypoint)


def test_a_token_that_only_its_owner_reads_is_there_before_a_ray_is(
    start: Callable[..., subprocess.Popen[str]], calls: Callable[[str], list[list[str]]], tmp_path: Path
) -> None:
    assert ended(start("oracle")) == (0, "")
    assert calls("ray") == [["get-auth-token", "--generate"]]
    assert (tmp_path / "umask").read_text() == "0077\n"
    assert (tmp_path / "calls").read_text().index("get-auth-token") < (tmp_path / "calls").read_text().index("srun")


def test_head_ip_chooses_the_network(
    start: Callable[..., subprocess.Popen[str]], calls: Callable[[str], list[list[str]]]
) -> None:
    assert ended(start("oracle", HEAD_IP="192.168.0.1")) == (0, "")
    assert "192.168.0.1:6379" in calls("srun")[0]


@pytest.mark.parametrize("status", [1, 2, 143])
def test_a_failed_sweep_is_a_failed_job(
    status: int, start: Callable[..., subprocess.Popen[str]], calls: Callable[[str], list[list[str]]]
) -> None:
    assert ended(start("oracle", STATUS=str(status))) == (status, "")
    assert not calls("scontrol"), "it would fail again"


def test_time_that_is_up_puts_the_job_back_into_the_queue(
    start: Callable[..., subprocess.Popen[str]], calls: Callable[[str], list[list[str]]]
) -> None:
    process = start("oracle", SLEEP="0.6", STATUS="143")
    deadline = time.monotonic() + 10
    while not calls("srun") and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # it is called; the script still has to come to its wait
    process.send_signal(signal.SIGUSR1)
    assert ended(process) == (143, ""), "it waits for the sweep to end"
    assert calls("scontrol") == [["requeue", "42"]]


def test_without_a_command_nothing_is_started(
    start: Callable[..., subprocess.Popen[str]], calls: Callable[[str], list[list[str]]]
) -> None:
    status, said = ended(start())
    assert status == 2 and "usage" in said
    assert not calls("srun")


def test_the_command_in_it_is_one(told: Callable[[str, str], list[str]], parsed: Parse) -> None:
    for command in told("slurm.sh", "sbatch docker/slurm.sh"):
        parsed(f"scyc-sweep {command}")
