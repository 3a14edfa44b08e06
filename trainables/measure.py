"""How fast lanes train here. In: settings and numbers of lanes. Out: lane-steps per second for each number.

Real training steps on made images, so neither the data nor its folder is needed. Next: the sweep picks the number of
lanes per pack, or estimates what it would cost.
"""

import time
from collections.abc import Sequence

import torch

from trainables import lanes, models, pruning
from trainables.datasets import DATASETS
from trainables.models import DTYPES
from trainables.pack import lane_losses
from trainables.spec import TrainSpec

BLOCKS, BLOCK_SECONDS = 4, 0.05
HOPELESS = 0.67
"""A size is given up where it is slower than this share of the best: larger packs then only cost time."""


def lane_rates(spec: TrainSpec, device: torch.device, sizes: Sequence[int]) -> dict[int, float]:
    """Measure the lane-steps per second of packs of these sizes, smallest first.

    The best of a few blocks counts, since anything else the machine does can only slow a block down. Measuring ends
    with the second size in a row that is a third slower than the best, or where memory runs out. A size that a single
    step shows to be that slow is not measured further: stacked convolutions on a CPU can take minutes.
    """
    rates: dict[int, float] = {}
    worse = 0
    for size in sorted(sizes):
        best = max(rates.values(), default=0.0)
        try:
            rates[size] = size * _steps_per_second(spec, device, size, enough=HOPELESS * best / size)
        except torch.OutOfMemoryError:
            break
        worse = worse + 1 if rates[size] < HOPELESS * best else 0
        if worse == 2:
            break
    return rates


def _steps_per_second(spec: TrainSpec, device: torch.device, size: int, enough: float) -> float:
    """Return the speed of packs of one size; only roughly if it is below `enough` steps per second."""
    source = DATASETS[spec.dataset]
    template = models.build(spec, source.shape, source.classes, seed=0)
    stacked = lanes.stack(template, size).to(device)
    weights = dict(stacked.named_parameters())
    masks = {name: torch.rand_like(weights[name]) < 0.5 for name in pruning.prunable(template, spec.keep_output)}
    optimizer = lanes.LaneSGD(stacked, masks, spec.momentum, spec.weight_decay)
    images = torch.randn(spec.batch_size, *source.shape, dtype=DTYPES[spec.dtype], device=device)
    labels = torch.randint(0, source.classes, (spec.batch_size,), device=device)
    rates = torch.full((size,), 1e-3, dtype=images.dtype, device=device)

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            losses = lane_losses(stacked(images), labels)
            optimizer.step(torch.autograd.grad(losses.sum(), optimizer.parameters), rates)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    seconds(1)  # the first step also allocates memory and picks algorithms
    step = seconds(1)
    if 1 / step < enough:
        return 1 / step
    steps = max(1, round(BLOCK_SECONDS / step))
    return steps / min(seconds(steps) for _ in range(BLOCKS))
