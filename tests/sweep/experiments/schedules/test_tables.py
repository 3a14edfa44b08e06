"""The table of a comparison of schedules: means, paired tests worked by hand, the paper's values beside them."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from search_spaces.schedule_tables import COMPARISONS
from sweep.config.resolve import resolve
from sweep.experiments.schedules.settings import Entry
from sweep.experiments.schedules.strategy import Grid
from sweep.experiments.schedules.tables import paired_p, rates, runs, standings
from trainables.spec import Schedule

TRAINING = resolve({}).training()


def entry(name: str) -> Entry:
    return Entry(name, name, Schedule("constant"), (0.1,), "given")


def lanes(*by_cycle: list[float | None], schedule: str = "constant") -> list[dict[str, Any]]:
    """The rows of a chain: test accuracies by cycle and run; validation accuracies are two points higher."""
    return [
        {
            "cycle": cycle,
            "run": run,
            "schedule": schedule,
            "max_lr": 0.1,
            "percent_remaining": 100 * 0.8**cycle,
            "test_accuracy": accuracy,
            "val_accuracy": None if accuracy is None else accuracy + 2,
            "status": "diverged" if accuracy is None else "ok",
            "steps": 10,
        }
        for cycle, accuracies in enumerate(by_cycle)
        for run, accuracy in enumerate(accuracies)
    ]


def table(**chains: list[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    rows = standings([entry(name) for name in chains], chains, TRAINING, None).to_dict("records")
    return {(row["schedule"], row["cycle"]): row for row in rows}


def test_a_paired_test_sees_through_what_all_schedules_of_a_run_share() -> None:
    """By hand: differences 1, 1, 2, 2, 1.5 have mean 1.5, std 0.5, t = 1.5 / (0.5 / sqrt 5) = 6.708, p = 0.00257."""
    high, low = [90.0, 80.0, 70.0, 95.0, 85.0], [89.0, 79.0, 68.0, 93.0, 83.5]
    found = table(a=lanes(low), b=lanes(high))
    assert found["b", 0]["best"] and not found["a", 0]["best"]
    assert found["a", 0]["p_value"] == pytest.approx(0.00257, abs=5e-6)
    assert found["a", 0]["difference"] == pytest.approx(-1.5)
    assert (found["a", 0]["tied"], found["b", 0]["tied"]) == (False, True)
    assert stats.ttest_ind(high, low).pvalue > 0.8  # unpaired, the spread between runs hides it
    assert found["b", 0]["difference"] == 0 and math.isnan(found["b", 0]["p_value"])


def test_what_cannot_be_told_from_the_best_is_tied() -> None:
    """By hand: differences 3, -2, 1 have mean 0.667, std 2.517, t = 0.459, p = 0.69."""
    found = table(a=lanes([90.0, 80.0, 85.0]), b=lanes([87.0, 82.0, 84.0]))
    assert found["b", 0]["p_value"] == pytest.approx(0.691, abs=1e-3)
    assert found["a", 0]["best"] and found["a", 0]["tied"] and found["b", 0]["tied"]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=9))
def test_p_is_that_of_t_worked_out_from_mean_and_std(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = [round(a, 1) for a, _ in pairs], [round(b, 1) for _, b in pairs]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = math.fsum(differences) / len(differences)
    std = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (len(differences) - 1))
    if std < 0.01:
        return
    t = mean / (std / math.sqrt(len(differences)))
    expected = 2 * stats.t.sf(abs(t), len(differences) - 1)
    assert paired_p(ours, theirs) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_where_no_run_differs_they_are_equal_and_where_all_differ_alike_they_are_not() -> None:
    assert paired_p([90.0, 80.0], [90.0, 80.0]) == 1.0
    assert paired_p([90.1, 80.1], [90.0, 80.0]) == 0.0


def test_of_one_run_there_is_a_best_and_no_test() -> None:
    found = table(a=lanes([90.0]), b=lanes([50.0]))
    assert (found["a", 0]["best"], found["b", 0]["best"]) == (True, False)
    assert found["a", 0]["tied"] is None and found["b", 0]["tied"] is None
    assert math.isnan(found["b", 0]["p_value"]) and math.isnan(found["b", 0]["test_accuracy_std"])


def test_all_of_equal_means_are_best() -> None:
    found = table(a=lanes([90.0, 91.0]), b=lanes([91.0, 90.0]), c=lanes([90.0, 90.9]))
    assert [found[name, 0]["best"] for name in "abc"] == [True, True, False]
    assert found["b", 0]["tied"] and found["b", 0]["p_value"] == 1.0


def test_the_peak_of_a_cycle_is_that_of_its_rates() -> None:
    """Retraining as long as training, drops at 255 and 382 of 510 steps: ft is 100 times lower, the others reach it."""
    chain = lanes([50.0], [50.0])
    names = ("warmup", "ft", "lrw", "slr", "clr", "decay")
    schedules = {name: Schedule(name, 82, (255, 382)) for name in names}
    entries = [Entry(name, name, schedule, (0.1, 0.1), "given") for name, schedule in schedules.items()]
    found = standings(entries, dict.fromkeys(names, chain), TRAINING, None).set_index(["schedule", "cycle"])["peak_lr"]
    assert found.unstack()[0].to_dict() == pytest.approx(dict.fromkeys(names, 0.1))
    assert found.unstack()[1].to_dict() == pytest.approx(dict.fromkeys(names, 0.1) | {"ft": 0.001})
    short = dataclasses.replace(TRAINING, retrain_steps=230)
    found = standings(entries, dict.fromkeys(names, chain), short, None).set_index(["schedule", "cycle"])["peak_lr"]
    # The last 230 steps begin at step 280, behind the first drop.
    assert found.unstack()[1][["lrw", "clr", "slr"]].tolist() == pytest.approx([0.01, 0.01, 0.1])


def test_runs_have_a_row_for_each_schedule_cycle_and_run() -> None:
    rows = lanes([90.0, 91.0], [80.0, 81.0])
    chain = [row | {"best_step": 8, "lane_id": f"{row['cycle']}-{row['run']}"} for row in rows]
    found = runs({"warmup-1": chain, "scyc": chain[:2]})
    assert list(zip(found["schedule"], found["cycle"], found["run"], found["test_accuracy"], strict=True)) == [
        ("warmup-1", 0, 0, 90.0),
        ("warmup-1", 0, 1, 91.0),
        ("warmup-1", 1, 0, 80.0),
        ("warmup-1", 1, 1, 81.0),
        ("scyc", 0, 0, 90.0),
        ("scyc", 0, 1, 91.0),
    ]
    assert set(found["kind"]) == {"constant"} and list(found["lane_id"][:2]) == ["0-0", "0-1"]


def test_a_schedule_that_diverged_in_a_run_has_no_accuracy_and_is_not_tied() -> None:
    found = table(a=lanes([90.0, 91.0], [88.0, None]), b=lanes([90.0, 91.0], [60.0, 61.0]))
    row = found["a", 1]
    assert math.isnan(row["test_accuracy_mean"]) and math.isnan(row["difference"])
    assert (row["diverged"], row["runs"], row["best"], row["tied"]) == (1, 2, False, None)
    assert found["b", 1]["best"]


def test_the_best_is_by_test_accuracy_and_means_are_over_runs() -> None:
    found = table(a=lanes([90.0, 92.0], [80.0, 84.0]), b=lanes([91.0, 90.0], [83.0, 82.0]))
    assert found["a", 0]["test_accuracy_mean"] == 91 and found["a", 0]["val_accuracy_mean"] == 93
    assert found["a", 1]["test_accuracy_std"] == pytest.approx(math.sqrt(8))
    assert [found[name, cycle]["best"] for name, cycle in (("a", 0), ("b", 0), ("a", 1), ("b", 1))] == [
        True,
        False,
        False,
        True,
    ]
    assert found["a", 0]["trained_steps"] == 20 and found["a", 1]["percent_remaining"] == 80


def test_the_best_is_not_by_validation_accuracy() -> None:
    low = [row | {"val_accuracy": 99.0} for row in lanes([80.0, 81.0])]
    found = table(a=low, b=lanes([90.0, 91.0]))
    assert (found["a", 0]["best"], found["b", 0]["best"]) == (False, True)


def test_a_chain_that_had_nothing_left_to_prune_says_so() -> None:
    ended = [row | {"status": "ended"} if row["cycle"] else row for row in lanes([90.0, 91.0], [None, None])]
    row = table(a=ended, b=lanes([90.0, 91.0], [60.0, 61.0]))["a", 1]
    assert (row["ended"], row["diverged"], row["tied"]) == (2, 0, None)


def test_the_paper_s_value_stands_in_the_rows_of_its_schedule_and_cycles() -> None:
    chain = lanes(*[[50.0, 51.0]] * 7)
    found = standings([entry("scyc"), entry("ft")], {"scyc": chain, "ft": chain}, TRAINING, COMPARISONS[9])
    scyc = found[found["schedule"] == "scyc"].set_index("cycle")
    # Table 9: S-Cyc at λ = 100, 80, ..., 32.8 (cycles 0 to 5); 26.2 (cycle 6) is not printed.
    assert list(scyc["printed_mean"][:6]) == [90, 89.6, 89.3, 89.2, 88.3, 88.3]
    assert list(scyc["printed_std"][:6]) == [0.3, 0.4, 0.5, 0.6, 0.4, 0.4]
    assert math.isnan(scyc["printed_mean"][6])
    assert found[found["schedule"] == "ft"]["printed_mean"].isna().all()


def test_rates_have_a_row_for_each_max_lr_that_was_tried() -> None:
    rows = [
        {"max_lr": rate, "run": run, "status": "ok" if val else "diverged", "steps": 10, **accuracy}
        for rate, vals in ((0.1, (90.0, 92.0)), (0.2, (95.0, None)))
        for run, val in enumerate(vals)
        for accuracy in [{"val_accuracy": val, "test_accuracy": val and val - 1}]
    ]
    found = rates([Grid(Schedule("decay"), 0, rows, 0.1)])
    assert list(found["max_lr"]) == [0.1, 0.2]
    assert list(found["chosen"]) == [True, False]
    assert found["val_accuracy_mean"][0] == 91 and math.isnan(found["val_accuracy_mean"][1])
    assert list(found["diverged"]) == [0, 1] and list(found["trained_steps"]) == [20, 20]
    assert list(found["at_edge"]) == [True, True]  # the lowest of two is taken
