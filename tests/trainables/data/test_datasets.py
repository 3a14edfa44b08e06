"""Splits never leak or shrink, and augmentation keeps to its definition."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables.data.datasets import CROP_PADDING, Dataset, crop_and_flip, load, split
from trainables.data.published import DATASETS, PartError

Maker = Callable[..., Dataset]
KINDS = ["pooled", "fixed_test"]


def blank(count: int, test_size: int, name: str = "blank") -> Dataset:
    """A data set of so many black pixels, for its sizes alone."""
    return Dataset(
        name=name,
        images=torch.zeros(count, 1, 1, 1, dtype=torch.uint8),
        labels=torch.zeros(count, dtype=torch.int64),
        test_start=count - test_size,
        classes=1,
        mean=(0.0,),
        std=(1.0,),
        augment=False,
        fingerprint="",
    )


# Splits.


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(count=st.integers(10, 300), seed=st.integers(0, 2**32 - 1), own_test=st.booleans())
def test_the_three_parts_are_disjoint_and_together_everything(kind: str, count: int, seed: int, own_test: bool) -> None:
    parts = split(blank(count, count // 6 if own_test else 0), kind, seed)
    assert sorted(torch.cat([parts.train, parts.val, parts.test]).tolist()) == list(range(count))


@pytest.mark.parametrize(
    ("kind", "count", "test_size", "sizes"),
    [
        ("pooled", 1797, 0, (1078, 359, 360)),
        ("pooled", 60_000, 10_000, (36_000, 12_000, 12_000)),
        ("pooled", 70_000, 10_000, (42_000, 14_000, 14_000)),
        ("pooled", 11, 0, (6, 2, 3)),
        ("fixed_test", 1797, 0, (1078, 360, 359)),
        ("fixed_test", 60_000, 10_000, (37_500, 12_500, 10_000)),
        ("fixed_test", 70_000, 10_000, (45_000, 15_000, 10_000)),
        ("fixed_test", 100, 20, (60, 20, 20)),
    ],
)
def test_the_parts_have_their_sizes_in_every_run(
    kind: str, count: int, test_size: int, sizes: tuple[int, int, int]
) -> None:
    dataset = blank(count, test_size)
    for run in range(5):  # a pool that shrinks from run to run is a known slip
        parts = split(dataset, kind, seed=run)
        assert (len(parts.train), len(parts.val), len(parts.test)) == sizes
    assert len(dataset.labels) == count


@pytest.mark.parametrize("kind", KINDS)
def test_runs_have_different_splits_and_a_seed_always_the_same(kind: str) -> None:
    dataset = blank(200, 40)
    seen = []
    for seed in range(6):
        parts, again = split(dataset, kind, seed), split(dataset, kind, seed)
        for name in ("train", "val", "test"):
            assert torch.equal(getattr(parts, name), getattr(again, name))
        assert set(parts.train.tolist()) not in seen
        seen.append(set(parts.train.tolist()))


def test_pooled_mixes_the_sets_own_test_part_into_all_three() -> None:
    parts = split(blank(1000, 200), "pooled", 0)
    for part in (parts.train, parts.val, parts.test):
        share = float((part >= 800).double().mean())
        assert 0.1 < share < 0.3


def test_fixed_test_is_the_sets_own_test_part_in_every_run() -> None:
    for seed in range(5):
        assert split(blank(100, 20), "fixed_test", seed).test.tolist() == list(range(80, 100))


def test_fixed_test_without_an_own_test_part_is_one_fifth_drawn_once() -> None:
    tests = [split(blank(500, 0), "fixed_test", seed).test.tolist() for seed in range(5)]
    assert all(test == tests[0] for test in tests)
    assert len(tests[0]) == 100
    assert min(tests[0]) < 100  # from everywhere, not the end of the file
    assert max(tests[0]) >= 400


def test_global_random_numbers_neither_change_a_split_nor_are_used_up() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = split(blank(50, 0), "pooled", 1).train
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(split(blank(50, 0), "pooled", 1).train, first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DATASETS)
def test_train_size_is_the_size_of_the_split(name: str, kind: str) -> None:
    source = DATASETS[name]
    dataset = blank(source.size, source.test_size, name)
    assert source.train_size(kind) == dataset.outline.train_size(kind) == len(split(dataset, kind, 0).train)


def test_an_unknown_split_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown split 'kfold'; known are pooled, fixed_test"):
        split(blank(10, 0), "kfold", 0)


# Parts.


def labelled(of_class: list[int], tests_of_class: list[int], name: str = "blank") -> Dataset:
    """A data set with so many images of each class, those of the test part last; every pixel is an image's number."""
    rest = [
        label
        for label, (all_, tests) in enumerate(zip(of_class, tests_of_class, strict=True))
        for _ in range(all_ - tests)
    ]
    tests = [label for label, of in enumerate(tests_of_class) for _ in range(of)]
    count = len(rest) + len(tests)
    return replace(
        blank(count, len(tests), name),
        images=torch.arange(count).to(torch.uint8).view(-1, 1, 1, 1),
        labels=torch.tensor(rest + tests),
        classes=len(of_class),
        fingerprint="whole",
    )


def counts(dataset: Dataset) -> tuple[list[int], list[int]]:
    """Images of each class, in all and in the test part."""
    of, tests = (
        torch.bincount(labels, minlength=dataset.classes)
        for labels in (dataset.labels, dataset.labels[dataset.test_start :])
    )
    return of.tolist(), tests.tolist()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_part_has_the_shares_of_classes_and_of_the_test_part_but_for_rounding(data: st.DataObject) -> None:
    of_class = data.draw(st.lists(st.integers(10, 50), min_size=2, max_size=5))
    share = data.draw(st.sampled_from([0, 6, 3]))
    whole = labelled(of_class, [of // share if share else 0 for of in of_class])
    images = data.draw(st.integers(5 * len(of_class), sum(of_class)))
    part = whole.part(images)
    assert len(part.labels) == len(part.images) == images
    found, found_tests = counts(part)
    for label, tests in enumerate(counts(whole)[1]):
        exact = images * of_class[label] / sum(of_class)
        assert abs(found[label] - exact) < 1
        assert abs(found_tests[label] - found[label] * tests / of_class[label]) < 1
    of_tests = sum(n * tests / of for n, tests, of in zip(found, counts(whole)[1], of_class, strict=True))
    assert abs(len(part.labels) - part.test_start - of_tests) <= 0.5
    # Each image is one of the whole, at most once, and has its label; the order is the whole's.
    numbers = part.images.flatten().tolist()
    assert numbers == sorted(set(numbers)) and whole.labels[numbers].tolist() == part.labels.tolist()
    assert all((number >= whole.test_start) == (index >= part.test_start) for index, number in enumerate(numbers))
    assert (part.classes, part.mean, part.std, part.name) == (whole.classes, whole.mean, whole.std, whole.name)


def test_a_part_is_the_same_each_time_and_another_for_another_set_or_number() -> None:
    whole = labelled([40] * 5, [8] * 5)
    part = whole.part(60)
    torch.manual_seed(9)
    assert torch.equal(whole.part(60).images, part.images) and whole.part(60).fingerprint == part.fingerprint
    assert not torch.equal(replace(whole, name="other").part(60).images, part.images)
    assert (
        len(
            {
                part.fingerprint,
                "whole",
                whole.part(61).fingerprint,
                replace(whole, fingerprint="w").part(60).fingerprint,
            }
        )
        == 4
    )
    assert whole.part(200).fingerprint != "whole"
    assert torch.equal(whole.part(200).images, whole.images)


@pytest.mark.parametrize(
    ("of_class", "tests", "images", "message"),
    [
        ([40, 40], [0, 0], 9, r"^images must lie in 10\.\.80 \(5 a class, and all there are\), but got 9$"),
        ([40, 40], [0, 0], 81, r"^images must lie in 10\.\.80 .* but got 81$"),
        ([150, 1], [0, 0], 70, "^images must be at least 151, which has one of every class, but got 70$"),
        ([40, 40], [36, 36], 20, "^images must have at least 5 that are not test images, but 20 have 2$"),
    ],
)
def test_a_part_that_cannot_be_is_refused_with_the_rule(
    of_class: list[int], tests: list[int], images: int, message: str
) -> None:
    with pytest.raises(PartError, match=message):
        labelled(of_class, tests).part(images)


def test_a_part_of_a_published_set_has_the_sizes_that_are_known_without_it() -> None:
    for name, source in DATASETS.items():
        of = [source.size // source.classes] * source.classes
        of[0] += source.size - sum(of)
        whole = labelled(of, [source.test_size // source.classes] * source.classes, name)
        for images in (5 * source.classes, 1001, 1203, source.size):
            assert whole.part(images).outline == replace(source.part(images), shape=whole.shape), name


def test_a_part_is_loaded_and_split_like_a_whole(tmp_path: Path) -> None:
    part = load("digits", tmp_path, images=100)
    assert counts(part)[0] == [10] * 10 and part.fingerprint != DATASETS["digits"].fingerprint
    for kind in KINDS:
        parts = split(part, kind, 0)
        assert len(parts.train) == part.outline.train_size(kind) == 60
    with pytest.raises(PartError, match=r"images must lie in 50\.\.1797"):
        load("digits", tmp_path, images=49)


# Batches.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_bytes_minus_mean_over_std_per_channel(dtype: torch.dtype) -> None:
    images = torch.tensor([[[[0, 100]], [[10, 255]]], [[[50, 60]], [[0, 30]]]], dtype=torch.uint8)
    dataset = replace(blank(2, 0), images=images, mean=(50.0, 10.0), std=(25.0, 5.0), augment=True)
    batch = dataset.batch(torch.tensor([1, 0, 1]), dtype)
    first, second = [[[-2.0, 2.0]], [[0.0, 49.0]]], [[[0.0, 0.4]], [[-2.0, 4.0]]]
    assert batch.dtype == dtype
    torch.testing.assert_close(batch, torch.tensor([second, first, second], dtype=dtype))
    assert dataset.shape == (2, 1, 2)


def test_a_batch_is_augmented_only_with_a_generator_and_only_if_the_set_is(make_images: Maker) -> None:
    indices = torch.arange(40)
    for augment in (False, True):
        dataset = make_images(augment=augment)
        plain = dataset.batch(indices, torch.float64)
        drawn = dataset.batch(indices, torch.float64, torch.Generator().manual_seed(0))
        assert torch.equal(plain, drawn) is not augment
        assert torch.equal(plain, make_images().batch(indices, torch.float64))


def test_an_augmented_batch_is_normalised_after_the_black_border_is_added(make_images: Maker) -> None:
    dataset = make_images(augment=True, shape=(3, 8, 8))
    indices = torch.arange(30)
    cropped = crop_and_flip(dataset.images[indices], torch.Generator().manual_seed(3)).double()
    expected = (cropped - torch.tensor(dataset.mean).view(3, 1, 1)) / torch.tensor(dataset.std).view(3, 1, 1)
    actual = dataset.batch(indices, torch.float64, torch.Generator().manual_seed(3))
    torch.testing.assert_close(actual, expected.double())


# Crops and flips.


def slow_crop_and_flip(images: Tensor, seed: int) -> Tensor:
    """One image and one pixel at a time, with the same random numbers."""
    generator = torch.Generator().manual_seed(seed)
    count, channels, height, width = images.shape
    offsets = torch.randint(0, 2 * CROP_PADDING + 1, (2, count, 1), generator=generator)
    flips = torch.rand(count, 1, generator=generator) < 0.5
    result = torch.zeros_like(images)
    for i in range(count):
        down, right = int(offsets[0, i]) - CROP_PADDING, int(offsets[1, i]) - CROP_PADDING
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    if 0 <= y + down < height and 0 <= x + right < width:
                        result[i, c, y, width - 1 - x if flips[i] else x] = images[i, c, y + down, x + right]
    return result


@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (9, 1, 5, 7), (1, 2, 3, 2)])
def test_crop_and_flip_agrees_with_a_loop_over_pixels(shape: tuple[int, int, int, int]) -> None:
    images = torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    before = images.clone()
    for seed in range(4):
        actual = crop_and_flip(images, torch.Generator().manual_seed(seed))
        assert actual.dtype == torch.uint8
        assert actual.is_contiguous()
        assert torch.equal(actual, slow_crop_and_flip(images, seed))
    assert torch.equal(images, before)


def test_every_crop_is_one_of_the_81_shifts_flipped_or_not_and_all_occur() -> None:
    image = torch.arange(1, 101, dtype=torch.uint8).view(1, 10, 10)
    padded = torch.nn.functional.pad(image, [CROP_PADDING] * 4)
    windows = {}
    for down in range(9):
        for right in range(9):
            window = padded[:, down : down + 10, right : right + 10]
            windows[window.numpy().tobytes()] = (down, right, False)
            windows[window.flip(2).contiguous().numpy().tobytes()] = (down, right, True)
    assert len(windows) == 162
    crops = crop_and_flip(image.repeat(5000, 1, 1, 1), torch.Generator().manual_seed(0))
    found = [windows[crop.numpy().tobytes()] for crop in crops]
    assert len(set(found)) == 162
    assert 0.45 < sum(flipped for *_, flipped in found) / 5000 < 0.55


def test_crops_follow_from_the_generator_alone() -> None:
    images = torch.randint(0, 256, (20, 3, 8, 8)).to(torch.uint8)
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    first, second = crop_and_flip(images, generator), crop_and_flip(images, generator)
    torch.manual_seed(1)
    assert torch.equal(crop_and_flip(images, torch.Generator().manual_seed(1)), first)
    assert not torch.equal(first, second)


# Loading.


def test_digits_are_the_bundled_set(tmp_path: Path) -> None:
    dataset = load("digits", tmp_path / "nowhere")
    assert dataset.images.shape == (1797, 1, 8, 8)
    assert dataset.images.dtype == torch.uint8
    assert (int(dataset.images.min()), int(dataset.images.max())) == (0, 16)
    assert dataset.labels.dtype == torch.int64
    assert torch.bincount(dataset.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert dataset.test_start == 1797
    assert not dataset.augment
    assert float(dataset.batch(torch.arange(1797), torch.float64).max()) == 1.0
    assert dataset.fingerprint == DATASETS["digits"].fingerprint


def test_an_unknown_data_set_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'mnist'; known are digits, fashion_mnist, cifar10"):
        load("mnist", tmp_path)
