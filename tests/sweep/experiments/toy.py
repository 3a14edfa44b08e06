"""An experiment of a third party in one file: which of a few max_lr, the same in all cycles, is best at the end?"""

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

from sweep.config.groups import setting
from sweep.config.settings import Settings
from sweep.experiments.base import Experiment
from sweep.experiments.registry import EXPERIMENTS, Entry
from sweep.experiments.results import Results
from sweep.reporting import drawing, views
from sweep.statistics.summaries import chain_rows
from sweep.store.tables import Table
from sweep.strategies.chains import Chain, ChainStrategy, Link
from sweep.strategies.progress import Progress
from trainables.spec import Pack
from trainables.storage import Location, locate


class ToySettings(Settings):
    rates: tuple[float, ...] = setting((0.05, 0.2), group="Learning rate", description="Each max_lr to train.")

    @property
    def folder(self) -> Location:
        return locate(self.out or "results/toy")

    @property
    def lanes_per_round(self) -> int:
        return len(self.rates)


class Toy(ChainStrategy):
    def program(self) -> Iterator[list[Pack]]:  # type: ignore[override]  # it needs no more of a generator
        self.chains: list[Chain] = []
        for cycle in range(self.settings.cycles + 1):
            chains = [(Link(rate),) * (cycle + 1) for rate in self.settings.rates]
            yield from self.train(chains)
            self.chains, self.kept = chains, set(chains)
            self.decided.append(f"cycle {cycle} is trained")
            if not all(map(self.whole, chains)):
                break

    def progress(self) -> Progress:
        cycle, cycles, lanes = len(self.decided), self.settings.cycles, len(self.runs) * len(self.settings.rates)
        return Progress(min(cycle, cycles), cycles, len(self.current()), lanes * (cycles + 1), 0, None, None)


NUMBER = pa.float64()
TOY = Table("toy", (("max_lr", NUMBER, "1", "of all cycles"), ("val_accuracy_mean", NUMBER, "percent", "at the end")))


class ToyResults(Results):
    kind, strategy = "toy", Toy

    @property
    def toy(self) -> pd.DataFrame:
        return TOY.frame(chain_rows(self.replay.rows_of_chain(chain))[-1] for chain in self.replay.chains)


def view(results: ToyResults) -> views.View:
    rows = [[views.Cell(f"{rate:g}", rate), views.Cell(f"{mean:.2f}", mean)] for rate, mean in results.toy.to_numpy()]
    table = views.Table((views.Column("max_lr"), views.Column("accuracy", "%")), rows)
    return views.View("Which max_lr?", "a toy", [table, *views.findings(*answers(results))], results.toy, ("bars",))


def answers(results: ToyResults) -> list[str]:
    return [f"The best max_lr is {best:g}." for best in results.toy.nlargest(1, "val_accuracy_mean")["max_lr"]]


def bars(results: ToyResults, path: Location) -> None:
    figure, [[axes]] = drawing.panels(1, 1, 4, 3)
    axes.bar([f"{rate:g}" for rate in results.toy["max_lr"]], results.toy["val_accuracy_mean"])
    drawing.save(figure, path)


TABLES = {TOY: lambda results: results.toy}
EXPERIMENT = Experiment("toy", ToySettings, Toy, ToyResults, TABLES, {"toy": view}, {"bars": bars}, answers)
EXPERIMENTS["toy"] = Entry("toy:ToySettings", "toy:EXPERIMENT")
