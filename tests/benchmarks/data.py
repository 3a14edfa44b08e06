"""How long data sets take to load: each in a process of its own, the import of torch left out."""

import argparse
import subprocess
import sys
from pathlib import Path

from common import report

LOAD = """
import sys, time, torch
from pathlib import Path
from trainables.data import datasets
started = time.perf_counter()
found = datasets.load(sys.argv[1], Path(sys.argv[2]), False)
print(time.perf_counter() - started, len(found.images), found.images.numel() / 1e6)
"""
SECONDS = {"cifar10": 3.0, "cifar100": 3.0, "tiny_imagenet": 5.0}
"""What loading may take; Tiny ImageNet from the second time on, when it is decoded."""
TIMES = 3


def main() -> None:
    """Load what lies in the data folder and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data sets")
    folder = parser.parse_args().data_dir
    rows = []
    for name in ("digits", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet"):
        seconds, images, megabytes = [], "", ""
        for _ in range(TIMES):
            command = [sys.executable, "-c", LOAD, name, str(folder)]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                break
            took, images, megabytes = result.stdout.split()
            seconds.append(float(took))
        if not seconds:
            rows.append((name, "", "", f"not in {folder}", ""))
            continue
        limit = SECONDS.get(name)
        verdict = "" if limit is None else "pass" if seconds[-1] < limit else "fail"
        times = ", ".join(f"{each:.2f}" for each in seconds)
        rows.append((name, f"{int(images):,}", f"{float(megabytes):,.0f} MB", f"{times} s", verdict))
    report("Loading a data set, one time after another", ("data set", "images", "bytes", "took", ""), rows)


if __name__ == "__main__":
    main()
