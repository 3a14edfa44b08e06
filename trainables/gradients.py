"""Gradients of a network's mean loss, for criteria that score weights by them.

In: one network and images. Out: a gradient for every parameter. Next: `trainables.pruning` scores with them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data.datasets import Dataset

SCORE_BATCH = 256
"""Images that are evaluated at the same time; the mean does not depend on it."""


def mean_gradients(network: nn.Module, dataset: Dataset, indices: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the gradient of the mean cross-entropy over the images at `indices`, by parameter name, on the CPU.

    The network is in eval mode and images are not augmented: batch norm uses its running statistics, dropout drops
    nothing. `network` lies on the data set's device. Afterwards it is in eval mode and all its parameters require
    gradients. A parameter that no logit depends on has gradient 0.
    """
    network.eval().requires_grad_(True)
    parameters = dict(network.named_parameters())
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for part in indices.split(SCORE_BATCH):
        labels = dataset.labels[part.to(dataset.labels.device)]
        with torch.enable_grad():
            logits = network(dataset.batch(part, dtype))
        with torch.enable_grad():  # a user's forward may have switched them off
            loss = functional.cross_entropy(logits, labels, reduction="sum") / len(indices)
            slopes = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
        for total, gradient in zip(sums.values(), slopes, strict=True):
            total += gradient
    return {name: total.cpu() for name, total in sums.items()}
