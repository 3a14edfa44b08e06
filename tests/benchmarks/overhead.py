"""How busy a cluster's workers are from the first pack to the last: what is left is Ray, the driver, and cycles' ends.

A sweep of packs of 10 s and more is submitted to a Ray of a head and two worker hosts of one core, which are network
namespaces of this machine (root and `ip` needed). With folders nothing is run: the rows of finished sweeps have when
each pack came back and how long it took.
"""

import argparse
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from common import against, busy_share, report, training_span

from sweep.experiments.oracle.results import OracleResults

WORKERS = 2
SWEEP = ["oracle", "--lanes", "13", "--runs", "2", "--cycles", "3", "--steps", "12000", "--eval-every", "1200"]
"""16 packs of 12 or 13 lanes, four a cycle."""
SHARE = 0.9


def main() -> None:
    """Run the sweep, or open results folders, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", help="results of one session each: a pause counts as idle")
    parser.add_argument("--workers", type=int, default=WORKERS, help="packs that trained at a time")
    arguments = parser.parse_args()
    if arguments.folders:
        table([(str(folder), folder) for folder in arguments.folders], arguments.workers)
        return
    with tempfile.TemporaryDirectory() as storage:
        run(Path(storage))
        table([("two worker hosts", Path(storage) / "digits")], WORKERS)


def run(storage: Path) -> None:
    """Submit the sweep to a cluster of its own, and wait for it."""
    hosts = namespaces()
    os.environ.update(hosts.settings)
    try:
        hosts.up()
        hosts.cluster()
        ran = hosts.run(
            "submit", "--storage", storage, "--wait", "--", *SWEEP, "--workers", str(WORKERS), "--wait-for-resources"
        )
        if ran.returncode:
            raise SystemExit(ran.stdout + ran.stderr)
    finally:
        hosts.down()


def namespaces() -> Any:
    """Return the hosts of the cluster's tests."""
    path = Path(__file__).parents[1] / "cluster" / "conftest.py"
    found = importlib.util.spec_from_file_location("cluster_hosts", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    if why := module.reason_to_skip():
        raise SystemExit(why)
    return module.Hosts()


def table(folders: list[tuple[str, Path]], workers: int) -> None:
    """Print a row for each folder."""
    rows = []
    for name, folder in folders:
        trials = OracleResults(folder).trials
        packs, busy = (1 / trials["lanes_in_pack"]).sum(), busy_share(trials, workers)
        rows.append(
            (
                name,
                f"{trials['host'].nunique()}",
                f"{len(trials):,}",
                f"{packs:,.0f}",
                f"{trials['wall_seconds'].sum() / packs:.2f} s",
                f"{training_span(trials):.1f} s",
                *against(busy, SHARE, "{:.1%}", at_least=True),
            )
        )
    report(
        f"How busy {workers} workers were from first to last pack",
        ("sweep", "hosts", "lanes", "packs", "mean pack", "span", "busy", "target", ""),
        rows,
    )


if __name__ == "__main__":
    main()
