"""How a network's weight gradients and activations are distributed. In: a network's state and images. Out: histograms.

Source: S-Cyc paper, Figures 1 and 3 to 6, and section 3.1 (shares beyond given bounds). Networks are in eval mode, and
images are not augmented. Next: the cycles of a chain are compared.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from trainables.data.datasets import Dataset
from trainables.gradients import mean_gradients
from trainables.states import State

BATCH = 256
"""Images that are evaluated at the same time."""

Bounds = tuple[float, float]
Values = Callable[[], Iterable[Tensor]]
"""Returns the values in parts, each time it is called: all at once they would not fit into memory."""


@dataclass(frozen=True)
class Distribution:
    """Summary of a large number of values."""

    count: int
    minimum: float
    maximum: float
    mean: float
    std: float
    """Standard deviation with divisor `count`."""
    zeros: float
    """Share of exact zeros, in [0, 1]."""
    beyond: tuple[float, ...]
    """For each pair of bounds (low, high): share of values below low or above high, in [0, 1]."""
    edges: tuple[float, ...]
    """Edges of bins of equal width; the number of bins is Sturges' ceil(log2(count) + 1)."""
    counts: tuple[int, ...]


def weight_gradients(network: nn.Module, state: State, dataset: Dataset, indices: Tensor, dtype: torch.dtype) -> Values:
    """Return the gradients of the mean loss over the images at `indices`, of the prunable weights that survive.

    Pruned weights are left out, since they are not trained.
    """
    found = mean_gradients(network, dataset, indices, dtype)
    # In the network's order: a file has its names in another order, and sums would differ in their last bits.
    return lambda: [found[name][state.masks[name]] for name in found if name in state.masks]


def activations(network: nn.Module, dataset: Dataset, indices: Tensor, dtype: torch.dtype) -> Values | None:
    """Return the outputs of all `nn.ReLU` modules for the images at `indices`; None if there is no such module."""
    layers = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    return partial(_activations, network.eval(), layers, dataset, indices, dtype) if layers else None


@torch.no_grad()
def _activations(
    network: nn.Module, layers: Sequence[nn.Module], dataset: Dataset, indices: Tensor, dtype: torch.dtype
) -> Iterator[Tensor]:
    seen: list[Tensor] = []

    def see(module: nn.Module, inputs: object, output: Tensor) -> None:
        seen.append(output.flatten())

    hooks = [layer.register_forward_hook(see) for layer in layers]
    try:
        for part in indices.split(BATCH):
            network(dataset.batch(part, dtype))
            yield from seen
            seen.clear()
    finally:
        for hook in hooks:
            hook.remove()


def distribution(values: Values, bounds: Sequence[Bounds]) -> Distribution:
    """Return how values are distributed; this goes through them twice. Raises ValueError if there are none.

    If all values are equal, the bins span one unit around them, as in numpy.
    """
    count, total, squares, zeros = 0, 0.0, 0.0, 0
    minimum, maximum, outside = math.inf, -math.inf, [0] * len(bounds)
    for part in values():
        if not part.numel():
            continue
        exact = part.double()
        count += part.numel()
        total += float(exact.sum())
        squares += float(exact.square().sum())
        zeros += int((part == 0).sum())
        minimum, maximum = min(minimum, float(part.min())), max(maximum, float(part.max()))
        for index, (low, high) in enumerate(bounds):
            outside[index] += int(((part < low) | (part > high)).sum())
    if not count:
        raise ValueError("there are no values")
    low, high = (minimum, maximum) if maximum > minimum else (minimum - 0.5, maximum + 0.5)
    bins = math.ceil(math.log2(count) + 1)
    counts = torch.zeros(bins, dtype=torch.int64)
    for part in values():
        if part.numel():
            counts += torch.histc(part.double(), bins, low, high).long().cpu()
    return Distribution(
        count=count,
        minimum=minimum,
        maximum=maximum,
        mean=total / count,
        std=math.sqrt(max(0.0, squares / count - (total / count) ** 2)),
        zeros=zeros / count,
        beyond=tuple(each / count for each in outside),
        edges=tuple(low + (high - low) * index / bins for index in range(bins + 1)),
        counts=tuple(counts.tolist()),
    )
