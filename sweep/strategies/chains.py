"""Chains: what strategies share that train whole chains of cycles side by side. In: the ledger's rows. Out: packs.

Chains train together, cycle by cycle, as lanes of the same packs; where they agree in their first cycles, these are
trained once. Next: `sweep.experiments.tuning.strategy` is such a strategy.
"""

from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

from sweep.strategies.packing import in_packs
from sweep.strategies.protocol import Context, Strategy
from trainables.spec import Lane, Pack, Schedule


class Link(NamedTuple):
    """One cycle of a chain: what its lanes are trained under."""

    max_lr: float
    schedule: Schedule | None = None
    """None: that of the settings."""


Chain = tuple[Link, ...]
"""The cycles 0, 1, ...; of two chains that begin alike the beginning is trained once."""
Row = dict[str, Any]


class _LostError(Exception):
    """A state that a lane must start from is gone: the lane that made it has to be trained again."""


class ChainStrategy(Strategy):
    """A strategy that is one generator: it yields the packs of a round and goes on when the ledger has them.

    A new process runs the generator again from the top, on the same rows, to the same point.
    """

    def __init__(self, context: Context) -> None:
        """See `Strategy`."""
        super().__init__(context)
        self.runs = range(self.settings.runs)
        self._lost: set[str] = set()
        """Lanes, by lane_id, whose networks had to be trained again."""
        self._again: dict[tuple[int, Chain], set[str | None]] = {}
        """Their states, which are kept to the end: what a restart needs must not be deleted on the way to it."""
        self._begin()

    @abstractmethod
    def program(self) -> Generator[list[Pack], None, None]:
        """Yield the packs of each round; `take` their rows afterwards."""

    def _begin(self) -> None:
        """Forget everything that the program found; it runs again from the top."""
        self.decided = []
        self.found: dict[tuple[int, Chain], Row] = {}
        """The rows of a run after the cycles of a chain."""
        self.kept: set[Chain] = set()
        """Chains whose networks later lanes start from, or that a user will want."""
        self._held: set[str | None] = set()
        """States to keep to the program's end, since it comes to them behind what is new."""
        self.round: list[Pack] = []
        self._left: Iterator[Pack] = iter(())
        self._open = 0
        self._done = False
        self._program = self.program()

    @property
    def finished(self) -> bool:
        """Whether the program has come to its end."""
        return self._done

    def ask(self) -> Pack | None:
        """Return the next pack. See `Strategy`."""
        while not self._done:
            for planned in self._left:
                pack = self.unfinished(planned)
                if pack is not None:
                    self._open += 1
                    return pack
            if self._open:
                return None
            try:
                self.round = next(self._program)
                self._left = iter(self.round)
            except StopIteration:
                self._done, self.round, self._again, self._held = True, [], {}, set()
            except _LostError:
                self._begin()
        return None

    def tell(self, pack: Pack) -> None:
        """See `Strategy`."""
        self._open -= 1
        if pack.cycle == 0:
            self.check_initial(pack, [row for row in self.ledger.rows.values() if row["cycle"] == 0])

    def kept_states(self) -> set[str | None]:
        """See `Strategy`: what is kept, the open round's parents, the initial weights, and what had to come again."""
        kept: set[str | None] = {row["state"] for (_, chain), row in self.found.items() if chain in self.kept}
        kept |= {row["parent_state"] for (_, chain), row in self.found.items() if len(chain) == 1}
        beginnings = {chain[:1] for chain in self.kept}
        kept |= {row["rewind_state"] for (_, chain), row in self.found.items() if chain in beginnings}
        kept |= {digest for digests in self._again.values() for digest in digests} | self._held
        kept |= {digest for pack in self.round for lane in pack.lanes for digest in (lane.parent, lane.rewind_to)}
        for row in self.open_rows():
            if row["lane_id"] in self._lost:
                kept |= {row["state"], row["rewind_state"]}
        return kept

    def may_win(self, rows: list[Row]) -> list[Row]:
        """See `Strategy`: all rows of the open round, as far as they tell."""
        return rows

    def rows_of_chain(self, chain: Chain) -> list[Row]:
        """Return the rows of all cycles and runs of a chain that was trained."""
        return [self.found[run, chain[: cycle + 1]] for cycle in range(len(chain)) for run in self.runs]

    def current(self) -> dict[str, Row]:
        """See `Strategy`: the rows of all lanes that the program has had trained, and of the open round."""
        rows = {row["lane_id"]: row for row in self.found.values()}
        return rows | {row["lane_id"]: row for row in self.open_rows()}

    def open_rows(self) -> list[Row]:
        """See `Strategy`."""
        return [row for pack in self.round for row in self.rows_of(pack)]

    def packs(self, chains: Sequence[Chain]) -> list[Pack]:
        """Return the packs of the last cycle of these chains, in nearly equal parts, and for each part all runs.

        The parts depend on the chains alone and not on what is finished: a resumed sweep trains the same packs.
        Raises _LostError, having forgotten what has to come again, where a lane's start state is gone.
        """
        packs = list(in_packs(chains, self.lanes_per_pack, self.runs, self._pack))
        missing = [pack for planned in packs if (pack := self.unfinished(planned))]
        starts = {
            (pack.run, digest)
            for pack in missing
            for lane in pack.lanes
            for digest in (lane.parent, lane.rewind_to)
            if digest
        }
        lost = {(run, digest) for run, digest in starts if not self.has_state(digest)}
        again = {
            row["lane_id"]
            for (run, _), row in self.found.items()
            if (run, row["state"]) in lost or (run, row["rewind_state"]) in lost
        }
        self._lost |= again
        self.train_again(again, whole_packs=False)
        if lost:
            raise _LostError
        return packs

    def _pack(self, run: int, chains: Sequence[Chain]) -> Pack:
        """Return the pack that trains the last cycle of these chains in a run."""
        return Pack(len(chains[0]) - 1, run, self.run_seed(run), tuple(self._lane(run, chain) for chain in chains))

    def _lane(self, run: int, chain: Chain) -> Lane:
        """Return the lane that trains the last cycle of a chain in a run."""
        last = chain[-1]
        if len(chain) == 1:
            return Lane(last.max_lr, None, None, last.schedule)
        parent, first = self.found[run, chain[:-1]], self.found[run, chain[:1]]
        return Lane(last.max_lr, parent["state"], first["rewind_state"], last.schedule)

    def train(self, chains: Sequence[Chain]) -> Generator[list[Pack], None, None]:
        """Have the last cycle of these chains trained, as far as the ledger lacks it."""
        if chains:
            packs = self.packs(chains)
            if any(self.unfinished(pack) for pack in packs):
                yield packs
            self.take(chains)

    def whole(self, chain: Chain) -> bool:
        """Whether the last cycle of a chain came out well in all runs."""
        return all(self.found[run, chain]["status"] == "ok" for run in self.runs)

    def take(self, chains: Sequence[Chain]) -> None:
        """Note the rows of the last cycle of these chains."""
        for run in self.runs:
            pack = self._pack(run, chains)
            for chain, row in zip(chains, self.rows_of(pack), strict=True):
                self.found[run, chain] = row
                if row["lane_id"] in self._lost:
                    self._again[run, chain] = {row["state"], row["rewind_state"]}
