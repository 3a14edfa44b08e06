"""A sweep's data set and its sizes. In: settings. Out: images on a device, or only how many there are."""

import functools
from pathlib import Path

import torch

from sweep.config.settings import Settings
from sweep.errors import SettingsError, SweepError
from trainables.data import datasets
from trainables.data.datasets import DataError, Dataset
from trainables.data.published import DATASETS, Outline, PartError


def dataset_of(settings: Settings) -> Dataset:
    """Return a sweep's data set, on the CPU.

    Raises SweepError where it is missing or damaged, or where a user's own function returns none; SettingsError where
    `--images` asks for a part that cannot be.
    """
    try:
        return load_dataset(
            settings.dataset, settings.data_folder, torch.device("cpu"), settings.download, settings.images
        )
    except PartError as error:
        raise SettingsError(f"--{error}") from error
    except DataError as error:
        raise SweepError(str(error)) from error


def outline_of(settings: Settings) -> Outline:
    """Return the sizes of a sweep's data set. Only a user's own data set is read for this. Raises as `dataset_of`."""
    if settings.dataset not in DATASETS:
        return dataset_of(settings).outline
    try:
        return DATASETS[settings.dataset].part(settings.images)
    except PartError as error:
        raise SettingsError(f"--{error}") from error


@functools.lru_cache(maxsize=1)
def load_dataset(name: str, folder: Path, device: torch.device, download: bool, images: int | None = None) -> Dataset:
    """Return a data set, or a part of it, on a device; a process reads it once. Raises as `datasets.load`."""
    return datasets.load(name, folder, download, images).to(device)
