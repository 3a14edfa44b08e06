"""Which weights are removed between two cycles. In: weights and masks of one network. Out: new masks.

Prunable are the weights of convolutions and linear layers, never biases or batch norm. A mask is a bool tensor of its
weight's shape, True where the weight survives. Next: `trainables.pack` applies the masks and trains.
"""

from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor, nn

from trainables.spec import CriterionName

Weights = Mapping[str, Tensor]
Masks = dict[str, Tensor]


class EmptyLayerError(Exception):
    """Pruning would leave a layer without a single weight: the chain ends here, and the message says where."""


def prunable(network: nn.Module, keep_output: bool) -> list[str]:
    """Return the parameter names of the prunable weights, in the network's order.

    The output layer is the last linear layer; with `keep_output` its weight is left out.
    Raises ValueError if nothing is left to prune.
    """
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    linear = [name for name, module in layers if isinstance(module, nn.Linear)]
    kept = {linear[-1]} if keep_output and linear else set()
    names = [f"{name}.weight" for name, _ in layers if name not in kept]
    if not names:
        raise ValueError(
            "the network has no prunable weights: no convolution or linear layer besides a kept output layer"
        )
    return names


def prune(criterion: CriterionName, weights: Weights, masks: Masks, rate: float) -> Masks:
    """Return the masks after removing floor(rate x n) surviving weights, lowest |weight| first.

    `global_magnitude` counts n over all layers, `layer_magnitude` in each layer, `none` removes nothing. Ties go by
    position: the weight that comes first in the network's order is removed first. The masks given are not changed.
    Raises EmptyLayerError if a layer would lose everything and ValueError for an unknown criterion.
    """
    if criterion == "none":
        return dict(masks)
    if criterion == "global_magnitude":
        groups = [list(masks)]
    elif criterion == "layer_magnitude":
        groups = [[name] for name in masks]
    else:
        raise ValueError(f"unknown pruning criterion {criterion!r}")
    pruned: Masks = {}
    for group in groups:
        scores = torch.cat([weights[name].abs().flatten() for name in group])
        alive = torch.cat([masks[name].flatten() for name in group])
        count = int(Fraction(str(rate)) * int(alive.sum()))  # in binary, 0.29 of 100 would be 28
        alive = remove_lowest(scores, alive, count)
        pruned |= {
            name: part.view_as(masks[name])
            for name, part in zip(group, alive.split([masks[name].numel() for name in group]), strict=True)
        }
    for name, mask in pruned.items():
        if not mask.any():
            raise EmptyLayerError(f"layer {name.removesuffix('.weight')} has lost all its weights")
    return pruned


def remove_lowest(scores: Tensor, alive: Tensor, count: int) -> Tensor:
    """Return `alive` with exactly `count` True entries fewer: those of the lowest scores, earlier position on a tie.

    `scores` and `alive` are flat and of one length. A k-th value and one pass, not a sort: 139 million weights of a
    VGG-19 take seconds.
    """
    if count == 0:
        return alive.clone()
    threshold = scores[alive].kthvalue(count).values
    below = alive & (scores < threshold)
    tied = alive & (scores == threshold)
    first_tied = tied & (tied.cumsum(0) <= count - below.sum())
    return alive & ~below & ~first_tied


def percent_remaining(masks: Masks) -> float:
    """Return the share of surviving prunable weights, in percent."""
    total = sum(mask.numel() for mask in masks.values())
    return 100.0 * sum(int(mask.sum()) for mask in masks.values()) / total
