"""How fast lanes train on this machine. In: settings, data, numbers of lanes. Out: lane-steps per second, seconds.

The steps that are timed are those of a sweep; the data may be noise of the same sizes. Next: the sweep picks the number
of lanes per pack, and a plan says how long all packs take.
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
"""Seconds for all sizes together; a size that would probably take longer is not tried."""
GAIN = 1.05
"""A size counts as a gain if it is faster than all before it by this factor."""
PART_SECONDS = 2.0
"""Seconds, roughly, for which the steps of a pack are timed, and its evaluations."""
WARM_SECONDS = 0.5
"""Seconds; a step that takes longer needs no warm-up, since the first step is hardly slower than the next."""
MADE_LR = 1e-6
"""max_lr of the lanes that are timed: so low that none diverges."""


def made(data: Outline, augment: bool, images: int | None = None) -> Dataset:
    """Return a data set of noise with these sizes; `images`: of so many images, with the same share of test images."""
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

    Of a few blocks of steps the fastest counts, since other programs can only slow a block down. Measuring ends after
    two sizes in a row without a gain, when memory runs out, or when the time is spent: larger packs could take minutes
    and gigabytes (stacked convolutions on a CPU) and would gain nothing. The smallest size is always measured.
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
    """Return whether an error means too little memory; on the CPU only torch's message says so."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class PackCosts:
    """What a pack costs, in seconds."""

    start: float
    """Split, network, start states, stacking, and writing states at the end."""
    scoring: float
    """Gradients that weights are scored by; 0 if the criterion needs none."""
    step: float
    """One step of all lanes, including its batch."""
    evaluation: float
    """One evaluation of all lanes on all validation and test images."""


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
    """Train short packs of `size` lanes on noise; return what a pack costs in cycle 0 and in a later cycle.

    `step_seconds` is roughly what a step takes. The longer it is, the fewer steps and images are timed; the result is
    scaled to the real numbers. `own_parents`: in later cycles every lane starts from a network of its own. States are
    written to `folder`. `ready` is called before the timed packs. Raises as `train_pack`.
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
            # By the wall clock: the time of a processor would leave out the disk.
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

    # Different rates, or else all would be the same lane.
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
    """Return the clock to time training with: this process's CPU time if one thread does all the work, else wall time.

    CPU time leaves out other programs on the machine, but not that processes side by side share its memory bandwidth.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def _steps_per_second(spec: TrainSpec, dataset: Dataset, device: torch.device, size: int) -> float:
    template = models.build(spec, dataset.shape, dataset.classes, seed=0)
    stacked = lanes.stack(template, size).to(device)
    weights = dict(stacked.named_parameters())
    prunable = pruning.prunable(template, spec.keep_output, spec.pruning)
    del template  # half a gigabyte for a VGG
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
