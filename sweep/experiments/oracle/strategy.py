"""The greedy oracle: a strategy. In: the ledger's rows. Out: packs to train, and closed cycles.

Next: `sweep.statistics.selection` makes tables of the closed cycles.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from search_spaces.max_lr import GrowingGrid
from sweep.errors import TrainingError
from sweep.statistics.selection import ClosedCycle, choose, dominated, mean_scores
from sweep.store.lanes import STATES
from sweep.strategies.packing import in_packs
from sweep.strategies.progress import Progress
from sweep.strategies.protocol import Context, Strategy
from trainables.spec import Lane, Pack


class _Chain:
    """The greedy oracle of one set of runs that decide together: one cycle after the other."""

    def __init__(self, oracle: "GreedyOracle", runs: Sequence[int], run: int | None) -> None:
        self.oracle, self.runs, self.run = oracle, runs, run
        self.cycle = 0
        self.parents: dict[int, str | None] = dict.fromkeys(runs)
        self.rewind_to: dict[int, str | None] = dict.fromkeys(runs)
        self.closed: list[ClosedCycle] = []
        self.keys: list[str]
        """Of the open cycle's lanes, in the ledger: worked out once, since every pack that comes back asks for them."""
        self.rounds: list[Sequence[float]]
        """Its grid, and then what each extension added: packs never hold lanes of two rounds."""
        self.packs: Iterator[Pack]
        """Made when the first is asked for: until then the packs' size may still have to be measured."""
        self.ended = False
        """Whether a run has nothing left to prune in the open cycle."""
        self.open = 0
        self._open_cycle()

    @property
    def finished(self) -> bool:
        return self.ended or self.cycle > self.oracle.settings.cycles

    def ask(self) -> Pack | None:
        while not self.finished:
            for planned in self.packs:
                pack = self.oracle.unfinished(planned)
                if pack is not None:
                    self.open += 1
                    return pack
            if self.open:
                return None
            self._decide()
        return None

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the open cycle that the ledger has."""
        rows = self.oracle.ledger.rows
        return [rows[key] for key in self.keys if key in rows]

    def kept_states(self) -> set[str | None]:
        kept: set[str | None] = {row["state"] for closed in self.closed for row in closed.best_rows}
        kept |= set(self.rewind_to.values())
        return kept | {row["parent_state"] for closed in self.closed[:1] for row in closed.best_rows}

    def may_win(self) -> list[dict[str, Any]]:
        """Return the open rows of those max_lr whose mean may still be the highest."""
        rows = [] if self.finished else self.rows()
        hopeless = dominated(rows, len(self.runs))
        return [row for row in rows if row["max_lr"] not in hopeless]

    def _decide(self) -> None:
        """Extend the grid, have lost winners trained again, or close the cycle and go on to the next."""
        rows = self.rows()
        settings = self.oracle.settings
        choice = choose(mean_scores(rows), settings.tolerance, settings.tolerance_kind)
        if choice is None:
            raise TrainingError(f"cycle {self.cycle}: every max_lr of the grid diverged; give --max-lr a lower grid")
        new = self.grid.grow(choice.low_at_edge, choice.high_at_edge)
        if new:
            low, high = self.grid.points[0], self.grid.points[-1]
            self._note(f"the grid is extended by {len(new)} max_lr, it is {low:.4g} to {high:.4g} now")
            self._open_round(new)
            return
        winners = {row["run"]: row for row in rows if row["max_lr"] == choice.best_max_lr}
        lost = [run for run in self.runs if not self._has_states(winners[run])]
        if lost:
            self._note(f"the best network of run {', '.join(map(str, lost))} is lost and is trained again")
            self.oracle.train_again([winners[run]["lane_id"] for run in lost], whole_packs=True)
            self.packs = (pack for points in self.rounds for pack in self._packs_of(points))
            return
        accuracy = fmean(row["val_accuracy"] for row in winners.values())
        self._note(f"decided: best max_lr {choice.best_max_lr:.4g}, validation accuracy {accuracy:.2f} %")
        self.closed.append(ClosedCycle(self.cycle, self.run, len(self.oracle.grid.values), rows, choice))
        self.parents = {run: winners[run]["state"] for run in self.runs}
        if self.cycle == 0:
            self.rewind_to = {run: winners[run]["rewind_state"] for run in self.runs}
        self.cycle += 1
        self._open_cycle()

    def _note(self, what: str) -> None:
        run = "" if self.run is None else f"run {self.run}, "
        self.oracle.decided.append(f"{run}cycle {self.cycle}: {what}")

    def _open_cycle(self) -> None:
        self.grid, self.keys, self.rounds = GrowingGrid(self.oracle.grid), [], []
        self._open_round(self.grid.points)

    def _open_round(self, points: Sequence[float]) -> None:
        self.rounds.append(points)
        whole = [self._pack(run, points) for run in self.runs]
        self.keys += [self.oracle.id_of(pack, lane) for pack in whole for lane in pack.lanes]
        self.packs = self._packs_of(points)
        self.note_ended()

    def note_ended(self) -> None:
        """Note whether a run has nothing left to prune: then the chain ends, as no decision of all runs can follow."""
        if not self.ended and any(row["status"] == "ended" for row in self.rows()):
            self.ended = True
            self._note("nothing is left to prune: the chain ends")  # in which runs depends on what was under way

    def _has_states(self, row: dict[str, Any]) -> bool:
        """Whether what is kept of a winner is there: its network, what it started from, what cycle 0 is rewound to."""
        return all(self.oracle.has_state(row[name]) for name in STATES if row[name])

    def _packs_of(self, points: Sequence[float]) -> Iterator[Pack]:
        yield from in_packs(points, self.oracle.lanes_per_pack, self.runs, self._pack)

    def _pack(self, run: int, points: Sequence[float]) -> Pack:
        lanes = tuple(Lane(point, self.parents[run], self.rewind_to[run]) for point in points)
        return Pack(self.cycle, run, self.oracle.run_seed(run), lanes)


class GreedyOracle(Strategy):
    """The greedy oracle of the S-Cyc paper (section 4, Tables 3, 7, 8).

    At each cycle the whole grid trains from the same start, each run's winner is pruned and starts the next. With
    `decide = shared` all runs make one choice; with `per_run` each run is an oracle of its own, and none waits for
    another.
    """

    def __init__(self, context: Context) -> None:
        """See `Strategy`."""
        super().__init__(context)
        self.grid = self.settings.grid
        runs = range(self.settings.runs)
        shared = self.settings.decide == "shared"
        self.chains = [_Chain(self, runs, None)] if shared else [_Chain(self, [run], run) for run in runs]

    @property
    def finished(self) -> bool:
        """Whether all cycles are closed."""
        return all(chain.finished for chain in self.chains)

    @property
    def closed(self) -> list[ClosedCycle]:
        """The decided cycles so far, of all chains."""
        return [closed for chain in self.chains for closed in chain.closed]

    def ask(self) -> Pack | None:
        """Return the next pack. See `Strategy`."""
        # The chain that is furthest behind comes first: runs that decide for themselves then end together.
        for chain in sorted(self.chains, key=lambda chain: chain.cycle):
            pack = chain.ask()
            if pack is not None:
                return pack
        return None

    def tell(self, pack: Pack) -> None:
        """See `Strategy`."""
        chain = self._chain(pack)
        chain.open -= 1
        if pack.cycle == 0:
            self.check_initial(pack, chain.rows())

    def end(self, pack: Pack, reason: str) -> None:
        """See `Strategy`."""
        super().end(pack, reason)
        self._chain(pack).note_ended()

    def _chain(self, pack: Pack) -> _Chain:
        return next(chain for chain in self.chains if pack.run in chain.runs)

    def open_rows(self) -> list[dict[str, Any]]:
        """See `Strategy`."""
        return [row for chain in self.chains if chain.cycle <= self.settings.cycles for row in chain.rows()]

    def current(self) -> Mapping[str, Mapping[str, Any]]:
        """See `Strategy`: the rows of closed cycles and of open ones."""
        closed = (row for closed in self.closed for row in closed.rows)
        return {row["lane_id"]: row for row in (*closed, *self.open_rows())}

    def kept_states(self) -> set[str | None]:
        """See `Strategy`: the winners of closed cycles, and what they are rewound to."""
        return {state for chain in self.chains for state in chain.kept_states()}

    def may_win(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """See `Strategy`: the open rows of those max_lr whose mean may still be the highest."""
        return [row for chain in self.chains for row in chain.may_win()]

    def progress(self) -> Progress:
        """Return how far the sweep is."""
        planned = done = diverged = 0
        for chain in self.chains:
            lanes = sum(len(cycle.rows) for cycle in chain.closed)
            planned, done = planned + lanes, done + lanes
            diverged += sum(cycle.diverged for cycle in chain.closed)
            if chain.ended:
                planned, done = planned + len(chain.rows()), done + len(chain.rows())
            elif not chain.finished:
                later = (self.settings.cycles - chain.cycle) * len(self.grid.values)
                rows = chain.rows()
                planned += (len(chain.grid.points) + later) * len(chain.runs)
                done += len(rows)
                diverged += sum(row["status"] == "diverged" for row in rows)
        newest = max(self.closed, key=lambda closed: closed.cycle, default=None)
        return Progress(
            cycle=min(min(chain.cycle, self.settings.cycles) for chain in self.chains),
            cycles=self.settings.cycles,
            lanes_done=done,
            lanes_planned=planned,
            diverged=diverged,
            best_max_lr=newest.choice.best_max_lr if newest else None,
            val_accuracy=fmean(row["val_accuracy"] for row in newest.best_rows) if newest else None,
            decided=tuple(self.decided),
        )
