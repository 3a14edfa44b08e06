"""Bytes that a disk turned: how many does a results folder notice, and does any change a table without a word?

A tiny oracle is built. Then bytes of its files are inverted, one at a time, and single bits in and beside the numbers
that decide. After each the folder is read. Noticed: one line says so. Harmless: tables are what they were. Silent, or
an error that is no line for a user: must be 0, or the exit code is 1.
"""

import argparse
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from common import SEED, report

from sweep import build_oracle, load
from sweep.errors import SweepError
from trainables.states import StateError, load_state

TINY = {"hidden": (4,), "steps": 17, "runs": 2, "cycles": 1, "max_lr": "0.01,0.1,0.3", "lanes": 5, "engine": "inline"}
NUMBERS = ("val_accuracy", "test_accuracy", "max_lr")
AROUND = 4
"""Bytes before and after a number whose bits are turned too."""


def turned(content: bytes, every: int, mask: int) -> Iterator[bytes]:
    """Return the content with the bits of `mask` turned in one byte: in each of the `every`-th, and in the last."""
    for at in {*range(0, len(content), every), len(content) - 1}:
        yield content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


def bits(content: bytes, numbers: set[float], every: int) -> Iterator[bytes]:
    """Return the content with one bit turned: each of the `every`-th in and beside these numbers."""
    places: set[int] = set()
    for wanted in (struct.pack("<d", number) for number in numbers):
        at = content.find(wanted)
        while at >= 0:
            places |= set(range(max(0, at - AROUND), min(len(content), at + len(wanted) + AROUND)))
            at = content.find(wanted, at + 1)
    for bit in [8 * at + bit for at in sorted(places) for bit in range(8)][::every]:
        at = bit // 8
        yield content[:at] + bytes([content[at] ^ (1 << bit % 8)]) + content[at + 1 :]


def count(path: Path, damaged: Iterator[bytes], read: Callable[[Path], object]) -> Counter[str]:
    """Have each content in the place of a file, and return how often that was noticed, harmless or silent."""
    found: Counter[str] = Counter()
    whole, right = path.read_bytes(), read(path)
    for content in damaged:
        path.write_bytes(content)
        try:
            found["harmless" if read(path) == right else "silent"] += 1
        except (SweepError, StateError) as error:
            found["noticed" if "\n" not in str(error) else "no line"] += 1
        except Exception as error:
            print(f"{path.name}: {type(error).__name__}: {error}", file=sys.stderr)
            found["no line"] += 1
    path.write_bytes(whole)
    return found


def main() -> None:
    """Turn bytes and bits, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=60, help="of every so many bytes one is inverted (default: 60)")
    every = parser.parse_args().every
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "oracle"
        results = build_oracle(progress=False, seed=SEED, device="cpu", out=folder, **TINY)
        numbers = {float(value) for name in NUMBERS for value in results.lanes[name]}

        def tables(path: Path) -> object:
            found = load(folder)
            return repr((found.oracle.to_dict("records"), found.lanes.to_dict("records")))

        def state(path: Path) -> object:
            return sorted(load_state(path.parent, path.stem).tensors)

        rows, manifest = sorted((folder / "lanes").glob("*.parquet")), folder / "manifest.json"
        states = sorted((folder / "states").glob("*.safetensors"))
        cases = (
            ("bytes of rows", rows, lambda content: turned(content, every, 0xFF), tables),
            ("bits in numbers of rows", rows, lambda content: bits(content, numbers, max(1, every // 4)), tables),
            ("bytes of the manifest", [manifest], lambda content: turned(content, max(1, every // 10), 0xFF), tables),
            ("letters of the manifest", [manifest], lambda content: turned(content, max(1, every // 10), 1), tables),
            ("bytes of states", states, lambda content: turned(content, every, 0xFF), state),
        )
        table, bad = [], 0
        for name, paths, damage, read in cases:
            started = time.perf_counter()
            found = sum((count(path, damage(path.read_bytes()), read) for path in paths), Counter[str]())
            bad += found["silent"] + found["no line"]
            shown = [f"{found[kind]:,}" for kind in ("noticed", "harmless", "silent", "no line")]
            table.append((name, f"{found.total():,}", *shown, f"{time.perf_counter() - started:.0f} s"))
    heading = ("turned", "cases", "noticed", "harmless", "silent", "no line", "took")
    report(f"One byte or bit at a time, every {every}th, in the files of a results folder", heading, table)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
