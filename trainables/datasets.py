"""Data sets by name. In: a name and a folder. Out: all images and labels as tensors in memory, a fingerprint, splits.

Images stay bytes until a batch is drawn (CIFAR-10: 184 MB instead of 737). Nothing is downloaded unless asked for.
Next: `trainables.pack` draws batches.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from trainables import tiny_imagenet, users_data
from trainables.models import Shape
from trainables.spec import SplitName, derive_seed

CROP_PADDING = 4
"""Pixels of black border from which a training image is cropped, as is usual for CIFAR."""


class DataError(ValueError):
    """A data set that is missing or is not what its name says; the message says how to get it."""


@dataclass(frozen=True)
class Outline:
    """What there is to know of a data set before its images: sizes."""

    size: int
    """Images in all."""
    test_size: int
    """Images of the set's own test part; 0 where it has none."""
    shape: Shape
    classes: int

    def train_size(self, kind: SplitName) -> int:
        """Return how many training images a run has."""
        if kind == "pooled":
            return self.size * 3 // 5
        return (self.size - (self.test_size or self.size // 5)) * 3 // 4


@dataclass(frozen=True)
class Dataset:
    """One data set in memory."""

    name: str
    images: Tensor
    """uint8, images x channels x height x width; the set's own test part, where it has one, comes last."""
    labels: Tensor
    """int64, one class in [0, classes) per image."""
    test_start: int
    """Index of the first image of the set's own test part; the number of images if it has none."""
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Per channel, in bytes (0..255): a batch is (bytes - mean) / std."""
    augment: bool
    """Whether training batches are cropped and flipped at random."""
    fingerprint: str
    """sha256 of images and labels."""

    @property
    def shape(self) -> Shape:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def outline(self) -> Outline:
        """Its sizes."""
        return Outline(len(self.labels), len(self.labels) - self.test_start, self.shape, self.classes)

    def to(self, device: torch.device) -> "Dataset":
        """Return the same data set on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batch(self, indices: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None) -> Tensor:
        """Return the images at `indices`, normalised; augmented if a generator is given and the set is augmented.

        The generator is on the CPU, so that every device draws the same crops.
        """
        images = self.images[indices.to(self.images.device)]
        if generator is not None and self.augment:
            images = crop_and_flip(images, generator)
        mean, std = (images.new_tensor(v, dtype=dtype).view(-1, 1, 1) for v in (self.mean, self.std))
        return (images.to(dtype) - mean) / std


@dataclass(frozen=True)
class Split:
    """Indices of one run's training, validation and test images: disjoint, together the whole data set."""

    train: Tensor
    val: Tensor
    test: Tensor


@dataclass(frozen=True)
class Source(Outline):
    """Where a data set comes from and what it must contain."""

    read: Callable[[Path, bool], tuple[Tensor, Tensor]]
    """(folder, download) -> images (uint8, NCHW; the set's own test part last), labels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: bool
    fingerprint: str | Callable[[Path], str] | None
    """sha256 of images and labels; how to know it without reading them all; or None where no edition is prescribed."""
    needs: str
    """What has to lie in the data folder; empty where the data comes with the installation."""


def _digits(folder: Path, download: bool) -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # two seconds of import that only this set needs

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)
    return images, torch.from_numpy(bunch.target).long()


def _fashion_mnist(folder: Path, download: bool) -> tuple[Tensor, Tensor]:
    from torchvision.datasets import FashionMNIST

    parts = [FashionMNIST(str(folder), train=train, download=download) for train in (True, False)]
    images = torch.cat([part.data for part in parts]).unsqueeze(1)
    return images, torch.cat([part.targets for part in parts]).long()


def _cifar(name: str, folder: Path, download: bool) -> tuple[Tensor, Tensor]:
    import torchvision.datasets

    read = getattr(torchvision.datasets, name)
    parts = [read(str(folder), train=train, download=download) for train in (True, False)]
    images = torch.cat([torch.from_numpy(part.data).permute(0, 3, 1, 2) for part in parts]).contiguous()
    return images, torch.tensor([label for part in parts for label in part.targets])


DATASETS: dict[str, Source] = {
    "digits": Source(
        read=_digits,
        size=1797,
        test_size=0,
        shape=(1, 8, 8),
        classes=10,
        mean=(0.0,),
        std=(16.0,),  # grey levels run from 0 to 16
        augment=False,
        fingerprint="65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5",
        needs="",
    ),
    "fashion_mnist": Source(
        read=_fashion_mnist,
        size=70_000,
        test_size=10_000,
        shape=(1, 28, 28),
        classes=10,
        mean=(72.94,),
        std=(90.02,),
        augment=False,
        fingerprint="75979490032625d6583ff7101de6f9243d07d0a8d33d3c9b3b7e79b4c59382af",
        needs="FashionMNIST/raw/ with the four idx files",
    ),
    "cifar10": Source(
        read=partial(_cifar, "CIFAR10"),
        size=60_000,
        test_size=10_000,
        shape=(3, 32, 32),
        classes=10,
        mean=(125.31, 122.95, 113.87),
        std=(62.99, 62.09, 66.70),
        augment=True,
        fingerprint="88cb2239d6faefc5313a1d8af7f0e1a122be82a5a0930f0bea3314cf9c3f44ca",
        needs="cifar-10-batches-py/ with the python batches",
    ),
    "cifar100": Source(
        read=partial(_cifar, "CIFAR100"),
        size=60_000,
        test_size=10_000,
        shape=(3, 32, 32),
        classes=100,
        mean=(129.30, 124.07, 112.43),
        std=(68.17, 65.39, 70.42),
        augment=True,
        fingerprint=None,  # torchvision checks the files' own digests
        needs="cifar-100-python/ with the python batches",
    ),
    "tiny_imagenet": Source(
        read=tiny_imagenet.read,
        size=110_000,
        test_size=10_000,
        shape=(3, 64, 64),
        classes=200,
        mean=(122.46, 114.26, 101.37),
        std=(70.63, 68.61, 71.93),
        augment=True,
        fingerprint=tiny_imagenet.fingerprint,
        needs="tiny-imagenet-200/ with wnids.txt, train/ and val/",
    ),
}


def load(name: str, folder: Path, download: bool = False) -> Dataset:
    """Read a data set into memory and check that it is the published one, byte for byte.

    A name `package.module:function` is that of a user's own; see `users_data.read` for what it returns.
    Raises ValueError for an unknown name and DataError where files are missing or damaged, or a user's function raises
    or returns no data set.
    """
    if ":" in name:
        return _users_own(name, folder)
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}, or package.module:function")
    source = DATASETS[name]
    remedy = f"--download fetches it, or put {source.needs} there" if source.needs else "reinstall scikit-learn"
    try:
        images, labels = source.read(folder, download)
    except Exception as error:  # torchvision raises RuntimeError, OSError, ValueError, EOFError, pickle's and more
        reason = " ".join(str(error).split())
        raise DataError(f"{name} is missing or damaged in {str(folder)!r} ({reason}): {remedy}") from error
    if callable(source.fingerprint):
        fingerprint = source.fingerprint(folder)
    else:
        digest = hashlib.sha256(images.numpy().data)
        digest.update(labels.numpy().data)
        fingerprint = digest.hexdigest()
    if isinstance(source.fingerprint, str) and fingerprint != source.fingerprint:
        raise DataError(
            f"{name} in {str(folder)!r} is damaged or another edition: its contents hash to {fingerprint[:12]}, "
            f"the published files to {source.fingerprint[:12]}; {remedy}"
        )
    return Dataset(
        name=name,
        images=images,
        labels=labels,
        test_start=source.size - source.test_size,
        classes=source.classes,
        mean=source.mean,
        std=source.std,
        augment=source.augment,
        fingerprint=fingerprint,
    )


def _users_own(name: str, folder: Path) -> Dataset:
    """Return the data set of a user's function: normalised by its own mean and deviation, not augmented.

    Its fingerprint says all that it consists of, so that lanes need not know the function's source.
    """
    try:
        images, labels, test_size = users_data.read(name, folder)
    except ValueError as error:
        raise DataError(str(error)) from error
    mean, std = users_data.statistics(images)
    digest = hashlib.sha256(images.numpy().data)
    digest.update(labels.numpy().data)
    # The same bytes are another data set in other shapes, or with another test part.
    digest.update(str((tuple(images.shape), test_size)).encode())
    return Dataset(
        name=name,
        images=images,
        labels=labels,
        test_start=len(labels) - test_size,
        classes=int(labels.max()) + 1,
        mean=mean,
        std=std,
        augment=False,
        fingerprint=digest.hexdigest(),
    )


def split(dataset: Dataset, kind: SplitName, seed: int) -> Split:
    """Draw one run's split from its seed. Sizes depend on the data set alone, never on the run.

    `pooled`: all images at random 60/20/20 (S-Cyc paper, section 5.1; the rest after rounding down is test).
    `fixed_test`: the set's own test part in every run, or, where it has none, the same fifth in every run; the other
    images at random 75/25 into training and validation, which is 60/20 where the test part is a fifth.
    Raises ValueError for an unknown kind.
    """
    count = len(dataset.labels)
    if kind == "pooled":
        order = _permutation(count, seed)
        train, val = count * 3 // 5, count // 5
        return Split(order[:train], order[train : train + val], order[train + val :])
    if kind == "fixed_test":
        if dataset.test_start < count:
            rest, test = torch.arange(dataset.test_start), torch.arange(dataset.test_start, count)
        else:
            fixed = _permutation(count, derive_seed("fixed test part", dataset.name))
            rest, test = fixed[count // 5 :], fixed[: count // 5]
        rest = rest[_permutation(len(rest), seed)]
        train = len(rest) * 3 // 4
        return Split(rest[:train], rest[train:], test)
    raise ValueError(f"unknown split {kind!r}; known are pooled, fixed_test")


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop each image at random from itself with a black border of 4 pixels, then flip half of them left to right.

    The whole batch at once: one index per output pixel, no loop. `images` is uint8 NCHW; the shape stays.
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, [CROP_PADDING] * 4)
    offsets = torch.randint(0, 2 * CROP_PADDING + 1, (2, count, 1), generator=generator)
    flips = torch.rand(count, 1, generator=generator) < 0.5
    rows = offsets[0] + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = offsets[1] + torch.where(flips, width - 1 - columns, columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    index = torch.arange(count, device=images.device).view(-1, 1, 1)
    # Indexing with a slice between two index groups puts the channels last.
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
