"""Networks by name. In: a name, the images' shape, the number of classes. Out: an initialised torch module.

A network's initial weights depend only on the seed that it is built with. Next: `networks.lanes` stacks copies of it.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables import users_own
from trainables.spec import DtypeName, TrainSpec

CPU = torch.device("cpu")

Shape = tuple[int, int, int]
"""Channels, height, width."""

DTYPES: dict[DtypeName, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}


def mlp(shape: Shape, classes: int, hidden: Sequence[int], batch_norm: bool = False) -> nn.Module:
    """Return fully connected layers with ReLU, He initialisation and zero biases (S-Cyc paper, section 3.1).

    `hidden` are the widths of the hidden layers; with `batch_norm` each is normalised before its ReLU (Figure 3).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = shape[0] * shape[1] * shape[2]
    for size in hidden:
        layers += [nn.Linear(width, size), *([nn.BatchNorm1d(size)] if batch_norm else []), nn.ReLU()]
        width = size
    layers.append(nn.Linear(width, classes))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut; a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        activation: Tensor = self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))
        return activation


class ResNet20(nn.Module):
    """The CIFAR ResNet with 16, 32 and 64 channels and three blocks each: 272,474 parameters on 3x32x32, 10 classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        widths = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        self.blocks = nn.Sequential(
            *(
                BasicBlock(inputs if first else outputs, outputs, stride if first else 1)
                for inputs, outputs, stride in widths
                for first in (True, False, False)
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.relu(self.bn(self.conv(x))))
        return self.fc(self.flatten(self.pool(x)))  # type: ignore[no-any-return]


class Resized(nn.Module):
    """A network for larger images than those of the data set: images are enlarged when they come in."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < self.size:
            x = functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=False)
        return self.network(x)  # type: ignore[no-any-return]


def from_torchvision(name: str, shape: Shape, classes: int, size: int = 0) -> nn.Module:
    """Return a network of torchvision, unchanged and untrained; smaller images are enlarged to `size` pixels.

    Raises ValueError for images that are not in colour.
    """
    import torchvision  # late: it takes a second, and the other networks do not need it

    if shape[0] != 3:
        raise ValueError(f"torchvision's {name} takes images of 3 channels, but got {shape[0]}")
    network: nn.Module = torchvision.models.get_model(name, num_classes=classes)
    return Resized(network, size) if size else network


MODELS: dict[str, Callable[[TrainSpec, Shape, int], nn.Module]] = {
    "mlp": lambda spec, shape, classes: mlp(shape, classes, spec.hidden, spec.batch_norm),
    "resnet20": lambda spec, shape, classes: ResNet20(shape[0], classes),
    "vgg16": lambda spec, shape, classes: from_torchvision("vgg16_bn", shape, classes),
    "vgg19": lambda spec, shape, classes: from_torchvision("vgg19_bn", shape, classes),
    "alexnet": lambda spec, shape, classes: from_torchvision("alexnet", shape, classes, size=64),
    "resnet50": lambda spec, shape, classes: from_torchvision("resnet50", shape, classes),
}


class NetworkError(ValueError):
    """A user's function does not make a network, or not the same one each time; the message says why."""


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Context: torch draws random numbers from a seed, computes gradients, and has float32 as its default type.

    A user's code may have changed any of these in one process and not in another. All are restored at the end.
    """
    before = torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
            torch.manual_seed(seed)
            torch.set_default_dtype(torch.float32)
            yield
    finally:
        torch.set_default_dtype(before)


def build(spec: TrainSpec, shape: Shape, classes: int, seed: int) -> nn.Module:
    """Return the network that the settings name, initialised from `seed` and from nothing else, on the CPU.

    `shape` is (channels, height, width). Raises ValueError for an unknown model, and NetworkError where a user's
    function raises an error, does not return a module, or has other code than the settings state.
    """
    if ":" in spec.model:
        return _users_own(spec.model, spec.model_source, shape, classes, seed).to(CPU, DTYPES[spec.dtype])
    if spec.model not in MODELS:
        raise ValueError(f"unknown model {spec.model!r}; known are {', '.join(MODELS)}, or package.module:function")
    with seeded(seed):
        network = MODELS[spec.model](spec, shape, classes)
    return network.to(DTYPES[spec.dtype])


def _users_own(name: str, source: str, shape: Shape, classes: int, seed: int) -> nn.Module:
    """Return the network of a user's function; of a compiled network, the one that was compiled.

    Lanes are copies of its layers, and for these nothing was compiled. The random numbers of numpy and Python are
    seeded as those of torch.
    """
    numpys, pythons = np.random.get_state(), random.getstate()
    try:
        with seeded(0):
            # First, since its module may draw or set something when it is imported, which some processes have done.
            users_own.function(name, source)
        with seeded(seed):
            np.random.seed(seed)
            random.seed(seed)
            network = users_own.call(name, shape, classes, source=source)
    except ValueError as error:
        raise NetworkError(str(error)) from error
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)
    if not isinstance(network, nn.Module):
        raise NetworkError(f"{name} must return a torch module, but returned {type(network).__name__}")
    return _uncompiled(network)


def _uncompiled(network: nn.Module) -> nn.Module:
    """Return a network without torch.compile's wrappers."""
    network = getattr(network, "_orig_mod", network)
    network._compiled_call_impl = None
    for name, child in network._modules.items():
        network._modules[name] = None if child is None else _uncompiled(child)
    return network


def trial(spec: TrainSpec, shape: Shape, classes: int) -> tuple[nn.Module, str]:
    """Return a network, and one line that a user should know of how it is made; empty if there is nothing.

    Raises ValueError as `build`, and NetworkError if a user's function gives other weights for the same seed, or the
    same tensors twice: then a lane would depend on the process that trains it.
    """
    network = build(spec, shape, classes, seed=0)
    if ":" not in spec.model:
        return network, ""
    weights = network.state_dict()
    again = build(spec, shape, classes, seed=0).state_dict()
    addresses = {tensor.untyped_storage().data_ptr() for tensor in weights.values() if tensor.numel()}
    if addresses & {tensor.untyped_storage().data_ptr() for tensor in again.values() if tensor.numel()}:
        raise NetworkError(
            f"{spec.model} returns the same weights at every call; it must make a network anew each time"
        )
    if not _same(weights, again):
        raise NetworkError(
            f"{spec.model} returns other initial weights at every call; they must follow from the random numbers of "
            "torch, numpy.random or random, which are seeded before it is called"
        )
    del again
    if _same(weights, build(spec, shape, classes, seed=1).state_dict()):
        return network, f"{spec.model} starts from the same weights in every run: runs differ in their data alone"
    return network, ""


def _same(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return some.keys() == others.keys() and all(
        tensor.shape == others[name].shape and torch.allclose(tensor, others[name], rtol=0, atol=0, equal_nan=True)
        for name, tensor in some.items()
    )
