"""What there is to show of a tuning: its trials, the winner's own chain, and what both cost. In: its results."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sweep.experiments.oracle.table_views import REGION, region_cell
from sweep.reporting.numbers import count, duration, missing, percent_remaining, rate_format, with_std
from sweep.reporting.views import Cell, Column, Part, Table, View, findings, legend, marked, notes
from sweep.reporting.wording import FLATTERED, run_of, unfinished

if TYPE_CHECKING:
    from sweep.experiments.tuning.results import TuningResults


def tuning(results: "TuningResults") -> View:
    """Return the trials, the winner's chain by cycle and the costs; an oracle's beside them where there is one."""
    parts: list[Part] = [_trials(results)]
    if results.winner is not None:
        parts += [_chain(results), *findings(winner(results))]
    parts += findings(_cost(results))
    if not results.finished:
        parts += findings(unfinished(results.progress))
    parts += legend(
        "validation accuracy of a trial: mean over runs at the last cycle of its chain; *: best of its stage"
    )
    parts += notes(FLATTERED)
    heading = f"Tuning of {'S-Cyc' if results.settings.schedule == 'scyc' else results.settings.schedule}"
    return View(heading, run_of(results.settings), parts, results.tuning, ("tuning",))


def answers(results: "TuningResults") -> list[str]:
    """Return what was found, and what it cost."""
    if results.winner is None:
        return ["No trial of the last stage is complete yet."]
    found = winner(results)
    return [f"{found[0].upper()}{found[1:]}.", f"{_cost(results)}."]


def winner(results: "TuningResults") -> str:
    """Return the winner's parameters and its chain's accuracy."""
    assert results.winner is not None
    schedule, oracle = results.settings.schedule, results.oracle
    name = (
        f"S-Cyc {results.scyc} (epsilon, delta, q, beta)"
        if results.scyc
        else f"{schedule}, max_lr {results.winner.chain[0].max_lr:.4g}"
    )
    against = ""
    if oracle is not None:
        cycles = oracle.oracle[oracle.oracle["cycle"] <= results.chain["cycle"].max()]
        against = f" (oracle: {cycles['test_accuracy_mean'].mean():.2f} %)"
    mean = results.chain["test_accuracy_mean"].mean()
    return f"winner: {name}; test accuracy of its chain, mean over all cycles: {mean:.2f} %{against}"


def _trials(results: "TuningResults") -> Table:
    names = ("epsilon", "delta", "q", "beta") if results.settings.schedule == "scyc" else ("max_lr",)
    columns = [
        Column("stage", align="left"),
        Column("trial"),
        *map(Column, names),
        Column("validation accuracy", "%"),
        Column("state", align="left"),
        Column("new steps", optional=1),
    ]
    best = {stage: results.replay.best(stage) for stage in dict.fromkeys(results.tuning["stage"])}
    rows = []
    for row in results.tuning.to_dict("records"):
        found = best[row["stage"]]
        is_best = found is not None and found.number == row["number"]
        cells = [
            Cell(row["stage"], row["stage"]),
            Cell(str(row["number"]), row["number"]),
            *(Cell("") if missing(row[name]) else Cell(f"{row[name]:.3g}", row[name]) for name in names),
            Cell("") if missing(row["value"]) else Cell(f"{row['value']:.2f}{'*' if is_best else ' '}", row["value"]),
            Cell(row["state"], row["state"]),
            Cell(f"{row['new_steps']:,}", row["new_steps"]),
        ]
        rows.append(marked(cells, "best") if is_best else cells)
    return Table(columns, rows, "trials", keys=2)


def _chain(results: "TuningResults") -> Table:
    beside = {} if results.oracle is None else {row["cycle"]: row for row in results.oracle.oracle.to_dict("records")}
    columns = [
        Column("m"),
        Column("λ", "%"),
        Column("max_lr"),
        Column("validation accuracy", "%"),
        Column("test accuracy", "%"),
    ]
    if beside:
        columns += [
            Column("oracle's best max_lr"),
            Column("oracle's feasible region"),
            Column("oracle's test accuracy", "%"),
        ]
    rows = []
    for row in results.chain.to_dict("records"):
        other = beside.get(row["cycle"])
        write = rate_format(row["max_lr"], *(other[name] for name in REGION) if other else ())
        cells = [
            Cell(str(row["cycle"]), row["cycle"]),
            Cell(percent_remaining(row["percent_remaining"]), row["percent_remaining"]),
            Cell(write(row["max_lr"]), row["max_lr"]),
            *(
                Cell(with_std(row[f"{part}_accuracy_mean"], row[f"{part}_accuracy_std"]), row[f"{part}_accuracy_mean"])
                for part in ("val", "test")
            ),
        ]
        if other:
            test = other["test_accuracy_mean"]
            cells += [
                Cell(write(other["best_max_lr"]), other["best_max_lr"]),
                region_cell(other, write),
                Cell(f"{test:.2f}", test),
            ]
        elif beside:  # an oracle with fewer cycles
            cells += [Cell("")] * 3
        rows.append(cells)
    return Table(columns, rows, "the winner's own chain", keys=2)


def _cost(results: "TuningResults") -> str:
    table = results.tuning
    given = int((table["stage"] == "epsilon").sum()) if results.settings.takes_over else 0
    taken = f" and {given} max_lr values of the oracle's cycle 0" if given else ""
    steps, share = int(table["new_steps"].sum()), ""
    if results.oracle is not None:
        share = f" ({100 * steps / results.oracle.oracle['trained_steps'].sum():.0f} % of the oracle's)"
    trials = count(len(table) - given, "trial")
    return f"{trials}{taken}, {steps:,} steps trained{share}, {duration(float(table['seconds'].sum()))} of training"


VIEWS: dict[str, Callable[[Any], View]] = {"tuning": tuning}
