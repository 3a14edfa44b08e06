"""Lanes: K networks of one architecture stacked into one module.

In: a network and K. Out: a module in which every parameter and buffer has a leading dimension K, with the names of the
original. Each layer trains its K copies in one operation: convolutions with K times the groups, batch norm over K times
the channels, linear layers as one batched product. Images go in once for all lanes; K sets of logits come out.

Between layers, activations are (batch, K x channels, height, width) before the first linear layer and
(K, batch, features) after it; layers without parameters (ReLU, pooling, flatten) work on both as they are.
Next: `trainables.optimizers` updates them.
"""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class StackedLinear(nn.Module):
    """K linear layers, on (batch, features) for all lanes alike, (batch, K x features) or (K, batch, features)."""

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
        # W x rather than x W': the weight's gradient then comes out in the weight's own memory order, which makes the
        # optimizer's update and with it a small network's step up to 40 % faster.
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
    """K batch norms, over (batch, K x channels, ...) or (K, batch, features)."""

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
    """Dropout with one mask for all lanes, so that lanes of a pack stay comparable.

    `by_channel` drops whole channels (Dropout2d). The mask's size does not depend on K, nor then do the random numbers.
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

    def _mask(self, shape: Sequence[int], like: Tensor) -> Tensor:
        return functional.dropout(like.new_ones(tuple(shape)), self.p)


STACKED: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Linear: StackedLinear,
    nn.Conv2d: StackedConv2d,
    nn.BatchNorm1d: StackedBatchNorm,
    nn.BatchNorm2d: StackedBatchNorm,
    nn.Dropout: lambda layer, lanes: StackedDropout(layer.p, lanes, by_channel=False),
    nn.Dropout2d: lambda layer, lanes: StackedDropout(layer.p, lanes, by_channel=True),
}


def stack(network: nn.Module, lanes: int, path: str = "") -> nn.Module:
    """Return a copy of the network in which every layer holds `lanes` copies of itself, all equal to begin with.

    The network must compute on (batch, channels, H, W) images, apply at least one layer with weights before any
    dropout, and end in a linear layer; the copy then returns logits of shape (lanes, batch, classes). `path` is where
    it lies in a larger network. Raises ValueError for a layer that has no stacked form, naming its path and type.
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


@torch.no_grad()
def check(network: nn.Module, images: Tensor, classes: int) -> None:
    """Raise ValueError if a network, or lanes of it, would not compute one logit a class on some images.

    Lanes must compute what the network computes alone. Layers without parameters are taken as they are; one that mixes
    channels, as a softmax over them, mixes lanes.
    """
    other = copy.deepcopy(network)
    for tensor in other.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(0.5)
    stacked = stack(network, 2)
    load_lane(stacked, 1, other.state_dict())
    expected = torch.stack([_logits(alone, images, (len(images), classes)) for alone in (network, other)])
    try:
        same = torch.allclose(_logits(stacked, images, expected.shape), expected, rtol=1e-3, atol=1e-4)
    except ValueError:
        same = False
    if not same:
        raise ValueError("stacked lanes do not compute what the network computes alone: some layer mixes channels")


def _logits(network: nn.Module, images: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the logits of images in eval mode. Raises ValueError if the network raises or they are of other shape."""
    try:
        logits: Tensor = network.eval()(images)
    except Exception as error:  # whatever a user's code may raise
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(f"the network raised {what}, on images of shape {tuple(images.shape)}") from error
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != tuple(shape):
        raise ValueError(f"the network must return one logit for each image and class, {shape}, but returned {found}")
    return logits


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
    return nn.Parameter(copies) if isinstance(tensor, nn.Parameter) else copies
