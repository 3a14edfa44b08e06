"""Stacked lanes against the same lanes one by one: lane-steps per second by K, and what `--lanes auto` picks.

A step is forward, backward and update on made images, half of the weights masked. Batches and evaluations are left out:
lanes of a pack share the former, so a whole sweep gains a little more. All on one thread.
"""

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from common import SEED, report
from torch import Tensor
from torch.nn import functional

from sweep.config.resolve import resolve
from sweep.execution.pack_size import Measure
from sweep.execution.worker import keep_freed_memory
from sweep.store.provenance import hardware
from trainables import measure, optimizers, pruning
from trainables.data.published import DATASETS
from trainables.networks import lanes, models
from trainables.networks.models import DTYPES
from trainables.pack import lane_losses
from trainables.spec import TrainSpec

ROUNDS, BLOCK_SECONDS = 7, 0.15
STEP = 1.1
"""A step of one lane may take so many times that of an ordinary loop, where a network is large."""
WITHIN = 0.85
"""Share of the best measured rate that the pick of `--lanes auto` must reach."""
MAX_LR = 1e-3

Train = Callable[[int], None]
"""Trains so many steps, of all its lanes."""


@dataclass(frozen=True)
class Case:
    """A network on a data set's shapes, with its preset's batch size and grid."""

    name: str
    settings: Mapping[str, str]
    sizes: tuple[int, ...]
    """K to measure, besides the one that is picked."""
    rounds: int = ROUNDS


CASES = (
    Case("mlp 64-64-64, digits", {}, (1, 2, 4, 8, 13, 25)),
    Case("mlp 256-256-256, Fashion-MNIST", {"model": "mlp"}, (1, 2, 4, 7, 13)),
    Case("resnet20, digits", {"model": "resnet20", "dataset": "digits"}, (1, 2, 4, 8, 13, 26, 51)),
    Case("resnet20, CIFAR-10", {"model": "resnet20"}, (1, 2, 4, 7)),
    Case("vgg19, CIFAR-10", {"model": "vgg19"}, (1,), rounds=4),
)
QUICK = (Case("mlp 64-64-64, digits", {}, (1, 8, 25)),)


class Problem:
    """Made images and masks, the same for both contestants."""

    def __init__(self, settings: TrainSpec) -> None:
        source = DATASETS[settings.dataset]
        torch.manual_seed(SEED)
        self.settings = settings
        self.images = torch.randn(settings.batch_size, *source.shape, dtype=DTYPES[settings.dtype])
        self.labels = torch.randint(0, source.classes, (settings.batch_size,))
        self.network = models.build(settings, source.shape, source.classes, SEED)
        weights = dict(self.network.named_parameters())
        prunable = pruning.prunable(self.network, settings.keep_output, settings.pruning)
        self.masks = {name: torch.rand_like(weights[name]) < 0.5 for name in prunable}

    def one_by_one(self, foreach: bool) -> Train:
        """Return an ordinary network in an ordinary loop: lanes in turn, so its rate is the same for every K."""
        source = DATASETS[self.settings.dataset]
        network = models.build(self.settings, source.shape, source.classes, SEED)
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=MAX_LR,
            momentum=self.settings.momentum,
            weight_decay=self.settings.weight_decay,
            foreach=foreach,
        )
        masked: list[tuple[Tensor, Tensor]] = [
            (parameter, self.masks[name].to(parameter))
            for name, parameter in network.named_parameters()
            if name in self.masks
        ]

        def train(steps: int) -> None:
            for _ in range(steps):
                optimizer.zero_grad()
                functional.cross_entropy(network(self.images), self.labels).backward()
                for parameter, mask in masked:
                    assert parameter.grad is not None
                    parameter.grad.mul_(mask)
                optimizer.step()

        return train

    def stacked(self, count: int) -> Train:
        """Return a stack of `count` lanes in the loop that `trainables.pack` runs."""
        network = lanes.stack(self.network, count)
        masks = {name: mask.expand(count, *mask.shape).clone() for name, mask in self.masks.items()}
        optimizer = optimizers.optimizer(self.settings, network, masks)
        rates = torch.full((count,), MAX_LR, dtype=self.images.dtype)

        def train(steps: int) -> None:
            for _ in range(steps):
                losses = lane_losses(network(self.images), self.labels)
                optimizer.step(torch.autograd.grad(losses.sum(), optimizer.parameters), rates)

        return train


def seconds_per_step(contestants: Mapping[str, Train], rounds: int) -> dict[str, float]:
    """Return each contestant's best: all in turn, round after round, so that noise meets all of them alike."""
    blocks = {}
    for name, train in contestants.items():
        train(2)
        blocks[name] = max(1, round(BLOCK_SECONDS / _seconds(train, 1)))
    best = dict.fromkeys(contestants, math.inf)
    for _ in range(rounds):
        for name, train in contestants.items():
            best[name] = min(best[name], _seconds(train, blocks[name]) / blocks[name])
    return best


def _seconds(train: Train, steps: int) -> float:
    started = time.perf_counter()
    train(steps)
    return time.perf_counter() - started


def main() -> None:
    """Measure every case and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only mlp on digits, K = 1, 8, 25")
    parser.add_argument("--only", help="only the case whose name begins so, such as vgg19")
    arguments = parser.parse_args()
    cases = [case for case in (QUICK if arguments.quick else CASES) if case.name.startswith(arguments.only or "")]
    torch.set_num_threads(1)
    keep_freed_memory()
    # A pack that is too large is to fail here, not to take the machine down.
    memory_bytes = hardware()["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes * 4 // 5, resource.RLIM_INFINITY))

    rows, picks, large = [], [], []
    for case in cases:
        settings = resolve(case.settings)
        # One run and one worker: the choice is then by rate alone, not by how packs fill the workers.
        job = Measure(len(settings.grid.values), runs=1, workers=1)
        started = time.perf_counter()
        source = DATASETS[settings.dataset]
        data = measure.made(source, source.augment, min(source.size, 4096))
        picked = job.best(measure.lane_rates(settings.training(), data, torch.device("cpu"), job.sizes))
        took = time.perf_counter() - started
        print(f"{case.name}: auto picks K={picked} in {took:.1f} s", file=sys.stderr, flush=True)

        problem = Problem(settings.training())
        sizes = sorted({*case.sizes, picked})
        contestants = {f"K={count}": problem.stacked(count) for count in sizes}
        contestants |= {"serial": problem.one_by_one(False), "serial foreach": problem.one_by_one(True)}
        seconds = seconds_per_step(contestants, case.rounds)
        serial = 1 / min(seconds["serial"], seconds["serial foreach"])
        rates = {count: count / seconds[f"K={count}"] for count in sizes}
        name = f"{case.name}, batch {settings.batch_size}"
        rows.append((name, "one by one", f"{serial:,.1f}", "1.00"))
        rows += [("", f"K={count}", f"{rate:,.1f}", f"{rate / serial:.2f}") for count, rate in rates.items()]
        if seconds["K=1"] > 1:
            ratio = seconds["K=1"] * serial
            verdict = "pass" if ratio <= STEP else "fail"
            large.append((name, f"{seconds['K=1']:.2f} s", f"{1 / serial:.2f} s", f"{ratio:.2f}", verdict))
        best = max(rates, key=lambda count: rates[count])
        share = rates[picked] / rates[best]
        verdict = "pass" if share >= WITHIN else "fail"
        picks.append((name, f"{took:.1f} s", str(picked), str(best), f"{100 * share:.0f} %", verdict))
    report("Stacked lanes against the same lanes one by one", ("network", "lanes", "lane-steps/s", "speed-up"), rows)
    report(
        f"What --lanes auto picks; at least {100 * WITHIN:.0f} % of the best measured K's rate",
        ("network", "measuring took", "auto K", "best K", "rate of auto / best", ""),
        picks,
    )
    if large:
        report(
            f"A step of one lane of a large network; at most {STEP:g} times that of an ordinary loop",
            ("network", "one lane", "ordinary loop", "ratio", ""),
            large,
        )


if __name__ == "__main__":
    main()
