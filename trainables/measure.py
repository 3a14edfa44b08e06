"""How fast lanes train here. In: settings, the data's sizes, numbers of lanes. Out: lane-steps per second for each.

Real training steps on made images, so neither the data nor its folder is needed. Next: the sweep picks the number of
lanes per pack, or estimates what it would cost.
"""

import time
from collections.abc import Sequence

import torch

from trainables import lanes, models, optimizers, pruning
from trainables.models import DTYPES
from trainables.pack import lane_slopes
from trainables.published import Outline
from trainables.spec import TrainSpec

BLOCKS, BLOCK_SECONDS, MEASURE_SECONDS = 4, 0.05, 1.0
BUDGET_SECONDS = 8.0
"""For all sizes together; a size that would probably not fit in is not tried."""
GAIN = 1.05
"""How much faster than the best before it a size has to be to count as a gain."""


def lane_rates(spec: TrainSpec, data: Outline, device: torch.device, sizes: Sequence[int]) -> dict[int, float]:
    """Measure the lane-steps per second of packs of these sizes, smallest first.

    The best of a few blocks counts, since anything else the machine does can only slow a block down. Measuring ends
    with the second size in a row that is no gain, where memory runs out, or where the time is spent: still larger packs
    would cost minutes and gigabytes to measure (stacked convolutions on a CPU) and gain nothing. At least the smallest
    size is in the answer.
    """
    rates: dict[int, float] = {}
    without_gain, last, took, started = 0, 0, 0.0, time.perf_counter()
    for size in sorted(sizes):
        if rates and time.perf_counter() - started + took * size / last > BUDGET_SECONDS:
            break
        begun = time.perf_counter()
        best = max(rates.values(), default=0.0)
        try:
            rates[size] = size * _steps_per_second(spec, data, device, size)
        except RuntimeError as error:
            if not rates or not is_out_of_memory(error):
                raise
            break
        last, took = size, time.perf_counter() - begun
        without_gain = 0 if rates[size] > GAIN * best else without_gain + 1
        if without_gain == 2:
            break
    return rates


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means too little memory; on the CPU torch says so only in the message."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _steps_per_second(spec: TrainSpec, data: Outline, device: torch.device, size: int) -> float:
    template = models.build(spec, data.shape, data.classes, seed=0)
    stacked = lanes.stack(template, size).to(device)
    weights = dict(stacked.named_parameters())
    prunable = pruning.prunable(template, spec.keep_output, spec.pruning)
    del template  # half a gigabyte, of a VGG
    masks = {name: torch.rand_like(weights[name]) < 0.5 for name in prunable}
    optimizer = optimizers.optimizer(spec, stacked, masks)
    images = torch.randn(spec.batch_size, *data.shape, dtype=DTYPES[spec.dtype], device=device)
    labels = torch.randint(0, data.classes, (spec.batch_size,), device=device)
    rates = torch.full((size,), 1e-3, dtype=images.dtype, device=device)

    # Where one thread does all the work its own clock counts, and other programs on the machine do not show.
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter

    def seconds(steps: int) -> float:
        started = clock()
        for _ in range(steps):
            _, slopes = lane_slopes(stacked, images, labels, optimizer.parameters)
            optimizer.step(slopes, rates)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - started

    seconds(1)  # the first step also allocates memory and picks algorithms
    step = seconds(1)
    if step > MEASURE_SECONDS:
        return 1 / step
    steps = max(1, round(BLOCK_SECONDS / step))
    blocks = max(1, min(BLOCKS, int(MEASURE_SECONDS / (steps * step))))
    return steps / min(seconds(steps) for _ in range(blocks))
