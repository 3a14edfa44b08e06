"""Data sets by name. In: a name and a folder. Out: all images and labels as tensors in memory, a fingerprint, splits.

Images stay bytes until a batch is drawn (CIFAR-10: 184 MB instead of 737). Nothing is downloaded unless the user asks.
Next: `trainables.pack` draws batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from pathlib import Path

import torch
from torch import Tensor

from trainables.data import published, users_data
from trainables.data.published import DATASETS, Outline, PartError, rounded
from trainables.networks.models import Shape
from trainables.spec import SplitName, derive_seed

CROP_PADDING = 4
"""Width in pixels of the black border around a training image before it is cropped, as is usual for CIFAR."""


class DataError(ValueError):
    """A data set is missing or damaged; the message says how to get it."""


@dataclass(frozen=True)
class Dataset:
    """One data set in memory."""

    name: str
    images: Tensor
    """uint8, images x channels x height x width; the set's own test part, if it has one, comes last."""
    labels: Tensor
    """int64, one class in [0, classes) per image."""
    test_start: int
    """Index of the first image of the set's own test part; the number of images if it has none."""
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """By channel, in bytes (0..255): a batch is (bytes - mean) / std."""
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

    def part(self, images: int) -> "Dataset":
        """Return a part of so many images, the same for every seed.

        Its shares of classes and of test images are as near to those of the whole as whole numbers can be. Raises
        PartError for too few images, or for more than there are.
        """
        self.outline.part(images)
        size, labels = len(self.labels), self.labels
        in_test = torch.arange(size) >= self.test_start
        of_class = torch.bincount(labels, minlength=self.classes).tolist()
        tests_of_class = torch.bincount(labels[in_test], minlength=self.classes).tolist()
        counts = _whole(images, [Fraction(images * count, size) for count in of_class])
        if not all(counts):
            low = -(-size // min(of_class))
            raise PartError(f"images must be at least {low}, which has one of every class, but got {images}")
        shares = [Fraction(n * test, of) for n, test, of in zip(counts, tests_of_class, of_class, strict=True)]
        test_size = rounded(sum(shares, Fraction(0)))
        if images - test_size < users_data.FEWEST:
            raise PartError(
                f"images must have at least {users_data.FEWEST} that are not test images, but {images} have "
                f"{images - test_size}"
            )
        order = _permutation(size, derive_seed("part", self.name))
        kept = []
        for label, (count, tests) in enumerate(zip(counts, _whole(test_size, shares), strict=True)):
            of_label = order[labels[order] == label]
            kept += [of_label[in_test[of_label]][:tests], of_label[~in_test[of_label]][: count - tests]]
        indices = torch.cat(kept).sort().values
        some, labels = self.images[indices], labels[indices]
        # Besides its images, the whole set's fingerprint: its mean and deviation normalise them.
        fingerprint = published.digest(some, labels, self.fingerprint)
        return replace(self, images=some, labels=labels, test_start=images - test_size, fingerprint=fingerprint)

    def to(self, device: torch.device) -> "Dataset":
        """Return the same data set on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batch(self, indices: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None) -> Tensor:
        """Return the images at `indices`, normalised; augmented if a generator is given and the set is augmented.

        The generator is one of the CPU, so that crops are the same on every device.
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


def load(name: str, folder: Path, download: bool = False, images: int | None = None) -> Dataset:
    """Read a data set into memory: a published one, checked byte for byte, or that of a user's own function.

    With `images`, a part of so many images. Raises ValueError for an unknown name, PartError for a part that is too
    small or too large, and DataError if files are missing or damaged, or if a user's function raises an error or
    returns no data set.
    """
    if ":" not in name and name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}, or package.module:function")
    try:
        whole = _users_own(name, folder) if ":" in name else _published(name, folder, download)
    except ValueError as error:
        raise DataError(str(error)) from error
    return whole if images is None else whole.part(images)


def _published(name: str, folder: Path, download: bool) -> Dataset:
    source = DATASETS[name]
    images, labels, fingerprint = published.read(name, folder, download)
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

    Its fingerprint covers its whole content, so the key of a lane does not need the function's source.
    """
    images, labels, test_size = users_data.read(name, folder)
    mean, std = users_data.statistics(images)
    # With shape and test part: the same bytes in another shape are another data set.
    fingerprint = published.digest(images, labels, str((tuple(images.shape), test_size)))
    return Dataset(
        name=name,
        images=images,
        labels=labels,
        test_start=len(labels) - test_size,
        classes=int(labels.max()) + 1,
        mean=mean,
        std=std,
        augment=False,
        fingerprint=fingerprint,
    )


def split(dataset: Dataset, kind: SplitName, seed: int) -> Split:
    """Draw one run's split from its seed. Its sizes depend on the data set only, not on the run.

    `pooled`: all images at random 60/20/20 (S-Cyc paper, section 5.1; the rest after rounding down is test).
    `fixed_test`: in every run the set's own test part, or, if it has none, the same fifth. The other images are split
    at random 75/25 into training and validation, which is 60/20 of all if the test part is a fifth.
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
    """Add a black border of 4 pixels, crop each image at random to its size, and flip half of them left to right.

    The whole batch is done at once, by one index for each output pixel. `images` is uint8 NCHW; the shape stays.
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, [CROP_PADDING] * 4)
    offsets = torch.randint(0, 2 * CROP_PADDING + 1, (2, count, 1), generator=generator)
    flips = torch.rand(count, 1, generator=generator, dtype=torch.float32) < 0.5
    rows = offsets[0] + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = offsets[1] + torch.where(flips, width - 1 - columns, columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    index = torch.arange(count, device=images.device).view(-1, 1, 1)
    # Indexing with a slice between two index groups puts the channels last.
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _whole(total: int, shares: Sequence[Fraction]) -> list[int]:
    """Return whole numbers with this sum: the shares rounded down, or up for those that lose most by rounding down."""
    found = [floor(share) for share in shares]
    by_loss = sorted(range(len(shares)), key=lambda index: found[index] - shares[index])
    for index in by_loss[: total - sum(found)]:
        found[index] += 1
    return found


def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
