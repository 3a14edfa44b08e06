"""Packs of a round: everything once in every run, in nearly equal parts that depend on nothing else."""

from collections.abc import Sequence
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from sweep.strategies.packing import in_packs
from trainables.spec import Lane, Pack

ITEMS = st.integers(0, 60)
SIZES = st.integers(1, 20)
RUNS = st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=4)


def pack(run: int, items: Sequence[int]) -> Pack:
    return Pack(1, run, run, tuple(Lane(float(item), "parent") for item in items))


def packed(items: int, size: int, runs: Sequence[int]) -> list[tuple[int, list[float]]]:
    """Run and items of each pack, in their order."""
    found = in_packs(range(items), size, runs, pack)
    return [(each.run, [lane.max_lr for lane in each.lanes]) for each in found]


@given(ITEMS, SIZES, RUNS)
def test_every_run_gets_every_item_once_in_its_order(items: int, size: int, runs: list[int]) -> None:
    found = packed(items, size, runs)
    for run in runs:
        assert [item for each, part in found if each == run for item in part] == list(range(items))
    assert {run for run, _ in found} <= set(runs)


@given(ITEMS, SIZES, RUNS)
def test_parts_are_nearly_equal_and_as_few_as_their_size_allows(items: int, size: int, runs: list[int]) -> None:
    found = packed(items, size, runs)
    sizes = [len(part) for _, part in found]
    assert len(found) == len(runs) * -(-items // size)
    assert all(1 <= each <= size for each in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(ITEMS, SIZES, RUNS)
def test_all_runs_of_a_part_come_together(items: int, size: int, runs: list[int]) -> None:
    parts = [[run for run, _ in group] for _, group in groupby(packed(items, size, runs), key=lambda each: each[1])]
    assert parts == [runs] * len(parts)


@given(ITEMS, SIZES, RUNS, st.data())
def test_parts_do_not_depend_on_how_many_packs_are_taken_or_which_runs_there_are(
    items: int, size: int, runs: list[int], data: st.DataObject
) -> None:
    whole = packed(items, size, runs)
    one = data.draw(st.sampled_from(runs))
    assert packed(items, size, [one]) == [(run, part) for run, part in whole if run == one]
    taken = data.draw(st.integers(0, len(whole)))
    begun = in_packs(range(items), size, runs, pack)
    first = [next(begun) for _ in range(taken)]
    assert [*first, *begun] == list(in_packs(range(items), size, runs, pack))
