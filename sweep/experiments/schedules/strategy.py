"""Comparing schedules over whole chains: a strategy. In: the ledger's rows. Out: packs to train, and finished chains.

First each schedule without a max_lr is given one by a grid on the unpruned network (S-Cyc paper, section 5.1); then the
chains of all train side by side, as lanes of the same packs. Next: `tables` makes tables of the
chains.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.max_lr import GrowingGrid
from sweep.errors import TrainingError
from sweep.experiments.schedules.settings import Entry, SchedulesSettings
from sweep.statistics.selection import choose, dominated, mean_scores
from sweep.strategies.chains import Chain, ChainStrategy, Link, Row
from sweep.strategies.progress import Progress
from trainables.spec import Pack, Schedule


@dataclass(frozen=True)
class Grid:
    """A schedule's max_lr values tried in one cycle, their rows, and which had the highest validation accuracy."""

    schedule: Schedule
    cycle: int
    rows: Sequence[Row]
    best_max_lr: float


class ScheduleComparison(ChainStrategy):
    """Trains whole chains under several schedules (S-Cyc paper, Tables 2, 5, 6, 9 to 11)."""

    settings: SchedulesSettings

    def _begin(self) -> None:
        super()._begin()
        # New schedules are tuned before chains that are there already go on to more cycles. Beginnings are not held: an
        # undisturbed comparison would not have them either, and a killed one must train the same packs.
        rows = self.ledger.rows.values()
        self._begun = {row["parent_state"] for row in rows if row["cycle"] == 1} if self.settings.histograms else set()
        """Beginnings of chains, all of whose networks are kept."""
        self._held = {row["state"] for row in rows if row["cycle"] > 0} | self._begun
        self.grids: list[Grid] = []
        self.chains: dict[str, Chain] = {}
        """By name, as far as all runs were trained; a chain that diverged or ended has that cycle as its last."""
        self.label = ""
        self._choosing = False
        """Whether the open round is a grid, of which only the best will be gone on with."""

    def may_win(self, rows: list[Row]) -> list[Row]:
        """See `Strategy`; of a grid, the rows of those max_lr whose mean may still be the highest."""
        if not self._choosing:
            return rows
        rivals: dict[str, list[Row]] = {}
        for row in rows:
            rivals.setdefault(row["schedule"], []).append(row)
        hopeless = {schedule: dominated(group, len(self.runs)) for schedule, group in rivals.items()}
        return [row for row in rows if row["max_lr"] not in hopeless[row["schedule"]]]

    def progress(self) -> Progress:
        """Return how far the comparison is."""
        rows, runs = self.current(), len(self.runs)
        planned = runs * sum(width for _, width in self.settings.rounds)
        return Progress(
            cycle=self.round[0].cycle if self.round else 0,
            cycles=self.settings.cycles,
            lanes_done=len(rows),
            lanes_planned=max(len(rows), planned),
            diverged=sum(row["status"] == "diverged" for row in rows.values()),
            best_max_lr=None,
            val_accuracy=None,
            label=self.label,
            decided=tuple(self.decided),
        )

    def program(self) -> Generator[list[Pack], None, None]:
        """Tune what has no max_lr, train the chains, tune warmup-2 where one of them ends, and train its chain."""
        settings = self.settings
        found = yield from self._tune(0, dict.fromkeys(settings.grids, ()), "max_lr on the unpruned network")
        yield from self._train({entry.name: self._chain(entry, found) for entry in settings.first})
        for entry in settings.entries:
            if entry.tuned_on != "last":
                continue
            base = self.chains[settings.base.name]
            ended = any(row["status"] == "ended" for row in self.rows_of_chain(base))
            if len(base) <= settings.cycles or ended:
                raise TrainingError(
                    f"{entry.name} is tuned at cycle {settings.cycles}, but warmup-1's chain ended; give "
                    f"--schedules {entry.name}=MAX_LR"
                )
            found = yield from self._tune(settings.cycles, {entry.schedule: base[:-1]}, f"{entry.name}'s max_lr")
            yield from self._train({entry.name: self._chain(entry, found)})
        self.kept = self._wanted

    @property
    def _wanted(self) -> set[Chain]:
        """The chains' newest networks, which more cycles start from; with --histograms every network of theirs."""
        wanted = set(self.chains.values())
        if self.settings.histograms:
            wanted |= {chain[: cycle + 1] for chain in wanted for cycle in range(len(chain))}
        return wanted

    def _chain(self, entry: Entry, found: Mapping[Schedule, float]) -> Chain:
        """Return the whole chain of a schedule; `found` has the max_lr of those that were tuned."""
        # Cycle 0 goes by what it is trained under, since retraining of all kinds begins alike.
        first = self.training.schedule_of(0, entry.schedule)
        rates = entry.max_lr
        if rates is None:
            rates = (found[first if entry.tuned_on == "first" else entry.schedule],) * (self.settings.cycles + 1)
        return tuple(Link(rate, entry.schedule if cycle else first) for cycle, rate in enumerate(rates))

    def _tune(
        self, cycle: int, wanted: Mapping[Schedule, Chain], label: str
    ) -> Generator[list[Pack], None, dict[Schedule, float]]:
        """Find the max_lr of the highest mean validation accuracy in a cycle, for each schedule after its chain.

        The grid goes on where the best lies on its edge. Raises TrainingError where every max_lr diverged.
        """
        grids = {schedule: GrowingGrid(self.settings.grid) for schedule in wanted}
        tried: dict[Schedule, list[Chain]] = {schedule: [] for schedule in wanted}
        new = {schedule: list(grid.points) for schedule, grid in grids.items()}
        found: dict[Schedule, float] = {}
        self.label = label
        while any(new.values()):
            chains = {
                schedule: [(*wanted[schedule], Link(point, schedule)) for point in points]
                for schedule, points in new.items()
            }
            self._choosing = True
            yield from self.train([chain for each in chains.values() for chain in each])
            self._choosing = False
            for schedule in [schedule for schedule, points in new.items() if points]:
                tried[schedule] += chains[schedule]
                rows = [self.found[run, chain] for chain in tried[schedule] for run in self.runs]
                scores = mean_scores(rows)
                choice = choose(scores, 0.0, "absolute")
                if choice is None:
                    raise TrainingError(
                        f"{schedule.name}: every max_lr of the grid diverged; give --max-lr a lower grid"
                    )
                best = found[schedule] = choice.best_max_lr
                self.kept = self.kept | {chain for chain in tried[schedule] if chain[-1].max_lr == best}
                new[schedule] = grids[schedule].grow(best == min(scores), best == max(scores))
                points = grids[schedule].points
                self.decided.append(
                    f"cycle {cycle}: the grid of {schedule.name} is extended by {len(new[schedule])} max_lr, it is "
                    f"{points[0]:.4g} to {points[-1]:.4g} now"
                    if new[schedule]
                    else f"cycle {cycle}: best max_lr of {schedule.name} {best:.4g}"
                )
                self._held -= {row["state"] for row in rows if row["max_lr"] != best} - self._begun
        for schedule, each in tried.items():
            rows = [self.found[run, chain] for chain in each for run in self.runs]
            self.grids.append(Grid(schedule, cycle, rows, found[schedule]))
        return found

    def _train(self, chains: Mapping[str, Chain]) -> Generator[list[Pack], None, None]:
        """Train chains side by side, a cycle a round, each as far as all its runs go."""
        going = dict(chains)
        for cycle in range(self.settings.cycles + 1):
            self.label = f"{len(going)} schedule{'s' if len(going) > 1 else ''}"
            yield from self.train(list(dict.fromkeys(chain[: cycle + 1] for chain in going.values())))
            self.decided.append(f"cycle {cycle}: trained under {', '.join(going)}")
            for name, chain in list(going.items()):
                self.chains[name] = chain[: cycle + 1]
                if not self.whole(chain[: cycle + 1]):
                    del going[name]
                    self.decided.append(f"cycle {cycle}: {name} diverged or has nothing left to prune, its chains end")
            # What is trained later starts from the newest networks, and warmup-2's grid from warmup-1's.
            self.kept = self._wanted | {chain[:-1] for n, chain in self.chains.items() if n == self.settings.base.name}
            if not going:
                break
