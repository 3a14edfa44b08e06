"""Chains: what strategies share that train whole chains of cycles side by side. In: the ledger's rows. Out: packs.

Chains train together, cycle by cycle, as lanes of the same packs; where they agree in their first cycles, these are
trained once. Next: `sweep.tuning` is such a strategy.
"""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import Any

from sweep.errors import TrainingError
from sweep.ledger import Ledger
from sweep.spec import Spec
from sweep.strategy import Strategy
from trainables.spec import Lane, Pack

Chain = tuple[float, ...]
"""max_lr of the cycles 0, 1, ...; of two chains that begin alike the beginning is trained once."""
Row = dict[str, Any]


class _LostError(Exception):
    """A state that a lane must start from is gone: the lane that made it has to be trained again."""


class ChainStrategy(Strategy):
    """A strategy that is one generator: it yields the packs of a round and goes on when the ledger has them.

    A new process runs the generator again from the top, on the same rows, to the same point.
    """

    def __init__(
        self, spec: Spec, fingerprint: str, ledger: Ledger, lanes_per_pack: int, has_state: Callable[[str], bool]
    ) -> None:
        """See `Strategy`."""
        super().__init__(spec, fingerprint, ledger, lanes_per_pack, has_state)
        self.runs = range(spec.runs)
        self._begin()

    @abstractmethod
    def program(self) -> Generator[list[Pack], None, None]:
        """Yield the packs of each round; `take` their rows afterwards."""

    def _begin(self) -> None:
        """Forget everything that the program found; it runs again from the top."""
        self.found: dict[tuple[int, Chain], Row] = {}
        """The rows of a run after the cycles of a chain."""
        self.kept: set[Chain] = set()
        """Chains whose networks later lanes start from, or that a user will want."""
        self.round: list[Pack] = []
        self._left: Iterator[Pack] = iter(())
        self._open = 0
        self._done = False
        self._program = self.program()

    @property
    def finished(self) -> bool:
        """Whether the program has come to its end."""
        return self._done

    @property
    def ended(self) -> list[str]:
        """Nothing: a chain that cannot be pruned any further is an error here."""
        return []

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
                self._done, self.round = True, []
            except _LostError:
                self._begin()
        return None

    def tell(self, pack: Pack) -> None:
        """See `Strategy`."""
        self._open -= 1
        if pack.cycle == 0:
            self.check_initial(pack, [row for row in self.ledger.rows.values() if row["cycle"] == 0])

    def end(self, pack: Pack, reason: str) -> None:
        """Raise TrainingError: all chains of a round end with the pack, so none would reach its last cycle."""
        raise TrainingError(f"cycle {pack.cycle}, run {pack.run}: {reason}; give a lower --target-cycle")

    def needed_states(self) -> set[str]:
        """Return the digests of what is kept, of the open round's parents and lanes, and of the initial weights."""
        needed = {row["state"] for (_, chain), row in self.found.items() if chain in self.kept}
        needed |= {row["parent_state"] for (_, chain), row in self.found.items() if len(chain) == 1}
        for pack in self.round:
            needed |= {lane.parent for lane in pack.lanes if lane.parent}
            rows = self.rows_of(pack)
            needed |= {row["state"] for row in rows}
            needed |= {row["parent_state"] for row in rows if pack.cycle == 0}
        return needed - {None}

    def rows_of_chain(self, chain: Chain) -> list[Row]:
        """Return the rows of all cycles and runs of a chain that was trained."""
        return [self.found[run, chain[: cycle + 1]] for cycle in range(len(chain)) for run in self.runs]

    def rows_so_far(self) -> dict[str, Row]:
        """Return the rows of all lanes that the program has had trained, those of the open round included."""
        rows = {row["trial_id"]: row for row in self.found.values()}
        return rows | {row["trial_id"]: row for pack in self.round for row in self.rows_of(pack)}

    def packs(self, chains: Sequence[Chain]) -> list[Pack]:
        """Return the packs of the last cycle of these chains, in nearly equal parts, and for each part all runs.

        The parts depend on the chains alone and not on what is finished: a sweep that goes on trains the same packs.
        Raises _LostError, having forgotten what has to come again, where a lane's start state is gone.
        """
        count = -(-len(chains) // self.lanes_per_pack)
        short, longer = divmod(len(chains), count)
        left = iter(chains)
        parts = [list(islice(left, short + (index < longer))) for index in range(count)]
        packs = [self._pack(run, part) for part in parts for run in self.runs]
        for pack in packs:
            missing = self.unfinished(pack)
            for parent in {lane.parent for lane in missing.lanes if lane.parent} if missing else ():
                if not self.has_state(parent):
                    self.forget(next(row["trial_id"] for row in self.found.values() if row["state"] == parent))
                    raise _LostError
        return packs

    def _pack(self, run: int, chains: Sequence[Chain]) -> Pack:
        """Return the pack that trains the last cycle of these chains in a run."""
        cycle = len(chains[0]) - 1
        starts = [self.found[run, chain[:-1]] for chain in chains] if cycle else [None] * len(chains)
        lanes = tuple(Lane(chain[-1], row["state"] if row else None) for chain, row in zip(chains, starts, strict=True))
        initial = self.found[run, chains[0][:1]]["parent_state"] if cycle else None
        return Pack(cycle, run, self.run_seed(run), initial, lanes)

    def take(self, chains: Sequence[Chain]) -> None:
        """Note the rows of the last cycle of these chains."""
        for run in self.runs:
            pack = self._pack(run, chains)
            for chain, row in zip(chains, self.rows_of(pack), strict=True):
                self.found[run, chain] = row
