"""Published data sets are read as they are published; missing, damaged and foreign files are named with a remedy."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision.datasets
from torch import Tensor

from trainables.data.datasets import DataError, load
from trainables.data.published import DATASETS

SmallData = Callable[[str], Path]

WITH_FILES = ["fashion_mnist", "cifar10", "cifar100"]
FILES = [(name, file) for name in WITH_FILES for file in DATASETS[name].files]


def test_fashion_mnist_is_read_with_its_test_part_last(small_data: SmallData) -> None:
    dataset = load("fashion_mnist", small_data("fashion_mnist"))
    assert dataset.images.shape == (8, 1, 28, 28)
    assert dataset.images.dtype == torch.uint8
    assert dataset.labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    assert dataset.labels.dtype == torch.int64
    assert dataset.test_start == 6
    assert dataset.images[6].flatten()[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


@pytest.mark.parametrize(("name", "batches"), [("cifar10", 5), ("cifar100", 1)])
def test_cifar_is_read_as_channels_first_with_its_test_part_last(
    name: str, batches: int, small_data: SmallData
) -> None:
    dataset = load(name, small_data(name))
    assert dataset.images.shape == (2 * batches + 2, 3, 32, 32)
    assert dataset.images.dtype == torch.uint8
    assert dataset.images.is_contiguous()
    assert dataset.labels.tolist() == [0, 1] * batches + [7, 8]
    assert dataset.labels.dtype == torch.int64
    assert dataset.test_start == 2 * batches
    # The files hold a picture as 1024 red, 1024 green and 1024 blue bytes, row by row.
    pixels = torch.arange(2 * 3072) % 251
    assert torch.equal(dataset.images[-2:], pixels.to(torch.uint8).view(2, 3, 32, 32))


@pytest.mark.parametrize("what", ["an image", "a label"])
def test_one_changed_byte_is_another_edition(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = DATASETS["digits"]

    def read(folder: Path, download: bool) -> tuple[Tensor, Tensor]:
        images, labels = source.read(folder, download)
        if what == "an image":
            images[700, 0, 3, 3] ^= 1
        else:
            labels[700] = (labels[700] + 1) % 10
        return images, labels

    monkeypatch.setitem(DATASETS, "digits", replace(source, read=read))
    with pytest.raises(DataError, match=r"digits in .* is damaged or another edition: .* reinstall scikit-learn"):
        load("digits", tmp_path)


def test_files_of_another_edition_are_refused_by_their_contents(
    small_data: SmallData, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_data("fashion_mnist")
    small = DATASETS["fashion_mnist"]
    monkeypatch.setitem(DATASETS, "fashion_mnist", replace(small, fingerprint="0" * 64))
    with pytest.raises(DataError, match=r"is damaged or another edition: its contents hash to .*--download fetches it"):
        load("fashion_mnist", folder)


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_missing_folder_is_named_with_the_ways_to_get_it_and_nothing_is_downloaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for target in ("torchvision.datasets.mnist", "torchvision.datasets.cifar"):
        monkeypatch.setattr(f"{target}.download_and_extract_archive", lambda *a, **k: asked.append(a))
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(DataError) as caught:
            load(name, folder)
        assert f"{name} is missing or damaged in {str(folder)!r} ({folder / next(iter(DATASETS[name].files))}" in str(
            caught.value
        )
        assert f": {DATASETS[name].remedy}" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not asked


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "foreign", "changed"])
@pytest.mark.parametrize(("name", "file"), FILES, ids=[Path(file).name for _, file in FILES])
def test_one_missing_or_damaged_file_is_named_with_the_ways_to_get_a_good_one(
    name: str, file: str, damage: str, small_data: SmallData
) -> None:
    folder = small_data(name)
    path = folder / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        changed = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
        foreign = gzip.compress(b"<html>not found</html>")
        path.write_bytes({"empty": b"", "truncated": content[:-9], "foreign": foreign, "changed": changed}[damage])
    with pytest.raises(DataError, match=f"^{name} .*damaged") as caught:
        load(name, folder)
    said = f"({path} is missing)" if damage == "missing" else f"({path} is damaged: delete it)"
    assert said in str(caught.value)
    assert DATASETS[name].remedy in str(caught.value)
    assert "\n" not in str(caught.value) and "download=True" not in str(caught.value)


def test_a_download_that_failed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(DataError, match=r"\(no route to host; .*data_batch_1 is missing\)"):
        load("cifar10", tmp_path, download=True)


def test_the_table_of_data_sets_agrees_with_itself_and_with_torchvision() -> None:
    for name, source in DATASETS.items():
        assert len(source.mean) == len(source.std) == source.shape[0], name
        assert 0 <= source.test_size < source.size
        assert source.fingerprint is None or callable(source.fingerprint) or len(source.fingerprint) == 64
    for name in ("cifar10", "cifar100"):
        reader = getattr(torchvision.datasets, name.upper())
        files = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
        assert DATASETS[name].files == {f"{reader.base_folder}/{file}": md5 for file, md5 in files}
