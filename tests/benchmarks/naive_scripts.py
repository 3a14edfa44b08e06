"""The two scripts that a user would write with Ray Tune, and the ordinary training loop that both call.

In a module of their own, since Ray's workers import them from it.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import SEED
from ray import tune
from torch.nn import functional

from sweep.config.resolve import resolve
from trainables import schedules
from trainables.data import datasets
from trainables.data.datasets import Dataset
from trainables.networks import models
from trainables.spec import TrainSpec, derive_seed

SPEC: TrainSpec = resolve({}).training()


def epochs(dataset: Dataset, run: int, max_lr: float) -> Iterator[dict[str, float]]:
    """Train one network as one would without lanes, and yield its accuracies after every epoch."""
    seed = derive_seed("run", SEED, run)
    parts = datasets.split(dataset, SPEC.split, derive_seed(seed, "split"))
    network = models.build(SPEC, dataset.shape, dataset.classes, derive_seed(seed, "weights"))
    optimizer = torch.optim.SGD(network.parameters(), max_lr, SPEC.momentum, weight_decay=SPEC.weight_decay)
    rates = schedules.rates(SPEC.schedule, SPEC.steps, SPEC.steps)
    images = dataset.batch(torch.arange(len(dataset.labels)), torch.float32)
    step = epoch = 0
    while step < SPEC.steps:
        shuffle = torch.Generator().manual_seed(derive_seed(seed, 0, "order", epoch))
        order = parts.train[torch.randperm(len(parts.train), generator=shuffle)]
        for batch in order.split(SPEC.batch_size)[: SPEC.steps - step]:
            optimizer.param_groups[0]["lr"] = rates.at(step, max_lr)
            optimizer.zero_grad()
            functional.cross_entropy(network(images[batch]), dataset.labels[batch]).backward()
            optimizer.step()
            step += 1
        epoch += 1
        network.eval()
        with torch.no_grad():
            correct = {
                name: (network(images[part]).argmax(1) == dataset.labels[part]).double().mean()
                for name, part in (("val", parts.val), ("test", parts.test))
            }
        network.train()
        accuracies = {f"{name}_accuracy": 100 * float(share) for name, share in correct.items()}
        yield accuracies | {"counts": float(step >= SPEC.schedule.warmup_steps)}


def tutorial(config: dict[str, Any]) -> None:
    """One trial a lane, as in Ray's tutorial: load the data, train, report every epoch."""
    started = time.time()
    dataset = datasets.load(SPEC.dataset, Path())
    best = 0.0
    for metrics in epochs(dataset, config["run"], config["max_lr"]):
        best = max(best, metrics["counts"] * metrics["val_accuracy"])
        tune.report(metrics | {"best": best, "started": started, "ended": time.time()})


class Reused(tune.Trainable):  # type: ignore[misc]
    """One trial a lane in an actor that stays, with the data from the object store and one report a lane."""

    def setup(self, config: dict[str, Any], dataset: Dataset) -> None:
        self.dataset = dataset
        self.reset_config(config)
        next(epochs(dataset, 0, 0.01))  # torch loads parts of itself at the first step; start-up is not timed

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.run, self.max_lr = new_config["run"], new_config["max_lr"]
        return True

    def step(self) -> dict[str, Any]:
        started = time.time()
        best = max(m["counts"] * m["val_accuracy"] for m in epochs(self.dataset, self.run, self.max_lr))
        return {"best": best, "started": started, "ended": time.time(), "done": True}
