"""Which states and rows a results folder keeps: what is taken over from other folders, and what is deleted.

In: a ledger, a strategy. Out: files copied and removed.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sweep.experiments.base import Reuse
from sweep.store.folder import Folder
from sweep.store.lanes import STATES
from sweep.store.ledger import Ledger
from sweep.strategies.protocol import Strategy
from trainables.states import path_of, remove_states
from trainables.storage import Location, copy


def take_over(reuse: Reuse | None, ledger: Ledger) -> None:
    """Copy files of rows of another folder, as far as this one lacks their lanes."""
    for path, keys in reuse.files.items() if reuse else ():
        if any(key not in ledger.file_of for key in keys):
            ledger.take(path)


def copy_reused(reuse: Reuse | None, target: Location) -> None:
    """Copy the states of another folder that lanes may start from."""
    if reuse is None:
        return
    target.mkdir(parents=True, exist_ok=True)
    for digest in reuse.digests:
        source, here = path_of(reuse.states, digest), path_of(target, digest)
        if source.exists() and not here.exists():
            copy(source, here)


def counts(ledger: Ledger, current: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Return how many of the current lanes of each cycle a folder has."""
    found = Counter(row["cycle"] for key, row in current.items() if key in ledger.file_of)
    return [found[cycle] for cycle in range(max(found, default=-1) + 1)]


def delete_unneeded(where: Folder, ledger: Ledger, strategy: Strategy) -> None:
    """Delete the states that rows name and no later lane may start from, and half-written ones.

    A superseded lane's state stays where another lane started from it, or where it is the last one of its rivals, which
    won: should its chain become current again, nothing is trained again.
    """
    current = strategy.current()
    others = [row for key, row in ledger.rows.items() if key in ledger.file_of and key not in current]
    there = {path.stem for path in where.states.glob("*.safetensors")} if others else set()
    contests = [(row["cycle"], row["run"], row["schedule"], row["parent_state"]) for row in others]
    rivals = Counter(contest for contest, row in zip(contests, others, strict=True) if row["state"] in there)
    starts = {row["parent_state"] for row in others}
    kept = [
        row for contest, row in zip(contests, others, strict=True) if row["state"] in starts or rivals[contest] == 1
    ]
    needed = strategy.needed_states() | {row[name] for row in kept for name in STATES}
    named = {row[name] for row in ledger.rows.values() for name in STATES if row[name]}
    remove_states(where.states, named, needed)
