"""A data set of the user's own: what a function may return, what is made of it, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import users_own
from trainables.data import datasets
from trainables.data.datasets import DataError, Dataset, split
from trainables.data.published import Outline

Load = Callable[..., Dataset]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load the data set of a function that returns these values."""

    def load(*values: Any) -> Dataset:
        monkeypatch.setattr(users_own, "call", lambda name, folder: values)
        return datasets.load("pics:load", Path("nowhere"))

    return load


def pictures(count: int = 20, shape: tuple[int, ...] = (3, 4, 5), classes: int = 4) -> tuple[Any, Any]:
    """Random pictures, and labels in which every class occurs."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) % classes


def test_a_function_is_called_with_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(users_own, "call", lambda *arguments: seen.append(arguments) or pictures())
    datasets.load("pics:load", tmp_path)
    assert seen == [("pics:load", tmp_path)]


def test_a_data_set_is_what_the_function_returned(own: Load) -> None:
    images, labels = pictures()
    dataset = own(images, labels, 6)
    assert np.array_equal(dataset.images.numpy(), images) and dataset.images.dtype == torch.uint8
    assert dataset.labels.tolist() == labels.tolist() and dataset.labels.dtype == torch.int64
    assert (dataset.name, dataset.shape, dataset.classes, dataset.augment) == ("pics:load", (3, 4, 5), 4, False)
    assert dataset.outline == Outline(size=20, test_size=6, shape=(3, 4, 5), classes=4)
    assert split(dataset, "fixed_test", 0).test.tolist() == list(range(14, 20))
    assert len(split(own(images, labels), "fixed_test", 0).test) == 4  # without a test part, a fifth


def test_every_kind_of_array_gives_the_same_data_set(own: Load, tmp_path: Path) -> None:
    images, labels = pictures()
    channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = own(images, labels)
    for other in (
        own(torch.from_numpy(images), torch.from_numpy(labels)),
        own(channels_last.transpose(0, 3, 1, 2), labels.astype(np.uint8)),
        own(torch.from_numpy(channels_last).permute(0, 3, 1, 2), torch.from_numpy(labels).to(torch.int16)),
        own(images[::-1][::-1], labels.astype(">i4")),
        own(mapped, labels, np.int64(0)),
    ):
        assert torch.equal(other.images, expected.images) and torch.equal(other.labels, expected.labels)
        assert other.fingerprint == expected.fingerprint
        assert (other.mean, other.std) == (expected.mean, expected.std)
    assert np.shares_memory(own(mapped, labels).images.numpy(), mapped)  # a large set stays where it is


def test_batches_have_mean_0_and_deviation_1_in_each_channel_and_a_constant_channel_is_0(own: Load) -> None:
    images, labels = pictures(count=2500)
    images[:, 1] //= 7
    images[:, 2] = 9
    dataset = own(images, labels)
    flat = images.astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1)
    assert dataset.mean == pytest.approx(flat.mean(1))
    assert dataset.std == pytest.approx([*flat.std(1)[:2], 1.0])
    batch = dataset.batch(torch.arange(2500), torch.float64, torch.Generator())
    assert batch.mean((0, 2, 3)).tolist() == pytest.approx([0.0, 0.0, 0.0])
    assert batch.std((0, 2, 3), correction=0).tolist() == pytest.approx([1.0, 1.0, 0.0])


def test_the_fingerprint_tells_all_that_a_data_set_consists_of(own: Load) -> None:
    images, labels = pictures()
    other_images, other_labels = images.copy(), labels.copy()
    other_images[7, 2, 3, 4] ^= 1
    other_labels[[0, 1]] = 1, 0
    found = [
        own(images, labels),
        own(other_images, labels),
        own(images, other_labels),
        own(images, labels, 4),
        own(images.reshape(20, 3, 5, 4), labels),
    ]
    assert len({dataset.fingerprint for dataset in found}) == len(found)
    assert own(images.copy(), labels.copy()).fingerprint == found[0].fingerprint


IMAGES, LABELS = pictures()
WITH_NAN = np.where(LABELS == 3, np.nan, LABELS)
PAIR = r"must return \(images, labels\) or \(images, labels, test images\), but returned "
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "one value": ((IMAGES,), PAIR + "tuple of 1"),
    "four values": ((IMAGES, LABELS, 4, 4), PAIR + "tuple of 4"),
    "a list of images": ((IMAGES.tolist(), LABELS), "images must be a numpy array or a torch tensor, but are list"),
    "no labels": ((IMAGES, None), "labels must be a numpy array or a torch tensor, but are NoneType"),
    "floats": ((IMAGES / 255, LABELS), r"images must be bytes \(uint8, 0 to 255\), but are float64"),
    "a torch float": ((torch.zeros(20, 1, 2, 2), LABELS), "images must be bytes .* but are float32"),
    "NaN in images": ((np.full((20, 1, 2, 2), np.nan), LABELS), "images must be bytes .* but are float64"),
    "objects": ((IMAGES.astype(object), LABELS), "images must be bytes .* but are object"),
    "no channels": ((IMAGES[:, 0], LABELS), r"shape \(images, channels, height, width\), but have \(20, 4, 5\)"),
    "channels last": (
        (np.zeros((20, 8, 6, 3), np.uint8), LABELS),
        r"but \(20, 8, 6, 3\) has the channels last: return images.transpose\(0, 3, 1, 2\)$",
    ),
    "channels last in torch": (
        (torch.zeros(20, 5, 5, 1, dtype=torch.uint8), LABELS),
        r"\(20, 5, 5, 1\) has the channels last: return images.permute\(0, 3, 1, 2\)$",
    ),
    "images of nothing": ((IMAGES[:, :, :0], LABELS), r"but have \(20, 3, 0, 5\)"),
    "no images": ((IMAGES[:0], LABELS[:0]), "at least 5 images that are not test images, but there are 0"),
    "too few": ((IMAGES[:4], LABELS[:4]), "at least 5 images that are not test images, but there are 4"),
    "too few but tests": ((IMAGES, LABELS, 16), "at least 5 images that are not test images, but there are 4"),
    "a test part of more": ((IMAGES, LABELS, 21), "but there are -1"),
    "a negative test part": ((IMAGES, LABELS, -1), "the number of test images must be .* at least 0, but is -1"),
    "half a test image": ((IMAGES, LABELS, 2.5), "the number of test images must be an integer .* but is 2.5"),
    "a truth": ((IMAGES, LABELS, True), "the number of test images must be an integer .* but is True"),
    "float labels": ((IMAGES, LABELS * 1.0), "labels must be integers, but are float64"),
    "NaN in labels": ((IMAGES, WITH_NAN), "labels must be integers, but are float64"),
    "truths": ((IMAGES, LABELS > 1), "labels must be integers, but are bool"),
    "fewer labels": ((IMAGES, LABELS[1:]), r"shape \(20,\), one for each image, but have \(19,\)"),
    "one-hot labels": (
        (IMAGES, np.eye(4, dtype=int)[LABELS]),
        r"shape \(20,\), one for each image, but have \(20, 4\)",
    ),
    "negative labels": ((IMAGES, LABELS - 1), "labels must be 0 or more, but one is -1"),
    "one class": ((IMAGES, LABELS * 0), "labels must be of at least two classes, but all are 0"),
    "labels from 1": ((IMAGES, LABELS + 1), "without a gap, but the highest is 4 and none is 0"),
    "a stray label": ((IMAGES, np.where(LABELS == 3, 255, LABELS)), "but the highest is 255 and none is 3"),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_data_set_is_refused_naming_the_function_and_what_is_wrong(
    own: Load, values: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(DataError, match=f"^pics:load:? .*{message}") as caught:
        own(*values)
    assert "\n" not in str(caught.value)


def test_the_smallest_set_that_is_taken_leaves_no_part_of_any_split_empty(own: Load) -> None:
    for count, test in ((5, 0), (6, 1)):
        dataset = own(IMAGES[:count], LABELS[:count], test)
        for kind in ("pooled", "fixed_test"):
            parts = split(dataset, kind, 0)
            assert min(len(parts.train), len(parts.val), len(parts.test)) >= 1
            assert dataset.outline.train_size(kind) == len(parts.train)


@pytest.mark.parametrize("where", ["the module", "the function"])
def test_a_function_that_exits_is_named_like_one_that_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    module = f"leaves{len(where)}"
    last = "raise SystemExit(3)" if where == "the module" else "def load(folder): raise SystemExit(3)"
    (tmp_path / f"{module}.py").write_text(f"{last}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=f"^{module}:load raised SystemExit: 3"):
        datasets.load(f"{module}:load", Path("nowhere"))
