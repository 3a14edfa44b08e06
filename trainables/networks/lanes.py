"""Lanes: K networks of one architecture stacked into one module.

In: a network and K. Out: a module in which every parameter and buffer has a leading dimension K, and its name in the
network. Each layer computes its K copies in one operation: convolutions with K times the groups, batch norm over K
times the channels, linear layers as one batched product. The input is one batch of images for all lanes, the output K
sets of logits.

Between layers, activations are (batch, K x channels, height, width) before the first linear layer and
(K, batch, features) after it; layers without parameters (ReLU, pooling, flatten) work on both as they are.
Next: `trainables.optimizers` updates them.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.networks.models import seeded


class StackedLinear(nn.Module):
    """K linear layers, on (batch, features), which all lanes share, (batch, K x features) or (K, batch, features)."""

    def __init__(self, layer: nn.Linear, lanes: int) -> None:
        super().__init__()
        self.lanes, self.inputs = lanes, layer.in_features
        self.weight = _stacked(layer.weight, lanes)
        self.bias = None if layer.bias is None else _stacked(layer.bias, lanes)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2 and x.shape[1] == self.inputs:  # the images themselves: one product serves all lanes
            bias = None if self.bias is None else self.bias.flatten()
            y = functional.linear(x, self.weight.flatten(0, 1), bias)
            return y.view(len(x), self.lanes, -1).transpose(0, 1)
        if x.dim() == 2:
            x = x.view(len(x), self.lanes, self.inputs).transpose(0, 1)
        # W x and not x W': then the weight's gradient has the weight's own memory order. This makes the optimizer's
        # update faster, and a step of a small network by up to 40 %.
        x = x.transpose(1, 2)
        y = torch.bmm(self.weight, x) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(2), self.weight, x)
        return y.transpose(1, 2)


class StackedConv2d(nn.Module):
    """K convolutions. Takes (batch, channels, H, W), the same for all lanes, or (batch, K x channels, H, W)."""

    def __init__(self, layer: nn.Conv2d, lanes: int) -> None:
        super().__init__()
        if layer.padding_mode != "zeros":
            raise ValueError(f"stacked convolutions pad with zeros, but got padding_mode {layer.padding_mode!r}")
        self.lanes, self.inputs, self.groups = lanes, layer.in_channels, layer.groups
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation
        self.weight = _stacked(layer.weight, lanes)
        self.bias = None if layer.bias is None else _stacked(layer.bias, lanes)

    def forward(self, x: Tensor) -> Tensor:
        groups = self.lanes * self.groups
        if x.shape[1] == self.inputs and self.lanes > 1:
            if self.groups == 1:  # the images themselves: every lane's filters see the same channels
                groups = 1
            else:
                x = x.repeat(1, self.lanes, 1, 1)
        bias = None if self.bias is None else self.bias.flatten()
        weight = self.weight.flatten(0, 1)
        return functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, groups)


class StackedBatchNorm(nn.Module):
    """K batch norms. Takes (batch, K x channels, ...) or (K, batch, features)."""

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d, lanes: int) -> None:
        super().__init__()
        if layer.running_mean is None or not layer.affine or layer.momentum is None:
            raise ValueError("stacked batch norm needs running statistics, scale and shift, and a momentum")
        self.lanes, self.momentum, self.eps = lanes, layer.momentum, layer.eps
        self.weight, self.bias = _stacked(layer.weight, lanes), _stacked(layer.bias, lanes)
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, _stacked(buffer, lanes))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked += 1
        features_last = x.dim() == 3
        if features_last:
            x = x.transpose(0, 1).flatten(1)
        y = functional.batch_norm(
            x,
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.flatten(),
            self.bias.flatten(),
            self.training,
            self.momentum,
            self.eps,
        )
        return y.view(len(y), self.lanes, -1).transpose(0, 1) if features_last else y

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor


class StackedDropout(nn.Module):
    """Dropout with the same mask for all lanes, so that lanes of a pack stay comparable.

    `by_channel` drops whole channels (Dropout2d). The mask's size does not depend on K, so the random numbers do not.
    """

    def __init__(self, p: float, lanes: int, by_channel: bool) -> None:
        super().__init__()
        self.p, self.lanes, self.by_channel = p, lanes, by_channel

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.dim() == 3:
            return x * self._mask(x.shape[1:], x)
        per_lane = x.view(len(x), self.lanes, -1, *x.shape[2:])
        shape = [len(x), 1, *per_lane.shape[2:]]
        if self.by_channel:
            shape[3:] = [1] * len(shape[3:])
        return (per_lane * self._mask(shape, x)).view_as(x)

    def _mask(self, shape: Sequence[int], x: Tensor) -> Tensor:
        return functional.dropout(x.new_ones(tuple(shape)), self.p)


STACKED: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Linear: StackedLinear,
    nn.Conv2d: StackedConv2d,
    nn.BatchNorm1d: StackedBatchNorm,
    nn.BatchNorm2d: StackedBatchNorm,
    nn.Dropout: lambda layer, lanes: StackedDropout(layer.p, lanes, by_channel=False),
    nn.Dropout2d: lambda layer, lanes: StackedDropout(layer.p, lanes, by_channel=True),
}


def stack(network: nn.Module, lanes: int, path: str = "") -> nn.Module:
    """Return a copy of the network in which every layer holds `lanes` copies of itself, all equal at first.

    The network must take (batch, channels, H, W) images, apply at least one layer with weights before any dropout, and
    end in a linear layer. The copy returns logits of shape (lanes, batch, classes). `path` is the network's name within
    a larger network. Raises ValueError, with path and type, for a layer that has no stacked form.
    """
    name = f"{f'layer {path}' if path else 'the network itself'} ({type(network).__name__})"
    if type(network) in STACKED:
        try:
            return STACKED[type(network)](network, lanes)
        except ValueError as error:
            raise ValueError(f"{name} has no stacked form: {error}") from error
    own = [*dict(network.named_parameters(recurse=False)), *dict(network.named_buffers(recurse=False))]
    if own:
        raise ValueError(
            f"{name} has no stacked form: it holds {', '.join(own)}, and of layers with parameters only "
            f"{', '.join(layer.__name__ for layer in STACKED)} have one"
        )
    stacked = copy.copy(network)
    # A shallow copy shares its table of children with the original.
    stacked._modules = {
        name: None if child is None else stack(child, lanes, f"{path}.{name}" if path else name)
        for name, child in network._modules.items()
    }
    return stacked


def check(network: nn.Module, images: Tensor, classes: int) -> str:
    """Return why lanes of a network must train one by one; empty if they can train side by side.

    This is tried on some images, in eval mode and in a training step, with the same random numbers. One stacked lane
    must compute what the network computes. Each of two stacked lanes must compute what it computes alone; a network for
    which only this fails can train in packs of one lane. It fails for layers without parameters that mix channels, such
    as a softmax over channels, since they mix lanes, and for functional.dropout, which draws other numbers for more
    lanes.

    Raises ValueError, with the reason, if the network cannot be trained at all: it does not return one logit for each
    image and class, computes something else the second time, has nothing to train, shares weights between layers, or
    has no stacked form.
    """
    _check_weights(network)
    other = _copied(network)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(0.5)
    stack(network, 1)  # raises where it has no stacked form
    shape = len(images), classes
    expected, again, other_seed = (attempt(network, images, shape, seed) for seed in (0, 0, 1))
    if not expected.trains_as(again):
        raise ValueError(
            "the network is not the same twice: two equal training steps under one seed of torch differ; draw random "
            "numbers with torch"
        )
    if not expected.evaluates_as(other_seed):
        raise ValueError(
            "the network draws random numbers in eval mode: give functional.dropout training=self.training"
        )
    random = not expected.trains_as(other_seed)
    alone = []
    for each in (network, other):
        single = stack(each, 1)
        load_lane(single, 0, each.state_dict())
        try:
            alone.append(attempt(single, images, (1, *shape)))
        except ValueError as error:
            raise ValueError(f"{MIXED}: {error}") from error
    # One lane may draw its random numbers in another order than the network. This does not matter.
    if not alone[0].evaluates_as(expected) or not (random or alone[0].trains_as(expected)):
        raise ValueError(f"{MIXED}: some layer takes lanes for images or channels")
    pair = stack(network, 2)
    load_lane(pair, 1, other.state_dict())
    together = Attempt(*(torch.cat(parts) for parts in zip(*alone, strict=True)))
    try:
        both = attempt(pair, images, (2, *shape))
    except ValueError:
        return f"{MIXED}: some layer mixes channels"
    if not both.evaluates_as(together) or (not random and not both.trains_as(together)):
        return f"{MIXED}: some layer mixes channels"
    if not both.trains_as(together):
        return (
            "stacked lanes do not train as the network does alone: random numbers are drawn for all lanes at once; "
            "nn.Dropout as a layer, unlike functional.dropout, draws the same for each"
        )
    return ""


MIXED = "stacked lanes do not compute what the network computes alone"


class Attempt(NamedTuple):
    """What a network, or each lane of a stacked one, computed for some images."""

    evaluated: Tensor
    """Logits in eval mode, (lanes, images, classes)."""
    trained: Tensor
    """Logits in a training step, likewise."""
    slopes: Tensor
    """Norms of the gradients, (lanes, parameters)."""
    buffers: Tensor
    """Norms of the buffers after the step, (lanes, buffers)."""

    def evaluates_as(self, other: "Attempt") -> bool:
        """Return whether two attempts agree in eval mode, up to rounding."""
        return torch.allclose(self.evaluated, other.evaluated, rtol=1e-3, atol=1e-4, equal_nan=True)

    def trains_as(self, other: "Attempt") -> bool:
        """Return whether two attempts agree in training, up to rounding, which batch norm of few images magnifies."""
        return all(
            one.shape == another.shape
            and torch.allclose(one, another, rtol=0, atol=1e-6 + 0.02 * float(another.abs().max()), equal_nan=True)
            for one, another in zip(self[1:], other[1:], strict=True)
            if another.numel()
        )


def attempt(network: nn.Module, images: Tensor, shape: Sequence[int], seed: int = 0) -> Attempt:
    """Evaluate some images, and try a training step on them, under a seed. The network is not changed.

    `shape` is the shape of the logits, with lanes first for a stacked network. Raises ValueError if the network raises
    an error, or if its logits have another shape or depend on no parameter.
    """
    lanes = shape[0] if len(shape) == 3 else 1
    network = _copied(network)
    with seeded(seed), torch.no_grad():
        evaluated = _logits(network.eval(), images, shape)
    with seeded(seed):
        logits = _logits(network.train(), images, shape)
    with torch.enable_grad():
        if not logits.requires_grad:
            raise ValueError(
                "the network's logits have no gradient: nothing that is trained plays a part in them, or its forward "
                "switches gradients off"
            )
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        try:
            slopes = torch.autograd.grad(logits.square().mean() * lanes, trained, materialize_grads=True)
        except RuntimeError as error:
            raise ValueError(f"the network's gradients raised {_said(error)}") from error

    def norms(tensors: Iterable[Tensor]) -> Tensor:
        found = [tensor.detach().double().reshape(lanes, -1).norm(dim=1) for tensor in tensors]
        return torch.stack(found, 1) if found else torch.empty(lanes, 0)

    shape = lanes, *shape[-2:]
    return Attempt(evaluated.view(shape), logits.detach().view(shape), norms(slopes), norms(network.buffers()))


def _check_weights(network: nn.Module) -> None:
    """Raise ValueError if a network has nothing to train, or if layers share weights."""
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("the network has nothing to train: no parameter has requires_grad=True")
    seen: dict[int, str] = {}
    for name, tensor in (
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ):
        address = tensor.untyped_storage().data_ptr()
        if address in seen:
            raise ValueError(f"{seen[address]} and {name} are the same weights: every layer must have its own")
        if address:
            seen[address] = name


def _copied(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:  # whatever a user's module may hold
        raise ValueError(f"the network cannot be copied: {_said(error)}") from error


def _logits(network: nn.Module, images: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the logits of images. Raises ValueError if the network raises an error or they have another shape."""
    try:
        logits: Tensor = network(images)
    except (Exception, SystemExit) as error:  # whatever a user's code may raise
        raise ValueError(f"the network raised {_said(error)}, on images of shape {tuple(images.shape)}") from error
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != tuple(shape):
        raise ValueError(f"the network must return one logit for each image and class, {shape}, but returned {found}")
    return logits


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def load_lane(stacked: nn.Module, lane: int, tensors: Mapping[str, Tensor]) -> None:
    """Copy one network's parameters and buffers into a lane. Raises KeyError if the names differ."""
    with torch.no_grad():
        for name, tensor in stacked.state_dict().items():
            tensor[lane].copy_(tensors[name])


def lane_tensors(stacked: nn.Module, lane: int) -> dict[str, Tensor]:
    """Return a copy of one lane's parameters and buffers, under the names of the original network."""
    return {name: tensor[lane].clone() for name, tensor in stacked.state_dict().items()}


def _stacked(tensor: Tensor, lanes: int) -> Tensor:
    copies = tensor.detach().unsqueeze(0).repeat(lanes, *[1] * tensor.dim())
    return nn.Parameter(copies, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copies
