"""Tiny ImageNet in small: a folder as the published one, with fewer classes and files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables import datasets, tiny_imagenet
from trainables.datasets import DATASETS, DataError, load

WNIDS = ["n03", "n01", "n02"]
Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of four training images, and five of `val`; each image is one grey, 10 x its number."""
    for name, value in {"CLASSES": 3, "TRAIN_PER_CLASS": 4, "VAL": 5}.items():
        monkeypatch.setattr(tiny_imagenet, name, value)
    monkeypatch.setitem(DATASETS, "tiny_imagenet", replace(DATASETS["tiny_imagenet"], size=17, test_size=5, classes=3))
    root = tmp_path / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    for index, wnid in enumerate(sorted(WNIDS)):
        (root / "train" / wnid / "images").mkdir(parents=True)
        for number in range(4):
            save(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 10 * (4 * index + number))
    rows = []
    for number, wnid in enumerate(["n02", "n01", "n03", "n02", "n01"]):
        save(root / "val" / "images" / f"val_{number}.JPEG", 10 * (12 + number))
        rows.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63")
    (root / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def save(path: Path, grey: int, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> None:
    Image.new(mode, size, (grey, grey, grey) if mode == "RGB" else grey).save(path, quality=95)


def test_train_comes_first_by_class_then_val_in_the_order_of_its_annotations(folder: Path) -> None:
    dataset = load("tiny_imagenet", folder)
    assert dataset.images.shape == (17, 3, 64, 64) and dataset.images.dtype == torch.uint8
    assert dataset.images[:, :, 5, 7].float().mean(1).round().tolist() == [10 * number for number in range(17)]
    assert dataset.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [1, 0, 2, 1, 0]
    assert (dataset.test_start, dataset.classes, dataset.augment) == (12, 3, True)


def test_a_grey_image_has_three_equal_channels(folder: Path) -> None:
    save(folder / "tiny-imagenet-200" / "train" / "n01" / "images" / "n01_2.JPEG", 200, mode="L")
    image = load("tiny_imagenet", folder).images[2]
    assert (image == 200).all()


def test_the_second_time_nothing_is_decoded_and_the_array_is_mapped_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load("tiny_imagenet", folder)
    monkeypatch.setattr(tiny_imagenet, "_decode", lambda root: pytest.fail("decoded again"))
    for path in (folder / "tiny-imagenet-200" / "train").rglob("*.JPEG"):
        path.unlink()
    again = load("tiny_imagenet", folder)
    assert torch.equal(again.images, first.images) and again.fingerprint == first.fingerprint
    array = tiny_imagenet.np.load(folder / "tiny-imagenet-200" / ".decoded" / "images.npy", mmap_mode="c")
    assert isinstance(array, np.memmap)
    again.images[0] = 77  # in memory alone
    assert (load("tiny_imagenet", folder).images[0] == 0).all()


def test_the_fingerprint_is_the_digest_of_images_and_labels(folder: Path) -> None:
    one = load("tiny_imagenet", folder)
    digest = datasets.hashlib.sha256(one.images.numpy().data)
    digest.update(one.labels.numpy().data)
    assert one.fingerprint == digest.hexdigest()


def damaged(root: Path) -> None:
    path = root / "train" / "n02" / "images" / "n02_1.JPEG"
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "wnids.txt").unlink(), r"wnids\.txt"),
        (lambda root: (root / "wnids.txt").write_text("n01\nn02\n"), r"wnids\.txt must name 3 classes, but names 2"),
        (lambda root: (root / "train" / "n02" / "images" / "n02_1.JPEG").unlink(), r"n02/images must have 4 .* has 3"),
        (damaged, r"n02_1\.JPEG is damaged"),
        (
            lambda root: save(root / "train" / "n02" / "images" / "n02_1.JPEG", 0, (32, 64)),
            r"n02_1\.JPEG must be 64 x 64 .* 32 x 64",
        ),
        (lambda root: (root / "val" / "images" / "val_3.JPEG").unlink(), r"val_3\.JPEG is missing"),
        (
            lambda root: (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\n"),
            r"val_annotations\.txt must have 5",
        ),
    ],
)
def test_an_incomplete_or_damaged_folder_names_the_file_and_leaves_no_array(
    folder: Path, change: Change, message: str
) -> None:
    change(folder / "tiny-imagenet-200")
    with pytest.raises(DataError, match=message) as caught:
        load("tiny_imagenet", folder)
    assert "\n" not in str(caught.value)
    decoded = folder / "tiny-imagenet-200" / ".decoded"
    assert not decoded.exists() or not list(decoded.iterdir())


def test_a_missing_folder_is_named_with_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tiny_imagenet is missing .* put tiny-imagenet-200/ with wnids\.txt"):
        load("tiny_imagenet", tmp_path)
    with pytest.raises(DataError, match=r"it cannot be fetched by --download: unpack tiny-imagenet-200\.zip"):
        load("tiny_imagenet", tmp_path, download=True)
