"""The networks have the published sizes, and their weights follow from the seed and from nothing else."""

import random
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainables import users_own
from trainables.networks import models
from trainables.networks.lanes import check
from trainables.networks.models import NetworkError, build, trial
from trainables.pruning import prunable

Maker = Callable[..., object]


@pytest.mark.parametrize(
    ("model", "hidden", "shape", "classes", "count"),
    [
        ("resnet20", (), (3, 32, 32), 10, 272_474),
        ("mlp", (256, 256, 256), (1, 28, 28), 10, 335_114),
        ("mlp", (64, 64, 64), (1, 8, 8), 10, 65 * 64 + 65 * 64 + 65 * 64 + 65 * 10),
        ("mlp", (), (3, 2, 2), 4, 13 * 4),
        ("vgg19", (), (3, 32, 32), 10, 139_622_218),
        ("vgg16", (), (3, 32, 32), 10, 134_309_962),
        ("alexnet", (), (3, 32, 32), 10, 57_044_810),
        ("resnet50", (), (3, 64, 64), 200, 23_917_832),
    ],
)
def test_a_network_has_the_published_number_of_parameters(
    model: str, hidden: tuple[int, ...], shape: tuple[int, int, int], classes: int, count: int, make_spec: Maker
) -> None:
    spec = make_spec(model=model, hidden=hidden)
    with torch.device("meta"):  # drawing 139 million weights takes seconds
        network = models.MODELS[model](spec, shape, classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    if model == "resnet50":
        weights = dict(network.named_parameters())
        assert sum(weights[name].numel() for name in prunable(network, keep_output=False)) == 23_864_512


OURS = ["mlp", "resnet20"]
SMALL = [*OURS, "resnet50"]
"""Those that a test can afford to build; torchvision's others have 57 million weights and more."""


@pytest.mark.parametrize("model", OURS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 9, 7)])
def test_a_network_gives_one_logit_per_class(model: str, shape: tuple[int, int, int], make_spec: Maker) -> None:
    network = build(make_spec(model=model), shape, 7, seed=0)
    assert network(torch.zeros(2, *shape, dtype=torch.float64)).shape == (2, 7)


@pytest.mark.parametrize("model", SMALL)
def test_weights_follow_from_the_seed_alone_and_the_global_generator_is_left_alone(
    model: str, make_spec: Maker
) -> None:
    spec = make_spec(model=model)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(spec, (3, 8, 8), 10, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = build(spec, (3, 8, 8), 10, seed=3).state_dict()
    other = build(spec, (3, 8, 8), 10, seed=4).state_dict()
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        if tensor.dim() > 1:
            assert not torch.equal(tensor, other[name])


@pytest.mark.parametrize("model", OURS)
def test_biases_start_at_zero_and_batch_norm_as_the_identity(model: str, make_spec: Maker) -> None:
    network = build(make_spec(model=model), (1, 8, 8), 10, seed=0)
    vectors = {name: tensor for name, tensor in network.state_dict().items() if tensor.dim() == 1}
    assert vectors
    for name, tensor in vectors.items():
        assert (tensor == (1 if name.endswith(("weight", "running_var")) else 0)).all(), name


@pytest.mark.parametrize("model", OURS)
def test_weights_have_the_variance_of_he_initialisation(model: str, make_spec: Maker) -> None:
    network = build(make_spec(model=model, hidden=(256, 256) if model == "mlp" else ()), (3, 16, 16), 10, seed=0)
    checked = 0
    for parameter in network.parameters():
        if parameter.numel() >= 9_000:
            expected = 2 / parameter[0].numel()
            assert float(parameter.detach().var()) == pytest.approx(expected, rel=0.06)
            checked += 1
    assert checked >= 2


@pytest.mark.parametrize(("name", "dtype"), models.DTYPES.items())
def test_the_settings_name_the_precision(name: str, dtype: torch.dtype, make_spec: Maker) -> None:
    network = build(make_spec(model="resnet20", dtype=name), (1, 8, 8), 10, seed=0)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {dtype, torch.int64}


def test_an_unknown_model_is_refused_with_the_known_ones(make_spec: Maker) -> None:
    with pytest.raises(ValueError, match="unknown model 'resnet21'; known are mlp, resnet20, vgg16"):
        build(make_spec(model="resnet21"), (1, 8, 8), 10, seed=0)


def test_torchvision_s_networks_take_colour_alone(make_spec: Maker) -> None:
    with pytest.raises(ValueError, match="torchvision's vgg19_bn takes images of 3 channels, but got 1"):
        build(make_spec(model="vgg19"), (1, 28, 28), 10, seed=0)


def test_images_are_resized_up_for_alexnet_and_never_down() -> None:
    seen: list[tuple[int, ...]] = []

    class Recorder(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return x

    network = models.Resized(Recorder(), 64)
    flat = network(torch.full((2, 3, 32, 32), 0.5))
    network(torch.zeros(2, 3, 80, 80))
    assert seen == [(2, 3, 64, 64), (2, 3, 80, 80)]
    assert torch.equal(flat, torch.full((2, 3, 64, 64), 0.5))


def test_an_mlp_with_batch_norm_normalises_before_each_relu(make_spec: Maker) -> None:
    network = build(make_spec(hidden=(12, 8), batch_norm=True), (1, 8, 8), 10, seed=0)
    kinds = [type(layer).__name__ for layer in network]
    assert kinds == ["Flatten", *["Linear", "BatchNorm1d", "ReLU"] * 2, "Linear"]
    assert [layer.num_features for layer in network if isinstance(layer, torch.nn.BatchNorm1d)] == [12, 8]


# Networks of a user's own.

Build = Callable[[tuple[int, ...], int], Any]


@pytest.fixture
def own(make_spec: Maker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The settings whose network is that of a function."""

    def own(function: Build) -> Any:
        monkeypatch.setattr(users_own, "function", lambda name, source=None: function)
        return make_spec(model="nets:net", hidden=(), dtype="float32")

    return own


def layers(width: int = 6) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 3))


def by_numpy_and_random(shape: tuple[int, ...], classes: int) -> nn.Module:
    network = layers()
    with torch.no_grad():
        network[1].weight.copy_(torch.from_numpy(np.random.randn(6, 64)))
        network[3].bias.fill_(random.random())
    return network


def test_numpys_and_pythons_random_numbers_are_seeded_for_a_users_function_and_then_left_as_they_were(own: Any) -> None:
    spec = own(by_numpy_and_random)
    np.random.seed(1)
    random.seed(1)
    expected = np.random.randn(), random.random()
    np.random.seed(1)
    random.seed(1)
    first = build(spec, (1, 8, 8), 3, seed=5).state_dict()
    assert (np.random.randn(), random.random()) == expected
    again, other = (build(spec, (1, 8, 8), 3, seed=seed).state_dict() for seed in (5, 6))
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name]) and not torch.equal(tensor, other[name])
    assert trial(spec, (1, 8, 8), 3)[1] == ""


def test_a_users_function_finds_torch_as_it_starts_and_leaves_it_as_it_was(own: Any) -> None:
    seen = []

    def untidy(shape: tuple[int, ...], classes: int) -> nn.Module:
        seen.append((torch.get_default_dtype(), torch.is_grad_enabled()))
        network = layers()
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return network

    spec = own(untidy)
    first, again = (build(spec, (1, 8, 8), 3, seed=5).state_dict() for _ in range(2))
    assert seen == [(torch.float32, True)] * 2
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_what_a_module_sets_when_it_is_imported_does_not_matter(
    make_spec: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def imported(name: str, source: object) -> Build:
        if not seen:
            torch.set_default_dtype(torch.float64)
            torch.set_grad_enabled(False)
            torch.rand(3)
        seen.append(name)
        return lambda shape, classes: layers()

    seen: list[str] = []
    monkeypatch.setattr(users_own, "function", imported)
    spec = make_spec(model="nets:net", hidden=())
    first, again = (build(spec, (1, 8, 8), 3, seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_a_compiled_network_is_what_it_was_compiled_from(own: Any) -> None:
    def compiled(shape: tuple[int, ...], classes: int) -> nn.Module:
        network = nn.Sequential(
            nn.Flatten(), torch.compile(nn.Sequential(nn.Linear(64, 5))), nn.ReLU(), nn.Linear(5, 3)
        )
        network.compile()
        return torch.compile(network)

    network = build(own(compiled), (1, 8, 8), 3, seed=0)
    assert list(network.state_dict()) == ["1.0.weight", "1.0.bias", "3.weight", "3.bias"]
    assert all(module._compiled_call_impl is None for module in network.modules())
    assert check(network, torch.ones(4, 1, 8, 8), 3) == ""


SHARED = layers()
CALLS = count()
REFUSED: dict[str, tuple[Build, str]] = {
    "the same network": (lambda shape, classes: SHARED, "returns the same weights at every call"),
    "a shared part": (
        lambda shape, classes: nn.Sequential(SHARED, nn.ReLU(), nn.Linear(3, 3)),
        "returns the same weights at every call",
    ),
    "another each time": (
        lambda shape, classes: layers(5 + next(CALLS) % 2),
        "returns other initial weights at every call",
    ),
    "unseeded numbers": (
        lambda shape, classes: nn.Sequential(nn.Flatten(), own_numbers(nn.Linear(64, 3))),
        "returns other initial weights at every call; they must follow from the random numbers of torch, numpy.random",
    ),
    "an exit": (lambda shape, classes: sys.exit(0), "nets:net raised SystemExit: 0"),
    "no network": (lambda shape, classes: None, "must return a torch module, but returned NoneType"),
}


def own_numbers(layer: nn.Linear) -> nn.Linear:
    layer.bias.data.fill_(float(np.random.default_rng().random()))
    return layer


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED)
def test_a_function_whose_networks_depend_on_more_than_the_seed_is_refused(
    function: Build, message: str, own: Any
) -> None:
    with pytest.raises(NetworkError, match=f"^nets:net {message.removeprefix('nets:net ')}"):
        trial(own(function), (1, 8, 8), 3)


def test_a_network_that_starts_alike_in_every_run_is_said_to(own: Any) -> None:
    def fixed(shape: tuple[int, ...], classes: int) -> nn.Module:
        torch.manual_seed(0)
        return layers()

    said = "nets:net starts from the same weights in every run: runs differ in their data alone"
    assert trial(own(fixed), (1, 8, 8), 3)[1] == said
    assert trial(own(lambda shape, classes: layers()), (1, 8, 8), 3)[1] == ""
