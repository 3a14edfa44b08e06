"""Which weights are removed between two cycles. In: weights and masks of one network. Out: new masks.

The prunable weights are those of convolutions and linear layers; for criteria that remove whole filters, those of
convolutions only. Biases, batch norm and weights that are not trained (`requires_grad_(False)`) are never pruned. A
mask is a bool tensor of its weight's shape, True where the weight survives.
Next: `trainables.pack` applies the masks and trains.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from trainables.spec import CriterionName

Weights = Mapping[str, Tensor]
Masks = dict[str, Tensor]


class EmptyLayerError(Exception):
    """Pruning would leave a layer without any weight, so the chain ends. The message names the layer."""


@dataclass(frozen=True)
class Evidence:
    """What a criterion scores weights by; all by parameter name."""

    weights: Weights
    gradients: Weights
    """Gradients of the mean loss over the training split; empty for criteria that need none."""
    norms: Mapping[str, str]
    """Name of the batch norm after a convolution, by the convolution's weight; it has NAME.weight and NAME.bias."""
    generator: torch.Generator


@dataclass(frozen=True)
class Criterion:
    """How weights are scored, and in which groups they are removed."""

    score: Callable[[str, Evidence], Tensor]
    """(name of a weight, evidence) -> a score for each weight, or for each filter; the lowest are removed first."""
    by_layer: bool
    """True: each layer loses its share. False: the network as a whole does."""
    filters: bool = False
    """True: whole filters of convolutions are removed. False: single weights."""


def _magnitude(name: str, seen: Evidence) -> Tensor:
    return seen.weights[name].abs()


def _saliency(name: str, seen: Evidence) -> Tensor:
    """Return |weight x gradient|: the change of the loss without the weight, to first order."""
    return (seen.weights[name] * seen.gradients[name]).abs()


def _random(name: str, seen: Evidence) -> Tensor:
    return torch.rand(seen.weights[name].shape, generator=seen.generator, dtype=torch.float32)


def _l1_norm(name: str, seen: Evidence) -> Tensor:
    """Return the sum of each filter's absolute weights (Li et al., Pruning filters for efficient convnets)."""
    return seen.weights[name].abs().flatten(1).sum(1)


def _random_filter(name: str, seen: Evidence) -> Tensor:
    return torch.rand(len(seen.weights[name]), generator=seen.generator, dtype=torch.float32)


def _taylor_gate(name: str, seen: Evidence) -> Tensor:
    """Return the first-order Taylor importance at a gate right after batch norm (Molchanov et al., 2019, Taylor-FO-BN).

    The gradient at the gate is the sum of (output x gradient of the output). This equals scale x gradient of the scale
    + shift x gradient of the shift.
    """
    norm = seen.norms[name]
    gate = sum(seen.weights[f"{norm}.{part}"] * seen.gradients[f"{norm}.{part}"] for part in ("weight", "bias"))
    assert isinstance(gate, Tensor)
    return gate.square()


CRITERIA: dict[CriterionName, Criterion] = {
    "global_magnitude": Criterion(_magnitude, by_layer=False),
    "layer_magnitude": Criterion(_magnitude, by_layer=True),
    "global_gradient": Criterion(_saliency, by_layer=False),
    "layer_gradient": Criterion(_saliency, by_layer=True),
    "l1_filter": Criterion(_l1_norm, by_layer=True, filters=True),
    "taylor_bn": Criterion(_taylor_gate, by_layer=True, filters=True),
    "random": Criterion(_random, by_layer=False),
    "random_filter": Criterion(_random_filter, by_layer=True, filters=True),
}
"""All but `none`, which removes nothing."""


def prunable(network: nn.Module, keep_output: bool, criterion: CriterionName = "none") -> list[str]:
    """Return the parameter names of the prunable weights, in the network's order.

    Weights that are not trained are left out. The output layer is the last linear layer; with `keep_output` its weight
    is left out too. For criteria that remove filters, only convolutions count. Raises ValueError if nothing is left to
    prune, if the criterion does not fit the network, or for an unknown criterion.
    """
    if criterion != "none" and criterion not in CRITERIA:
        raise ValueError(f"unknown pruning criterion {criterion!r}; known are none, {', '.join(CRITERIA)}")
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    linear = [name for name, module in layers if isinstance(module, nn.Linear)]
    kept = {linear[-1]} if keep_output and linear else set()
    layers = [(name, module) for name, module in layers if module.weight.requires_grad]
    names = [f"{name}.weight" for name, _ in layers if name not in kept]
    if criterion != "none" and CRITERIA[criterion].filters:
        names = [f"{name}.weight" for name, module in layers if isinstance(module, nn.Conv2d)]
        if not names:
            raise ValueError(f"pruning {criterion} removes filters of convolutions, and the network has none to train")
    if criterion == "taylor_bn" and (bare := [name for name in names if name not in batch_norms(network)]):
        raise ValueError(f"pruning taylor_bn needs a batch norm after every convolution, but {bare[0]} has none")
    if not names:
        raise ValueError(
            "the network has no prunable weights: it trains no convolution or linear layer besides a kept output layer"
        )
    return names


def batch_norms(network: nn.Module) -> dict[str, str]:
    """Return the batch norm of each convolution that has one, by the convolution's weight.

    It is the next batch norm that the network defines, before any other convolution, with as many channels. This holds
    for this project's networks and for torchvision's.
    """
    found: dict[str, str] = {}
    open_: tuple[str, nn.Conv2d] | None = None
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            open_ = name, module
        elif isinstance(module, nn.BatchNorm2d) and open_ and module.num_features == open_[1].out_channels:
            found[f"{open_[0]}.weight"] = name
            open_ = None
    return found


def prune(criterion: CriterionName, seen: Evidence, masks: Masks, rate: float) -> Masks:
    """Return the masks after removing floor(rate x n) of n survivors, lowest score first.

    n is the number of surviving weights of the network, or of each layer if the criterion is by layer; for filters, the
    number of a layer's surviving filters. Of equal scores, the first in the network's order is removed first. The given
    masks are not changed. Raises EmptyLayerError if a layer would lose all its weights, ValueError for an unknown
    criterion.
    """
    if criterion == "none":
        return dict(masks)
    if criterion not in CRITERIA:
        raise ValueError(f"unknown pruning criterion {criterion!r}; known are none, {', '.join(CRITERIA)}")
    found = CRITERIA[criterion]
    groups = [[name] for name in masks] if found.by_layer else [list(masks)]
    pruned: Masks = {}
    for group in groups:
        scores = torch.cat([found.score(name, seen).flatten() for name in group])
        before = {name: _filters(masks[name]) if found.filters else masks[name].flatten() for name in group}
        alive = torch.cat(list(before.values()))
        count = int(Fraction(str(rate)) * int(alive.sum()))  # with floats, 0.29 of 100 would be 28
        alive = remove_lowest(scores, alive, count)
        for name, part in zip(group, alive.split([len(part) for part in before.values()]), strict=True):
            if found.filters:
                pruned[name] = masks[name] & part.view(-1, *[1] * (masks[name].dim() - 1))
            else:
                pruned[name] = part.view_as(masks[name])
    for name, mask in pruned.items():
        if not mask.any():
            raise EmptyLayerError(f"layer {name.removesuffix('.weight')} has lost all its weights")
    return pruned


def coupled_masks(criterion: CriterionName, network: nn.Module, masks: Masks) -> Masks:
    """Return masks for what is removed together with a filter: its bias, and the scale and shift of its batch norm.

    Empty for criteria that remove single weights: biases and batch norm stay. Parameters that are not trained stay too.
    """
    if criterion == "none" or not CRITERIA[criterion].filters:
        return {}
    names = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    norms = batch_norms(network)
    found: Masks = {}
    for name, mask in masks.items():
        coupled = [name.removesuffix("weight") + "bias"]
        if name in norms:
            coupled += [f"{norms[name]}.weight", f"{norms[name]}.bias"]
        found |= {other: _filters(mask) for other in coupled if other in names}
    return found


def _filters(mask: Tensor) -> Tensor:
    """Return, for each filter, whether it has any weight left."""
    return mask.flatten(1).any(1)


def remove_lowest(scores: Tensor, alive: Tensor, count: int) -> Tensor:
    """Return `alive` without the `count` True entries of the lowest scores; of equal scores the first go first.

    `scores` and `alive` are flat and of one length. This takes a k-th value and one pass instead of a sort, which would
    take seconds for the 139 million weights of a VGG-19.
    """
    if count == 0:
        return alive.clone()
    threshold = scores[alive].kthvalue(count).values
    below = alive & (scores < threshold)
    tied = alive & (scores == threshold)
    first_tied = tied & (tied.cumsum(0) <= count - below.sum())
    return alive & ~below & ~first_tied


def percent_remaining(masks: Masks) -> float:
    """Return the surviving prunable weights, in percent of all prunable weights."""
    total = sum(mask.numel() for mask in masks.values())
    return 100.0 * sum(int(mask.sum()) for mask in masks.values()) / total
