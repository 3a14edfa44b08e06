"""Tiny ImageNet (ImageNet-200): 110,000 JPEG files, decoded once. In: the standard folder. Out: images and labels.

The decoded images lie beside the files as one array, which is mapped into memory instead of being read: all workers of
a host share its memory, and a second start takes no time. The set's own test part has no labels; `val` is used instead.
Next: `trainables.data.datasets` makes a data set of them.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

FOLDER = "tiny-imagenet-200"
CLASSES, TRAIN_PER_CLASS, VAL, SIDE = 200, 500, 10_000, 64
DECODED = ".decoded"
"""Folder of the decoded arrays, within the set's own."""

T = TypeVar("T")


def read(folder: Path, download: bool) -> tuple[Tensor, Tensor]:
    """Return images (uint8, N x 3 x 64 x 64, `train` first, then `val`) and labels; see `fingerprint` for their digest.

    `download` has no effect: there is nothing to fetch. Raises OSError or ValueError, with the file, if one is missing
    or damaged.
    """
    decoded = folder / FOLDER / DECODED
    if not decoded.exists():
        _decode(folder / FOLDER)
    # Copy on write: torch requires writable memory, and the file must not change.
    images = _opened(decoded / "images.npy", lambda path: np.load(path, mmap_mode="c"))
    return torch.from_numpy(images), torch.from_numpy(_opened(decoded / "labels.npy", np.load))


def fingerprint(folder: Path) -> str:
    """Return the digest of images and labels, computed when they were decoded. Raises ValueError as `read`."""
    path = folder / FOLDER / DECODED / "fingerprint.json"
    return _opened(path, lambda path: str(json.loads(path.read_text())["sha256"]))


def _opened(path: Path, read: Callable[[Path], T]) -> T:
    """Return the content of a file of the decoded set. Raises ValueError, with the way out, if it is damaged."""
    try:
        return read(path)
    except (OSError, ValueError, EOFError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete {path.parent}") from error


def _decode(root: Path) -> None:
    """Decode all files into a folder of arrays, which appears under its name when it is complete."""
    files, labels = listing(root)
    partial, target = root / f".{uuid.uuid4().hex}.partial", root / DECODED
    try:
        partial.mkdir()
        shape = (len(files), 3, SIDE, SIDE)
        images = np.lib.format.open_memmap(partial / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(files), 1000):
                some = files[start : start + 1000]
                images[start : start + len(some)] = np.stack(list(pool.map(_pixels, some)))
        images.flush()
        digest = hashlib.sha256(images.data)
        digest.update(np.asarray(labels, dtype=np.int64).data)
        del images
        np.save(partial / "labels.npy", np.asarray(labels, dtype=np.int64))
        (partial / "fingerprint.json").write_text(json.dumps({"sha256": digest.hexdigest()}))
        try:
            partial.rename(target)
        except OSError:
            if not target.exists():  # otherwise another process has just done it
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def listing(root: Path) -> tuple[list[Path], list[int]]:
    """Return all image files and their classes, in the order of `wnids.txt` and of `val_annotations.txt`.

    Raises OSError or ValueError where the folder is incomplete.
    """
    wnids = (root / "wnids.txt").read_text(errors="replace").split()
    if len(set(wnids)) != CLASSES:
        raise ValueError(f"{root / 'wnids.txt'} must name {CLASSES} classes, but names {len(set(wnids))}")
    classes = {wnid: index for index, wnid in enumerate(sorted(wnids))}
    files: list[Path] = []
    labels: list[int] = []
    for wnid, label in classes.items():
        images = root / "train" / wnid / "images"
        some = sorted(images.glob("*.JPEG"))
        missing = {images / f"{wnid}_{number}.JPEG" for number in range(TRAIN_PER_CLASS)}.difference(some)
        _check_count(images, len(some), TRAIN_PER_CLASS, f": {min(missing)} is missing" if missing else "")
        files += some
        labels += [label] * len(some)
    annotations = root / "val" / "val_annotations.txt"
    rows = [line.split("\t") for line in annotations.read_text(errors="replace").splitlines()]
    _check_count(annotations, len(rows), VAL)
    for name, wnid in ((*row, "")[:2] for row in rows):
        if wnid not in classes:
            raise ValueError(f"{annotations} has a class {wnid!r} that wnids.txt has not, of image {name!r}")
        files.append(root / "val" / "images" / name)
        labels.append(classes[wnid])
    absent = [path for path in files[-len(rows) :] if not path.exists()]
    if absent:
        raise ValueError(f"{absent[0]} is missing")
    return files, labels


def _check_count(where: Path, found: int, wanted: int, hint: str = "") -> None:
    if found != wanted:
        raise ValueError(f"{where} must have {wanted:,} images, but has {found:,}{hint}")


def _pixels(path: Path) -> Sequence[Sequence[Sequence[int]]]:
    from PIL import Image  # comes with torchvision

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if pixels.shape != (SIDE, SIDE, 3):
        raise ValueError(f"{path} must be {SIDE} x {SIDE} pixels, but is {pixels.shape[1]} x {pixels.shape[0]}")
    return pixels.transpose(2, 0, 1)  # type: ignore[return-value]
