"""The whole sweep as one validated object. In: values by name. Out: `Settings`, and what follows from them.

The settings themselves are defined in `sweep.config.fields`. Imports no torch and no Ray. Next: `sweep.config.resolve`
fills in a preset; `sweep.experiments.runner` carries the settings out.
"""

from collections.abc import Iterable
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import ConfigDict, PrivateAttr, ValidationInfo, field_validator, model_validator

from search_spaces.max_lr import MaxLrGrid
from search_spaces.scyc import SCyc
from sweep.config.fields import Fields
from trainables import users_own
from trainables.spec import GRADIENT_CRITERIA, Schedule, ScheduleName, TrainSpec
from trainables.storage import Location, expanded, locate

MAX_LANES = 200_000
"""Lanes of a cycle: a folder that claims more would take minutes to open."""

EXECUTION = (
    "data_dir",
    "download",
    "engine",
    "workers",
    "cpus_per_worker",
    "gpus_per_worker",
    "wait_for_resources",
    "address",
    "device",
)
"""Settings that say where and how lanes train. They may differ each time that a folder is continued."""

AnySettings = TypeVar("AnySettings", bound="Settings")


class Settings(Fields):
    """All settings of a sweep. Construct it with `sweep.config.resolve.resolve`, which fills in the preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    NOT_FLAGS: ClassVar[frozenset[str]] = frozenset()
    """Settings that have no meaning for this experiment, and are no flags of its command. A TOML file may have them."""

    @field_validator("max_lr", mode="before")
    @classmethod
    def _grid(cls, given: object) -> object:
        if isinstance(given, str):
            _parsed(given)
        elif isinstance(given, Iterable | Real):  # in Python: numbers
            values = given if isinstance(given, Iterable) else [given]
            return str(MaxLrGrid(tuple(map(_plain, values))))
        return given

    @field_validator("scyc")
    @classmethod
    def _scyc(cls, text: str | None) -> str | None:
        return None if text in (None, "none") else str(SCyc.parse(text))

    @field_validator("hidden")
    @classmethod
    def _hidden(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < 1 for size in sizes):
            raise ValueError(f"hidden sizes must be at least 1, but got {list(sizes)}")
        return sizes

    @field_validator("lanes", "workers")
    @classmethod
    def _count(cls, count: int | str) -> int | str:
        if isinstance(count, int) and count < 1:
            raise ValueError(f"must be auto or at least 1, but got {count}")
        return count

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus % 1:
            raise ValueError(f"must be a share of one GPU or a whole number, but got {gpus:g}")
        return gpus

    @field_validator("address")
    @classmethod
    def _address(cls, address: str | None) -> str | None:
        if address is not None and address.startswith("ray://"):
            raise ValueError(
                f"{address} would run the driver's part inside the cluster, away from the results folder; "
                "give HOST:PORT (usually port 6379) from a machine of the cluster"
            )
        return address

    @model_validator(mode="before")
    @classmethod
    def _rewinds(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("pruning") == "imp" and values.get("rewind") == "none":
            raise ValueError("pruning imp rewinds by definition; for none, give --pruning global_magnitude")
        if values.get("rewind") is None:
            values = values | {"rewind": "init" if values.get("pruning") == "imp" else "none"}
        return values

    _model_files: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _trains(self, info: ValidationInfo) -> Self:
        # Results are opened wherever the file is now and whatever it says: what counts is what they came from.
        if info.context is not None:
            self._model_files = info.context["model_files"]
        elif ":" in self.model:
            try:
                self._model_files = users_own.digests(self.model)
            except ValueError as error:
                raise ValueError(f"--model {error}") from error
        self.training()  # raises ValueError where the schedule does not fit the steps
        lanes = self.runs * max(self.lanes_per_round, len(self.grid.values))
        if lanes > MAX_LANES:
            raise ValueError(
                f"a cycle may have at most {MAX_LANES:,} lanes (--runs times its points), but got {lanes:,}"
            )
        return self

    @property
    def model_files(self) -> dict[str, str]:
        """The digests of the files that the code of a user's own network lies in; empty for the other networks."""
        return self._model_files

    @property
    def grid(self) -> MaxLrGrid:
        """The grid of max_lr."""
        return _parsed(self.max_lr)

    @property
    def folder(self) -> Location:
        """The results folder."""
        return locate(self.out or f"results/{self.preset}")

    @property
    def data_folder(self) -> Path:
        """The folder of the data sets, which is the same for workers in other folders."""
        return expanded(self.data_dir).resolve()

    @property
    def lanes_per_round(self) -> int:
        """Lanes of a run and cycle that train side by side, before the grid is extended."""
        return len(self.grid.values)

    @property
    def rounds(self) -> list[tuple[int, int]]:
        """What is trained one after another, as far as it is known beforehand: cycle, and lanes of each run."""
        return [(cycle, self.lanes_per_round) for cycle in range(self.cycles + 1)]

    @property
    def growth(self) -> list[tuple[int, int]]:
        """What extensions of the grid add to `rounds` at most: as far as it may grow, in every cycle."""
        rounds = self.grid.growth
        return [(cycle, width) for cycle in range(self.cycles + 1) for width in rounds]

    @property
    def own_parents(self) -> bool:
        """Whether each lane of a pack continues from a network of its own; an oracle's lanes share one winner."""
        return False

    @property
    def peak_states(self) -> int:
        """How many states may lie on disk at once, if no lane can be ruled out before its cycle's end."""
        early = self.lanes_per_round if isinstance(self.rewind, int) else 0
        return self.runs * (self.lanes_per_round + early + self.cycles + 1)

    def schedule_named(self, name: ScheduleName) -> Schedule:
        """Return a schedule of this sweep: what it takes of warmup, milestones and cycle_steps."""
        if name == "warmup" and not self.warmup_steps and not self.milestones:
            name = "constant"  # which it is, and goes by that name
        if name in ("constant", "decay"):
            return Schedule(name)
        if name == "cyclical":
            return Schedule(name, cycle_steps=self.cycle_steps or max(1, round(self.steps / 8)))
        return Schedule(name, self.warmup_steps, self.milestones)

    def training(self) -> TrainSpec:
        """Return the part that determines how a lane trains; changing it makes another experiment."""
        assert self.rewind is not None
        return TrainSpec(
            model=self.model,
            model_source=users_own.digest(self._model_files),
            hidden=self.hidden if self.model == "mlp" else (),
            batch_norm=self.batch_norm and self.model == "mlp",
            dataset=self.dataset,
            images=self.images,
            split=self.split,
            pruning="global_magnitude" if self.pruning == "imp" else self.pruning,
            prune_rate=self.prune_rate,
            keep_output=self.keep_output,
            score_batches=self.score_batches if self.pruning in GRADIENT_CRITERIA else None,
            rewind=self.rewind,
            schedule=self.schedule_named(self.schedule),
            steps=self.steps,
            retrain_steps=None if self.retrain_steps == self.steps else self.retrain_steps,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            eval_every=self.eval_every,
            score=self.score,
            dtype=self.dtype,
        )


def _plain(value: Any) -> Any:
    """Return numpy's and other kinds of real numbers as Python's own, and all else as it is."""
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value


_parsed = lru_cache(MaxLrGrid.parse)
