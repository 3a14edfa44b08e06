"""Small data, settings and the slow references that the tests of `trainables` share.

The references are ordinary torch: one network at a time, `torch.optim`, the gradient masked before each step.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables import schedules
from trainables.data.datasets import Dataset
from trainables.networks import models
from trainables.networks.lanes import load_lane, stack
from trainables.spec import Schedule, TrainSpec
from trainables.states import load_state

TORCH: dict[str, Callable[[nn.Module, TrainSpec], torch.optim.Optimizer]] = {
    "sgd": lambda network, spec: torch.optim.SGD(
        network.parameters(), lr=0.0, momentum=spec.momentum, weight_decay=spec.weight_decay
    ),
    "adam": lambda network, spec: torch.optim.Adam(
        network.parameters(), lr=0.0, betas=(spec.momentum, 0.999), weight_decay=spec.weight_decay
    ),
    "rmsprop": lambda network, spec: torch.optim.RMSprop(
        network.parameters(), lr=0.0, momentum=spec.momentum, weight_decay=spec.weight_decay
    ),
}
"""torch's own optimizers, by our names."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose minutes to it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., TrainSpec]:
    """Settings of a cycle of ten steps with warmup and one drop; keyword arguments replace any of them.

    Of a ResNet-20, whose steps take a hundred times as long, six: they too go past a warmup, a drop and an epoch.
    """

    def make(**changes: object) -> TrainSpec:
        settings: dict[str, object] = {
            "model": "mlp",
            "hidden": (12, 8),
            "dataset": "digits",
            "split": "pooled",
            "pruning": "global_magnitude",
            "prune_rate": 0.2,
            "keep_output": True,
            "rewind": "none",
            "schedule": "warmup",
            "steps": 10,
            "warmup_steps": 3,
            "milestones": (8,),
            "batch_size": 16,
            "momentum": 0.9,
            "weight_decay": 1e-3,
            "eval_every": 2,
            "score": "best",
            "dtype": "float64",
        }
        if changes.get("model", "mlp") != "mlp":
            settings |= {"hidden": (), "steps": 6, "warmup_steps": 2, "milestones": (5,)}
        settings |= changes
        own = {name: settings.pop(name) for name in ("warmup_steps", "milestones", "cycle_steps") if name in settings}
        if not isinstance(settings["schedule"], Schedule):
            settings["schedule"] = Schedule(settings["schedule"], **own)  # type: ignore[arg-type]
        return TrainSpec(**settings)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def different() -> Callable[..., list[nn.Module]]:
    """Networks of one architecture in float64, in which no parameter and no running statistic is alike."""

    def different(build: Callable[[], nn.Module], lanes: int) -> list[nn.Module]:
        networks = []
        for lane in range(lanes):
            torch.manual_seed(100 + lane)
            network = build().double()
            with torch.no_grad():
                for tensor in network.state_dict().values():
                    if tensor.is_floating_point():
                        tensor.add_(0.3 * torch.rand_like(tensor))
                    else:
                        tensor.add_(lane)
            networks.append(network)
        return networks

    return different


@pytest.fixture(scope="session")
def stacked_from() -> Callable[[list[nn.Module]], nn.Module]:
    """The stack whose lanes are these networks."""

    def stacked_from(networks: list[nn.Module]) -> nn.Module:
        stacked = stack(networks[0], len(networks))
        for lane, network in enumerate(networks):
            load_lane(stacked, lane, network.state_dict())
        return stacked

    return stacked_from


@pytest.fixture(scope="session")
def make_images() -> Callable[..., Dataset]:
    """Noisy 8x8 pictures of a few classes: learnable, not trivially."""

    def make(
        count: int = 97,
        shape: tuple[int, int, int] = (1, 8, 8),
        classes: int = 4,
        augment: bool = False,
        test_size: int = 0,
    ) -> Dataset:
        generator = torch.Generator().manual_seed(1)
        labels = torch.randint(classes, (count,), generator=generator)
        prototypes = torch.randint(256, (classes, *shape), generator=generator)
        noise = torch.randint(256, (count, *shape), generator=generator)
        return Dataset(
            name="pictures",
            images=((prototypes[labels] + 3 * noise) // 4).to(torch.uint8),
            labels=labels,
            test_start=count - test_size,
            classes=classes,
            mean=tuple(120.0 + channel for channel in range(shape[0])),
            std=tuple(60.0 + channel for channel in range(shape[0])),
            augment=augment,
            fingerprint="",
        )

    return make


@pytest.fixture(scope="session")
def plain_images() -> Callable[..., Tensor]:
    """The images at some indices, normalised by hand, never augmented; float64."""

    def plain(dataset: Dataset, indices: Tensor) -> Tensor:
        images = dataset.images[indices].double()
        return torch.stack([(images[:, c] - dataset.mean[c]) / dataset.std[c] for c in range(images.shape[1])], dim=1)

    return plain


@pytest.fixture(scope="session")
def measure(plain_images: Callable[..., Tensor]) -> Callable[..., tuple[float, float]]:
    """Accuracy in percent and mean loss of one ordinary network on the plain images at some indices."""

    @torch.no_grad()
    def measure(network: nn.Module, dataset: Dataset, indices: Tensor) -> tuple[float, float]:
        training = network.training
        network.eval()
        dtype = next(network.parameters()).dtype
        logits = network(plain_images(dataset, indices).to(dtype))
        network.train(training)
        labels = dataset.labels[indices]
        right = sum(int(row.argmax()) == int(label) for row, label in zip(logits, labels, strict=True))
        return 100.0 * right / len(indices), float(functional.cross_entropy(logits, labels))

    return measure


@pytest.fixture(scope="session")
def reload() -> Callable[..., nn.Module]:
    """The ordinary network of a state on disk."""

    def reload(spec: TrainSpec, dataset: Dataset, folder: Path, digest: str) -> nn.Module:
        network = models.build(spec, dataset.shape, dataset.classes, seed=12345)
        network.load_state_dict(load_state(folder, digest).tensors)
        return network

    return reload


@pytest.fixture(scope="session")
def train_alone() -> Callable[..., Iterator[float]]:
    """Train one ordinary network batch by batch; yields each step's loss."""

    def train(
        network: nn.Module,
        masks: dict[str, Tensor],
        max_lr: float,
        spec: TrainSpec,
        batches: Iterable[tuple[Tensor, Tensor]],
        schedule: Schedule | None = None,
    ) -> Iterator[float]:
        parameters = dict(network.named_parameters())
        optimizer = TORCH[spec.optimizer](network, spec)
        network.train()
        rates = schedules.rates(schedule or spec.schedule, spec.steps, spec.steps)
        for step, (images, labels) in enumerate(batches):
            optimizer.param_groups[0]["lr"] = rates.at(step, max_lr)
            loss = functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            for name, mask in masks.items():
                parameters[name].grad *= mask
            optimizer.step()
            yield float(loss.detach())

    return train
