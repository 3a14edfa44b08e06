"""Stacked networks are K ordinary networks: layer by layer, whole models, and over fifty steps of training."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from trainables.networks.lanes import check, lane_tensors, load_lane, stack
from trainables.pack import lane_losses

EXACT = {"rtol": 0.0, "atol": 1e-9}
Maker = Callable[..., object]


class TorchFlatten(nn.Module):
    """A network that flattens by function, as torchvision's do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 3, 3), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.conv(x), 1))


class Residual(nn.Module):
    """A sum of two branches, one of them a strided 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6))
        self.shortcut = nn.Sequential(nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return torch.relu(self.body(x) + self.shortcut(x))


# Every network sees images of 2 channels and 6x6 pixels.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear on the images": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 5)),
    "linear without bias": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 5, bias=False)),
    "linear after linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 7), nn.ReLU(), nn.Linear(7, 5)),
    "linear of equal widths": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 72), nn.Linear(72, 72, bias=False)),
    "conv on the images": lambda: nn.Conv2d(2, 4, 3),
    "conv after conv": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 3, 3)),
    "conv with stride, without bias": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, bias=False), nn.Conv2d(4, 3, (2, 1), stride=(2, 1), bias=False)
    ),
    "conv with groups on the images": lambda: nn.Conv2d(2, 6, 3, groups=2),
    "conv with groups after conv": lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 3, groups=2, stride=2)),
    "depthwise conv after conv": lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, groups=4, bias=False)),
    "conv with dilation": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, dilation=2, padding=2), nn.Conv2d(3, 3, 3)),
    "batch norm after conv": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, eps=1e-3, momentum=0.3)),
    "batch norm after linear": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(72, 7), nn.BatchNorm1d(7, eps=1e-3, momentum=0.3), nn.ReLU(), nn.Linear(7, 5)
    ),
    "batch norm after flatten": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 5)
    ),
    "max pooling": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)),
    "average pooling": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(2)),
    "adaptive pooling": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.AdaptiveAvgPool2d((2, 1))),
    "pooling the images first": lambda: nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 3, 2)),
    "flatten layer": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 5)),
    "flatten function": TorchFlatten,
    "residual sum": Residual,
}


def lane_output(output: Tensor, lanes: int, lane: int) -> Tensor:
    """One lane of (lanes, batch, features) or of (batch, lanes x channels, ...)."""
    if output.dim() == 3:
        return output[lane]
    return output.view(len(output), lanes, -1, *output.shape[2:])[:, lane]


def assert_same_network(stacked: nn.Module, networks: list[nn.Module], images: Tensor) -> None:
    """Outputs, gradients and buffers of a forward and a backward pass agree, lane by lane."""
    output = stacked(images)
    weighted = torch.zeros((), dtype=images.dtype)
    for lane, network in enumerate(networks):
        expected = network(images)
        actual = lane_output(output, len(networks), lane)
        torch.testing.assert_close(actual, expected, **EXACT)
        slope = torch.linspace(-1, 2 + lane, expected.numel(), dtype=images.dtype).view_as(expected)
        weighted = weighted + (actual * slope).sum()
        network.zero_grad()
        (expected * slope).sum().backward()
    gradients = torch.autograd.grad(weighted, list(stacked.parameters()))
    for (name, _), gradient in zip(stacked.named_parameters(), gradients, strict=True):
        for lane, network in enumerate(networks):
            torch.testing.assert_close(gradient[lane], network.get_parameter(name).grad, **EXACT)
    for lane, network in enumerate(networks):
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(stacked.state_dict()[name][lane], tensor, **EXACT)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_a_stacked_layer_computes_what_its_networks_compute_one_by_one(
    build: Callable[[], nn.Module], lanes: int, training: bool, different: Maker, stacked_from: Maker
) -> None:
    networks = [network.train(training) for network in different(build, lanes)]
    images = torch.randn(5, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    stacked = stacked_from(networks).train(training)
    assert_same_network(stacked, networks, images)
    assert_same_network(stacked, networks, 2 - images)  # a second pass starts from the running statistics of the first


def torchvision_model(name: str) -> nn.Module:
    """A torchvision network as published, but with narrow hidden layers in its classifier."""
    options = {} if name.startswith("resnet") or name == "alexnet" else {"init_weights": False}
    with torch.device("meta"):  # the wide layers would take a gigabyte
        network = torchvision.models.get_model(name, num_classes=5, **options)
    width = None
    for index, layer in enumerate(getattr(network, "classifier", [])):
        if isinstance(layer, nn.Linear):
            inputs = layer.in_features if width is None else width
            width = 5 if layer.out_features == 5 else 12
            network.classifier[index] = nn.Linear(inputs, width)
    network.to_empty(device="cpu")
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return network


@pytest.mark.parametrize(
    ("name", "size", "training"),
    [("resnet18", 32, True), ("resnet18", 32, False), ("vgg11_bn", 32, False), ("alexnet", 64, False)],
)
def test_a_torchvision_network_stacks_unchanged(name: str, size: int, training: bool, stacked_from: Maker) -> None:
    networks = []
    for lane in range(2):
        torch.manual_seed(lane)
        networks.append(torchvision_model(name).double().train(training))
    images = torch.randn(3, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert_same_network(stacked_from(networks).train(training), networks, images)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.LayerNorm(5), "LayerNorm"),
        (nn.Conv1d(2, 2, 1), "Conv1d"),
        (nn.PReLU(), "PReLU"),
        (nn.Embedding(3, 2), "Embedding"),
    ],
)
def test_a_layer_without_a_stacked_form_is_named(layer: nn.Module, name: str) -> None:
    with pytest.raises(ValueError, match=rf"\({name}\) has no stacked form: it holds .* Linear, Conv2d"):
        stack(nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(5, 5), layer)), 2)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "padding_mode 'reflect'"),
        (nn.BatchNorm2d(2, affine=False), "stacked batch norm needs"),
        (nn.BatchNorm2d(2, track_running_stats=False), "stacked batch norm needs"),
        (nn.BatchNorm2d(2, momentum=None), "stacked batch norm needs"),
    ],
)
def test_a_variant_without_a_stacked_form_is_refused(layer: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stack(layer, 2)


def test_stacking_copies_the_network_into_every_lane_and_leaves_it_alone() -> None:
    network = Residual()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stacked = stack(network, 3)
    assert list(stacked.state_dict()) == list(before)
    for name, tensor in stacked.state_dict().items():
        assert tensor.shape == (3, *before[name].shape)
        for lane in range(3):
            assert torch.equal(tensor[lane], before[name])
    with torch.no_grad():
        stacked(torch.randn(4, 2, 6, 6))
        for parameter in stacked.parameters():
            parameter.add_(1)
    assert isinstance(network.first, nn.Conv2d)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_lane_loaded_is_the_lane_read_and_the_other_lanes_stay(different: Maker) -> None:
    networks = different(Residual, 2)
    stacked = stack(networks[0], 3)
    load_lane(stacked, 1, networks[1].state_dict())
    for lane, network in [(0, networks[0]), (1, networks[1]), (2, networks[0])]:
        tensors = lane_tensors(stacked, lane)
        assert list(tensors) == list(network.state_dict())
        assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())
    copy = lane_tensors(stacked, 1)["first.weight"]
    copy.zero_()
    assert stacked.state_dict()["first.weight"][1].all()


def test_a_lane_of_another_architecture_is_refused() -> None:
    with pytest.raises(KeyError, match=r"first\.weight"):
        load_lane(stack(Residual(), 2), 0, nn.Linear(2, 2).state_dict())


# Dropout.


def dropout_after(kind: str, dropout: nn.Module) -> nn.Module:
    """A network whose output is that of the dropout, after a convolution, a flattened one or a linear layer."""
    if kind == "conv":
        return nn.Sequential(nn.Conv2d(2, 40, 3), dropout)
    if kind == "flattened":
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), dropout)
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 40), dropout)


@pytest.mark.parametrize("kind", ["conv", "flattened", "linear"])
def test_dropout_drops_the_same_in_every_lane_and_scales_what_it_keeps(
    kind: str, different: Maker, stacked_from: Maker
) -> None:
    networks = different(lambda: dropout_after(kind, nn.Dropout(0.25)), 3)
    images = torch.randn(50, 2, 6, 6, dtype=torch.float64)
    torch.manual_seed(7)
    output = stacked_from(networks).train()(images)
    dropped = [lane_output(output, 3, lane) == 0 for lane in range(3)]
    assert torch.equal(dropped[0], dropped[1])
    assert torch.equal(dropped[0], dropped[2])
    assert 0.2 < dropped[0].double().mean() < 0.3
    for lane, network in enumerate(networks):
        expected = torch.where(dropped[lane], 0, network.eval()(images) / 0.75)
        torch.testing.assert_close(lane_output(output, 3, lane), expected, **EXACT)


@pytest.mark.parametrize("kind", ["conv", "flattened", "linear"])
def test_dropout_draws_the_same_random_numbers_whatever_the_number_of_lanes(
    kind: str, different: Maker, stacked_from: Maker
) -> None:
    networks = different(lambda: dropout_after(kind, nn.Dropout(0.5)), 4)
    images = torch.randn(9, 2, 6, 6, dtype=torch.float64)
    outputs, states = [], []
    for lanes in (1, 2, 4):
        torch.manual_seed(7)
        outputs.append(lane_output(stacked_from(networks[:lanes]).train()(images), lanes, 0))
        states.append(torch.get_rng_state())
    for output, state in zip(outputs[1:], states[1:], strict=True):
        torch.testing.assert_close(output, outputs[0], **EXACT)
        assert torch.equal(state, states[0])


def test_dropout2d_drops_whole_channels_alike_in_every_lane(different: Maker, stacked_from: Maker) -> None:
    stacked = stacked_from(different(lambda: dropout_after("conv", nn.Dropout2d(0.25)), 3)).train()
    torch.manual_seed(7)
    output = stacked(torch.randn(30, 2, 6, 6, dtype=torch.float64)).view(30, 3, 40, 16)
    dropped = (output == 0).all(3)
    assert torch.equal(dropped, (output == 0).any(3))
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert torch.equal(dropped[:, 0], dropped[:, 2])
    assert 0.2 < dropped.double().mean() < 0.3


@pytest.mark.parametrize("dropout", [nn.Dropout(0.5), nn.Dropout2d(0.5)])
def test_dropout_does_nothing_in_eval_mode(dropout: nn.Module, different: Maker, stacked_from: Maker) -> None:
    networks = [network.eval() for network in different(lambda: dropout_after("conv", dropout), 2)]
    images = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    assert_same_network(stacked_from(networks).eval(), networks, images)


# Which networks are fit to be stacked.


class Own(nn.Module):
    """A user's network: convolution, two linear layers, and what a test puts between them."""

    def __init__(self, between: Callable[["Own", Tensor], Tensor] = lambda own, x: x) -> None:
        super().__init__()
        self.conv, self.first, self.last = nn.Conv2d(2, 4, 3), nn.Linear(64, 12), nn.Linear(12, 5)
        self.norm, self.drop, self.between = nn.BatchNorm1d(12), nn.Dropout(0.5), between
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.drop(torch.relu(self.conv(x)).flatten(1))
        return self.last(self.between(self, self.norm(self.first(x))))


CHECKED = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def checked(between: Callable[[Own, Tensor], Tensor]) -> str:
    torch.manual_seed(1)
    return check(Own(between), CHECKED, 5)


RANDOM = "stacked lanes do not train as the network does alone: random numbers are drawn for all lanes at once"
MIXED = "stacked lanes do not compute what the network computes alone"
BY_ITSELF: dict[str, tuple[Callable[[Own, Tensor], Tensor], str]] = {
    "nothing": (lambda own, x: x, ""),
    "a part that is not trained": (lambda own, x: x.detach(), ""),
    "a dropout layer": (lambda own, x: own.drop(x), ""),
    "noise that is one number a pass": (lambda own, x: x * torch.rand(1) if own.training else x, ""),
    "functional dropout": (lambda own, x: functional.dropout(x, 0.5, own.training), RANDOM),
    "little functional dropout": (lambda own, x: functional.dropout(x, 0.1, own.training), RANDOM),
    "noise of the activations' shape": (lambda own, x: x + torch.randn_like(x) * own.training, RANDOM),
    "a mean over lanes": (lambda own, x: x - x.mean(0) if x.dim() == 3 and len(x) > 1 else x, MIXED),
    "a mean over lanes in training": (
        lambda own, x: x - x.mean(0) if x.dim() == 3 and len(x) > 1 and own.training else x,
        "stacked lanes do not train",
    ),
    "an error for lanes": (lambda own, x: x.view(4, 12) if x.dim() == 2 else x.view(1, 4, 12), MIXED),
}


@pytest.mark.parametrize(("between", "reason"), BY_ITSELF.values(), ids=BY_ITSELF)
def test_lanes_train_by_themselves_where_they_would_not_train_the_same_side_by_side(
    between: Callable[[Own, Tensor], Tensor], reason: str
) -> None:
    for _ in range(5):  # whatever the random numbers before it
        torch.rand(1)
        found = checked(between)
        assert found.startswith(reason) and bool(found) == bool(reason)


def exits(own: Own, x: Tensor) -> Tensor:
    raise SystemExit(0)


def switches_off(own: Own, x: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    return x + 1


_count = iter(range(1000))
REFUSED: dict[str, tuple[Callable[[Own, Tensor], Tensor], str]] = {
    "a function that exits": (exits, r"the network raised SystemExit: 0, on images of shape \(4, 2, 6, 6\)"),
    "an error": (lambda own, x: x.nothing, "the network raised AttributeError"),
    "an error in training": (lambda own, x: x.nothing if own.training else x, "the network raised AttributeError"),
    "other random numbers": (lambda own, x: x + next(_count) * own.training, "is not the same twice"),
    "dropout in eval mode": (lambda own, x: functional.dropout(x, 0.5), "random numbers in eval mode"),
    "gradients off": (switches_off, "the network's logits have no gradient"),
    "a mean over a pack's only lane": (lambda own, x: x - x.mean(0), MIXED),
    "the same in training": (lambda own, x: x - x.mean(0) if own.training else x, MIXED),
}


@pytest.mark.parametrize(("between", "message"), REFUSED.values(), ids=REFUSED)
def test_a_network_that_cannot_be_trained_is_refused_with_the_reason(
    between: Callable[[Own, Tensor], Tensor], message: str
) -> None:
    with torch.enable_grad(), pytest.raises(ValueError, match=message):
        torch.manual_seed(1)
        network = Own(between)
        network.drop.p = 0.0
        check(network, CHECKED, 5)


def test_layers_that_share_weights_are_named() -> None:
    for tie in ("weight", "storage", "module"):
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(72, 72), nn.ReLU(), nn.Linear(72, 72), nn.ReLU(), nn.Linear(72, 5)
        )
        network[4] = network[2]  # what has no weights may be shared
        if tie == "weight":
            network[3].weight = network[1].weight
        elif tie == "storage":
            network[3].weight = nn.Parameter(network[1].weight.detach())
        else:
            network[3] = network[1]
        with pytest.raises(ValueError, match=r"^1\.weight and 3\.weight are the same weights"):
            check(network, CHECKED, 5)
        network[3] = nn.Linear(72, 72)
        assert check(network, CHECKED, 5) == ""


def test_a_network_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="has nothing to train: no parameter has requires_grad=True"):
        check(Own().requires_grad_(False), CHECKED, 5)


def test_checking_a_network_changes_neither_it_nor_torch() -> None:
    torch.manual_seed(1)
    network, state = Own(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        check(network, CHECKED, 5)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state) and network.calls == 0 and network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_stacked_parameters_are_trained_where_the_networks_are() -> None:
    network = Own()
    network.first.requires_grad_(False)
    stacked = stack(network, 3)
    assert {name: each.requires_grad for name, each in stacked.named_parameters()} == {
        name: each.requires_grad for name, each in network.named_parameters()
    }


# Training.


def test_lane_losses_are_each_lanes_mean_cross_entropy() -> None:
    logits = torch.randn(3, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 3, 0, 1])
    expected = torch.stack([functional.cross_entropy(lane, labels) for lane in logits])
    torch.testing.assert_close(lane_losses(logits, labels), expected, **EXACT)
