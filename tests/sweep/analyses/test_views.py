"""Views without results of a sweep: presets, S-Cyc's curve, plans; each number is that of what is planned."""

from typing import Any

import pandas as pd
import pytest

from search_spaces.scyc import SCyc, percent_remaining
from sweep.analyses.fit import FIT, Fits
from sweep.analyses.input_views import presets, trajectory
from sweep.analyses.plan import Plan
from sweep.analyses.plan_view import plan
from sweep.analyses.views import fits, tails
from sweep.config.presets import PRESETS
from sweep.reporting.views import Statement, Table, View

PLAN: dict[str, Any] = {
    "cycles": 16,
    "runs": 5,
    "lanes_per_round": 25,
    "lanes": 2000,
    "lanes_per_pack": 25,
    "notes": (),
    "packs": 80,
    "epochs": 15.0,
    "steps": 1_020_000,
    "evaluations": 15,
    "evaluated_images": 719,
    "scored_images": 0,
    "parameters": 12_928,
    "state_bytes": 64_640,
    "peak_state_bytes": 9_000_000,
    "lane_steps_per_second": 20_000.0,
    "workers": 1,
    "measured_on": "a machine",
    "side_by_side": 2,
    "seconds": 64.0,
    "at_most_seconds": 200.0,
    "start_seconds": 3.0,
    "training_seconds": 50.0,
    "evaluation_seconds": 5.0,
    "scoring_seconds": 0.0,
    "pack_seconds": 2.0,
    "waiting_seconds": 0.1,
    "end_seconds": 4.0,
    "tolerance": 0.5,
    "spread": None,
    "spread_of": "",
    "runs_for_cycle": None,
    "runs_between": (None, None),
    "runs_for_one": None,
}
SPREAD = {"spread": 0.4, "spread_of": "o, 5 runs", "runs_for_cycle": 20, "runs_between": (9, None), "runs_for_one": 8}


def listed(view: View) -> dict[str, str]:
    [table] = view.parts
    assert isinstance(table, Table) and not table.headed
    return {name.text: value.text for name, value in table.rows}


def test_a_plan_is_named_values_with_units() -> None:
    rows = listed(plan(Plan(**PLAN)))
    assert rows["lanes"] == "2,000 in 16 cycles and 5 runs, 25 per run and cycle"
    assert rows["packs"] == "80 of up to 25 lanes"
    assert rows["steps"] == "1,020,000 in all, 510 per lane (15.0 epochs)"
    assert rows["states"] == "64.6 kB each, at most 9 MB at once"
    assert rows["time"].startswith("about 64 s with 1 worker on this machine if no grid is extended; at most 3 min, ")
    assert rows["time by use"] == (
        "training 50 s, evaluation 5 s, start and end of packs 2 s, start of the engine 3 s, tables and pictures 4 s"
    )
    assert rows["runs needed"].startswith("--pilot RUNS or --spread FOLDER")


def test_runs_that_are_needed_have_their_cost() -> None:
    rows = listed(plan(Plan(**PLAN | SPREAD)))
    assert rows["runs needed"].startswith("20 runs (4 min) to find a max_lr that is 0.5 points worse")
    assert "between 9 and many" in rows["runs needed"]
    assert rows["validation"].startswith("8 runs (12 s) of compare --confirm")
    none = listed(plan(Plan(**PLAN | SPREAD | {"runs_for_cycle": None})))
    assert none["runs needed"].startswith("no number of runs is enough to find")


def test_every_preset_has_a_listing_under_its_name() -> None:
    view = presets()
    tables = [part for part in view.parts if isinstance(part, Table)]
    assert [table.title for table in tables] == list(PRESETS) == list(view.data["preset"])
    for table, preset in zip(tables, PRESETS.values(), strict=True):
        rows = {name.text: value.text for name, value in table.rows}
        assert (rows["stands for"], rows["settled here"]) == (preset.stands_for, preset.settled)
        assert f"batch_size={preset.settings['batch_size']}" in rows["sets"] and "None" not in rows["sets"]


def test_s_cyc_is_a_row_a_cycle() -> None:
    scyc, cycles = SCyc(0.035, 0.05, 1, 4), range(4)
    percent, rates = [percent_remaining(m, 0.2) for m in cycles], scyc.trajectory(3, 0.2)
    view = trajectory(percent, rates, [scyc.phase(m, 0.2) for m in cycles])
    [table] = view.parts
    assert isinstance(table, Table)
    assert [[cell.value for cell in row[:3]] for row in table.rows] == [[m, percent[m], rates[m]] for m in cycles]
    assert list(view.data["max_lr"]) == rates


@pytest.mark.parametrize("runs", [1, 2])
def test_a_fit_says_how_it_does_on_runs_left_out_where_there_are_any(runs: int) -> None:
    row = {"curve": "scyc", "parameters": "0.035,0.05,1,4", "free": 4, "cycles": 16, "inside": 15}
    row |= {"widths_outside": 0.0524, "widths_to_best": 0.5556}
    row |= {"left_out_inside": 0.384, "left_out_gap": 0.4249} if runs > 1 else {}
    view = fits(Fits({}, FIT.frame([row]), 76_194))
    table = view.parts[0]
    assert isinstance(table, Table)
    shown = ["scyc", "0.035,0.05,1,4", "4", "15 of 16", "0.0524", "0.556"]
    assert [cell.text for cell in table.rows[0]] == [*shown, *(["38", "+0.42"] if runs > 1 else ["-", "-"])]
    assert Statement("76,194 curves were tried") in view.parts


def test_tails_are_means_over_runs_and_a_network_without_relu_is_said_to_have_none() -> None:
    row = {"schedule": "oracle", "kind": "gradient", "cycle": 0, "percent_remaining": 100.0, "images": 1078}
    row |= {"zeros": 13.0, "std": 0.001, "low": -0.011, "high": 0.009}
    rows = [row | {"run": run, "count": 100, "beyond_2std": 5.0 + run, "beyond": 1.0} for run in (0, 1)]

    class Found:
        tails = pd.DataFrame(rows)

    view = tails(Found())  # type: ignore[arg-type]
    table = view.parts[0]
    assert isinstance(table, Table) and table.title == "oracle: gradients"
    assert [column.title for column in table.columns[-2:]] == [
        "beyond 2 std of the unpruned network (%)",
        "beyond [-0.011, 0.009] (%)",
    ]
    assert [cell.text for cell in table.rows[0]] == ["0", "100", "100", "13.0", "0.001", "5.50±0.71", "1.00±0.00"]
    assert any("no nn.ReLU" in part.text for part in view.parts if isinstance(part, Statement))
