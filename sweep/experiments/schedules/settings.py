"""The settings of `scyc-sweep schedules`: those of every sweep, and the schedules to compare.

Out: `SchedulesSettings`, and its entries: for each schedule its max_lr by cycle, or how that is to be found. Next:
`sweep.experiments.schedules.strategy` trains them.
"""

import math
from dataclasses import dataclass
from typing import Literal, Self, cast

from pydantic import field_validator, model_validator

from search_spaces.paper import SETUPS
from search_spaces.schedule_tables import Comparison, PrintedRow, comparison_of
from sweep.config import named_scyc
from sweep.config.groups import setting
from sweep.config.messages import unknown
from sweep.config.presets import PRESETS
from sweep.config.settings import Settings
from sweep.errors import SettingsError
from trainables.spec import RETRAINING, Schedule, ScheduleName
from trainables.storage import Location, locate

TABLE_2 = ("constant", "decay", "cyclical", "warmup-1", "warmup-2", "scyc")
"""The six rows of the paper's Table 2."""
NAMES = (*TABLE_2, "silo", *RETRAINING)


@dataclass(frozen=True)
class Entry:
    """One schedule of a comparison."""

    name: str
    """As it was given."""
    row: str
    """The row of Table 2 that it stands for, or what it is besides; one of `NAMES`."""
    schedule: Schedule
    max_lr: tuple[float, ...] | None
    """Of each cycle; None: one for all cycles, to be tuned."""
    source: str
    """Where max_lr comes from."""
    tuned_on: Literal["", "first", "last"] = ""
    """The cycle whose validation accuracy decides; `last` is reached by warmup-1's chain."""


class SchedulesSettings(Settings):
    """All settings of a comparison of schedules. Construct it with `sweep.config.resolve.resolve`."""

    NOT_FLAGS = frozenset({"schedule", "decide", "tolerance", "tolerance_kind", "confidence"})

    schedules: tuple[str, ...] = setting(
        TABLE_2,
        group="Schedules",
        description="Schedules to compare, each as NAME or NAME=MAX_LR. Names: constant, decay, cyclical, warmup-1, "
        "warmup-2, ft, lrw, slr, clr, scyc, silo. Without MAX_LR, the paper's is used; if the paper has none, the best "
        "of the grid. scyc has the parameters of the preset or of --scyc; others are scyc=EPS,DELTA,Q,BETA, scyc=FILE "
        "(a scyc.toml) and scyc=paper. A results folder keeps the schedules that it has.",
    )

    @field_validator("schedules")
    @classmethod
    def _read(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Put the parameters of a file in its place: the file may lie elsewhere when the results are opened."""
        return tuple(_with_parameters(text.strip()) for text in texts)

    @model_validator(mode="after")
    def _known(self) -> Self:
        for entry in (*self.entries, self.base):  # raises for what is unknown
            entry.schedule.check(self.steps)
        return self

    @property
    def folder(self) -> Location:
        """The results folder."""
        return locate(self.out or f"results/{self.preset}-schedules")

    @property
    def printed(self) -> Comparison | None:
        """The paper's comparison of schedules in this experiment, if it prints one."""
        return comparison_of(self.model, self.dataset, self.optimizer)

    @property
    def entries(self) -> list[Entry]:
        """The schedules to compare, in the order given. Raises ValueError for what is no schedule or given twice."""
        found: dict[str, Entry] = {}
        for text in self.schedules:
            entry = self._entry(text)
            if entry.name in found:
                raise ValueError(f"--schedules {text} is given twice")
            found[entry.name] = entry
        if not found:
            raise ValueError("--schedules names none")
        return list(found.values())

    @property
    def curves(self) -> list[str]:
        """The names of the entries that are S-Cyc."""
        return [entry.name for entry in self.entries if entry.row in ("scyc", "silo")]

    @property
    def base(self) -> Entry:
        """warmup-1: its chain leads to the last cycle, where warmup-2 is tuned."""
        given = next((entry for entry in self.entries if entry.row == "warmup-1"), None)
        return given or self._entry("warmup-1")

    @property
    def lanes_per_round(self) -> int:
        """Lanes of a run and cycle that train side by side: chains, for most of the time."""
        return len(self.entries)

    @property
    def own_parents(self) -> bool:
        """See `Settings`: each schedule's chain has its own."""
        return True

    @property
    def peak_states(self) -> int:
        """See `Settings`: the newest two states of every chain, or all; and every lane of a grid beside the chains."""
        points = len(self.grid.values)
        grids = points * max(1, len(self.grids))
        chains = self.lanes_per_round * (self.cycles + 1 if self.histograms else 2)
        last = points if any(entry.tuned_on == "last" for entry in self.entries) else 0
        early = max(grids, self.lanes_per_round) if isinstance(self.rewind, int) else 0
        return self.runs * (max(grids, chains + last) + early + self.lanes_per_round + 2)

    @property
    def rounds(self) -> list[tuple[int, int]]:
        """See `Settings`: grids on the unpruned network, the chains, a grid at the last cycle and warmup-2's chain."""
        points, entries = len(self.grid.values), self.entries
        last = sum(entry.tuned_on == "last" for entry in entries)
        # Chains that were tuned begin with lanes of their grids, and those that begin alike share their first lane.
        begun = {(self._first_schedule(entry), entry.max_lr[0]) for entry in self.first if entry.max_lr}
        rounds = [(0, points * len(self.grids) + len(begun))]
        rounds += [(cycle, len(self.first)) for cycle in range(1, self.cycles + 1)]
        if last:
            rounds += [(self.cycles, points), *((cycle, last) for cycle in range(self.cycles + 1))]
        return rounds

    @property
    def growth(self) -> list[tuple[int, int]]:
        """See `Settings`: of every grid."""
        rounds, last = self.grid.growth, any(entry.tuned_on == "last" for entry in self.entries)
        first = [(0, width * len(self.grids)) for width in rounds if self.grids]
        return first + [(self.cycles, width) for width in rounds if last]

    @property
    def first(self) -> list[Entry]:
        """Those whose chains are trained first: all but warmup-2 where it is tuned, and then warmup-1 in any case."""
        known = [entry for entry in self.entries if entry.tuned_on != "last"]
        return known if len(known) == len(self.entries) or self.base in known else [*known, self.base]

    @property
    def grids(self) -> list[Schedule]:
        """The schedules, as they are in cycle 0, whose max_lr is tuned on the unpruned network."""
        return list(dict.fromkeys(self._first_schedule(entry) for entry in self.first if entry.tuned_on == "first"))

    def _first_schedule(self, entry: Entry) -> Schedule:
        return self.training().schedule_of(0, entry.schedule)

    def _entry(self, text: str) -> Entry:
        name, equals, value = text.partition("=")
        if "," in name:
            raise ValueError(f"--schedules {text}: separate schedules by spaces, not by commas")
        if equals and not value.strip():
            raise ValueError(f"--schedules {text}: there is nothing behind the =")
        if name not in NAMES:
            raise ValueError(unknown("schedule", name, NAMES))
        if name in ("scyc", "silo"):
            return self._scyc_entry(text, name, value)
        kind = "warmup" if name.startswith("warmup") else name
        schedule = self.schedule_named(cast(ScheduleName, kind))
        row = self._printed_row("warmup-1" if name in RETRAINING else name)
        if row is not None and name == "cyclical" and self.cycle_steps is None:
            # The paper's length counts its own steps.
            paper = SETUPS[self.model].iterations or self.steps
            schedule = Schedule("cyclical", cycle_steps=max(1, round(row.figures[2] * self.steps / paper)))
        if value:
            return Entry(text, name, schedule, (_rate(text, value),) * (self.cycles + 1), "given")
        if row is not None:
            assert self.printed is not None
            max_lr = row.figures[1] if name == "cyclical" else row.figures[0]
            return Entry(text, name, schedule, (max_lr,) * (self.cycles + 1), f"the paper's Table {self.printed.table}")
        if name == "warmup-2":
            source = f"grid at cycle {self.cycles}, after warmup-1"
            return Entry(text, name, schedule, None, source, "last")
        return Entry(text, name, schedule, None, "grid on the unpruned network", "first")

    def _scyc_entry(self, given: str, name: str, value: str) -> Entry:
        text = value or ("silo" if name == "silo" else self.scyc)
        origin = "given" if value or self.scyc != PRESETS[self.preset].settings["scyc"] else "the preset's"
        if text is None:
            raise ValueError(
                "--schedules scyc: this preset has no S-Cyc parameters for this network and data set; give --scyc "
                "EPS,DELTA,Q,BETA (scyc-sweep tune finds them), or name the other schedules"
            )
        try:
            [scyc] = named_scyc.parse([text], self.model, self.dataset).values()
        except SettingsError as error:
            raise ValueError(str(error).replace("--scyc", "--schedules")) from error
        max_lr = tuple(scyc.trajectory(self.cycles, self.prune_rate))
        parameters = f"epsilon {scyc.epsilon:g}, delta {scyc.delta:g}, q {scyc.q}, beta {scyc.beta:g}"
        source = f"{parameters} ({'SILO' if text == 'silo' else origin})"
        return Entry(given, name, self.schedule_named("warmup"), max_lr, source)

    def _printed_row(self, name: str) -> PrintedRow | None:
        rows = self.printed.rows if self.printed else ()
        return next((row for row in rows if row.schedule == name), None)


def _with_parameters(text: str) -> str:
    name, _, value = text.partition("=")
    if name != "scyc" or not value.endswith(".toml"):
        return text
    try:
        return f"scyc={named_scyc.read(locate(value))}"
    except SettingsError as error:
        raise ValueError(f"--schedules {text}: {error}") from error


def _rate(text: str, value: str) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"--schedules {text}: MAX_LR must be a number above 0, but got {value!r}")
    return rate
