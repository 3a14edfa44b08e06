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

WARMUP_STEPS, BLOCKS, BLOCK_SECONDS = 2, 4, 0.05


def lane_rates(spec: TrainSpec, device: torch.device, sizes: Sequence[int]) -> dict[int, float]:
    """Measure the lane-steps per second of packs of these sizes, smallest first.

    The best of a few blocks counts, since anything else the machine does can only slow a block down. Sizes are given
    up, and missing in the answer, from the second one in a row that is a third slower than the best, or when memory
    runs out: larger packs then only cost time. One lane is always measured.
    """
    rates: dict[int, float] = {}
    worse = 0
    for size in sorted(sizes):
        try:
            rates[size] = size * _steps_per_second(spec, device, size)
        except torch.OutOfMemoryError:
            break
        worse = worse + 1 if rates[size] < 0.67 * max(rates.values()) else 0
        if worse == 2:
            break
    return rates


def _steps_per_second(spec: TrainSpec, device: torch.device, size: int) -> float:
    source = DATASETS[spec.dataset]
    template = models.build(spec, source.shape, source.classes, seed=0)
    stacked = lanes.stack(template, size).to(device)
    weights = dict(stacked.named_parameters())
    masks = {name: torch.rand_like(weights[name]) < 0.5 for name in pruning.prunable(template, spec.keep_output)}
    optimizer = lanes.LaneSGD(stacked, masks, spec.momentum, spec.weight_decay)
    images = torch.randn(spec.batch_size, *source.shape, dtype=DTYPES[spec.dtype], device=device)
    labels = torch.randint(0, source.classes, (spec.batch_size,), device=device)
    rates = torch.full((size,), 1e-3, dtype=images.dtype, device=device)

    def train(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            losses = lane_losses(stacked(images), labels)
            optimizer.step(torch.autograd.grad(losses.sum(), optimizer.parameters), rates)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    train(WARMUP_STEPS)
    steps = max(1, round(BLOCK_SECONDS / train(1)))
    return steps / min(train(steps) for _ in range(BLOCKS))
