"""The settings of a validation: those of its oracle, and the trajectories to train. In: an oracle. Next: `strategy`."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from sweep.config.groups import LocationText
from sweep.config.resolve import changed
from sweep.config.settings import Settings
from trainables.storage import Location, locate


def _rate(value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError("a max_lr must be positive and finite")
    return value


Rates = tuple[Annotated[float, AfterValidator(_rate)], ...]
"""max_lr of cycle 0, 1, ..."""


class ValidationSettings(Settings):
    """All settings of a validation; `settings_of` in `validation.experiment` makes them from an oracle."""

    oracle: LocationText
    """The results folder of the oracle, which the validation lies in."""
    held_out: bool
    """Whether on held-out seeds: runs that had no part in the oracle's choices; else on the oracle's own runs."""
    choices: Rates = Field(min_length=1)
    """The oracle's choice of max_lr in each cycle."""
    trajectories: dict[str, Rates]
    """max_lr of each cycle, by the name of the trajectory."""

    @classmethod
    def of(cls, oracle: Settings, changes: Mapping[str, Any]) -> Self:
        """Return an oracle's settings with changes, as those of a validation. Raises SettingsError as `changed`."""
        found: Self = changed(oracle, changes, kind=cls)
        return found

    @model_validator(mode="after")
    def _long(self) -> Self:
        if len(self.choices) != self.cycles + 1:
            raise ValueError("choices must have a max_lr for each cycle")
        if any(len(rates) != len(self.choices) for rates in self.trajectories.values()):
            raise ValueError("trajectories must be as long as the oracle's chain")
        return self

    @property
    def folder(self) -> Location:
        """The results folder, within the oracle's."""
        return locate(self.oracle) / ("validation-held-out" if self.held_out else "validation")
