"""Tiny ImageNet (ImageNet-200): 110,000 JPEG files, decoded once. In: the standard folder. Out: images and labels.

The decoded images lie beside the files as one array, which is mapped into memory and not read: workers of one host
share its pages, and a second start takes no time. The set's own test part has no labels and is left out; `val` stands
for it.
Next: `trainables.datasets` makes a data set of them.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = "tiny-imagenet-200"
CLASSES, TRAIN_PER_CLASS, VAL, SIDE = 200, 500, 10_000, 64
DECODED = ".decoded"
"""Folder of the decoded arrays, within the set's own."""


def read(folder: Path, download: bool) -> tuple[Tensor, Tensor]:
    """Return images (uint8, N x 3 x 64 x 64, `train` first, then `val`) and labels; see `fingerprint` for their digest.

    Raises OSError or ValueError, naming the file, where one is missing or damaged.
    """
    root = folder / FOLDER
    if download and not root.exists():
        raise ValueError("it cannot be fetched by --download: unpack tiny-imagenet-200.zip of the course CS231n there")
    images, labels = root / DECODED / "images.npy", root / DECODED / "labels.npy"
    if not (images.exists() and labels.exists()):
        _decode(root)
    # Copy on write: torch wants memory that it could write to, and the file must not change.
    return torch.from_numpy(np.load(images, mmap_mode="c")), torch.from_numpy(np.load(labels))


def fingerprint(folder: Path) -> str:
    """Return the digest of images and labels, as it was when they were decoded."""
    content = json.loads((folder / FOLDER / DECODED / "fingerprint.json").read_text())
    return str(content["sha256"])


def _decode(root: Path) -> None:
    """Decode all files into arrays, which appear under their names when they are complete."""
    files, labels = listing(root)
    target = root / DECODED
    target.mkdir(exist_ok=True)
    partial = target / f".images-{uuid.uuid4().hex}.partial"
    try:
        images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(len(files), 3, SIDE, SIDE))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(files), 1000):
                some = files[start : start + 1000]
                images[start : start + len(some)] = np.stack(list(pool.map(_pixels, some)))
        images.flush()
        digest = hashlib.sha256(images.data)
        digest.update(np.asarray(labels, dtype=np.int64).data)
        del images
        np.save(target / "labels.npy", np.asarray(labels, dtype=np.int64))
        (target / "fingerprint.json").write_text(json.dumps({"sha256": digest.hexdigest()}))
        partial.replace(target / "images.npy")
    finally:
        partial.unlink(missing_ok=True)


def listing(root: Path) -> tuple[list[Path], list[int]]:
    """Return all image files and their classes, in the order of `wnids.txt` and of `val_annotations.txt`.

    Raises OSError or ValueError where the folder is incomplete.
    """
    wnids = (root / "wnids.txt").read_text().split()
    if len(set(wnids)) != CLASSES:
        raise ValueError(f"{root / 'wnids.txt'} must name {CLASSES} classes, but names {len(set(wnids))}")
    classes = {wnid: index for index, wnid in enumerate(sorted(wnids))}
    files: list[Path] = []
    labels: list[int] = []
    for wnid, label in classes.items():
        some = sorted((root / "train" / wnid / "images").glob("*.JPEG"))
        _check_count(root / "train" / wnid / "images", len(some), TRAIN_PER_CLASS)
        files += some
        labels += [label] * len(some)
    rows = [line.split("\t") for line in (root / "val" / "val_annotations.txt").read_text().splitlines()]
    _check_count(root / "val" / "val_annotations.txt", len(rows), VAL)
    for name, wnid, *_ in rows:
        if wnid not in classes:
            raise ValueError(f"{root / 'val' / 'val_annotations.txt'} has a class {wnid} that wnids.txt has not")
        files.append(root / "val" / "images" / name)
        labels.append(classes[wnid])
    missing = [path for path in files[-len(rows) :] if not path.exists()]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    return files, labels


def _check_count(where: Path, found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"{where} must have {wanted:,} images, but has {found:,}")


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
