"""Images and labels from a function of the user's own. In: its name and the data folder. Out: tensors, checked.

Next: `trainables.data.datasets` makes a data set of them.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables import users_own

CHUNK = 1000
"""Images that are counted at the same time: counting needs eight bytes for each byte."""
CHANNELS = (1, 3, 4)
"""Channels of grey images, colour images, and colour images with transparency. No useful image has so few columns."""
FEWEST = 5
"""Fewest images besides a test part: split 60/20/20, each part then has one."""


def read(name: str, folder: Path) -> tuple[Tensor, Tensor, int]:
    """Return images (uint8, N x C x H x W), labels (int64), and how many of the last images are the test part, or 0.

    A user's function returns these as numpy arrays or torch tensors; the third may be left out. Raises ValueError, with
    the function and what is wrong, if it raises an error or returns anything else.
    """
    found = users_own.call(name, folder)
    if not isinstance(found, tuple | list) or len(found) not in (2, 3):
        what = type(found).__name__ + (f" of {len(found)}" if isinstance(found, tuple | list) else "")
        raise ValueError(f"{name} must return (images, labels) or (images, labels, test images), but returned {what}")
    images, labels, test = (*found, 0)[:3]
    mistake = _mistake_in_kind(images, labels, test)
    if not mistake:
        images, labels = _array(images), _array(labels).astype(np.int64)
        mistake = _mistake_in_labels(labels)
    if mistake:
        raise ValueError(f"{name}: {mistake}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mapped file may be read-only, and images are never written to
        return torch.from_numpy(images), torch.from_numpy(labels), int(test)


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over all images, in bytes; the deviation is 1 instead of 0.

    They are computed from counts of each byte, so they are the same to the last bit on every machine.
    """
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(images), CHUNK):
            counts += np.bincount(images[start : start + CHUNK, channel].numpy().ravel(), minlength=256)
        mean = float(np.average(np.arange(256), weights=counts))
        means.append(mean)
        stds.append(float(np.average((np.arange(256) - mean) ** 2, weights=counts)) ** 0.5 or 1.0)
    return tuple(means), tuple(stds)


def _mistake_in_kind(images: Any, labels: Any, test: Any) -> str:
    """Return what is wrong with the types and sizes that a function returned; empty if nothing is."""
    for what, values in (("images", images), ("labels", labels)):
        if not isinstance(values, np.ndarray | Tensor):
            return f"{what} must be a numpy array or a torch tensor, but are {type(values).__name__}"
    if _dtype(images) != "uint8":
        return f"images must be bytes (uint8, 0 to 255), but are {_dtype(images)}"
    if images.ndim != 4 or 0 in images.shape[1:]:
        return f"images must have a shape (images, channels, height, width), but have {tuple(images.shape)}"
    if images.shape[3] in CHANNELS and min(images.shape[1:3]) > max(CHANNELS):
        move = "images.permute(0, 3, 1, 2)" if isinstance(images, Tensor) else "images.transpose(0, 3, 1, 2)"
        return (
            f"images must have a shape (images, channels, height, width), but {tuple(images.shape)} has the channels "
            f"last: return {move}"
        )
    if not _dtype(labels).startswith(("int", "uint")):
        return f"labels must be integers, but are {_dtype(labels)}"
    if tuple(labels.shape) != (len(images),):
        return f"labels must have the shape ({len(images)},), one for each image, but have {tuple(labels.shape)}"
    if not isinstance(test, int | np.integer) or isinstance(test, bool) or test < 0:
        return f"the number of test images must be an integer of at least 0, but is {test!r}"
    if len(images) - test < FEWEST:
        return f"there must be at least {FEWEST} images that are not test images, but there are {len(images) - test}"
    return ""


def _mistake_in_labels(labels: np.ndarray[Any, np.dtype[np.int64]]) -> str:
    """Return what is wrong with the values of integer labels; empty if nothing is."""
    classes = np.unique(labels)
    if classes[0] < 0:
        return f"labels must be 0 or more, but one is {classes[0]}"
    if len(classes) == 1:
        return f"labels must be of at least two classes, but all are {classes[0]}"
    if classes[-1] >= len(classes):
        missing = int(np.setdiff1d(np.arange(len(classes)), classes)[0])
        return f"labels must be 0, 1, 2, ... without a gap, but the highest is {classes[-1]} and none is {missing}"
    return ""


def _dtype(values: Any) -> str:
    """Return the name of the number type of a numpy array or torch tensor."""
    return str(getattr(values.dtype, "name", values.dtype)).removeprefix("torch.")


def _array(values: Any) -> np.ndarray[Any, Any]:
    """Return an array in C order, without copying where possible, as for a mapped file."""
    return np.ascontiguousarray(values.numpy(force=True) if isinstance(values, Tensor) else values)
