"""What a sweep will take, before it is run. In: a spec. Out: lanes, packs, steps, bytes, an estimate of the time.

Nothing is written and no data is needed: the steps that are measured train on made images. Only a user's own data set
is read, for its sizes. Next: the user decides.
"""

from dataclasses import dataclass, replace

import torch

from sweep.errors import SpecError, SweepError
from sweep.folder import cores
from sweep.spec import Spec
from sweep.worker import Measure, load_dataset, pick_device
from trainables import lanes, measure, models, pruning
from trainables.datasets import DataError, Dataset
from trainables.published import DATASETS, Outline


@dataclass(frozen=True)
class Plan:
    """What a sweep will take; extensions of the grid come on top."""

    cycles: int
    runs: int
    abreast: int
    """Lanes of a run and cycle; of an oracle, the points of its grid."""
    lanes: int
    lanes_per_pack: int
    packs: int
    epochs: float
    """Passes over the training images, a lane."""
    steps: int
    """Optimizer steps of all lanes together."""
    parameters: int
    state_bytes: int
    """One state on disk."""
    peak_state_bytes: int
    """All states that may lie on disk at once: the open cycle's lanes, past winners, initial weights."""
    lane_steps_per_second: float
    """Of one worker of this machine, alone."""
    workers: int
    seconds: float
    """Training alone, with all workers of this machine; evaluations and start-up come on top."""


def plan(spec: Spec, lanes_per_pack: int | None = None) -> Plan:
    """Measure a few training steps on this machine and return what the sweep will take.

    `lanes_per_pack` is that of a sweep already begun; otherwise the spec's, or the fastest measured.
    """
    torch.set_num_threads(spec.threads)
    parameters, state_bytes = state_size(spec)
    device = pick_device(spec.device)
    if spec.workers != "auto":
        workers = spec.workers
    else:
        workers = torch.cuda.device_count() if device.type == "cuda" else max(1, cores() // spec.threads)
    job = Measure(spec.abreast, spec.runs, workers if spec.engine == "ray" else 1)
    wanted = lanes_per_pack or (None if spec.lanes == "auto" else spec.lanes)
    training, rounds, data = spec.training(), spec.rounds, outline_of(spec)
    rates = measure.lane_rates(training, data, device, [wanted] if wanted else job.sizes)
    size = job.best(rates)
    # Rounds of other widths are cut into packs of the same size.
    times = [
        training.steps_of(cycle) * replace(job, points=width).seconds(min(size, width), rates[size])
        for cycle, width in rounds
    ]
    return Plan(
        cycles=spec.cycles + 1,
        runs=spec.runs,
        abreast=spec.abreast,
        lanes=spec.runs * sum(width for _, width in rounds),
        lanes_per_pack=size,
        packs=spec.runs * sum(-(-width // size) for _, width in rounds),
        epochs=spec.steps / -(-data.train_size(spec.split) // spec.batch_size),
        steps=spec.runs * sum(width * training.steps_of(cycle) for cycle, width in rounds),
        parameters=parameters,
        state_bytes=state_bytes,
        peak_state_bytes=state_bytes * spec.peak_states,
        lane_steps_per_second=rates[size],
        workers=job.workers,
        seconds=sum(times),
    )


def state_size(spec: Spec) -> tuple[int, int]:
    """Return a network's number of parameters, and the bytes of one state of it (weights, buffers, a byte a mask).

    Raises SpecError where the network does not fit the data set's images, or the pruning the network.
    """
    data = outline_of(spec)
    try:
        # Not on torch's meta device, which needs no memory but 1.4 s of imports.
        network = models.build(spec.training(), data.shape, data.classes, seed=0)
        names = pruning.prunable(network, spec.keep_output, spec.training().pruning)
        if ":" in spec.model:
            images = torch.randn(4, *data.shape, dtype=models.DTYPES[spec.dtype])
            lanes.check(network, images, data.classes)
    except ValueError as error:
        raise SpecError(f"--model {spec.model}, --dataset {spec.dataset}, --pruning {spec.pruning}: {error}") from error
    parameters = sum(parameter.numel() for parameter in network.parameters())
    tensors = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    weights = dict(network.named_parameters())
    masks = sum(weights[name].numel() for name in names)
    return parameters, tensors + masks


def outline_of(spec: Spec) -> Outline:
    """Return the sizes of a sweep's data set; only a user's own is read for them. Raises as `dataset_of`."""
    return DATASETS[spec.dataset] if spec.dataset in DATASETS else dataset_of(spec).outline


def dataset_of(spec: Spec) -> Dataset:
    """Return a sweep's data set. Raises SweepError where it is missing or damaged, or a user's own is none."""
    try:
        return load_dataset(spec.dataset, spec.data_folder, torch.device("cpu"), spec.download)
    except DataError as error:
        raise SweepError(str(error)) from error
