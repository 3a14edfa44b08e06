"""The schedule comparisons that the S-Cyc paper (Liu, Tan, Motani) prints, as data: Tables 9, 10, 11, 5 and 6.

In: nothing. Out: `COMPARISONS`, by table. Table 2 prints some columns of Tables 9 to 11. Accuracies are early-stop test
accuracies in percent, mean and std over 5 runs; rates are absolute. Next stage: `sweep` sets them beside its own.
"""

from dataclasses import dataclass
from typing import Literal

ScheduleRow = Literal["constant", "decay", "cyclical", "warmup-1", "warmup-2", "scyc"]


@dataclass(frozen=True)
class PrintedRow:
    """One schedule's row: its figures as Table 1 defines them, and accuracies by cycle.

    constant (a); decay (a, b); cyclical (a, b, c); warmup (a, b, c, d, e) without those that are Nil; scyc (epsilon,
    delta, q, beta, then b, c, d, e of its warmup). b to e count iterations.
    """

    schedule: ScheduleRow
    figures: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """One printed table; `cycle` names the columns, by prunings done (`search_spaces.paper.LABELS`)."""

    table: int
    model: str
    dataset: str
    pruning: str
    optimizer: str
    cycle: tuple[int, ...]
    rows: tuple[PrintedRow, ...]
    notes: tuple[str, ...] = ()


_TABLES = (
    Comparison(
        table=9,
        model="resnet20",
        dataset="cifar10",
        pruning="global_gradient",
        optimizer="sgd",
        cycle=(0, 1, 2, 3, 4, 5, 7, 10, 13, 18),
        rows=(
            PrintedRow(
                "constant",
                (0.01,),
                (89.4, 89, 88.7, 87.8, 86.9, 86.5, 85, 82.5, 78.9, 66.2),
                (0.4, 0.4, 0.5, 0.7, 0.9, 0.9, 0.7, 0.3, 0.8, 1.3),
            ),
            PrintedRow(
                "decay",
                (0.03, 63000),
                (90, 89.3, 89.2, 88, 87.2, 87, 85.7, 82.9, 79.6, 66.9),
                (0.4, 0.2, 0.3, 0.5, 0.6, 0.8, 0.6, 0.6, 0.7, 1.9),
            ),
            PrintedRow(
                "cyclical",
                (0, 0.03, 8000),
                (89.6, 89.2, 88.7, 88.2, 87.7, 87.2, 85.6, 83, 80.1, 67.8),
                (0.3, 0.3, 0.5, 0.4, 0.6, 0.6, 0.5, 0.4, 0.8, 1.4),
            ),
            PrintedRow(
                "warmup-1",
                (0.03, 20000, 20000, 25000),
                (90.1, 89.6, 89.4, 88.2, 87.8, 87.4, 85.5, 83.4, 80, 68.9),
                (0.5, 0.3, 0.3, 0.5, 0.7, 0.8, 0.6, 0.6, 1.4, 1.3),
            ),
            PrintedRow(
                "warmup-2",
                (0.07, 20000, 20000, 25000),
                (89.7, 89.4, 89, 89.1, 88.1, 87.6, 85.9, 83.8, 80.6, 71.3),
                (0.4, 0.2, 0.5, 0.4, 0.6, 0.5, 0.4, 0.8, 1.2, 1.2),
            ),
            PrintedRow(
                "scyc",
                (0.03, 0.04, 1, 5, 20000, 20000, 25000),
                (90, 89.6, 89.3, 89.2, 88.3, 88.3, 87.1, 84.5, 81.7, 72.8),
                (0.3, 0.4, 0.5, 0.6, 0.4, 0.4, 0.5, 0.8, 0.9, 1.6),
            ),
        ),
        notes=("Table 2 prints decay (0.02, 63000) and cyclical (0, 0.025, 8000), with the same accuracies",),
    ),
    Comparison(
        table=10,
        model="vgg19",
        dataset="cifar10",
        pruning="layer_gradient",
        optimizer="sgd",
        cycle=(0, 1, 2, 3, 4, 5, 7, 10, 13, 18),
        rows=(
            PrintedRow(
                "constant",
                (0.008,),
                (92, 91.1, 90.5, 89, 88.3, 87.9, 85.6, 80.2, 70.1, 40.1),
                (0.3, 0.4, 0.5, 0.6, 0.6, 0.7, 0.9, 1.4, 1.3, 1.4),
            ),
            PrintedRow(
                "decay",
                (0.01, 63000),
                (92.1, 91.3, 91.1, 89.2, 88.7, 88.4, 86.1, 80.3, 69.8, 40.9),
                (0.5, 0.3, 0.5, 0.5, 0.4, 0.5, 0.6, 0.8, 1.9, 2.9),
            ),
            PrintedRow(
                "cyclical",
                (0, 0.03, 15000),
                (92.3, 91.6, 91.3, 89.6, 89.2, 89.2, 87.2, 81.1, 70.4, 43.2),
                (0.6, 0.4, 0.6, 0.4, 0.5, 0.4, 0.8, 1.3, 1.6, 1.9),
            ),
            PrintedRow(
                "warmup-1",
                (0.1, 10000, 32000, 48000),
                (92.2, 92, 91.3, 90.6, 89.6, 89.4, 87.5, 81.7, 71.5, 46.6),
                (0.3, 0.4, 0.5, 0.5, 0.6, 0.5, 0.7, 1.1, 1.3, 2.7),
            ),
            PrintedRow(
                "warmup-2",
                (0.04, 10000, 32000, 48000),
                (92.9, 92.5, 92.6, 91.2, 90.1, 89.5, 87, 81.4, 70.9, 45),
                (0.3, 0.3, 0.3, 0.7, 0.4, 0.4, 0.5, 1.2, 1.4, 2.3),
            ),
            PrintedRow(
                "scyc",
                (0.04, 0.06, 1, 4, 10000, 32000, 48000),
                (93, 92.4, 92.8, 91.9, 90.6, 90.2, 88.2, 83.1, 73.2, 48.2),
                (0.4, 0.2, 0.4, 0.6, 0.5, 0.7, 1.4, 1.1, 0.9, 2.1),
            ),
        ),
        notes=("Table 10 prints q = 2 for S-Cyc where Table 2 prints 1; Table 3's row fits only 1",),
    ),
    Comparison(
        table=11,
        model="resnet50",
        dataset="tiny_imagenet",
        pruning="imp",
        optimizer="sgd",
        cycle=(0, 1, 2, 3, 4, 5, 7, 10, 13, 18),
        rows=(
            PrintedRow(
                "constant",
                (0.01,),
                (56.7, 56.3, 55.5, 55.6, 55, 54.4, 52.7, 50.1, 46.3, 43.9),
                (0.3, 0.2, 0.2, 0.7, 0.7, 0.4, 1.2, 1.3, 0.9, 1.2),
            ),
            PrintedRow(
                "decay",
                (0.03, 70000),
                (56.7, 56.1, 56, 55.4, 55.2, 55, 53.1, 50.9, 47, 41.8),
                (0.2, 0.4, 0.4, 0.4, 0.5, 0.5, 1, 1.2, 0.7, 1.4),
            ),
            PrintedRow(
                "cyclical",
                (0, 0.05, 20000),
                (56.6, 56.4, 55.8, 55.7, 55.8, 55.4, 54.3, 52.2, 46, 43.3),
                (0.2, 0.3, 0.5, 0.2, 0.3, 0.4, 0.8, 1.1, 1.4, 1.2),
            ),
            PrintedRow(
                "warmup-1",
                (0.1, 4000, 23000, 46000, 62000),
                (57, 57.1, 56.6, 56.4, 56.3, 56.2, 56.3, 53.7, 49.7, 47.4),
                (0.3, 0.2, 0.4, 0.6, 0.4, 0.5, 0.6, 0.9, 1.1, 1.1),
            ),
            PrintedRow(
                "warmup-2",
                (0.05, 4000, 23000, 46000, 62000),
                (57.8, 58.1, 57.2, 56.5, 56.2, 56.6, 55.9, 53.3, 48.6, 45),
                (0.3, 0.3, 0.5, 0.3, 0.5, 0.4, 0.4, 1, 1, 0.9),
            ),
            PrintedRow(
                "scyc",
                (0.05, 0.05, 2, 5, 4000, 23000, 46000, 62000),
                (57.6, 58.1, 57.9, 57.5, 57.9, 57.1, 56.4, 54.4, 51, 48.9),
                (0.4, 0.4, 0.5, 0.6, 0.4, 0.5, 0.6, 1.3, 1.2, 1.5),
            ),
        ),
    ),
    Comparison(
        table=5,
        model="resnet20",
        dataset="cifar10",
        pruning="global_magnitude",
        optimizer="adam",
        cycle=(0, 5, 7, 10, 13, 18),
        rows=(
            PrintedRow("constant", (0.0008,), (88.4, 84.8, 83.5, 80.5, 75.5, 67.1), (0.4, 0.6, 0.6, 0.9, 1.2, 1.7)),
            PrintedRow("decay", (0.003, 63000), (88.6, 87.1, 83.7, 82.1, 76.1, 66), (0.3, 0.7, 0.9, 1.1, 0.8, 1.3)),
            PrintedRow("cyclical", (0, 0.03, 8000), (88.9, 86.9, 84.1, 82.1, 77, 64.4), (0.3, 0.5, 0.3, 0.5, 0.9, 1.1)),
            PrintedRow(
                "warmup-1",
                (0.003, 20000, 20000, 25000),
                (89.1, 87.2, 84.5, 82.6, 75.2, 65.1),
                (0.3, 0.4, 0.6, 0.7, 1.1, 1.9),
            ),
            PrintedRow(
                "warmup-2",
                (0.007, 20000, 20000, 25000),
                (87.8, 85.7, 84.3, 82.9, 78.1, 69.8),
                (0.3, 0.5, 0.7, 0.8, 1.4, 2.1),
            ),
            PrintedRow(
                "scyc",
                (0.003, 0.004, 1, 4, 20000, 20000, 25000),
                (89.2, 87.9, 86.3, 84.4, 79.5, 71.7),
                (0.2, 0.3, 0.5, 0.6, 1.7, 2.3),
            ),
        ),
        notes=("the cyclical rate of 0.03 is ten times its neighbours'",),
    ),
    Comparison(
        table=6,
        model="resnet20",
        dataset="cifar10",
        pruning="global_magnitude",
        optimizer="rmsprop",
        cycle=(0, 5, 7, 10, 13, 18),
        rows=(
            PrintedRow("constant", (0.0006,), (87.9, 83.4, 81.5, 77, 65.5, 55.1), (0.3, 0.4, 0.9, 0.8, 1.9, 2.3)),
            PrintedRow("decay", (0.002, 63000), (88.4, 84.8, 81.3, 77.8, 67.1, 58.3), (0.2, 0.6, 1.1, 0.9, 1.4, 1.6)),
            PrintedRow(
                "cyclical", (0, 0.003, 10000), (88.1, 84.7, 81.9, 78.1, 67.5, 56.3), (0.3, 0.5, 0.7, 1, 0.9, 1.7)
            ),
            PrintedRow(
                "warmup-1",
                (0.001, 20000, 20000, 25000),
                (88.9, 85.1, 81.7, 78.6, 67.3, 57.1),
                (0.2, 0.5, 0.4, 0.6, 1.3, 1.4),
            ),
            PrintedRow(
                "warmup-2",
                (0.003, 20000, 20000, 25000),
                (88.5, 85.8, 82.6, 79.9, 69.3, 59.2),
                (0.4, 0.6, 0.5, 0.7, 1.1, 2.3),
            ),
            PrintedRow(
                "scyc",
                (0.001, 0.002, 2, 5, 20000, 20000, 25000),
                (88.7, 86.1, 83.1, 81.4, 72.5, 63.5),
                (0.3, 0.4, 0.6, 0.9, 1.3, 1.9),
            ),
        ),
    ),
)

COMPARISONS: dict[int, Comparison] = {entry.table: entry for entry in _TABLES}


def comparison_of(model: str, dataset: str, optimizer: str) -> Comparison | None:
    """Return the printed comparison of an experiment, whatever its pruning, or None if there is none."""
    wanted = (model, dataset, optimizer)
    return next((entry for entry in _TABLES if (entry.model, entry.dataset, entry.optimizer) == wanted), None)
