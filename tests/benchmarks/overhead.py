"""How busy a finished sweep kept its workers: what is left is Ray, the driver, and waiting at the end of a cycle.

Nothing is run: the rows have when each pack came back and how long it took.
"""

import argparse
from pathlib import Path

from common import busy_share, report, training_span

from sweep.results import Results


def main() -> None:
    """Open results folders and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="results of one session each: a pause counts as idle")
    parser.add_argument("--workers", type=int, required=True, help="packs that trained at a time")
    arguments = parser.parse_args()
    rows = []
    for folder in arguments.folders:
        trials = Results(folder).trials
        packs = (1 / trials["lanes_in_pack"]).sum()
        rows.append(
            (
                str(folder),
                f"{trials['host'].nunique()}",
                f"{len(trials):,}",
                f"{packs:,.0f}",
                f"{trials['wall_seconds'].sum() / packs:.2f} s",
                f"{training_span(trials):.1f} s",
                f"{100 * busy_share(trials, arguments.workers):.0f} %",
            )
        )
    report(
        f"How busy {arguments.workers} workers were from first to last pack",
        ("folder", "hosts", "lanes", "packs", "mean pack", "span", "busy"),
        rows,
    )


if __name__ == "__main__":
    main()
