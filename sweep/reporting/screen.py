"""Tables for a terminal. In: DataFrames. Out: what rich prints. No numbers are made here, only set in columns."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search_spaces.max_lr import MaxLrGrid
from search_spaces.paper import LABELS, OracleTable
from sweep.analyses.fit import Fits
from sweep.analyses.gradients import Gradients
from sweep.analyses.plan import Plan
from sweep.config.presets import PRESETS
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.results import Results
from sweep.experiments.schedules.results import SchedulesResults
from sweep.experiments.schedules.tables import SIGNIFICANT
from sweep.experiments.tuning.results import TuningResults
from sweep.reporting.live import duration
from sweep.strategies.protocol import Progress

WITH_REACH = 98
"""Characters that the oracle table takes with the column of what its regions may reach."""
REGION = ("best_max_lr", "feasible_low", "feasible_high")
"""Columns of an oracle's choice and its region."""
WHEN_CONFIRMED = 3
"""Lanes of a run and cycle that `compare --confirm` trains: the oracle's choice, the prediction, its own chain's."""
FEW_RUNS = 4
"""With fewer, a paired test has so little to go by that it tells only enormous differences."""


def columns(data: pd.DataFrame) -> dict[str, list[Any]]:
    """Return a table as one JSON object of columns; what is missing is null."""
    return {str(name): [None if missing(value) else value for value in data[name].tolist()] for name in data.columns}


def oracle_table(results: OracleResults, comparison: pd.DataFrame | None, width: int) -> RenderableType:
    """Return the oracle as the paper's Table 3 has it, one row a cycle, predictions beside it.

    Where `width` (characters) leaves no room, how far regions may reach is not shown.
    """
    oracle = results.oracle
    per_run = not oracle["run"].isna().all()
    names = [] if comparison is None else list(dict.fromkeys(comparison["trajectory"]))
    parts = {} if comparison is None else dict(iter(comparison.groupby("trajectory")))
    table = Table(
        box=box.SIMPLE_HEAD, title=title_of(results), title_justify="left", title_style="bold", padding=(0, 1, 0, 0)
    )
    table.add_column("m", justify="right")
    if per_run:
        table.add_column("run", justify="right")
    certain = not oracle["possible_low"].isna().all() and width >= WITH_REACH
    headings = [
        "λ %",
        "best",
        "feasible region",
        *(["may reach"] if certain else []),
        *names,
        "val %",
        "test %",
        *(["gap"] if names else []),
    ]
    for heading in headings:
        table.add_column(heading, justify="right")
    for index, row in enumerate(oracle.to_dict("records")):
        predictions = [parts[name].iloc[index] for name in names]
        compared = [*REGION, *(["possible_low", "possible_high"] if certain else [])]
        write = told_apart(*(row[name] for name in compared), *(each["scyc_max_lr"] for each in predictions))
        table.add_row(
            str(row["cycle"]),
            *([str(row["run"])] if per_run else []),
            f"{row['percent_remaining']:.3g}",
            write(row["best_max_lr"]),
            _region(row, write),
            *([_reach(row, write)] if certain else []),
            *(_prediction(prediction, write) for prediction in predictions),
            _with_std(row["val_accuracy_mean"], row["val_accuracy_std"]),
            _with_std(row["test_accuracy_mean"], row["test_accuracy_std"]),
            *(["/".join(signed(prediction["accuracy_gap"]) for prediction in predictions)] if predictions else []),
        )
    return Group(table, *(Text(line) for line in _findings(results, comparison, certain)))


def plan_table(plan: Plan) -> RenderableType:
    """Return a plan as two columns."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    evaluated = f"{plan.evaluations:,} a lane, of {plan.evaluated_images:,} validation and test images"
    scored = f"; before each pruning gradients of {plan.scored_images:,} images" if plan.scored_images else ""
    parts = {
        "training": plan.training_seconds,
        "evaluation": plan.evaluation_seconds,
        "gradient scores": plan.scoring_seconds,
        "start and end of packs": plan.pack_seconds,
        "waiting at the end of cycles": plan.waiting_seconds,
        "start-up": plan.start_seconds,
        "tables and pictures": plan.end_seconds,
    }
    most = (
        f" if no grid is extended; up to {duration(plan.at_most_seconds)} if every grid is, to four times its length"
        if plan.at_most_seconds > plan.seconds
        else ""
    )
    rows = {
        "lanes": f"{plan.lanes:,} in {plan.cycles} cycles and {plan.runs} runs, {plan.lanes_per_round} side by side",
        "packs": f"{plan.packs:,} of up to {plan.lanes_per_pack} lanes",
        "steps": f"{plan.steps:,} in all, {plan.steps // plan.lanes:,} a lane ({plan.epochs:.1f} epochs)",
        "evaluations": evaluated + scored,
        "network": f"{plan.parameters:,} parameters",
        "states": f"{_bytes(plan.state_bytes)} each, up to {_bytes(plan.peak_state_bytes)} at once",
        "speed": f"{_rate(plan.lane_steps_per_second)} lane-steps per second of one worker alone",
        "time": f"about {duration(plan.seconds)} with {_count(plan.workers, 'worker')} here{most}",
        "of it": ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items() if seconds >= 0.5),
        "measured on": f"{plan.measured_on}, by {_count(plan.side_by_side, 'process')} at a time",
        **_power(plan),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _power(plan: Plan) -> dict[str, str]:
    """Say how many runs resolve the tolerance, and what they cost."""
    if plan.spread is None:
        return {"evidence": "--pilot RUNS or --spread FOLDER says how many runs the tolerance takes"}

    def cost(runs: int | None, share: float = 1.0) -> str:
        if runs is None:
            return "no number of runs"
        return f"{runs:,} runs ({duration(plan.seconds * share * runs / plan.runs)})"

    return {
        "spread": f"paired differences vary by {plan.spread:.2g} points over runs ({plan.spread_of})",
        "evidence": f"to tell a max_lr {plan.tolerance:.2g} points worse from the best, 8 times in 10: "
        f"{cost(plan.runs_for_cycle)} for all {plan.lanes_per_round} of a cycle together; the spread being known no better, "
        f"{_between(plan.runs_between)}",
        "confirm": "to show a prediction that is as good within the tolerance at one cycle, likewise: "
        f"{cost(plan.runs_for_one, WHEN_CONFIRMED / plan.lanes_per_round)} of compare --confirm",
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"


def _between(runs: tuple[int | None, int | None]) -> str:
    low, high = ("many" if each is None else f"{each:,}" for each in runs)
    return f"between {low} and {high}"


def presets_table() -> RenderableType:
    """Return all presets: what each stands for, what had to be settled, and every value it sets."""
    parts: list[RenderableType] = []
    for name, preset in PRESETS.items():
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_row("stands for", preset.stands_for)
        table.add_row("settled here", preset.settled)
        values = {k: v for k, v in preset.settings.items() if v not in (None, ())}
        table.add_row("sets", ", ".join(f"{key}={_setting(value)}" for key, value in values.items()))
        parts += [Text(name, style="bold"), table, Text()]
    return Group(*parts)


def trajectory_table(
    cycle: Sequence[int], percent: Sequence[float], max_lr: Sequence[float], phase: Sequence[str]
) -> RenderableType:
    """Return S-Cyc's max_lr by cycle."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("m", "λ %", "max_lr", "phase"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for m, remaining, rate, name in zip(cycle, percent, max_lr, phase, strict=True):
        table.add_row(str(m), f"{remaining:.4g}", f"{rate:.4g}", name)
    return table


def progress_line(progress: Progress) -> str:
    """Return how far an unfinished sweep is."""
    lanes = f"{progress.lanes_done:,} of {progress.lanes_planned:,} lanes"
    label = f"{progress.label}, " if progress.label else ""
    return f"unfinished: {label}cycle {progress.cycle} of {progress.cycles} open, {lanes} done"


def tuning_table(results: TuningResults, oracle: OracleResults | None) -> RenderableType:
    """Return the trials of a tuning, the winner's own chain by cycle, and what both cost; the oracle's beside them."""
    trials = Table(
        box=box.SIMPLE_HEAD, title=title_of(results), title_justify="left", title_style="bold", padding=(0, 1, 0, 0)
    )
    names = ("epsilon", "delta", "q", "beta") if results.settings.schedule == "scyc" else ("max_lr",)
    for heading in ("stage", "trial", *names, "val %", "state", "new steps"):
        trials.add_column(heading, justify="left" if heading in ("stage", "state") else "right")
    best = {stage: results.replay.best(stage) for stage in dict.fromkeys(results.tuning["stage"])}
    for row in results.tuning.to_dict("records"):
        found = best[row["stage"]]
        trials.add_row(
            row["stage"],
            str(row["number"]),
            *("" if missing(row[name]) else f"{row[name]:.3g}" for name in names),
            "" if missing(row["value"]) else f"{row['value']:.2f}",
            row["state"],
            f"{row['new_steps']:,}",
            style="bold" if found is not None and found.number == row["number"] else None,
        )
    parts: list[RenderableType] = [trials]
    if results.winner is not None:
        parts.append(_chain_table(results, oracle))
    parts += [Text(line) for line in _tuning_findings(results, oracle)]
    return Group(*parts)


def _chain_table(results: TuningResults, oracle: OracleResults | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="the winner's own chain", title_justify="left", padding=(0, 1, 0, 0))
    beside = {} if oracle is None else {row["cycle"]: row for row in oracle.oracle.to_dict("records")}
    headings = (
        "m",
        "λ %",
        "max_lr",
        "val %",
        "test %",
        *(("oracle's best", "its region", "its test %") if beside else ()),
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in results.chain.to_dict("records"):
        other = beside.get(row["cycle"])
        write, cells = told_apart(row["max_lr"]), []
        if other:
            write = told_apart(row["max_lr"], *(other[name] for name in REGION))
            cells = [write(other["best_max_lr"]), _region(other, write), f"{other['test_accuracy_mean']:.2f}"]
        table.add_row(
            str(row["cycle"]),
            f"{row['percent_remaining']:.3g}",
            write(row["max_lr"]),
            _with_std(row["val_accuracy_mean"], row["val_accuracy_std"]),
            _with_std(row["test_accuracy_mean"], row["test_accuracy_std"]),
            *cells,
        )
    return table


def _tuning_findings(results: TuningResults, oracle: OracleResults | None) -> list[str]:
    table, lines = results.tuning, []
    if results.winner is not None:
        name = (
            f"S-Cyc {results.scyc}"
            if results.scyc
            else f"{results.settings.schedule}, max_lr {results.winner.chain[0].max_lr:.4g}"
        )
        mean = results.chain["test_accuracy_mean"].mean()
        against = ""
        if oracle is not None:
            cycles = oracle.oracle[oracle.oracle["cycle"] <= results.chain["cycle"].max()]
            against = f" (the oracle's {cycles['test_accuracy_mean'].mean():.2f} %)"
        lines.append(f"tuned: {name}; its chain's test accuracy over all cycles {mean:.2f} %{against}")
    steps = int(table["new_steps"].sum())
    share = ""
    if oracle is not None:
        share = f", {100 * steps / oracle.oracle['trained_steps'].sum():.0f} % of the oracle's"
    given = int((table["stage"] == "epsilon").sum()) if results.settings.takes_over else 0
    taken = f" and {given} max_lr of the oracle's cycle 0" if given else ""
    lines.append(
        f"{len(table) - given} trials{taken}, {steps:,} steps trained{share}, "
        f"{duration(float(table['seconds'].sum()))} of training"
    )
    lines.append("val %: mean over runs at the chain's last cycle; the best of many noisy means is optimistic")
    return lines


def schedules_table(results: SchedulesResults, width: int) -> RenderableType:
    """Return test accuracies as the paper's Table 2 has them, a row a cycle, as many schedules lanes_per_round as fit.

    The paper's printed value, if there is one, stands below the measured one.
    """
    table = results.schedules
    names = list(dict.fromkeys(table["schedule"]))
    fit = max(1, (width - 10) // 14)
    count = -(-len(names) // -(-len(names) // fit)) if names else 1
    parts = [_standings(results, names[start : start + count]) for start in range(0, len(names), count)]
    return Group(Text(title_of(results), "bold"), *parts, *map(Text, _standings_findings(results)))


def _standings(results: SchedulesResults, names: Sequence[str]) -> RenderableType:
    rows = {(row["schedule"], row["cycle"]): row for row in results.schedules.to_dict("records")}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("m", "λ %"):
        table.add_column(heading, justify="right", vertical="top")
    for name in names:
        own = [row for (schedule, _), row in rows.items() if schedule == name]
        table.add_column(f"{name}\n{_rates(own)}", justify="right", min_width=13, overflow="fold")
    for cycle, density in results.schedules.groupby("cycle")["percent_remaining"].mean().items():
        table.add_row(str(cycle), f"{density:.3g}", *(_standing(rows.get((name, cycle))) for name in names))
    return table


def _rates(rows: Sequence[Mapping[Any, Any]]) -> str:
    """Return a schedule's rates: one, the range of a curve, or what retraining makes of it."""
    low, high = min(row["max_lr"] for row in rows), max(row["max_lr"] for row in rows)
    write = told_apart(low, high)
    text = write(low) if write(low) == write(high) else f"{write(low)} to {write(high)}"
    peaks = {row["peak_lr"] for row in rows if row["cycle"]}
    return f"{text}, then {max(peaks):.3g}" if peaks and max(peaks) < 0.99 * low else text


def _standing(row: Mapping[Any, Any] | None) -> Text:
    """Return one schedule's accuracy in one cycle, the paper's below it; * is the best, = is not told from it."""
    if row is None:
        return Text("-")
    if missing(row["test_accuracy_mean"]):
        return Text("diverged" if row["diverged"] else "ended")
    tied = not missing(row["tied"]) and bool(row["tied"])
    mark = "*" if row["best"] else "=" if tied else " "
    style = "bold" if row["best"] or tied else ""
    text = Text(_with_std(row["test_accuracy_mean"], row["test_accuracy_std"]) + mark, style=style)
    if not missing(row["printed_mean"]):
        text.append(f"\n({row['printed_mean']:g}±{row['printed_std']:g}) ", style="not bold dim")
    return text


def _standings_findings(results: SchedulesResults) -> list[str]:
    table, rates, settings = results.schedules, results.rates, results.settings
    lines = []
    if table["schedule"].nunique() > 1 and settings.runs > 1:
        lines.append("* the best test accuracy of the cycle; = not told from it by a paired t-test over runs (p of at")
        lines.append(f"least {SIGNIFICANT:g}, uncorrected). Nothing is chosen by a test accuracy")
        if settings.runs < FEW_RUNS:
            lines.append(f"with {settings.runs} runs the test can hardly tell anything apart: = says little")
    elif table["schedule"].nunique() > 1:
        lines.append("* the best test accuracy of the cycle; one run says nothing of how sure that is")
    if table["schedule"].nunique() > 1:
        lines += [line for name in settings.curves if (line := _scyc_finding(table, name, settings.runs))]
    for source, part in table.groupby("source", sort=False):
        lines.append(f"max_lr of {', '.join(part['schedule'].unique())}: {source}")
    for (schedule, cycle), grid in rates[rates["at_edge"]].groupby(["schedule", "cycle"], sort=False):
        chosen, low, high = grid.loc[grid["chosen"], "max_lr"].iloc[0], grid["max_lr"].min(), grid["max_lr"].max()
        write = told_apart(*grid["max_lr"])
        lines.append(
            f"{schedule}'s {write(chosen)} lies on the EDGE of its grid at cycle {cycle}, {write(low)} to "
            f"{write(high)}, {_why_edge(settings.max_lr, low if chosen == low else None)}"
        )
    if settings.printed is not None:
        lines.append(f"in brackets: the paper's Table {settings.printed.table} ({settings.printed.pruning})")
        lines += [f"Table {settings.printed.table}: {note}" for note in settings.printed.notes]
    waiting = [entry.name for entry in settings.entries if entry.name not in set(table["schedule"])]
    if waiting:
        lines.append(f"still to come: {', '.join(waiting)}")
    rows = results.replay.current().values()
    steps = sum(row["steps"] for row in rows)
    tuning = f", {int(rates['trained_steps'].sum()):,} of them to tune max_lr" if len(rates) else ""
    diverged = sum(row["status"] == "diverged" for row in rows)
    lines.append(
        f"{len(rows):,} lanes ({diverged} diverged), {steps:,} steps{tuning}, "
        f"{duration(sum(row['wall_seconds'] for row in rows))} of training"
    )
    return lines


def _scyc_finding(table: pd.DataFrame, name: str, runs: int) -> str:
    """Say how an S-Cyc did: where it leads, and by how much it differs where least is left."""
    own = table[table["schedule"] == name]
    if own.empty:
        return ""
    last = own.iloc[-1]
    if missing(last["test_accuracy_mean"]):
        return f"{name} {'diverged' if last['diverged'] else 'ended'} at cycle {last['cycle']}"
    others = table[(table["schedule"] != name) & (table["cycle"] == last["cycle"])]
    others = others.dropna(subset="test_accuracy_mean")
    line = f"{name} has the best mean in {own['best'].sum()} of {len(own)} cycles"
    if runs > 1:
        told = int((~own["tied"].astype(bool)).sum())
        line += f"; in {told} the test tells it from the best"
    if len(others):
        rival = others.loc[others["test_accuracy_mean"].idxmax()]
        gap = last["test_accuracy_mean"] - rival["test_accuracy_mean"]
        spread = "" if missing(rival["test_accuracy_std"]) else f" (std over runs {rival['test_accuracy_std']:.2f})"
        line += f"; at λ = {last['percent_remaining']:.3g} {gap:+.2f} points against {rival['schedule']}{spread}"
    return line


def rescored_table(results: OracleResults) -> RenderableType:
    """Return how much of an oracle's table hangs on its rules: a row a rule, what it would have changed."""
    rescored = results.rescored
    own = rescored[rescored["rule"] == rescored["rule"].iloc[0]].reset_index(drop=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("rule")
    for heading in ("other best", "moves by", "other region", "region's width", "S-Cyc inside"):
        table.add_column(heading, justify="right")
    for rule, part in rescored.groupby("rule", sort=False):
        part = part.reset_index(drop=True)
        moved = (part["best_max_lr"] / own["best_max_lr"]).dropna()
        factor = max(moved.max(), 1 / moved.min()) if len(moved) else math.nan
        width = (part["feasible_high"] / part["feasible_low"]).median()
        inside = "-" if part["scyc_inside"].isna().all() else f"{part['scyc_inside'].sum()} of {len(part)}"
        table.add_row(
            str(rule),
            f"{(~part['same_best']).sum()} of {len(part)}",
            "-" if part["same_best"].all() else f"up to {factor:.3g}x",
            f"{(~part['same_region']).sum()} of {len(part)}",
            f"{width:.3g}x",
            inside,
        )
    lines = (
        "cycles whose best max_lr or feasible region would be another by this rule; width: upper end by lower, median",
        "each cycle is judged again from its kept evaluations; the chain stays the one that was run",
    )
    return Group(Text(title_of(results), "bold"), table, *map(Text, lines))


def tails_table(found: Gradients) -> RenderableType:
    """Return how wide gradients and activations are, a row a cycle of each chain; means over runs."""
    parts: list[RenderableType] = []
    for (schedule, kind), tails in found.tails.groupby(["schedule", "kind"], sort=False):
        bounds = tails.iloc[0]
        table = Table(box=box.SIMPLE_HEAD, title=f"{schedule}: {kind}s", title_justify="left", title_style="bold")
        given = [] if missing(bounds["low"]) else [f"beyond [{bounds['low']:g}, {bounds['high']:g}] %"]
        for heading in ("m", "λ %", "values", "zeros %", "std", "beyond 2 std of the unpruned %", *given):
            table.add_column(heading, justify="right")
        for cycle, part in tails.groupby("cycle"):
            table.add_row(
                str(cycle),
                f"{part['percent_remaining'].mean():.3g}",
                f"{part['count'].mean():,.0f}",
                f"{part['zeros'].mean():.1f}",
                f"{part['std'].mean():.3g}",
                _with_std(part["beyond_2std"].mean(), part["beyond_2std"].std()),
                *([_with_std(part["beyond"].mean(), part["beyond"].std())] if given else []),
            )
        parts.append(table)
    images = found.tails["images"].iloc[0]
    parts.append(Text(f"gradients: of the mean loss of {images:,} training images, of surviving prunable weights"))
    if "activation" not in set(found.tails["kind"]):
        parts.append(Text("the network has no nn.ReLU module: no activations measured"))
    return Group(*parts)


def fit_table(fits: Fits) -> RenderableType:
    """Return the fits to an oracle, best first of those fitted, and how they do on runs left out of the fit."""
    table = Table(box=box.SIMPLE_HEAD)
    headings = ("curve", "parameters", "free", "inside", "outside by", "to best", "left out: inside", "gap")
    for heading in headings:
        left = heading in ("curve", "parameters")
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    for row in fits.table.to_dict("records"):
        left_out = "-" if missing(row["left_out_inside"]) else f"{100 * row['left_out_inside']:.0f} %"
        table.add_row(
            row["curve"],
            row["parameters"],
            str(row["free"]) if row["free"] else "given",
            f"{row['inside']} of {row['cycles']}",
            f"{row['widths_outside']:.3g}",
            f"{row['widths_to_best']:.3g}",
            left_out,
            signed(row["left_out_gap"]),
        )
    lines = (
        "inside: cycles whose feasible region holds the curve; outside by, to best: in mean widths of the region",
        "left out: fitted to all runs but one, scored on that one; gap: its best accuracy minus the curve's, in points",
    )
    return Group(table, *map(Text, lines), Text(f"{fits.evaluations:,} curves tried"))


def paper_table(results: OracleResults, printed: OracleTable) -> RenderableType:
    """Return the paper's oracle beside the one measured here, and the paper's contradictions that touch it."""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"the paper's Table {printed.table} beside this oracle", title_justify="left"
    )
    for heading in ("m", "λ % printed", "paper's best", "its region", "its S-Cyc", "best here", "region here"):
        table.add_column(heading, justify="right")
    measured = {row["cycle"]: row for row in results.oracle.to_dict("records")}
    for index, cycle in enumerate(printed.cycle):
        here = measured.get(cycle)
        table.add_row(
            str(cycle),
            f"{LABELS[cycle]:g}",
            f"{printed.well_tuned_max_lr[index]:g}",
            f"[{printed.feasible_low[index]:g}, {printed.feasible_high[index]:g}]",
            f"{float(printed.scyc_printed_hundredths[index]) / 100:g}",
            *_best_and_region(here),
        )
    return Group(table, *(Text(f"Table {printed.table}: {note}") for note in printed.notes))


def title_of(results: Results) -> str:
    """Return what was run, in a line."""
    settings = results.settings
    rewind = {"none": "not rewound", "init": "rewound"}.get(str(settings.rewind), f"rewound to step {settings.rewind}")
    runs = f"{settings.runs} run{'s' if settings.runs > 1 else ''}"
    text = (
        f"{settings.model} on {settings.dataset}, pruning {settings.pruning} ({rewind}), {runs}, seed {settings.seed}"
    )
    return (
        f"{text}, tolerance {settings.tolerance:g} {settings.tolerance_kind}"
        if isinstance(results, OracleResults)
        else text
    )


def _findings(results: OracleResults, comparison: pd.DataFrame | None, reach: bool) -> list[str]:
    oracle = results.oracle
    lines = []
    if oracle.empty:
        return ["no cycle is decided yet"]
    if (oracle["feasible_low"] != oracle["hull_low"]).any() or (oracle["feasible_high"] != oracle["hull_high"]).any():
        lines.append("~  the curve is noisy: there are feasible max_lr values beyond a gap (hull_low, hull_high)")
    reasons = {"<": [_why_edge(results.settings.max_lr, low) for low in oracle.loc[oracle["low_at_edge"], "grid_low"]]}
    reasons[">"] = [_why_edge(results.settings.max_lr, None)] * int(oracle["high_at_edge"].any())
    for reason in dict.fromkeys(reasons["<"] + reasons[">"]):
        marks = ", ".join(mark for mark, found in reasons.items() if reason in found)
        lines.append(f"{marks}  the region reaches the edge of the grid, {reason}")
    if comparison is not None:
        for name, part in comparison.groupby("trajectory", sort=False):
            gaps = part["accuracy_gap"].dropna()
            mean = f"; validation accuracy {gaps.mean():.2f} points below the oracle's on average" if len(gaps) else ""
            lines.append(f"{name} lies in the feasible region in {part['inside'].sum()} of {len(part)} cycles{mean}")
        lines.append("gap: the oracle's validation accuracy minus that at the prediction, interpolated, in points")
    lines += _certainty(results, reach)
    diverged, lanes = int(oracle["diverged"].sum()), int(oracle["lanes"].sum())
    lines.append(
        f"{lanes:,} lanes ({diverged} diverged), {int(oracle['trained_steps'].sum()):,} steps, "
        f"{duration(float(oracle['wall_seconds'].sum()))} of training; the best of many noisy means is optimistic"
    )
    lines += [f"ended early: {reason}" for reason in results.manifest["ended_early"]]
    return lines


def _why_edge(max_lr: str, low: float | None) -> str:
    """Say why a grid does not go on past its edge; `low` is the lower edge as it was tried, None at the upper one."""
    grid = MaxLrGrid.parse(max_lr)
    if len(grid.values) == 1:
        return "which has one point and no spacing to go on by: give --max-lr more points"
    if low is not None and low <= grid.floor:
        return "whose next step down would be 0 or less: give --max-lr a lower LO, or LO:HI:xN"
    return "which was extended to four times its points: give a wider --max-lr"


def _certainty(results: OracleResults, reach: bool) -> list[str]:
    """Say how much of the table is sure; `reach`: whether it has that column."""
    oracle = results.oracle
    if oracle["possible_low"].isna().all():
        return ["one run decides each row: nothing says how sure best and region are; more --runs do"]
    beyond = pd.concat([oracle["below_low"], oracle["above_high"]]).dropna()
    decided, median = int((beyond == "outside").sum()), oracle["n_not_worse"].median()
    level = f"{100 * results.settings.confidence:g} % confidence for a whole cycle"
    return [
        f"may reach: every max_lr tried beyond is outside, with {level}; <, >: there is none"
        if reach
        else f"with {level}:",
        f"not told from the best: {median:g} of {oracle['points'].median():g} points (median); "
        f"{decided} of {len(beyond)} points next to a region are surely outside it",
    ]


def told_apart(*values: float) -> Callable[[float], str]:
    """Return how learning rates that are compared are written: three digits, or as many more as tell them apart.

    Two that differ by one in the last digit could differ by less than the rounding: they get another digit.
    """
    different = sorted({float(f"{value:.9g}") for value in values if not missing(value)})  # nine alike: the same
    for digits in range(3, 10):
        if all(
            high - low > 1.5 * 10 ** (math.floor(math.log10(max(high, 1e-9))) + 1 - digits)
            for low, high in pairwise(different)
        ):
            break
    return lambda value: f"{value:.{digits}g}"


def _best_and_region(row: Mapping[Any, Any] | None) -> tuple[str, str]:
    if row is None:
        return "-", "-"
    write = told_apart(*(row[name] for name in REGION))
    return write(row["best_max_lr"]), _region(row, write)


def _reach(row: Mapping[Any, Any], write: Callable[[float], str]) -> str:
    low = "<" if row["possible_low"] == row["grid_low"] else ""
    high = ">" if row["possible_high"] == row["grid_high"] else ""
    return f"{low}[{write(row['possible_low'])}, {write(row['possible_high'])}]{high}"


def _region(row: Mapping[Any, Any], write: Callable[[float], str]) -> str:
    low, high = ("<" if row["low_at_edge"] else ""), (">" if row["high_at_edge"] else "")
    return f"{low}[{write(row['feasible_low'])}, {write(row['feasible_high'])}]{high}{'' if row['contiguous'] else '~'}"


def _prediction(row: pd.Series, write: Callable[[float], str]) -> Text:
    value = write(row["scyc_max_lr"])
    return Text(f"{value} in ", "green") if row["inside"] else Text(f"{value} OUT", "red")


def _with_std(mean: float, std: float) -> str:
    return f"{mean:.2f}" if missing(std) else f"{mean:.2f}±{std:.2f}"


def signed(value: float) -> str:
    """Return a difference in points with its sign."""
    return "-" if missing(value) else f"{value:+.2f}"


def _setting(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) < 60 else f"{text[:40]} ... {text[-12:]}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _bytes(count: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        count = count / 1000  # type: ignore[assignment]
    raise AssertionError


def missing(value: object) -> bool:
    """Whether a table has no value there."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
