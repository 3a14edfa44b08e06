"""What is known of a network before it is trained. In: settings. Out: its sizes, and whether it trains in packs."""

from dataclasses import dataclass

import torch

from sweep.config.settings import Settings
from sweep.errors import SettingsError
from sweep.execution.dataset import outline_of
from trainables import pruning
from trainables.networks import lanes, models


@dataclass(frozen=True)
class Network:
    """What is known of a network before it is trained."""

    parameters: int
    state_bytes: int
    """Size of one state: weights, buffers, and one byte for each entry of a mask."""
    alone: str
    """Why packs can have one lane only; empty where they can have more."""
    notes: tuple[str, ...]
    """What a user should know of it."""


def check_network(settings: Settings) -> Network:
    """Return what is known of a network after one training step on made images.

    Raises SettingsError where the network does not fit the data set's images or the batch size, where the pruning
    does not fit the network, where the network cannot be trained, and where it cannot train in packs of `--lanes`.
    """
    data, training = outline_of(settings), settings.training()
    images = data.train_size(settings.split)
    if settings.batch_size > images:
        raise SettingsError(
            f"--batch-size must be at most {images}, a run's training images, but got {settings.batch_size}"
        )
    alone, note = "", ""
    made = torch.randn(4, *data.shape, dtype=models.DTYPES[settings.dtype], generator=torch.Generator().manual_seed(0))
    try:
        # Not on torch's meta device: it would save memory, but its import takes 1.4 s.
        network, note = models.trial(training, data.shape, data.classes)
        names = pruning.prunable(network, settings.keep_output, training.pruning)
        if ":" in settings.model:
            alone = lanes.check(network, made, data.classes)
    except ValueError as error:
        raise SettingsError(
            f"--model {settings.model}, --dataset {settings.dataset}, --pruning {settings.pruning}: {error}"
        ) from error
    if training.smallest_batch(images) == 1:
        try:
            lanes.attempt(network, made[:1], (1, data.classes))
        except ValueError as error:
            raise SettingsError(
                f"--batch-size {settings.batch_size} makes a batch of 1 of the {images} training images, on which "
                f"{error}; give another --batch-size"
            ) from error
    if alone and settings.lanes not in ("auto", 1):
        raise SettingsError(f"--lanes must be auto or 1 for {settings.model}, but got {settings.lanes}: {alone}")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    tensors = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    weights = dict(network.named_parameters())
    masks = sum(weights[name].numel() for name in names)
    notes = [note, f"{settings.model} trains in packs of one lane: {alone}" if alone else ""]
    return Network(parameters, tensors + masks, alone, tuple(filter(None, notes)))
