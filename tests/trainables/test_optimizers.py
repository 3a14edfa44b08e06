"""Each optimizer is torch's own for every lane alone: over many steps, whatever the neighbours, and under masks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables import schedules
from trainables.networks import models
from trainables.networks.lanes import lane_tensors
from trainables.optimizers import OPTIMIZERS, optimizer
from trainables.pack import lane_losses

EXACT = {"rtol": 0.0, "atol": 1e-9}
Maker = Callable[..., Any]


def random_masks(network: nn.Module, percent: int, seed: int) -> dict[str, Tensor]:
    """Masks that keep about `percent` of each weight matrix or filter, and zero the others in the network."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                masks[name] = torch.rand(parameter.shape, generator=generator) * 100 < percent
                parameter.mul_(masks[name])
    return masks


@pytest.mark.parametrize(
    ("name", "momentum", "scale"),
    [("sgd", 0.9, 1.0), ("adam", 0.8, 0.05), ("rmsprop", 0.0, 0.05), ("rmsprop", 0.9, 0.01)],
)
@pytest.mark.parametrize(("model", "shape", "steps"), [("mlp", (1, 8, 8), 50), ("resnet20", (3, 8, 8), 10)])
def test_stacked_steps_equal_steps_of_each_network_alone(
    name: str,
    momentum: float,
    scale: float,
    model: str,
    shape: tuple[int, int, int],
    steps: int,
    make_spec: Maker,
    make_images: Maker,
    plain_images: Maker,
    train_alone: Maker,
    stacked_from: Maker,
) -> None:
    drops = (3 * steps // 5, 4 * steps // 5)
    spec = make_spec(
        model=model, steps=steps, warmup_steps=steps // 5, milestones=drops, optimizer=name, momentum=momentum
    )
    dataset = make_images(count=200, shape=shape)
    max_lrs, percents = [0.01 * scale, 0.3 * scale, 0.1 * scale], [100, 50, 20]
    networks = [models.build(spec, shape, 4, seed) for seed in (5, 6, 7)]
    masks = [random_masks(network, percent, 3) for network, percent in zip(networks, percents, strict=True)]
    stacked = stacked_from(networks).train()
    updates = optimizer(spec, stacked, {name: torch.stack([m[name] for m in masks]) for name in masks[0]})
    batches = []
    for step in range(spec.steps):
        indices = torch.randperm(100, generator=torch.Generator().manual_seed(step))[: 16 - step % 3]
        batches.append((plain_images(dataset, indices), dataset.labels[indices]))

    lane_by_lane = []
    for step, (images, labels) in enumerate(batches):
        losses = lane_losses(stacked(images), labels)
        gradients = torch.autograd.grad(losses.sum(), updates.parameters)
        rates = [schedules.rates(spec.schedule, steps, steps).at(step, max_lr) for max_lr in max_lrs]
        updates.step(gradients, torch.tensor(rates, dtype=torch.float64))
        lane_by_lane.append(losses.detach())
    held_out = plain_images(dataset, torch.arange(100, 200))
    with torch.no_grad():
        answers = stacked.eval()(held_out).argmax(2)

    for lane, (network, max_lr) in enumerate(zip(networks, max_lrs, strict=True)):
        losses = list(train_alone(network, masks[lane], max_lr, spec, batches))
        torch.testing.assert_close(
            torch.stack(lane_by_lane)[:, lane], torch.tensor(losses, dtype=torch.float64), **EXACT
        )
        tensors = lane_tensors(stacked, lane)
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(tensors[name], tensor, **EXACT)
        with torch.no_grad():
            alone = network.eval()(held_out).argmax(1)
        assert torch.equal(answers[lane], alone)
    assert not torch.equal(answers[0], answers[1])  # else the lanes would be too alike to prove anything


@pytest.mark.parametrize(("model", "name"), [("mlp", name) for name in OPTIMIZERS] + [("resnet20", "sgd")])
def test_a_lane_learns_the_same_wherever_it_stands_and_beside_a_lane_of_nans(
    model: str, name: str, make_spec: Maker, make_images: Maker, plain_images: Maker, stacked_from: Maker
) -> None:
    spec = make_spec(model=model, optimizer=name)
    dataset = make_images()
    images, labels = plain_images(dataset, torch.arange(16)), dataset.labels[:16]
    networks = {name: models.build(spec, dataset.shape, 4, seed) for seed, name in enumerate(["a", "b", "lost"])}
    rates = {"a": 0.01, "b": 0.04, "lost": 1e200}

    def trained(order: list[str]) -> dict[str, dict[str, Tensor]]:
        stacked = stacked_from([networks[name] for name in order]).train()
        updates = optimizer(spec, stacked, {})
        for _ in range(8):
            losses = lane_losses(stacked(images), labels)
            gradients = torch.autograd.grad(losses.sum(), updates.parameters)
            updates.step(gradients, torch.tensor([rates[name] for name in order], dtype=torch.float64))
        return {name: lane_tensors(stacked, lane) for lane, name in enumerate(order)}

    alone = trained(["a"])["a"]
    assert all(tensor.isfinite().all() for tensor in alone.values())
    for order in (["a", "b"], ["b", "a"], ["lost", "a"], ["b", "lost", "a"], ["a", "lost", "b"]):
        lanes = trained(order)
        assert "lost" not in lanes or any(tensor.isnan().any() for tensor in lanes["lost"].values())
        for name, tensor in alone.items():
            torch.testing.assert_close(lanes["a"][name], tensor, **EXACT)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_are_exactly_zero_after_every_step_and_leave_no_trace_in_any_average(
    name: str, different: Maker, stacked_from: Maker
) -> None:
    networks = different(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)), 3)
    masks = [random_masks(network, percent, 11) for network, percent in zip(networks, (30, 100, 70), strict=True)]
    stacked = stacked_from(networks)
    together = {name: torch.stack([m[name] for m in masks]) for name in masks[0]}
    updates = OPTIMIZERS[name](stacked, together, momentum=0.9, weight_decay=0.1)
    images = torch.randn(20, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(20) % 5
    for _ in range(20):
        loss = lane_losses(stacked(images), labels).sum()
        updates.step(torch.autograd.grad(loss, updates.parameters), torch.tensor([0.01, 0.005, 0.02]).double())
        for (weight, parameter), *averages in zip(stacked.named_parameters(), *updates.averages, strict=True):
            if weight in together:
                for tensor in (parameter, *averages):
                    assert (tensor[~together[weight]] == 0).all()
                    assert (tensor[together[weight]] != 0).all()


class Partly(nn.Sequential):
    """Frozen, normalised by frozen batch norm, and with a layer that plays no part."""

    def __init__(self) -> None:
        frozen = [nn.Linear(64, 7), nn.BatchNorm1d(7)]
        super().__init__(nn.Flatten(), *frozen, nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 4))
        for layer in frozen:
            layer.requires_grad_(False)
        self[4].bias.requires_grad_(False)
        self.aside = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self)[:-1]:
            x = layer(x)
        return x


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_not_trained_and_what_plays_no_part_stays_as_in_torch(
    name: str,
    make_spec: Maker,
    make_images: Maker,
    plain_images: Maker,
    different: Maker,
    stacked_from: Maker,
    train_alone: Maker,
) -> None:
    spec, dataset = make_spec(optimizer=name, weight_decay=0.1, steps=10), make_images()
    networks = different(Partly, 2)
    first = [{name: tensor.clone() for name, tensor in network.state_dict().items()} for network in networks]
    masks = [{"4.weight": random_masks(network, 50, 3)["4.weight"]} for network in networks]
    for network, tensors in zip(networks, first, strict=True):
        network.load_state_dict(tensors | {"4.weight": network.state_dict()["4.weight"]})
    stacked = stacked_from(networks).train()
    updates = optimizer(spec, stacked, {"4.weight": torch.stack([mask["4.weight"] for mask in masks])})
    batches = [
        (plain_images(dataset, torch.arange(step, step + 16)), dataset.labels[step : step + 16]) for step in range(10)
    ]
    rates = schedules.rates(spec.schedule, 10, 10)
    for step, (images, labels) in enumerate(batches):
        loss = lane_losses(stacked(images), labels).sum()
        gradients = torch.autograd.grad(loss, updates.parameters, allow_unused=True)
        updates.step(gradients, torch.tensor([rates.at(step, 0.01), rates.at(step, 0.02)], dtype=torch.float64))
    for lane, max_lr in enumerate((0.01, 0.02)):
        for _ in train_alone(networks[lane], masks[lane], max_lr, spec, batches):
            pass
        for weight, tensor in networks[lane].state_dict().items():
            torch.testing.assert_close(lane_tensors(stacked, lane)[weight], tensor, **EXACT)
            same = weight.startswith(("1.", "aside")) or weight in ("2.weight", "2.bias", "4.bias")
            assert torch.equal(lane_tensors(stacked, lane)[weight], first[lane][weight]) == same, weight


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lane_at_rate_zero_stays_where_it_is(name: str, different: Maker, stacked_from: Maker) -> None:
    networks = different(lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 5)), 2)
    stacked = stacked_from(networks)
    updates = OPTIMIZERS[name](stacked, {}, momentum=0.9, weight_decay=0.1)
    images = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    for _ in range(3):
        loss = lane_losses(stacked(images), torch.tensor([0, 1, 2, 3])).sum()
        updates.step(torch.autograd.grad(loss, updates.parameters), torch.tensor([0.0, 0.1]).double())
    for weight, tensor in networks[0].state_dict().items():
        assert torch.equal(lane_tensors(stacked, 0)[weight], tensor)
        assert not torch.equal(lane_tensors(stacked, 1)[weight], networks[1].state_dict()[weight])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_forgotten_lane_has_no_averages_and_the_others_keep_theirs(
    name: str, different: Maker, stacked_from: Maker
) -> None:
    stacked = stacked_from(different(lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 5)), 2))
    updates = OPTIMIZERS[name](stacked, {}, momentum=0.9, weight_decay=0.1)
    loss = lane_losses(stacked(torch.ones(4, 2, 6, 6).double()), torch.tensor([0, 1, 2, 3])).sum()
    updates.step(torch.autograd.grad(loss, updates.parameters), torch.tensor([0.1, 0.1]).double())
    updates.forget(1)
    for averages in updates.averages:
        assert all((average[1] == 0).all() and (average[0] != 0).any() for average in averages)


def test_an_unknown_optimizer_is_refused_with_the_choices(make_spec: Maker) -> None:
    with pytest.raises(ValueError, match="unknown optimizer 'lion'; known are sgd, adam, rmsprop"):
        optimizer(make_spec(optimizer="lion"), nn.Linear(1, 1), {})
