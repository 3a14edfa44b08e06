"""The CPU time of the commands that only look: help, and what they print of a small oracle that is trained first."""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from common import against, report

from sweep import build_oracle

SMALL = {"engine": "inline", "device": "cpu", "steps": 10, "runs": 2, "cycles": 2, "hidden": (8,), "lanes": 3}
COMMANDS = {
    "--help": 0.4,
    "oracle --help": 0.4,
    "presets": 1.5,
    "config": 1.5,
    "trajectory --epsilon 0.04 --delta 0.06 --q 1 --beta 4": 1.5,
    "show oracle": 1.5,
    "status --storage .": 1.5,
    "compare oracle": 1.5,
}
"""With the seconds that each may take."""
TIMES = 5


def cpu_seconds(words: list[str], folder: Path) -> float:
    """Run a command in a process of its own, and return its CPU time, of user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "sweep", *words], cwd=folder, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Run each command several times; print its lowest CPU time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_oracle(progress=False, **SMALL, max_lr="0.01:1:x3", scyc="0.05,0.1,1,4", out=folder / "oracle")
        rows = []
        for command, limit in COMMANDS.items():
            lowest = min(cpu_seconds(command.split(), folder) for _ in range(TIMES))
            rows.append((f"scyc-sweep {command}", *against(lowest, limit, "{:.2f} s")))
    report(f"CPU time of a command, the lowest of {TIMES}", ("command", "took", "target", ""), rows)


if __name__ == "__main__":
    main()
