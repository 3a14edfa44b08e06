"""The settings of `scyc-sweep tune`: those of every sweep, and those of the search. Out: `TuningSettings`.

Next: `sweep.experiments.tuning.strategy` carries it out.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from search_spaces.ranges import SCYC_BETA, SCYC_Q, Range
from sweep.config.groups import LocationText, setting
from sweep.config.settings import Settings
from trainables.spec import ScheduleName, TrainSpec
from trainables.storage import Location, locate

Rate = Annotated[float, Field(gt=0)]


class Given(BaseModel):
    """What an oracle says of cycle 0: every max_lr that it trained, and its choice."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    points: tuple[Rate, ...] = Field(strict=False)  # a manifest has it as a list
    epsilon: Rate


class TuningSettings(Settings):
    """All settings of a tuning. Construct it with `sweep.config.resolve.resolve`, which fills in the preset."""

    NOT_FLAGS = frozenset({"scyc", "decide", "tolerance", "tolerance_kind", "confidence", "histograms", "given"})

    by: Literal["stages", "joint", "fit"] = setting(
        "stages",
        group="Tuning",
        description="Method. stages: first epsilon, then delta, then q and beta (paper, section 4.3). joint: all four "
        "together. fit: S-Cyc is fitted to the finished --oracle, and nothing is trained.",
    )
    schedule: Literal["scyc", ScheduleName] = setting(  # type: ignore[assignment]
        "scyc",
        group="Tuning",
        description="Schedule to tune. scyc: its four parameters. Any other (Table 1): one max_lr for all cycles.",
    )
    oracle: LocationText | None = setting(
        None,
        group="Tuning",
        description="Results folder of a finished oracle. --by fit needs one. With --by stages, its cycle 0 gives "
        "epsilon, so that the first stage trains nothing.",
        when_unset="no oracle",
    )
    trials: int = setting(
        20,
        group="Tuning",
        ge=1,
        le=10_000,
        description="Number of Optuna trials, in all stages together. A trial trains a chain of cycles in each run.",
    )
    at_once: Literal["auto"] | int = setting(
        "auto",
        group="Tuning",
        description="Number of trials that Optuna proposes together; they train side by side. auto: half of the "
        "trials of a stage.",
    )
    target_cycle: int | None = setting(
        None,
        group="Tuning",
        ge=1,
        description="Cycle whose mean validation accuracy is maximised.",
        when_unset="the last, --cycles",
    )
    sampler: Literal["tpe", "gp", "random"] = setting(
        "tpe",
        group="Tuning",
        description="Optuna's sampler. tpe and gp take the first trials of a stage from a Latin hypercube.",
    )
    pruner: Literal["none", "median"] = setting(
        "none",
        group="Tuning",
        description="median: a trial that is worse than the median of earlier trials is stopped. Note that S-Cyc "
        "improves the late cycles.",
    )
    epsilon: str | None = setting(
        None, group="Tuning", description="Range LO:HI of epsilon.", when_unset="the range of --max-lr"
    )
    delta: str | None = setting(
        None, group="Tuning", description="Range LO:HI of delta.", when_unset="the range of --max-lr"
    )
    q: str = setting(SCYC_Q, group="Tuning", description="Range LO:HI of q, in whole numbers.")
    beta: str = setting(SCYC_BETA, group="Tuning", description="Range LO:HI of beta.")
    given: Given | None = None
    """What is taken over from the oracle; filled in when the tuning starts."""

    @field_validator("epsilon", "delta")
    @classmethod
    def _rates(cls, text: str | None) -> str | None:
        if text is not None:
            Range.parse(text, log=True)
        return text

    @field_validator("q")
    @classmethod
    def _whole(cls, text: str) -> str:
        Range.parse(text, integer=True)
        return text

    @field_validator("beta")
    @classmethod
    def _positive(cls, text: str) -> str:
        if Range.parse(text).low <= 0:
            raise ValueError(f"beta must be above 0, but got {text}")
        return text

    @field_validator("at_once")
    @classmethod
    def _at_once(cls, count: int | Literal["auto"]) -> int | Literal["auto"]:
        if count != "auto" and count < 1:
            raise ValueError(f"must be auto or at least 1, but got {count}")
        return count

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.by != "fit" and not 1 <= self.target <= self.cycles:
            raise ValueError(f"--target-cycle must lie in 1..cycles={self.cycles}, but got {self.target}")
        if self.by == "fit" and self.oracle is None:
            raise ValueError("--by fit needs a finished oracle: give --oracle DIR")
        if self.by == "fit" and self.schedule != "scyc":
            raise ValueError(f"--by fit fits S-Cyc to an oracle; it has no --schedule {self.schedule}")
        stages = len(self.stages)
        if self.trials < stages:
            raise ValueError(f"--trials must be at least the {stages} stages, but got {self.trials}")
        return self

    @property
    def target(self) -> int:
        """The cycle whose accuracy is maximised; chains end with it."""
        return self.cycles if self.target_cycle is None else self.target_cycle

    @property
    def folder(self) -> Location:
        """The results folder."""
        return locate(self.out or f"results/{self.preset}-tuning")

    @property
    def takes_over(self) -> bool:
        """Whether an oracle's cycle 0 takes the place of the first stage."""
        return self.oracle is not None and self.by == "stages" and self.schedule == "scyc"

    @property
    def stages(self) -> dict[str, int]:
        """The trials of each stage that trains, in order: 40 % for epsilon, 30 % each for delta and the shape."""
        if self.schedule != "scyc":
            return {"max_lr": self.trials}
        if self.by != "stages":
            return {"joint": self.trials}
        if self.takes_over:
            return {"delta": self.trials - self.trials // 2, "shape": self.trials // 2}
        shape = max(1, round(0.3 * self.trials))
        delta = max(1, round(0.3 * self.trials))
        return {"epsilon": max(1, self.trials - shape - delta), "delta": delta, "shape": shape}

    def ranges(self) -> dict[str, Range]:
        """Return where each parameter is searched; `max_lr` is that of a schedule without parameters by cycle."""
        grid = self.grid.values
        rates = Range(grid[0], grid[-1], log=True)
        return {
            "epsilon": Range.parse(self.epsilon, log=True) if self.epsilon else rates,
            "delta": Range.parse(self.delta, log=True) if self.delta else rates,
            "q": Range.parse(self.q, integer=True),
            "beta": Range.parse(self.beta),
            "max_lr": rates,
        }

    def batch(self, stage: str) -> int:
        """Return how many trials of a stage are asked for together."""
        return -(-self.stages[stage] // 2) if self.at_once == "auto" else min(self.at_once, self.stages[stage])

    @property
    def lanes_per_round(self) -> int:
        """The trials of the largest batch."""
        return max(self.batch(stage) for stage in self.stages)

    @property
    def peak_states(self) -> int:
        """A batch's parents and lanes, what later trials start from, and the initial weights."""
        return self.runs * (2 * self.lanes_per_round + int(self.ranges()["q"].high) + 4)

    def training(self) -> TrainSpec:
        """See `Settings`; S-Cyc gives each cycle's max_lr to a warmup schedule."""
        if self.schedule == "scyc":
            return Settings.training(self.model_copy(update={"schedule": "warmup"}))
        return super().training()
