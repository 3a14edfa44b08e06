"""How fast lanes train here, and what a pack costs. In: settings, data, numbers of lanes. Out: rates, seconds.

What is timed is what a sweep does; the data may be made, of the real set's sizes. Next: the sweep picks the number of
lanes per pack, and a plan says how long all packs take.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trainables import optimizers, pruning
from trainables.data.datasets import Dataset
from trainables.data.published import Outline
from trainables.networks import lanes, models
from trainables.networks.models import DTYPES
from trainables.pack import Part, lane_slopes, train_pack
from trainables.spec import Lane, LaneResult, Pack, Schedule, TrainSpec

BLOCKS, BLOCK_SECONDS, MEASURE_SECONDS = 4, 0.05, 1.0
BUDGET_SECONDS = 8.0
"""For all sizes together; a size that would probably not fit in is not tried."""
GAIN = 1.05
"""How much faster than the best before it a size has to be to count as a gain."""
PART_SECONDS = 2.0
"""About how long the steps of a pack are timed, and its evaluations."""
WARM_SECONDS = 0.5
"""A step that takes longer needs no steps before it that do not count: first steps are hardly slower then."""
MADE_LR = 1e-6
"""Rate of the lanes that are timed: none diverges."""


def made(data: Outline, augment: bool, images: int | None = None) -> Dataset:
    """Return a data set of noise with these sizes, or with `images` images of which the same share is the test part."""
    count = data.size if images is None else images
    generator = torch.Generator().manual_seed(0)
    channels = data.shape[0]
    return Dataset(
        name="made",
        images=torch.randint(0, 256, (count, *data.shape), dtype=torch.uint8, generator=generator),
        labels=torch.arange(count) % data.classes,
        test_start=count - round(data.test_size * count / data.size),
        classes=data.classes,
        mean=(127.5,) * channels,
        std=(74.0,) * channels,
        augment=augment,
        fingerprint="",
    )


def lane_rates(spec: TrainSpec, dataset: Dataset, device: torch.device, sizes: Sequence[int]) -> dict[int, float]:
    """Measure the lane-steps per second of packs of these sizes, smallest first; `dataset` lies on `device`.

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
            rates[size] = size * _steps_per_second(spec, dataset, device, size)
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


@dataclass(frozen=True)
class PackCosts:
    """What a pack costs, in seconds."""

    start: float
    """Split, network, start states, stacking, and in the end the writing of states."""
    scoring: float
    """Gradients that weights are scored by; 0 where the criterion needs none."""
    step: float
    """A step of all its lanes, with the batch that it takes."""
    evaluation: float
    """An evaluation of all its lanes on all validation and test images."""


def pack_costs(
    spec: TrainSpec,
    data: Outline,
    augment: bool,
    device: torch.device,
    size: int,
    step_seconds: float,
    own_parents: bool,
    folder: Path,
    ready: Callable[[], object] = lambda: None,
) -> tuple[PackCosts, PackCosts]:
    """Train short packs of `size` lanes on made images, and return what a pack of cycle 0 costs and a later one.

    `step_seconds` is about what a step takes: the longer, the fewer steps and images are timed, and what these cost is
    scaled to the real numbers. `own_parents`: in later cycles every lane goes on from a network of its own. States go
    to `folder`. `ready` is called before what counts. Raises what `train_pack` does.
    """
    train = data.train_size(spec.split)
    image_seconds = step_seconds / spec.batch_size / 3  # a step goes forwards and backwards
    fewest = math.ceil(spec.batch_size * data.size / train) + 5  # a whole batch at least
    images = min(data.size, max(fewest, round(PART_SECONDS / image_seconds * data.size / (data.size - train))))
    dataset = made(data, augment, images)
    few, more = dataset.outline.train_size(spec.split), data.size / images
    short = replace(spec, retrain_steps=None, schedule=Schedule("constant"), eval_every=spec.evaluated_every(train))
    short = _shortened(short, min(spec.steps, max(2, round(PART_SECONDS / step_seconds))))

    def costs(spec: TrainSpec, pack: Pack) -> tuple[PackCosts, list[LaneResult]]:
        spent: dict[Part, float] = dict.fromkeys(("start", "scoring", "steps", "evaluations"), 0.0)
        clock, now = _clock(device), time.perf_counter
        last, last_now = clock(), now()

        def lap(part: Part) -> None:
            nonlocal last, last_now
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            # States are waited for: a processor's time would leave the disk out.
            spent[part] += now() - last_now if part == "start" else clock() - last
            last, last_now = clock(), now()

        results = train_pack(spec, pack, dataset.to(device), folder, device, lap)
        found = PackCosts(
            start=spent["start"],
            scoring=spent["scoring"] * spec.scored_images(train) / (spec.scored_images(few) or 1),
            step=spent["steps"] / spec.steps,
            evaluation=spent["evaluations"] * more / -(-spec.steps // spec.evaluated_every(few)),
        )
        return found, results

    # Equal rates would be one lane.
    pack = Pack(0, 0, 0, tuple(Lane(MADE_LR * (1 + index / size), None) for index in range(size)))
    if step_seconds < WARM_SECONDS:
        costs(_shortened(short, 1), pack)
    ready()
    first, results = costs(short, pack)
    parents = results if own_parents else results[:1] * size
    goes_on = tuple(
        Lane(lane.max_lr, parent.state, parent.rewind_state) for lane, parent in zip(pack.lanes, parents, strict=True)
    )
    later, _ = costs(short, replace(pack, cycle=1, lanes=goes_on))
    return first, later


def _shortened(spec: TrainSpec, steps: int) -> TrainSpec:
    return replace(spec, steps=steps, rewind=min(spec.rewind, steps) if isinstance(spec.rewind, int) else spec.rewind)


def _clock(device: torch.device) -> Callable[[], float]:
    """Return the clock of what is timed: where one thread does all the work, its own.

    Other programs on the machine do not show in it; what processes side by side take from each other's memory does.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def _steps_per_second(spec: TrainSpec, dataset: Dataset, device: torch.device, size: int) -> float:
    template = models.build(spec, dataset.shape, dataset.classes, seed=0)
    stacked = lanes.stack(template, size).to(device)
    weights = dict(stacked.named_parameters())
    prunable = pruning.prunable(template, spec.keep_output, spec.pruning)
    del template  # half a gigabyte, of a VGG
    masks = {name: torch.rand_like(weights[name]) < 0.5 for name in prunable}
    optimizer = optimizers.optimizer(spec, stacked, masks)
    dtype, generator = DTYPES[spec.dtype], torch.Generator().manual_seed(0)
    rates = torch.full((size,), 1e-3, dtype=dtype, device=device)

    clock = _clock(device)

    def seconds(steps: int) -> float:
        started = clock()
        for _ in range(steps):
            indices = torch.randint(len(dataset.labels), (spec.batch_size,), generator=generator)
            images = dataset.batch(indices, dtype, generator)
            labels = dataset.labels[indices.to(device)]
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
