"""What there is to show of analyses that train no lane of a sweep: fits to an oracle, distributions of gradients.

In: what was fitted or measured. Out: views. `plan_view` and `input_views` have plans, presets and S-Cyc's curve.
"""

from typing import TYPE_CHECKING, Any

from sweep.reporting.numbers import NONE, missing, percent_remaining, signed, with_std
from sweep.reporting.views import Cell, Column, Part, Table, View, findings, legend, notes

if TYPE_CHECKING:
    import pandas as pd

    from sweep.analyses.fit import Fits
    from sweep.analyses.gradients import Gradients


def fits(found: "Fits") -> View:
    """Return the curves fitted to an oracle, and how each does on a run that was left out of its fit."""
    columns = [
        Column("curve", align="left"),
        Column("parameters", align="left"),
        Column("free parameters", optional=1),
        Column("inside the region", "cycles"),
        Column("distance to the region", "widths"),
        Column("distance to the best", "widths"),
        Column("left-out run: inside", "%"),
        Column("left-out run: gap", "points"),
    ]
    rows = [
        [
            Cell(row["curve"], row["curve"]),
            Cell(row["parameters"], row["parameters"]),
            Cell(str(row["free"]) if row["free"] else "given", row["free"]),
            Cell(f"{row['inside']} of {row['cycles']}", row["inside"]),
            Cell(f"{row['widths_outside']:.3g}", row["widths_outside"]),
            Cell(f"{row['widths_to_best']:.3g}", row["widths_to_best"]),
            Cell(
                NONE if missing(row["left_out_inside"]) else f"{100 * row['left_out_inside']:.0f}",
                row["left_out_inside"],
            ),
            Cell(signed(row["left_out_gap"]), row["left_out_gap"]),
        ]
        for row in found.table.to_dict("records")
    ]
    parts: list[Part] = [Table(columns, rows), *findings(f"{found.evaluations:,} curves were tried")]
    parts += legend(
        "inside the region: cycles whose feasible region holds the curve; distances: mean over cycles, in widths "
        "of the feasible region on the log scale",
        "left-out run: the curve is fitted to all runs but one and scored on that one, mean over runs; gap: best "
        "accuracy of that run minus the curve's, in points",
    )
    return View("Curves fitted to the oracle", "", parts, found.table)


def tails(found: "Gradients") -> View:
    """Return how widely gradients and activations are spread, a row a cycle of each chain; means over runs."""
    parts: list[Part] = [
        _tails(f"{schedule}: {kind}s", part)
        for (schedule, kind), part in found.tails.groupby(["schedule", "kind"], sort=False)
    ]
    images = found.tails["images"].iloc[0]
    parts += legend(f"gradients: of the mean loss of {images:,} training images, by surviving prunable weights")
    if "activation" not in set(found.tails["kind"]):
        parts += notes("the network has no nn.ReLU module: no activations were measured")
    return View("Gradients and activations", "", parts, found.tails)


def _tails(title: str, tails: "pd.DataFrame") -> Table:
    bounds: Any = tails.iloc[0]
    given = not missing(bounds["low"])
    columns = [
        Column("m"),
        Column("λ", "%"),
        Column("values"),
        Column("zeros", "%"),
        Column("std"),
        Column("beyond 2 std of the unpruned network", "%"),
        *([Column(f"beyond [{bounds['low']:g}, {bounds['high']:g}]", "%")] if given else []),
    ]
    rows = []
    for cycle, part in tails.groupby("cycle"):
        percent, values, zeros, std = (part[name].mean() for name in ("percent_remaining", "count", "zeros", "std"))
        rows.append(
            [
                Cell(str(cycle), cycle),
                Cell(percent_remaining(percent), percent),
                Cell(f"{values:,.0f}", values),
                Cell(f"{zeros:.1f}", zeros),
                Cell(f"{std:.3g}", std),
                *(
                    Cell(with_std(part[name].mean(), part[name].std()), part[name].mean())
                    for name in ("beyond_2std", *(("beyond",) if given else ()))
                ),
            ]
        )
    return Table(columns, rows, title, keys=2)
