"""Presets: whole settings under a name. In: the paper's figures. Out: values for `sweep.spec.Spec`.

What a paper leaves open is settled here and said in `settled`. Next: `sweep.spec.resolve` puts flags on top.
"""

from dataclasses import dataclass
from typing import Any

from search_spaces.paper import ORACLE_TABLES, SETUPS


@dataclass(frozen=True)
class Preset:
    """A name's settings, what they stand for, and what had to be decided that the source leaves open."""

    stands_for: str
    settled: str
    settings: dict[str, Any]


PAPER_GRID = "0.0001," + ",".join(f"{0.002 * i:g}" for i in range(1, 51))
"""1e-4 and the multiples of 2e-3 up to 1e-1: every max_lr that Tables 3, 7 and 8 print is such a multiple."""

_RESNET20 = SETUPS["resnet20"]
_MLP = SETUPS["mlp"]

PRESETS: dict[str, Preset] = {
    "digits": Preset(
        stands_for="the paper's question in a minute, on scikit-learn's bundled 8x8 images",
        settled="everything: no table of the paper; S-Cyc's parameters describe this oracle",
        settings={
            "model": "mlp",
            "hidden": (64, 64, 64),
            "dataset": "digits",
            "pruning": "imp",
            "cycles": 15,
            "runs": 5,
            "max_lr": "0.001:1:x25",
            "schedule": "warmup",
            "steps": 510,  # 15 epochs of 34 batches
            "warmup_steps": 82,
            "milestones": (255, 382),
            "batch_size": 32,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "scyc": "0.035,0.05,1,4",
        },
    ),
    "mlp": Preset(
        stands_for="section 3.1 (the network of Figure 1) on Fashion-MNIST",
        settled="grid (the paper: a range of 1e-4 to 1e-2), 5 runs, pruning rate 0.2, no weight decay, split 60/20/20 "
        "like the other experiments (the paper: 80 % for training); 500 epochs are steps of 42,000 images; no S-Cyc",
        settings={
            "model": _MLP.model,
            "hidden": (256, 256, 256),
            "dataset": _MLP.dataset,
            "pruning": _MLP.pruning,
            "cycles": _MLP.cycles,
            "runs": 5,
            "max_lr": "0.0001:0.01:x13",
            "schedule": "constant",
            "steps": _MLP.epochs * -(-42_000 // _MLP.batch_size),  # type: ignore[operator]
            "warmup_steps": 0,
            "milestones": (),
            "batch_size": _MLP.batch_size,
            "momentum": _MLP.momentum,
            "weight_decay": 0.0,
            "scyc": None,
        },
    ),
    "resnet20": Preset(
        stands_for="Table 7 as its caption has it (global magnitude; its text says global gradient)",
        settled="the grid's spacing (the paper: 1e-4 to 1e-1, every printed value a multiple of 2e-3)",
        settings={
            "model": _RESNET20.model,
            "hidden": (),
            "dataset": _RESNET20.dataset,
            "pruning": "global_magnitude",
            "cycles": _RESNET20.cycles,
            "runs": _RESNET20.runs,
            "max_lr": PAPER_GRID,
            "schedule": "warmup",
            "steps": _RESNET20.iterations,
            "warmup_steps": _RESNET20.warmup_steps,
            "milestones": _RESNET20.milestones,
            "batch_size": _RESNET20.batch_size,
            "momentum": _RESNET20.momentum,
            "weight_decay": _RESNET20.weight_decay,
            "scyc": str(ORACLE_TABLES[7].scyc),
        },
    ),
}
