"""Tables of evidence for a terminal: verdicts and trends. In: results. Out: what rich prints."""

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.validation.results import ValidationResults
from sweep.reporting.screen import missing, progress_line, signed, title_of, told_apart
from sweep.statistics.intervals import both_sides

WHY = {
    "none": "nothing pruned: what mere retraining does",
    "random": "pruned by chance: what fewer weights do, whichever are left",
    "random_filter": "filters pruned by chance: what fewer filters do, whichever are left",
}
"""What a control shows."""

QUANTITY = {"best": "best", "low": "region from", "high": "region to", "middle": "middle"}
"""What each quantity of the trend table is called."""


def verdicts_table(results: ValidationResults) -> RenderableType:
    """Return what trained trajectories came to: gaps with their intervals, and what they decide."""
    oracle = results.oracle
    held_out = results.settings.held_out
    # On the oracle's runs any max_lr may be the best; what is sure is how far this one falls short of it.
    reach = f"{100 * oracle.settings.confidence:g} % {'interval' if held_out else 'short of best'}"
    parts: list[RenderableType] = []
    for name, rows in results.verdicts.groupby("trajectory", sort=False):
        runs = _runs(results)
        title = f"{name}, trained on {runs}; tolerance {_tolerance(oracle)}"
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
        for heading in ("m", "λ %", "oracle", "S-Cyc", "val gap", reach, "verdict"):
            table.add_column(heading, justify="left" if heading == "verdict" else "right")
        for heading in (
            "own chain: test gap",
            f"{100 * both_sides(oracle.settings.confidence):g} % interval",
            "equivalent",
        ):
            table.add_column(heading, justify="left" if heading == "equivalent" else "right")
        for row in rows.to_dict("records"):
            whole = missing(row["cycle"])
            write = str if whole else told_apart(row["oracle_max_lr"], row["scyc_max_lr"])
            table.add_row(
                "mean" if whole else str(row["cycle"]),
                "" if whole else f"{row['percent_remaining']:.3g}",
                "" if whole else write(row["oracle_max_lr"]),
                "" if whole else write(row["scyc_max_lr"]),
                signed(row["val_gap"]),
                _interval(row["val_gap_low"], row["val_gap_high"]),
                "" if missing(row["verdict"]) else row["verdict"],
                signed(row["own_test_gap"]),
                _interval(row["own_test_gap_low"], row["own_test_gap_high"]),
                "" if missing(row["equivalent"]) else "yes" if row["equivalent"] else "no",
                style="bold" if whole else None,
            )
        parts.append(table)
        parts += [Text(line) for line in _verdict_findings(results, rows)]
    if not results.finished:
        parts.append(Text(progress_line(results.progress)))
    return Group(*parts)


def _verdict_findings(results: ValidationResults, rows: pd.DataFrame) -> list[str]:
    held_out, cycles = results.settings.held_out, rows[rows["cycle"].notna()]
    if results.settings.runs < 2:
        return ["one run gives no interval: nothing can be said of how sure the gaps are"]
    counts = cycles["verdict"].value_counts()
    found = ", ".join(f"{name} in {counts.get(name, 0)}" for name in ("inside", "undecided", "outside"))
    lines = [f"from the oracle's own start states: {found} of {len(cycles)} cycles"]
    same = int(((cycles["val_gap_low"] == 0) & (cycles["val_gap_high"] == 0)).sum())
    if same:
        lines.append(f"in {same} of these it is the very network of the oracle")
    lines.append(
        "inside: at most the tolerance worse, or better; equivalent: neither worse nor better by the tolerance"
    )
    if results.stale:
        lines.append("the oracle has decided otherwise since, or has more runs: run compare again")
    over_all = rows[rows["cycle"].isna()]
    if over_all.empty:
        return lines
    last = over_all.iloc[0]
    if len(results.replay.oracle) < len(results.settings.choices):
        lines.append("the oracle's own choices diverged on these runs, or nothing was left to prune")
    elif missing(last["own_test_gap"]):
        lines.append("its own chain diverged, or nothing was left to prune")
    else:
        word = "equivalent to" if last["equivalent"] else "not shown to be equivalent to"
        lines.append(
            f"its own chain is {word} the oracle's in test accuracy, mean over all cycles (two one-sided tests, p = "
            f"{last['equivalence_p']:.2g}), which says nothing of single cycles; with Holm's correction it is in "
            f"{int(cycles['equivalent'].sum())} of {len(cycles)} of these"
        )
    if held_out:
        lines.append("gap: the oracle's choice minus the prediction, in points, on runs that had no part in the choice")
    else:
        lines.append(
            "gap: the oracle's choice minus the prediction, in points; the oracle's is the best of many noisy means on "
            "these runs, so the gap flatters it; short of best: of the best max_lr there is, whichever that may be; "
            "--confirm N takes held-out runs"
        )
    return lines


def trend_table(results: OracleResults) -> RenderableType:
    """Return whether max_lr rises over the cycles, in an oracle and its controls, and whether it exceeds_control them."""
    level = f"{100 * results.settings.confidence:g} %"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("pruning", "max_lr", "a cycle", f"{level} interval", "p (Holm)", "rises"):
        table.add_column(heading, justify="left" if heading in ("pruning", "max_lr", "rises") else "right")
    if results.controls:
        for heading in ("ratio", f"{level} interval", "exceeds_control"):
            table.add_column(heading, justify="left" if heading == "exceeds_control" else "right")
    trend = results.trend
    for row in trend.to_dict("records"):
        first = row["quantity"] == "best"
        cells = [
            row["chain"] if first else "",
            QUANTITY[row["quantity"]],
            _factor(row["factor"]),
            _factors(row["factor_low"], row["factor_high"]),
            "-" if missing(row["holm_p"]) else f"{row['holm_p']:.2g}",
            _yes(row["rises"]),
        ]
        if results.controls:
            own = row["chain"] == trend["chain"].iloc[0]
            cells += (
                ["", "", ""]
                if own
                else [
                    _factor(row["excess"]),
                    _factors(row["excess_low"], row["excess_high"]),
                    _yes(row["exceeds_control"]),
                ]
            )
        table.add_row(*cells, end_section=row["quantity"] == "middle")
    return Group(Text(title_of(results), "bold"), table, *map(Text, trend_findings(results)))


def trend_findings(results: OracleResults) -> list[str]:
    """Say whether max_lr rises, whether the rise exceeds_control its controls, and what that rests on."""
    trend = results.trend
    own = trend[trend["chain"] == trend["chain"].iloc[0]]
    if results.settings.runs < 2 or own["rises"].isna().all():
        return ["one run, or fewer than three cycles, gives no interval: whether max_lr rises cannot be told"]
    lines = [f"{results.settings.pruning}: {_rise(own)}"]
    for name in results.controls:
        part = trend[trend["chain"] == name]
        lines.append(f"{name} ({WHY.get(name, 'another pruning')}): {_rise(part)}; {_outlasting(part, own)}")
    lines.append(
        "a cycle: growth of each run's own best max_lr and region, mean over runs; p: the larger of that of Page's "
        "trend test and that of a t-test of the runs' slopes (two-sided), with Holm's correction over the four"
    )
    if results.controls:
        lines.append(
            "ratio: the oracle's growth by the control's, paired by run; exceeds_control: it rises, and surely faster"
        )
    return lines


def _outlasting(rows: pd.DataFrame, own: pd.DataFrame) -> str:
    """Say whether the oracle's rise exceeds_control a control; `rows` are the control's, `own` the oracle's."""
    longer = rows[rows["exceeds_control"].astype("boolean").fillna(False)]["quantity"]
    if len(longer):
        return f"the rise exceeds_control it ({_named(longer)})"
    if ((rows["excess_high"] < 1) & rows["rises"].astype("boolean").fillna(False)).any():
        return "max_lr rises faster there: no rise exceeds_control it"
    if own["rises"].astype("boolean").fillna(False).any():
        return "the rise cannot be told from it"
    faster = rows[rows["excess_low"] > 1]["quantity"]
    return "no rise to outlast it" + (f", but less of a fall ({_named(faster)})" if len(faster) else "")


def _rise(rows: pd.DataFrame) -> str:
    rising = rows[rows["rises"].astype(bool)]["quantity"]
    if rising.empty:
        return "no rise is shown"
    return "max_lr rises" if len(rising) == len(rows) else f"of max_lr rises: {_named(rising)}"


def _named(quantities: "pd.Series[str]") -> str:
    return ", ".join(QUANTITY[quantity] for quantity in quantities)


def _factor(value: float) -> str:
    return "-" if missing(value) else f"x{value:.3f}"


def _interval(low: float, high: float) -> str:
    return "-" if missing(low) else f"[{low:.2f}, {high:.2f}]"


def _factors(low: float, high: float) -> str:
    return "-" if missing(low) else f"[{low:.3f}, {high:.3f}]"


def _yes(value: object) -> str:
    return "-" if missing(value) else "yes" if value else "no"


def _runs(results: ValidationResults) -> str:
    """Return how many runs a trained comparison has, and of which."""
    held_out, runs = results.settings.held_out, results.settings.runs
    text = f"{runs} {'held-out ' if held_out else ''}run{'s' if runs > 1 else ''}"
    return text if held_out else f"{text} of the oracle"


def _tolerance(results: OracleResults) -> str:
    return f"{results.settings.tolerance:g} {'points' if results.settings.tolerance_kind == 'absolute' else '% of the best'}"


def region_answer(results: OracleResults) -> str:
    """Say in a sentence which max_lr is best, and how wide the range is that is as good."""
    oracle = results.oracle
    low, high = oracle["best_max_lr"].min(), oracle["best_max_lr"].max()
    width = (oracle["feasible_high"] / oracle["feasible_low"]).median()
    write = told_apart(low, high)
    line = f"The best max_lr lies between {write(low)} and {write(high)}; "
    line += f"the region as good spans {width:.3g} times (median)"
    if oracle["possible_low"].isna().all():
        return f"{line}. One run decides each cycle: how sure that is cannot be told."
    reach, told = (oracle["possible_high"] / oracle["possible_low"]).median(), oracle["n_not_worse"].median()
    return (
        f"{line} and may span {reach:.3g} times; {told:g} of {oracle['points'].median():g} max_lr are not told from "
        f"the best (median, at {100 * results.settings.confidence:g} % confidence for a whole cycle)."
    )


def rise_answer(results: OracleResults) -> str:
    """Say in a sentence whether max_lr rises, and how sure that is."""
    trend = results.trend
    own = trend[trend["chain"] == trend["chain"].iloc[0]]
    best = own[own["quantity"] == "best"].iloc[0]
    if missing(best["rises"]):
        return "Whether max_lr rises cannot be told: that takes two runs and three cycles at least."
    numbers = (
        f"a run's best max_lr grows by a factor of {best['factor']:.3f} a cycle "
        f"({100 * results.settings.confidence:g} % interval {best['factor_low']:.3f} to {best['factor_high']:.3f}; p = "
        f"{best['holm_p']:.2g}; {best['runs']} runs, {best['cycles']} cycles)"
    )
    rising = int(own["rises"].sum())
    if rising == len(own):
        return f"max_lr rises as weights go: {numbers}; so do both ends of its region and their middle."
    if rising:
        parts = _named(own[own["rises"].astype(bool)]["quantity"])
        return f"Parts of max_lr rise as weights go ({parts}): {numbers}."
    return f"A rise of max_lr is not shown: {numbers}."


def controls_answer(results: OracleResults) -> list[str]:
    """Say what each control that was run makes of the rise."""
    trend, found = results.trend, []
    own = trend[trend["chain"] == trend["chain"].iloc[0]]
    for name in results.controls:
        part = trend[trend["chain"] == name]
        why = WHY.get(name, "another pruning")
        best = part[part["quantity"] == "best"].iloc[0]
        if missing(best["excess_low"]):
            found.append(f"Control {name} ({why}): cannot be told, which takes two runs and three cycles of both.")
            continue
        numbers = (
            f"{best['factor']:.3f} a cycle there; the oracle's growth divided by that: {best['excess']:.3f}, interval "
        )
        numbers += f"{best['excess_low']:.3f} to {best['excess_high']:.3f}"
        found.append(f"Control {name} ({why}): {_outlasting(part, own)}; best max_lr grows by {numbers}.")
    return found or [
        "No control was run: whether sparsity or mere retraining makes it so is open (scyc-sweep control)."
    ]


def scyc_answer(results: OracleResults) -> list[str]:
    """Say whether S-Cyc predicts the oracle, by the best evidence there is: held-out runs, its own, or curves."""
    for path in (results.folder.held_out_validation, results.folder.validation):
        if not (path / "manifest.json").exists():
            continue
        trained = ValidationResults(path)
        if trained.verdicts.empty:
            continue
        runs = _runs(trained)
        lines = []
        for name, rows in trained.verdicts.groupby("trajectory", sort=False):
            over_all, cycles = rows[rows["cycle"].isna()], rows[rows["cycle"].notna()]
            if cycles["verdict"].isna().all():
                gap = signed(cycles["val_gap"].mean())
                lines.append(f"{name}, trained on one run: gap {gap} points; how sure that is, one run cannot say.")
                continue
            counts = cycles["verdict"].value_counts()
            found = ", ".join(f"{each} in {counts.get(each, 0)}" for each in ("inside", "undecided", "outside"))
            line = f"{name}, trained on {runs}: {found} of {len(cycles)} cycles"
            if len(over_all) and not missing(over_all["own_test_gap_low"].iloc[0]):
                last = over_all.iloc[0]
                word = "equivalent" if last["equivalent"] else "not shown to be equivalent"
                low, high = last["own_test_gap_low"], last["own_test_gap_high"]
                level = f"{100 * both_sides(results.settings.confidence):g} %"
                line += (
                    f"; the oracle's test accuracy minus that of its own chain: {signed(last['own_test_gap'])} points, "
                    f"mean over all cycles ({level} interval {low:+.2f} to {high:+.2f}): {word} within "
                    f"{_tolerance(results)}"
                )
            lines.append(f"{line}.")
        return lines
    if not (results.folder.path / "comparison.parquet").exists():
        return ["No trajectory was compared with it."]
    return [
        f"{name} lies in the feasible region at {int(part['inside'].sum())} of {len(part)} cycles, read off the "
        "measured curves; how sure that is, compare --confirm says."
        for name, part in results.comparison.groupby("trajectory", sort=False)
    ]
