"""The networks have the published sizes, and their weights follow from the seed and from nothing else."""

from collections.abc import Callable

import pytest
import torch

from trainables import models
from trainables.models import build
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
