"""What there is to show without any results: the presets, and S-Cyc's max_lr by cycle. No torch, no Ray."""

from collections.abc import Sequence

import pandas as pd

from sweep.config.presets import PRESETS
from sweep.reporting.views import Cell, Column, Part, Table, View, listing

LONGEST = 60
"""Characters of a setting's value that are shown in full."""


def presets() -> View:
    """Return all presets: what each stands for, what had to be settled, and every value that it sets."""
    parts: list[Part] = []
    for name, preset in PRESETS.items():
        values = {key: value for key, value in preset.settings.items() if value not in (None, ())}
        rows = [
            ("stands for", preset.stands_for),
            ("settled here", preset.settled),
            ("sets", ", ".join(f"{key}={_setting(value)}" for key, value in values.items())),
        ]
        table = listing(rows)
        parts.append(Table(table.columns, table.rows, name, headed=False))
    data = pd.DataFrame([{"preset": name, **preset.settings} for name, preset in PRESETS.items()])
    return View("Presets", "", parts, data)


def trajectory(percent: Sequence[float], max_lr: Sequence[float], phase: Sequence[str]) -> View:
    """Return S-Cyc's max_lr by cycle, from cycle 0."""
    data = pd.DataFrame({"cycle": range(len(max_lr)), "percent_remaining": percent, "max_lr": max_lr, "phase": phase})
    columns = [Column("m"), Column("λ", "%"), Column("max_lr"), Column("phase", align="left")]
    rows = [
        [Cell(str(m), m), Cell(f"{remaining:.4g}", remaining), Cell(f"{rate:.4g}", rate), Cell(name, name)]
        for m, remaining, rate, name in data.itertuples(index=False)
    ]
    return View("max_lr that S-Cyc predicts", "", [Table(columns, rows, keys=2)], data)


def _setting(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) < LONGEST else f"{text[: LONGEST - 20]} ... {text[-12:]}"
