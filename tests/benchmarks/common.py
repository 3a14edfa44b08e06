"""What the benchmarks share: the heading of their tables, and a run of the command with the memory it takes."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from sweep.store import tables
from sweep.store.provenance import hardware

SEED = 0
COMMAND = Path(sys.executable).with_name("scyc-sweep")
PACKAGES = ("scyc-sweep", "torch", "ray")
SAMPLE_SECONDS = 2.0
"""Between looks at the memory of all processes: each costs what is measured some 0.1 s of a core."""


def report(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, as Markdown, under its hardware, versions and seed."""
    machine = hardware()
    memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB" if machine["memory_bytes"] else "unknown memory"
    versions = [f"Python {platform.python_version()}", *(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)]
    table = Table(*columns, box=box.MARKDOWN)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    console = Console(width=130, highlight=False)
    console.print(f"\n{title}", style="bold")
    console.print(f"{machine['cpu']}, {machine['cores']} cores, {memory}; {', '.join(versions)}; seed {SEED}")
    console.print(table)


def against(measured: float, target: float, form: str, at_least: bool = False) -> tuple[str, str, str]:
    """Return the cells of a measured value with its target and whether it is met."""
    met = measured >= target if at_least else measured <= target
    return form.format(measured), f"{'≥' if at_least else '≤'} {form.format(target)}", "pass" if met else "fail"


@dataclass(frozen=True)
class Ran:
    """One run of the command."""

    wall_seconds: float
    peak_memory_bytes: int | None
    """Of all its processes together, pages that they share counted once; None where the system does not tell."""


def run_command(command: str, out: Path, *options: str) -> Ran:
    """Run a command of `scyc-sweep` into `out`, from the start of Python to its end; raises if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    log = out.with_suffix(".log")
    with log.open("wb") as file:
        started = time.perf_counter()
        process = subprocess.Popen(
            # A GPU would take the packs; what is timed here are cores.
            [COMMAND, command, "--seed", str(SEED), "--device", "cpu", "--out", out, *options],
            cwd=out.parent,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        memory = _Memory(process.pid)
        memory.start()
        status = process.wait()
        wall_seconds = time.perf_counter() - started
        memory.ended.set()
        memory.join()
    if status:
        raise RuntimeError(f"scyc-sweep {command} ended with status {status}:\n{log.read_text()[-2000:]}")
    return Ran(wall_seconds, memory.peak or None)


def finished_packs(out: Path) -> list[list[dict[str, Any]]]:
    """Return the rows of every pack of a results folder, in the order in which they came back."""
    packs = [tables.read_rows("lanes", path) for path in (out / "lanes").glob("*.parquet")]
    return sorted(packs, key=lambda rows: rows[0]["finished_at"])


def training_span(trials: pd.DataFrame) -> float:
    """Return the seconds from the start of the first pack to the driver's having the result of the last."""
    ends = trials["finished_at"]
    # A row has its lane's share of the pack's time.
    starts = ends - pd.to_timedelta(trials["wall_seconds"] * trials["lanes_in_pack"], unit="s")
    return float((ends.max() - starts.min()).total_seconds())


def busy_share(trials: pd.DataFrame, workers: int) -> float:
    """Return the share of `training_span` in which workers trained; a pause between sessions counts as idle."""
    return float(trials["wall_seconds"].sum() / (workers * training_span(trials)))


class _Memory(threading.Thread):
    """The most memory that a process and its descendants, present and orphaned, took together (Linux only)."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.peak, self.ended = root, 0, threading.Event()
        self._seen: dict[int, str] = {}

    def run(self) -> None:
        """Sample until `ended` is set."""
        while not self.ended.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(memory_bytes(pid) for pid in self._tree()))

    def _tree(self) -> list[int]:
        parents: dict[int, int] = {}
        starts: dict[int, str] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # ended in the meantime
                continue
            pid = int(path.parent.name)
            parents[pid], starts[pid] = int(fields[1]), fields[19]
        # A process whose parent has ended belongs to us if it did before; its start time tells it from a namesake.
        ours = {pid for pid, start in self._seen.items() if starts.get(pid) == start} | {self.root}
        while new := {pid for pid, parent in parents.items() if parent in ours and pid not in ours}:
            ours |= new
        self._seen = {pid: starts[pid] for pid in ours if pid in starts}
        return list(self._seen)


def memory_bytes(pid: int) -> int:
    """Return a process's memory, with every shared page divided by the number of its sharers."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
