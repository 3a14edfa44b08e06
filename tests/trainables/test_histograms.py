"""Distributions of gradients and activations: against numpy and plain torch, and by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from trainables.histograms import activations, distribution, weight_gradients
from trainables.networks import models
from trainables.pruning import prunable
from trainables.states import State

Maker = Callable[..., Any]


def parts(values: Sequence[float], size: int) -> Callable[[], list[torch.Tensor]]:
    tensor = torch.tensor(values, dtype=torch.float64)
    return lambda: list(tensor.split(size))


@given(st.lists(st.floats(-1e3, 1e3).map(lambda value: round(value, 3)), min_size=1, max_size=200), st.integers(1, 50))
def test_the_histogram_is_numpy_s_by_sturges_rule_however_the_values_come(values: list[float], size: int) -> None:
    found = distribution(parts(values, size), [])
    expected = np.histogram_bin_edges(values, "sturges") if len(set(values)) > 1 else None
    if expected is not None and len(expected) == len(found.edges):  # numpy rounds where log2 is a whole number
        assert found.edges == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert len(found.counts) == int(np.ceil(np.log2(len(values)) + 1))
    assert sum(found.counts) == found.count == len(values)
    assert (found.minimum, found.maximum) == (min(values), max(values))
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.std == pytest.approx(np.std(values), abs=1e-4)


def test_shares_by_hand() -> None:
    found = distribution(parts([-3.0, -1.0, 0.0, 0.0, 0.5, 1.0, 2.0, 4.0], 3), [(-1.0, 1.0), (-3.0, 4.0)])
    assert found.zeros == 0.25
    assert found.beyond == (3 / 8, 0.0)  # -3, 2 and 4; a value on a bound is not beyond it
    assert len(found.counts) == 4  # log2(8) + 1
    assert found.edges == (-3.0, -1.25, 0.5, 2.25, 4.0)
    assert found.counts == (1, 3, 3, 1)  # the last bin holds both of its edges, the others their lower one


def test_values_that_are_all_alike_have_a_range_of_one() -> None:
    assert distribution(parts([0.3] * 6, 6), []).std == 0  # by rounding, the variance falls below 0
    found = distribution(parts([2.0] * 5, 2), [])
    assert (found.edges[0], found.edges[-1], found.std) == (1.5, 2.5, 0.0)
    assert sum(found.counts) == 5


def test_no_values_are_an_error() -> None:
    with pytest.raises(ValueError, match="there are no values"):
        distribution(lambda: [torch.zeros(0)], [])


@pytest.mark.parametrize("model", ["mlp", "resnet20"])
def test_gradients_are_those_of_the_mean_loss_of_surviving_weights(
    model: str, make_spec: Maker, make_images: Maker, plain_images: Maker
) -> None:
    dataset, spec = make_images(), make_spec(model=model)
    network = models.build(spec, dataset.shape, dataset.classes, seed=1).double()
    names = prunable(network, True)
    weights = dict(network.named_parameters())
    torch.manual_seed(0)
    masks = {name: torch.rand_like(weights[name]) < 0.5 for name in names}
    indices = torch.arange(0, 97, 2)
    values = weight_gradients(network, State(network.state_dict(), masks), dataset, indices, torch.float64)
    found = torch.cat([part.flatten() for part in values()])
    network.eval()
    loss = functional.cross_entropy(network(plain_images(dataset, indices)), dataset.labels[indices])
    slopes = torch.autograd.grad(loss, [weights[name] for name in names])
    expected = torch.cat([slope[masks[name]] for name, slope in zip(names, slopes, strict=True)])
    assert len(found) == sum(int(mask.sum()) for mask in masks.values())
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_gradients_come_in_the_network_s_order_whatever_the_file_s(make_spec: Maker, make_images: Maker) -> None:
    """Sums depend on the order to the last bit, and two readings of one file on the order of names in neither."""
    dataset = make_images()
    network = models.build(make_spec(), dataset.shape, dataset.classes, seed=1).double()
    weights = dict(network.named_parameters())
    masks = {name: torch.ones_like(weights[name]).bool() for name in prunable(network, False)}
    found = []
    for names in (list(masks), list(masks)[::-1]):
        state = State(network.state_dict(), {name: masks[name] for name in names})
        values = weight_gradients(network, state, dataset, torch.arange(9), torch.float64)
        found.append([len(part) for part in values()])
    assert found[0] == found[1] == [weights[name].numel() for name in masks]
    assert found[0] != found[0][::-1]


def test_activations_are_those_in_evaluation(make_spec: Maker, make_images: Maker) -> None:
    dataset = make_images()
    network = models.build(make_spec(batch_norm=True), dataset.shape, dataset.classes, seed=1).double().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    values = activations(network, dataset, torch.arange(9), torch.float64)
    assert values is not None
    first, again = (torch.cat(list(values())) for _ in range(2))
    assert torch.equal(first, again)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_activations_are_the_outputs_of_every_relu(make_spec: Maker, make_images: Maker, plain_images: Maker) -> None:
    dataset = make_images(count=300)  # more than one batch
    network = models.build(make_spec(), dataset.shape, dataset.classes, seed=1).double()
    indices = torch.arange(300)
    values = activations(network, dataset, indices, torch.float64)
    assert values is not None
    for _ in range(2):  # they can be had twice
        found = torch.cat(list(values()))
        x, expected = plain_images(dataset, indices), []
        for layer in network:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                expected.append(x.flatten())
        assert len(found) == 300 * (12 + 8)
        assert torch.allclose(found.sort().values, torch.cat(expected).sort().values)
        assert (found >= 0).all() and (found == 0).any()
    assert not any(layer._forward_hooks for layer in network.modules())


@pytest.mark.parametrize(("model", "per_image"), [("resnet20", 19), ("mlp", 2)])
def test_every_relu_of_the_networks_is_found(model: str, per_image: int, make_spec: Maker, make_images: Maker) -> None:
    """ResNet-20: one after the first convolution, two in each of nine blocks."""
    dataset = make_images(shape=(1, 8, 8))
    network = models.build(make_spec(model=model), dataset.shape, dataset.classes, seed=1).double()
    values = activations(network, dataset, torch.arange(3), torch.float64)
    assert values is not None and len(list(values())) == per_image


def test_a_network_without_relu_modules_has_no_activations(make_images: Maker) -> None:
    assert (
        activations(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), make_images(), torch.arange(3), torch.float32)
        is None
    )
