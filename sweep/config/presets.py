"""Presets: whole settings under a name. In: the paper's figures. Out: values for `sweep.config.settings.Settings`.

What a paper leaves open is settled here and said in `settled`. Next: `sweep.config.resolve` puts flags on top.
"""

from dataclasses import dataclass
from typing import Any

from search_spaces.paper import ORACLE_TABLES, SETUPS, Setup
from search_spaces.scyc import SCyc


@dataclass(frozen=True)
class Preset:
    """A name's settings, what they stand for, and what had to be decided that the source leaves open."""

    stands_for: str
    settled: str
    settings: dict[str, Any]


DEFAULT_PRESET = "digits"
"""The preset without --preset and --model."""

PAPER_GRID = "0.0001," + ",".join(f"{0.002 * i:g}" for i in range(1, 51))
"""1e-4 and the multiples of 2e-3 up to 1e-1: every max_lr that Tables 3, 7 and 8 print is such a multiple."""

ADAPTIVE_GRID = "0.0001," + ",".join(f"{0.0002 * i:g}" for i in range(1, 51))
"""The same a tenth lower, for Adam and RMSProp: the rates of Tables 5 and 6 lie between 6e-4 and 7e-3."""

_MLP = SETUPS["mlp"]
_SPACING = "the grid's spacing (the paper: 1e-4 to 1e-1, every printed value a multiple of 2e-3)"
_REST = "momentum, weight decay, prunings, runs and pruning rate (as in Table 2)"


def _of_paper(setup: Setup, scyc: SCyc | None, **changes: Any) -> dict[str, Any]:
    """Return the settings of an experiment; what the paper leaves open is as in Table 2."""
    settings = {
        "model": setup.model,
        "hidden": (),
        "dataset": setup.dataset,
        "pruning": setup.pruning,
        "cycles": setup.cycles or 25,
        "runs": setup.runs or 5,
        "max_lr": PAPER_GRID,
        "schedule": "warmup",
        "steps": setup.iterations,
        "warmup_steps": setup.warmup_steps,
        "milestones": setup.milestones,
        "batch_size": setup.batch_size or 128,
        "optimizer": "sgd",
        "momentum": 0.9 if setup.momentum is None else setup.momentum,
        "weight_decay": 1e-4 if setup.weight_decay is None else setup.weight_decay,
        "scyc": str(scyc) if scyc else None,
    }
    return settings | changes


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
        stands_for="Table 7 as its caption has it (global magnitude; its text and Table 9 say global gradient)",
        settled=_SPACING,
        settings=_of_paper(SETUPS["resnet20"], ORACLE_TABLES[7].scyc, pruning="global_magnitude"),
    ),
    "vgg19": Preset(
        stands_for="Table 3, and Table 10 (layer gradient on CIFAR-10)",
        settled=f"{_SPACING}; q = 1, as Table 3's row fits (Table 10 prints 2)",
        settings=_of_paper(SETUPS["vgg19"], ORACLE_TABLES[3].scyc),
    ),
    "resnet50": Preset(
        stands_for="Table 8, and Table 11 (IMP on Tiny ImageNet)",
        settled=_SPACING,
        settings=_of_paper(SETUPS["resnet50"], ORACLE_TABLES[8].scyc),
    ),
    "alexnet": Preset(
        stands_for="Table 4's AlexNet (layer magnitude on CIFAR-10, batch 64, no batch norm)",
        settled=f"{_SPACING}; {_REST}; images resized to 64 x 64, the least that the network takes; no S-Cyc",
        settings=_of_paper(SETUPS["alexnet"], None),
    ),
    "vgg16": Preset(
        stands_for="Table 4's VGG-16 (L1 norm of filters on CIFAR-10)",
        settled=f"{_SPACING}; {_REST}; batch 128; filters of convolutions alone, each layer its share; no S-Cyc",
        settings=_of_paper(SETUPS["vgg16"], None),
    ),
    "resnet20-adam": Preset(
        stands_for="Table 5 (ResNet-20, global magnitude, Adam)",
        settled="the grid; the momentum 0.9 is Adam's first beta",
        settings=_of_paper(
            SETUPS["resnet20"],
            SCyc(0.003, 0.004, 1, 4),
            pruning="global_magnitude",
            optimizer="adam",
            max_lr=ADAPTIVE_GRID,
        ),
    ),
    "resnet20-rmsprop": Preset(
        stands_for="Table 6 (ResNet-20, global magnitude, RMSProp)",
        settled="the grid; RMSProp without momentum, as torch has it by default",
        settings=_of_paper(
            SETUPS["resnet20"],
            SCyc(0.001, 0.002, 2, 5),
            pruning="global_magnitude",
            optimizer="rmsprop",
            momentum=0.0,
            max_lr=ADAPTIVE_GRID,
        ),
    ),
}
