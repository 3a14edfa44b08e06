"""How gradients and activations are distributed in the networks of a chain. In: a results folder with its states.

Out: tables of histograms and of their tails, by cycle and run (S-Cyc paper, Figures 1 and 3 to 6). Nothing is trained.
Next: `sweep.analyses.views` and `sweep.analyses.figures` show them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
import torch
from torch import nn

from sweep.analyses import figures
from sweep.analyses.gradient_tables import HISTOGRAMS, TAILS
from sweep.config.resolve import changed
from sweep.errors import FolderError, SettingsError
from sweep.execution.dataset import load_dataset
from sweep.execution.worker import pick_device
from sweep.reporting.wording import run_of
from sweep.statistics.selection import Row
from sweep.store.folder import Folder
from trainables import histograms
from trainables.data import datasets
from trainables.histograms import Bounds, Distribution, Values
from trainables.networks import models
from trainables.spec import derive_seed
from trainables.states import State, StateError, load_state

FIGURE_1: Bounds = (-0.011, 0.009)
"""Beyond these lie over 6 % of the unpruned MLP's gradients, and under 1 % at λ = 13.4 (section 3.1)."""
WIDE = 2.0
"""Standard deviations from the mean that bound what the unpruned network's values are compared with."""


@dataclass(frozen=True)
class Gradients:
    """What was measured: a row for each bin, and a row for each network and kind of values."""

    histograms: pd.DataFrame
    tails: pd.DataFrame


class Measurable(Protocol):
    """Results with networks of whole chains; see `sweep.experiments.results.MeasuredResults`."""

    folder: Folder

    @property
    def settings(self) -> Any:
        """The sweep's settings."""

    def networks(self) -> Iterator[tuple[str, Row]]:
        """Yield the name of a chain and the row of each network that it keeps."""

    def check_unchanged(self, settings: Any, fingerprint: str | None = None) -> None:
        """Raise FolderError where network, data or settings changed."""


def gradients(
    results: Measurable, images: int | None = None, beyond: Bounds = FIGURE_1, device: str = "auto"
) -> Gradients:
    """Measure the networks that a sweep kept: an oracle's winners, or the chains of a comparison of schedules.

    `images`: so many of the training split (its order is random) in place of all. `beyond`: bounds (low, high) beyond
    which gradients count as tails. Raises FolderError where a network is not there, or the folder's were trained with
    other data or code, and SettingsError for bad data or numbers.
    """
    if not beyond[0] < beyond[1]:
        raise SettingsError(f"--beyond takes LO,HI with LO below HI, but got {beyond[0]:g},{beyond[1]:g}")
    if images is not None and images < 1:
        raise SettingsError(f"--images must be at least 1, but got {images}")
    settings = results.settings
    networks = list(results.networks())
    if not networks:
        raise FolderError(f"{results.folder.path} has no decided cycle yet, and so no network to measure")
    training = settings.training()
    place = pick_device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda, but torch sees no GPU here")
    now = changed(settings, {})
    results.check_unchanged(now)
    try:
        dataset = load_dataset(settings.dataset, settings.data_folder, place, False, settings.images)
        results.check_unchanged(now, dataset.fingerprint)
        template = models.build(training, dataset.shape, dataset.classes, seed=0).to(place)
    except ValueError as error:  # a DataError too
        raise SettingsError(str(error)) from error
    bins: list[dict[str, Any]] = []
    tails: list[dict[str, Any]] = []
    first: dict[tuple[str, str, int], Distribution] = {}
    """By schedule, kind and run, that of the unpruned network."""
    dtype = models.DTYPES[training.dtype]
    for schedule, row in networks:
        state = _state(results, row, template)
        template.load_state_dict(state.tensors)
        train = datasets.split(dataset, settings.split, derive_seed(row["seed"], "split")).train[:images]
        kinds: dict[str, Values | None] = {
            "gradient": histograms.weight_gradients(template, state, dataset, train, dtype),
            "activation": histograms.activations(template, dataset, train, dtype),
        }
        where: dict[str, Any] = {name: row[name] for name in ("cycle", "run", "percent_remaining", "max_lr")}
        where["schedule"] = schedule
        for kind, values in kinds.items():
            if values is None:
                continue
            key = schedule, kind, row["run"]
            known = first.get(key)
            if known is None:  # the first network sets the bounds that it and all later ones are measured by
                known = first[key] = histograms.distribution(values, [])
            wide = known.mean - WIDE * known.std, known.mean + WIDE * known.std
            found = histograms.distribution(values, [wide, beyond] if kind == "gradient" else [wide])
            tails.append({**where, "kind": kind, "images": len(train), **_tails(found, wide, beyond)})
            bins += [
                where | {"kind": kind, "low": low, "high": high, "count": count}
                for low, high, count in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True)
            ]
    return Gradients(HISTOGRAMS.frame(bins), TAILS.frame(tails))


def write_gradients(results: Measurable, found: Gradients | None = None) -> None:
    """Measure, unless that is done, and write the tables and the picture of gradients and activations.

    On this machine: GPUs of the workers may be elsewhere.
    """
    found = found or gradients(results, device="cpu" if results.settings.device == "cpu" else "auto")
    folder = results.folder.path
    HISTOGRAMS.write(found.histograms, HISTOGRAMS.path(folder))
    TAILS.write(found.tails, TAILS.path(folder))
    figures.histograms(found, run_of(results.settings), folder / "histograms.png")


def _state(results: Measurable, row: Row, network: nn.Module) -> State:
    try:
        return load_state(results.folder.states, row["state"], network.state_dict())
    except StateError as error:
        raise FolderError(f"cycle {row['cycle']}, run {row['run']}: {error}") from error


def _tails(found: Distribution, wide: Bounds, given: Bounds) -> dict[str, Any]:
    """Return the row of one distribution; the given bounds are for gradients alone."""
    low, high, beyond = (*given, 100 * found.beyond[1]) if len(found.beyond) > 1 else (None, None, None)
    return {
        "count": found.count,
        "minimum": found.minimum,
        "maximum": found.maximum,
        "mean": found.mean,
        "std": found.std,
        "zeros": 100 * found.zeros,
        "low": low,
        "high": high,
        "beyond": beyond,
        "low_2std": wide[0],
        "high_2std": wide[1],
        "beyond_2std": 100 * found.beyond[0],
    }
