"""Published data sets by name. In: a name and a folder. Out: images and labels, byte for byte as published.

Nothing is downloaded unless the user asks. Next: `trainables.data.datasets` makes a data set of them.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from math import floor
from pathlib import Path

import torch
from torch import Tensor

from trainables.data import tiny_imagenet
from trainables.networks.models import Shape
from trainables.spec import SplitName

FEWEST_OF_A_CLASS = 5
"""Fewest images of a class in a part, on average: split 60/20/20, each split then has one."""


class PartError(ValueError):
    """A part of a data set is too small or too large; the message has the rule for `images`, and the value."""


@dataclass(frozen=True)
class Outline:
    """The sizes of a data set, which are known before its images are read."""

    size: int
    """All images."""
    test_size: int
    """Images of the set's own test part; 0 if it has none."""
    shape: Shape
    classes: int

    def train_size(self, kind: SplitName) -> int:
        """Return how many training images a run has."""
        if kind == "pooled":
            return self.size * 3 // 5
        return (self.size - (self.test_size or self.size // 5)) * 3 // 4

    def part(self, images: int | None) -> "Outline":
        """Return the sizes of a part of so many images; None: of the whole.

        They are those of `trainables.data.datasets.Dataset.part` if all classes have the same share of test images.
        Raises PartError for too few images, or for more than there are.
        """
        if images is None:
            return self
        low = FEWEST_OF_A_CLASS * self.classes
        if not low <= images <= self.size:
            raise PartError(
                f"images must lie in {low}..{self.size} ({FEWEST_OF_A_CLASS} a class, and all there are), "
                f"but got {images}"
            )
        return Outline(images, rounded(Fraction(images * self.test_size, self.size)), self.shape, self.classes)


def rounded(share: Fraction) -> int:
    """Return the nearest whole number; of two that are equally near the higher."""
    return floor(share + Fraction(1, 2))


@dataclass(frozen=True)
class Source(Outline):
    """Where a data set comes from, and what it must contain."""

    read: Callable[[Path, bool], tuple[Tensor, Tensor]]
    """(folder, download) -> images (uint8, NCHW; the set's own test part last), labels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: bool
    fingerprint: str | Callable[[Path], str] | None
    """sha256 of images and labels, or a function that finds it without reading them; None if it is not prescribed."""
    remedy: str
    """How to get its files."""
    files: Mapping[str, str] = field(default_factory=dict)
    """md5 of each file, by its path in the data folder, to find a damaged one. Empty if `read` names it itself."""


def _digits(folder: Path, download: bool) -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # late: it takes two seconds, and only this set needs it

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
        remedy="reinstall scikit-learn",
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
        remedy="--download fetches it, or put FashionMNIST/raw/ with the four idx files there",
        files={
            "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
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
        remedy="--download fetches it, or put cifar-10-batches-py/ with the python batches there",
        files={
            "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
            "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
            "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
            "cifar-10-batches-py/batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
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
        remedy="--download fetches it, or put cifar-100-python/ with the python batches there",
        files={
            "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
            "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "cifar-100-python/meta": "7973b15100ade9c7d40fb424638fde48",
        },
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
        remedy="unpack tiny-imagenet-200.zip of the course CS231n there, which --download does not fetch",
    ),
}


def read(name: str, folder: Path, download: bool) -> tuple[Tensor, Tensor, str]:
    """Return a published set's images, labels and fingerprint.

    Raises ValueError, with the file and how to get a good one, if one is missing or damaged.
    """
    source = DATASETS[name]
    try:
        images, labels = source.read(folder, download)
        fingerprint = source.fingerprint(folder) if callable(source.fingerprint) else digest(images, labels)
    except Exception as error:  # torchvision raises RuntimeError, OSError, ValueError, EOFError, pickle's and more
        culprit = _culprit(folder, source.files)
        # torchvision rarely names a file, but it knows best why a download failed.
        said = " ".join(str(error).split()) if download or not culprit else ""
        reason = "; ".join(filter(None, [said, culprit]))
        raise ValueError(f"{name} is missing or damaged in {str(folder)!r} ({reason}): {source.remedy}") from error
    if isinstance(source.fingerprint, str) and fingerprint != source.fingerprint:
        culprit = _culprit(folder, source.files)
        raise ValueError(
            f"{name} in {str(folder)!r} is damaged or another edition{culprit and f' ({culprit})'}: its contents hash "
            f"to {fingerprint[:12]}, the published files to {source.fingerprint[:12]}; {source.remedy}"
        )
    return images, labels, fingerprint


def digest(images: Tensor, labels: Tensor, *more: str) -> str:
    """Return the sha256 of images, labels and further texts; both tensors are contiguous and on the CPU."""
    found = hashlib.sha256(images.numpy().data)
    found.update(labels.numpy().data)
    for text in more:
        found.update(text.encode())
    return found.hexdigest()


def _culprit(folder: Path, files: Mapping[str, str]) -> str:
    """Return the first file that is missing or not as published, and what is wrong; empty if all are right."""
    for name, md5 in files.items():
        path = folder / name
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
        except FileNotFoundError:
            return f"{path} is missing"
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
        if found != md5:
            return f"{path} is damaged: delete it"
    return ""
