"""Tiny ImageNet in small: a folder as the published one, with fewer classes and files."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data import tiny_imagenet
from trainables.data.datasets import DataError, load

Change = Callable[[Path], object]


@pytest.fixture
def folder(small_data: Callable[[str], Path]) -> Path:
    """Three classes of four training images, and five of `val`; each image is one grey, 10 x its number."""
    return small_data("tiny_imagenet")


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
    assert one.fingerprint == hashlib.sha256(one.images.numpy().tobytes() + one.labels.numpy().tobytes()).hexdigest()


def cut(path: Path, tail: int) -> None:
    path.write_bytes(path.read_bytes()[:-tail])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "wnids.txt").unlink(), r"wnids\.txt"),
        (lambda root: (root / "wnids.txt").write_text("n01\nn02\n"), r"wnids\.txt must name 3 classes, but names 2"),
        (
            lambda root: (root / "train" / "n02" / "images" / "n02_1.JPEG").unlink(),
            r"n02/images must have 4 .* has 3: /.*/n02/images/n02_1\.JPEG is missing",
        ),
        (lambda root: cut(root / "train" / "n02" / "images" / "n02_1.JPEG", 300), r"n02_1\.JPEG is damaged"),
        (lambda root: cut(root / "val" / "images" / "val_4.JPEG", 300), r"val_4\.JPEG is damaged"),
        (
            lambda root: save(root / "train" / "n02" / "images" / "n02_1.JPEG", 0, (32, 64)),
            r"n02_1\.JPEG must be 64 x 64 .* 32 x 64",
        ),
        (lambda root: (root / "val" / "images" / "val_3.JPEG").unlink(), r"val_3\.JPEG is missing"),
        (
            lambda root: (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\n"),
            r"val_annotations\.txt must have 5",
        ),
        (
            lambda root: cut(root / "val" / "val_annotations.txt", 20),
            r"val_annotations\.txt has a class '' .* 'val_4'",
        ),
        (lambda root: (root / "val" / "val_annotations.txt").unlink(), r"No such file .*val_annotations\.txt"),
        (lambda root: (root / "wnids.txt").write_bytes(b"n01\nn02\n\xff\xfe"), r"images must have 4 images, but has 0"),
    ],
)
def test_an_incomplete_or_damaged_folder_names_the_file_and_leaves_no_array(
    folder: Path, change: Change, message: str
) -> None:
    change(folder / "tiny-imagenet-200")
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=message) as caught:
        load("tiny_imagenet", folder)
    assert "\n" not in str(caught.value)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "fingerprint.json"])
def test_a_damaged_array_is_named_with_the_way_out(folder: Path, name: str, damage: str) -> None:
    expected = load("tiny_imagenet", folder)
    path = folder / "tiny-imagenet-200" / ".decoded" / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if damage == "truncated" else b"")
    with pytest.raises(DataError, match=rf"{path} is damaged \(.*\): delete {path.parent}\): unpack"):
        load("tiny_imagenet", folder)
    shutil.rmtree(path.parent)
    assert load("tiny_imagenet", folder).fingerprint == expected.fingerprint


def test_two_that_decode_at_once_leave_one_array(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = tiny_imagenet.listing

    def late(root: Path) -> object:
        monkeypatch.setattr(tiny_imagenet, "listing", listing)
        load("tiny_imagenet", folder)  # another process, meanwhile
        return listing(root)

    monkeypatch.setattr(tiny_imagenet, "listing", late)
    assert len(load("tiny_imagenet", folder).labels) == 17
    names = {path.name for path in (folder / "tiny-imagenet-200").iterdir()}
    assert names == {"wnids.txt", "train", "val", ".decoded"}


@pytest.mark.parametrize("download", [False, True])
def test_a_missing_folder_is_named_with_what_belongs_there(tmp_path: Path, download: bool) -> None:
    remedy = r"wnids\.txt'\): unpack tiny-imagenet-200\.zip of the course CS231n there, which --download does not fetch"
    with pytest.raises(DataError, match=rf"^tiny_imagenet is missing .*{remedy}"):
        load("tiny_imagenet", tmp_path, download)
