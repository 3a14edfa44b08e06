"""Judging an oracle again: against oracles that were run by that rule, and by hand."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sweep
from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.oracle.tables import RESCORED
from sweep.statistics.rescoring import judged, rescored, rules
from sweep.statistics.selection import ClosedCycle, choose, mean_scores

Run = Callable[..., subprocess.CompletedProcess[str]]

SMALL: dict[str, Any] = {
    "max_lr": "0.02:0.5:x5",
    "cycles": 2,
    "runs": 3,
    "steps": 136,
    "lanes": 5,
    "engine": "inline",
    "progress": False,
}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> OracleResults:
    return sweep.build_oracle(**SMALL, out=tmp_path_factory.mktemp("rescore") / "o")


def lane(max_lr: float, run: int, evaluations: list[float]) -> dict[str, Any]:
    """A lane of cycle 0, evaluated at steps 4, 8, ..."""
    return {
        "cycle": 0,
        "run": run,
        "max_lr": max_lr,
        "val_accuracy": max(evaluations),
        "eval_val_accuracy": evaluations,
        "eval_steps": [4 * (index + 1) for index in range(len(evaluations))],
    }


def closed(rows: list[dict[str, Any]], settings: Settings) -> ClosedCycle:
    choice = choose(
        mean_scores(judged(rows, rules(settings)[0], settings)), settings.tolerance, settings.tolerance_kind
    )
    assert choice is not None
    return ClosedCycle(0, None, 3, rows, choice)


def by_rule(rows: list[dict[str, Any]], **given: Any) -> dict[str, tuple[float, float, float]]:
    settings = resolve({"preset": "mlp", "runs": 2, "max_lr": "0.1,0.2,0.3", **given})  # a constant rate: no warmup
    found = rescored([closed(rows, settings)], settings)
    assert all(list(row) == RESCORED.schema.names for row in found)  # a table has no room for others
    return {row["rule"]: (row["best_max_lr"], row["feasible_low"], row["feasible_high"]) for row in found}


def test_by_its_own_rule_an_oracle_comes_out_as_it_was_run(oracle: OracleResults) -> None:
    own = oracle.rescored[oracle.rescored["rule"] == "the oracle's rule"]
    for name in ("cycle", "best_max_lr", "feasible_low", "feasible_high"):
        assert list(own[name]) == list(oracle.oracle[name])
    assert own["same_best"].all() and own["same_region"].all()
    assert list(own["scyc_inside"]) == list(oracle.comparison["inside"])


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("score last", {"score": "last"}),
        ("tolerance relative", {"tolerance_kind": "relative"}),
        ("tolerance 0.25", {"tolerance": 0.25}),
        ("tolerance 1", {"tolerance": 1.0}),
        ("without run 2", {"runs": 2}),
    ],
)
def test_the_first_cycle_is_that_of_an_oracle_run_by_the_rule(
    oracle: OracleResults, tmp_path: Path, rule: str, settings: dict[str, Any]
) -> None:
    """Their grids may have grown further, so that only what both have tried is compared."""
    other = sweep.build_oracle(**SMALL | settings | {"cycles": 0}, out=tmp_path / "o").oracle.iloc[0]
    own = oracle.rescored.query("rule == @rule and cycle == 0").iloc[0]
    grid = oracle.oracle.iloc[0]
    if (other["grid_low"], other["grid_high"]) == (grid["grid_low"], grid["grid_high"]):
        assert (own["feasible_low"], own["feasible_high"]) == (other["feasible_low"], other["feasible_high"])
    assert own["best_max_lr"] == other["best_max_lr"]


def test_the_last_score_is_that_of_the_last_evaluation() -> None:
    rows = [
        *(lane(0.1, run, [50.0, 90.0, 60.0]) for run in (0, 1)),
        *(lane(0.2, run, [50.0, 80.0, 80.0]) for run in (0, 1)),
        *(lane(0.3, run, [50.0, 70.0, 79.8]) for run in (0, 1)),
    ]
    found = by_rule(rows)
    assert found["the oracle's rule"] == (0.1, 0.1, 0.1)
    assert found["score last"] == (0.2, 0.2, 0.3)


def test_what_came_before_the_end_of_the_warmup_does_not_score() -> None:
    rows = [lane(rate, run, [99.0, high, 60.0]) for rate, high in ((0.1, 70.0), (0.2, 80.0)) for run in (0, 1)]
    settings = {"schedule": "warmup", "steps": 12, "warmup_steps": 5, "milestones": (11,)}
    assert by_rule(rows, **settings)["the oracle's rule"][0] == 0.2
    assert by_rule(rows, **settings, score="last")["score best"][0] == 0.2


def test_tolerances_and_runs_by_hand() -> None:
    """Means 90, 89.53, 89.1; without run 0 they are 89, 90.06, 88.9. Half a percent of 90 is 0.45 points."""
    rows = [
        lane(rate, run, [value])
        for rate, values in ((0.1, (91.0, 89.0)), (0.2, (89.0, 90.06)), (0.3, (89.3, 88.9)))
        for run, value in enumerate(values)
    ]
    found = by_rule(rows)
    assert found["the oracle's rule"] == (0.1, 0.1, 0.2)
    assert found["tolerance 0.25"] == (0.1, 0.1, 0.1)
    assert found["tolerance 1"] == (0.1, 0.1, 0.3)
    assert found["tolerance relative"] == (0.1, 0.1, 0.1)
    assert found["without run 0"] == (0.2, 0.2, 0.2)
    assert found["without run 1"] == (0.1, 0.1, 0.1)


def test_a_max_lr_that_diverged_in_a_run_counts_once_that_run_is_left_out() -> None:
    diverged = lane(0.2, 1, [99.0]) | {"val_accuracy": None}  # after its first evaluation
    rows = [lane(0.1, 0, [80.0]), lane(0.1, 1, [80.0]), lane(0.2, 0, [90.0]), diverged]
    found = by_rule(rows)
    assert (found["the oracle's rule"][0], found["without run 1"][0]) == (0.1, 0.2)


def test_runs_that_decide_for_themselves_are_not_left_out(tmp_path: Path) -> None:
    results = sweep.build_oracle(**SMALL | {"decide": "per_run", "runs": 2, "cycles": 0}, out=tmp_path / "o")
    table = results.rescored
    assert not table["rule"].str.startswith("without").any()
    assert sorted(table[table["rule"] == "score last"]["run"]) == [0, 1]


def test_the_command_counts_what_changes(here: Run, oracle: OracleResults) -> None:
    result = here("show", oracle.folder.path, "--rescore")
    assert result.returncode == 0
    lines = {" ".join(line.split()[:3]): line for line in result.stdout.splitlines() if line.strip()}
    table = oracle.rescored
    for rule in ("score last", "without run 0"):
        part = table[table["rule"] == rule]
        line = next(line for line in lines.values() if line.strip().startswith(rule))
        assert f"{(~part['same_best']).sum()} of 3" in line and f"{(~part['same_region']).sum()} of 3" in line
    content = json.loads(here("show", oracle.folder.path, "--rescore", "--format", "json").stdout)
    assert content["rule"].count("the oracle's rule") == 3
    assert not list(oracle.folder.path.glob("rescore*"))


def test_only_an_oracle_can_be_judged_again(here: Run, tmp_path: Path) -> None:
    settings = {name: value for name, value in SMALL.items() if name != "cycles"}
    sweep.compare_schedules(**settings, cycles=0, schedules=("constant=0.1",), out=tmp_path / "s")
    result = here("show", tmp_path / "s", "--rescore")
    assert result.returncode == 2 and "--rescore needs an oracle, but " in result.stderr
