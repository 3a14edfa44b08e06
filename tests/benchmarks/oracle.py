"""The embedded default as a whole command: wall time, memory, and its training against the bare pack loop.

The bare loop trains packs of the finished sweep again, the very same ones, by `train_pack` in plain processes, as many
as the command had workers: no Ray, no ledger, no waiting at the end of a cycle.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from common import against, busy_share, finished_packs, report, run_command, training_span

from sweep.execution.dataset import load_dataset
from sweep.execution.worker import keep_freed_memory
from sweep.experiments.oracle.results import OracleResults
from sweep.store.provenance import cores
from trainables.pack import train_pack
from trainables.spec import Lane, Pack, Schedule, TrainSpec

WALL_SECONDS, MEMORY_BYTES, SHARE = 90.0, 3e9, 0.8
EVERY = 4
"""Of every so many cycles, the bare loop trains one again."""

Rows = Sequence[dict[str, Any]]


def pack_of(rows: Rows, rewind_to: str | None) -> Pack:
    """Return the pack that these rows came of."""
    first = rows[0]
    lanes = tuple(
        Lane(row["max_lr"], row["parent_state"], rewind_to) if first["cycle"] else Lane(row["max_lr"], None)
        for row in rows
    )
    return Pack(first["cycle"], first["run"], first["seed"], lanes)


def bare_loop(
    settings: TrainSpec, packs: Sequence[Pack], data_dir: Path, states: Path, start: Barrier
) -> tuple[int, float]:
    """Train packs one after another in this process; return lane-steps and seconds."""
    torch.set_num_threads(1)
    keep_freed_memory()
    device = torch.device("cpu")
    dataset = load_dataset(settings.dataset, data_dir, device, False)
    short = replace(settings, steps=40, schedule=Schedule("constant"))
    with tempfile.TemporaryDirectory() as scratch:
        lanes = tuple(Lane(lane.max_lr, None) for lane in packs[0].lanes)
        train_pack(short, replace(packs[0], cycle=0, lanes=lanes), dataset, Path(scratch), device)
    start.wait()
    started = time.perf_counter()
    results = [result for pack in packs for result in train_pack(settings, pack, dataset, states, device)]
    return sum(result.steps for result in results), time.perf_counter() - started


def bare_rate(results: OracleResults, packs: Sequence[Rows], every: int, processes: int) -> tuple[float, int]:
    """Return the lane-steps per second of all plain processes together, and how many packs they trained."""
    rewind_to = {rows[0]["run"]: rows[0]["rewind_state"] for rows in packs if not rows[0]["cycle"]}
    chosen = [pack_of(rows, rewind_to[rows[0]["run"]]) for rows in packs if rows[0]["cycle"] % every == 0]
    # Large packs first, dealt in turn: every process gets about the same work.
    chosen.sort(key=lambda pack: -len(pack.lanes))
    hands = [hand for hand in (chosen[index::processes] for index in range(processes)) if hand]
    context = multiprocessing.get_context("spawn")
    settings = results.settings
    with context.Manager() as manager, context.Pool(len(hands)) as pool:
        start = manager.Barrier(len(hands))
        arguments = [(settings.training(), hand, settings.data_dir, results.folder.states, start) for hand in hands]
        done = pool.starmap(bare_loop, arguments, chunksize=1)
    return sum(steps / seconds for steps, seconds in done), len(chosen)


def main() -> None:
    """Run the command, then the bare loop, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 cycle, 1 run")
    quick = parser.parse_args().quick
    options = ["--cycles", "1", "--runs", "1"] if quick else []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        ran = run_command("oracle", out, *options)
        results = OracleResults(out)
        packs, trials = finished_packs(out), results.lanes
        settings = results.settings
        workers = max(1, cores() // settings.cpus_per_worker) if settings.workers == "auto" else settings.workers
        bare, trained_again = bare_rate(results, packs, 1 if quick else EVERY, workers)

    steps = sum(row["steps"] for rows in packs for row in rows)
    span = training_span(trials)
    memory = ran.peak_memory_bytes
    rows = [
        ("wall time, start of Ray included", *against(ran.wall_seconds, WALL_SECONDS, "{:.1f} s")),
        ("of it, from first to last pack", f"{span:.1f} s", "", ""),
        (
            "peak memory of all processes",
            *(("not known here", "", "") if memory is None else against(memory / 1e9, MEMORY_BYTES / 1e9, "{:.2f} GB")),
        ),
        ("workers busy, first to last pack", f"{100 * busy_share(trials, workers):.0f} %", "", ""),
        ("lane-steps/s, bare pack loop", f"{bare:,.0f}", "", ""),
        ("lane-steps/s, first to last pack", f"{steps / span:,.0f}", "", ""),
        ("    of the bare pack loop", *against(100 * steps / span / bare, 100 * SHARE, "{:.0f} %", at_least=True)),
        ("lane-steps/s, whole command", f"{steps / ran.wall_seconds:,.0f}", "", ""),
        (
            "    of the bare pack loop",
            *against(100 * steps / ran.wall_seconds / bare, 100 * SHARE, "{:.0f} %", at_least=True),
        ),
    ]
    lanes = sum(len(rows) for rows in packs)
    report(
        f"scyc-sweep {' '.join(['oracle', *options])}: {lanes:,} lanes in {len(packs)} packs of up to "
        f"{results.manifest['lanes_per_pack']}, {workers} workers.\n"
        f"Bare loop: {trained_again} of these packs in {workers} plain processes",
        ("", "measured", "target", ""),
        rows,
    )


if __name__ == "__main__":
    main()
