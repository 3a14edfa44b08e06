"""The ask/tell protocol that every strategy follows: which packs to train next; and what all strategies share.

In: the ledger's rows. Out: packs. An engine needs nothing else of a strategy, nor strategies anything of each other.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweep.errors import TrainingError
from sweep.store.folder import Folder
from sweep.store.identity import lane_id
from sweep.store.ledger import Ledger
from sweep.strategies.progress import Progress
from trainables.schedules import rates
from trainables.spec import Lane, LaneResult, Pack, TrainSpec, derive_seed


@dataclass(frozen=True)
class Context:
    """What a strategy is made from."""

    settings: Any
    fingerprint: str
    """Of the data set."""
    ledger: Ledger
    lanes_per_pack: int
    has_state: Callable[[str], bool]
    """Whether a state's file exists."""
    folder: Folder | None = None
    """Of the results; None where rows alone are replayed."""
    live: bool = False
    """Whether this strategy will train; otherwise it only replays rows."""
    reused: frozenset[str] = frozenset()
    """States of another folder that lie in this one too, and that are kept until all is trained."""


class Strategy(ABC):
    """What hands out packs until there is no more to learn.

    A strategy keeps no memory of its own: everything it decides it decides again, the same, from the ledger's rows, so
    that a killed, an extended and a finished sweep all continue in the same way.
    """

    def __init__(self, context: Context) -> None:
        """Take what a strategy is made from."""
        self.context = context
        self.settings, self.fingerprint, self.ledger = context.settings, context.fingerprint, context.ledger
        self.has_state = context.has_state
        self.lanes_per_pack = context.lanes_per_pack
        """The most lanes of a pack; it may be lowered at any time."""
        self.training: TrainSpec = self.settings.training()
        self.decided: list[str] = []
        """What was decided, in order, a line each: decided again from the same rows, it is the same."""
        self._ids: dict[tuple[int, int, Lane], str] = {}
        self._right: dict[str, dict[str, Any]] = {}
        """Rows that were checked, by key."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether no pack will ever be asked for again."""

    @abstractmethod
    def ask(self) -> Pack | None:
        """Return a pack to train, or None while open packs must come back first or the strategy is finished.

        Its lanes are not in the ledger. Raises TrainingError where nothing can be decided as everything diverged.
        """

    @abstractmethod
    def tell(self, pack: Pack) -> None:
        """Take note that a pack that was asked for is back: the ledger has rows for all lanes but those that ended.

        Raises TrainingError if it started from other initial weights than its like.
        """

    def end(self, pack: Pack, reason: str) -> None:
        """Write rows for lanes that cannot be trained, as nothing is left to prune: their chains end.

        They start from one state. `tell` is called for the pack, as for any other, when the rest of it is back.
        """
        logging.getLogger(__name__).warning("cycle %s, run %s: %s: its chain ends", pack.cycle, pack.run, reason)
        results = [
            LaneResult(
                lane.max_lr,
                lane.parent or "",
                None,
                percent_remaining=math.nan,
                schedule=self.training.schedule_of(pack.cycle, lane.schedule).name,
                status="ended",
                steps=0,
            )
            for lane in pack.lanes
        ]
        self.ledger.append(pack, [self.id_of(pack, lane) for lane in pack.lanes], results, device="", host="")

    @abstractmethod
    def current(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the rows, by key, of the chains that the tables tell of: of what is decided, and of what is open."""

    @abstractmethod
    def open_rows(self) -> list[dict[str, Any]]:
        """Return the rows that the ledger has of what is open: of the cycles or the round that packs are asked for."""

    @abstractmethod
    def kept_states(self) -> set[str | None]:
        """Return the digests to keep whatever comes of the open lanes: past winners, and what packs start from."""

    @abstractmethod
    def may_win(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those of the open rows whose networks a chain may still continue from."""

    def needed_states(self) -> set[str]:
        """Return the digests of all states that a later pack may start from; the others can be deleted."""
        rows = self.open_rows()
        needed = self.kept_states() | {row["parent_state"] for row in rows if row["cycle"] == 0}
        needed |= {row[name] for row in self.may_win(rows) for name in ("state", "rewind_state")}
        return {digest for digest in needed if digest}

    @abstractmethod
    def progress(self) -> Progress:
        """Return how far the sweep is."""

    @property
    def ended(self) -> list[str]:
        """Which chains ended before their last cycle, a line each."""
        ended = {(row["cycle"], row["run"]) for row in self.current().values() if row["status"] == "ended"}
        return [f"cycle {cycle}, run {run}: nothing was left to prune" for cycle, run in sorted(ended)]

    def run_seed(self, run: int) -> int:
        """Return the seed of a run: its split, initial weights and batch order follow from it."""
        return derive_seed("run", self.settings.seed, run)

    def id_of(self, pack: Pack, lane: Lane) -> str:
        """Return the key of a lane in the ledger."""
        known = (pack.cycle, pack.run, lane)
        if known not in self._ids:  # asked for again at every step, and a thousand hashes take time
            self._ids[known] = lane_id(self.training, self.fingerprint, pack, lane)
        return self._ids[known]

    def rows_of(self, pack: Pack) -> list[dict[str, Any]]:
        """Return the rows that the ledger has of a pack's lanes."""
        return [row for lane in pack.lanes if (row := self._row_of(pack, lane)) is not None]

    def train_again(self, lane_ids: Collection[str], whole_packs: bool) -> None:
        """Have lanes trained again whose states are lost; their old rows stay on disk until new ones replace them.

        `whole_packs`: with all lanes of their packs. The last bits of a lane depend on how many are stacked: a winner
        with other bits would have all later cycles trained again. Chains delete states that nothing continues from,
        and may come back to them: then the lane alone is trained.
        """
        for key in lane_ids:
            self.ledger.forget(key, whole_packs)

    def unfinished(self, pack: Pack) -> Pack | None:
        """Return the pack without the lanes that the ledger has, or None if it has all.

        See `train_again` for packs that come again whole.
        """
        lanes = tuple(lane for lane in pack.lanes if self._row_of(pack, lane) is None)
        if any(self.ledger.forgotten.get(self.id_of(pack, lane)) == len(pack.lanes) for lane in lanes):
            return pack
        return replace(pack, lanes=lanes) if lanes else None

    def _row_of(self, pack: Pack, lane: Lane) -> dict[str, Any] | None:
        """Return a lane's row, if the ledger has one that the lane would have left; another one counts as lost."""
        key = self.id_of(pack, lane)
        row = self.ledger.rows.get(key)
        if row is None or key in self.ledger.fresh or self._right.get(key) is row:
            return row
        wrong = self._wrong(pack, lane, row)
        if wrong:
            self.ledger.lose(key, f"the row of cycle {pack.cycle}, run {pack.run}, max_lr {lane.max_lr:g} {wrong}")
            return None
        self._right[key] = row
        return row

    def _wrong(self, pack: Pack, lane: Lane, row: dict[str, Any]) -> str:
        """Return in what a row is not one of this lane; its key says that it is."""
        training, schedule = self.training, self.training.schedule_of(pack.cycle, lane.schedule)
        steps, ok = training.steps_of(pack.cycle), row["status"] == "ok"
        wanted = {
            "cycle": pack.cycle,
            "run": pack.run,
            "seed": pack.seed,
            "max_lr": lane.max_lr,
            "schedule": schedule.name,
            "parent_state": lane.parent or row["parent_state"],
            "steps": steps if ok else min(steps, row["steps"]),
        }
        for name, value in wanted.items():
            if row[name] != value:
                return f"says {name} {row[name]}, not {value}"
        early = pack.cycle == 0 and ok and training.rewind != "none"
        if early != (row["rewind_state"] is not None):
            return "does not say what later cycles are set back to" if early else "is none that later cycles rewind to"
        if early and training.rewind == "init" and row["rewind_state"] != row["parent_state"]:
            return "is set back to other weights than its initial ones"
        if not ok:
            return ""
        if training.score == "last":
            return "" if row["best_step"] == steps else "is not scored by its last evaluation"
        rise = rates(schedule, steps, training.steps).warmup_steps
        right = rise <= row["best_step"] and row["scores_from"] < max(1, rise)
        return "" if right else "is not scored by its best evaluation after the warmup"

    def check_initial(self, pack: Pack, rows: list[dict[str, Any]]) -> None:
        """Raise TrainingError if lanes of cycle 0 of a pack's run started from different initial weights."""
        trained = [row for row in rows if row["run"] == pack.run and row["status"] != "ended"]
        if len({row["parent_state"] for row in trained}) > 1:
            other = "another version of torch draws other numbers; use the version in manifest.json"
            if ":" in self.training.model:
                other = f"{self.training.model} draws other numbers in this process, or {other.replace(';', ', then')}"
            raise TrainingError(
                f"run {pack.run} started from other initial weights than its finished lanes: {other}, or give another "
                "--out"
            )
