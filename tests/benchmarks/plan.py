"""What `oracle --plan` says beside what the same command then takes: whole commands, wall time.

A plan is of the grid as it is given. Where the sweep extended it, what grows with the lanes is scaled by those that
were trained.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from common import COMMAND, SEED, against, report, run_command

from sweep.config.resolve import resolve
from sweep.errors import SweepError
from sweep.execution.dataset import dataset_of
from sweep.experiments.oracle.results import OracleResults

OFF = 0.25
CASES = {
    "digits, the embedded default": {},
    "Fashion-MNIST, 3 cycles of 1 epoch": {
        "model": "mlp",
        "steps": "657",
        "runs": "2",
        "cycles": "2",
        "max-lr": "0.001:1:x7",
    },
    "ResNet-20 on CIFAR-10, 2 cycles of 20 steps": {
        "model": "resnet20",
        "steps": "20",
        "runs": "1",
        "cycles": "1",
        "max-lr": "0.001:1:x4",
    },
}


def planned(options: list[str]) -> tuple[dict[str, Any], float]:
    """Return a plan, and how long it took to answer."""
    started = time.perf_counter()
    command = [COMMAND, "oracle", "--plan", "--json", "--seed", str(SEED), "--device", "cpu", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), time.perf_counter() - started


def main() -> None:
    """Plan, carry out and print, case by case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="as scyc-sweep takes it")
    parser.add_argument("--only", help="cases whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="a cycle of one run")
    given = parser.parse_args()
    rows, skipped = [], []
    for name, settings in CASES.items():
        if given.only and given.only not in name:
            continue
        settings = settings | {"data-dir": str(given.data_dir.resolve())}
        if given.quick:
            settings |= {"cycles": "0", "runs": "1"}
        try:
            dataset_of(resolve({key.replace("-", "_"): value for key, value in settings.items()}))
        except SweepError as error:
            skipped.append(f"{name}: left out, {error}")
            continue
        options = [part for key, value in settings.items() for part in (f"--{key}", value)]
        plan, took = planned(options)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            real = run_command("oracle", out, *options).wall_seconds
            lanes = len(OracleResults(out).trials)
        once = plan["start_seconds"] + plan["end_seconds"]
        scaled = once + (plan["seconds"] - once) * lanes / plan["lanes"]
        low, high = plan["seconds"], plan["at_most_seconds"]
        rows += [
            (f"{name}: the plan answers after", f"{took:.0f} s", "", ""),
            (f"    {plan['lanes']:,} lanes planned", f"{low:.0f} s (at most {high:.0f} s)", "", ""),
            (f"    planned, for the {lanes:,} lanes trained", f"{scaled:.0f} s", "", ""),
            ("    real", f"{real:.0f} s", "", ""),
            ("    planned / real, off by", *against(abs(scaled / real - 1), OFF, "{:.2f}")),
        ]
    report("scyc-sweep oracle --plan beside scyc-sweep oracle", ("", "measured", "target", ""), rows)
    for line in skipped:
        print(line)


if __name__ == "__main__":
    main()
