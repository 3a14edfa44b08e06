"""Trajectories trained beside the oracle: a strategy. In: the oracle's choices and trajectories. Out: packs, chains.

At every cycle each trajectory's max_lr starts where the oracle's chain stands (its branch), and each trajectory has a
whole chain of its own. Next: `sweep.experiments.validation.tables` makes tables of both.
"""

from collections.abc import Generator

from sweep.experiments.validation.settings import ValidationSettings
from sweep.strategies.chains import Chain, ChainStrategy, Link, Row
from sweep.strategies.protocol import Progress
from trainables.spec import Pack, derive_seed


class Validation(ChainStrategy):
    """Trains what an oracle chose and what trajectories predict, on the oracle's runs or on held-out ones."""

    settings: ValidationSettings

    def _begin(self) -> None:
        super()._begin()
        self._held = set(self.context.reused)
        self.oracle: Chain = ()
        """The oracle's chain, as far as it is trained in all runs."""
        self.own: dict[str, Chain] = {}
        """Likewise each trajectory's own; one that diverged or ended has that cycle as its last."""
        self.branches: dict[tuple[str, int], Chain] = {}
        """Of a trajectory and cycle: the oracle's chain, and in that cycle the trajectory's max_lr."""

    def run_seed(self, run: int) -> int:
        """Return the seed of a run; those of held-out runs are none that an oracle may ever use."""
        return derive_seed("confirm", self.settings.seed, run) if self.settings.held_out else super().run_seed(run)

    def program(self) -> Generator[list[Pack], None, None]:
        """Train cycle by cycle: the oracle's lane, each trajectory's branch, each trajectory's own chain."""
        oracle = tuple(map(Link, self.settings.choices))
        going = {name: tuple(map(Link, rates)) for name, rates in self.settings.trajectories.items()}
        branches = dict(going)
        for cycle in range(len(oracle)):
            now = oracle[: cycle + 1]
            beside = {name: (*oracle[:cycle], links[cycle]) for name, links in branches.items()}
            own = {name: links[: cycle + 1] for name, links in going.items()}
            yield from self.train(list(dict.fromkeys([now, *beside.values(), *own.values()])))
            beside_it = "".join(f", {name}" for name in going)
            self.decided.append(f"cycle {cycle}: trained under the oracle's choice{beside_it}")
            self.oracle, self.own = now, self.own | own
            self.branches |= {(name, cycle): chain for name, chain in beside.items()}
            # Fresh runs may have nothing left to prune where the oracle's had, or diverge.
            going = {name: links for name, links in going.items() if self.whole(own[name])}
            self.kept = {now, *self.own.values()}
            if not self.whole(now):
                break

    def rows_of_cycle(self, chain: Chain) -> list[Row]:
        """Return the rows of the last cycle of a trained chain, one a run."""
        return [self.found[run, chain] for run in self.runs]

    def progress(self) -> Progress:
        """Return how far the comparison is."""
        rows = self.current()
        cycles = len(self.settings.choices)
        planned = len(self.runs) * cycles * (1 + 2 * len(self.settings.trajectories))
        return Progress(
            cycle=self.round[0].cycle if self.round else max(0, cycles - 1),
            cycles=cycles - 1,
            lanes_done=len(rows),
            lanes_planned=len(rows) if self.finished else max(len(rows), planned),
            diverged=sum(row["status"] == "diverged" for row in rows.values()),
            best_max_lr=None,
            val_accuracy=None,
            label="held-out runs" if self.settings.held_out else "trajectories",
            decided=tuple(self.decided),
        )
