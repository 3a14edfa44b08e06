"""What an experiment is: one object that says all that is particular to a kind of sweep.

`sweep.experiments.runner` carries any of them out; `sweep.experiments.registry` knows them by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sweep.config.settings import Settings
from sweep.experiments.results import Results
from sweep.reporting.views import View
from sweep.store.tables import Table
from sweep.strategies.protocol import Context, Strategy
from trainables.storage import Location


@dataclass(frozen=True)
class Reuse:
    """Lanes and states of another results folder that an experiment does not train again."""

    rows: Mapping[str, Mapping[str, Any]]
    """By lane_id."""
    states: Location
    """The folder of states that their networks lie in."""
    digests: frozenset[str]
    """The states that lanes may start from; they are copied."""
    files: Mapping[Location, Sequence[str]] = field(default_factory=dict)
    """Files of rows to copy, with the lane_ids that must be there afterwards: the folder is then complete by itself."""


def _unchanged(settings: Any, begun: Any) -> Any:
    return settings


@dataclass(frozen=True)
class Experiment:
    """A kind of sweep."""

    name: str
    """The command of the command line, and the kind that the manifest states."""
    settings: type[Settings]
    strategy: Callable[[Context], Strategy]
    """Makes what decides which lanes train next."""
    results: type[Results]
    """Opens a results folder."""
    tables: Mapping[Table, Callable[[Any], pd.DataFrame]]
    """Written as NAME.parquet when the sweep ends, out of its results."""
    views: Mapping[str, Callable[[Any], View]]
    """What there is to show, by name; the first is what `show` prints."""
    figures: Mapping[str, Callable[[Any, Location], None]] = field(default_factory=dict)
    """Drawn as NAME.png when the sweep ends; a page has them too. `draw(results, path)` may draw nothing."""
    answers: Callable[[Any], Sequence[str]] = lambda results: ()
    """Sentences at the top of a page."""
    extend: Callable[[Any, Any], Any] = _unchanged
    """`extend(settings, begun)`: the settings, with what a folder keeps that was begun with `begun` (None: not begun),
    and with what follows from other folders. Raises SweepError for what cannot be."""
    reuse: Callable[[Any], Reuse | None] = lambda settings: None
    """What other folders have trained already."""
    finish: Callable[[Any], None] = lambda results: None
    """Writes what else there is when the sweep ends."""
