"""Optimizers with a learning rate per lane. In: a stacked network, masks, gradients. Out: the updated network.

Each optimizer computes for every lane what the optimizer of the same name in torch.optim computes for one network, with
torch's defaults for what is not set. Torch's own cannot be used: they take one rate for a whole tensor, and a stacked
tensor needs one for each lane.

Masked weights stay exactly zero: their gradients are masked before weight decay and the averages are computed, and the
weights start at zero. Next: `trainables.pack` runs the training loop.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trainables.spec import TrainSpec

ADAM_BETA2, RMSPROP_ALPHA, EPS = 0.999, 0.99, 1e-8
"""torch.optim's defaults."""


class LaneOptimizer(ABC):
    """What all optimizers share: parameters, masks, weight decay, and averages that start at zero."""

    averages_per_parameter: int
    """Running averages that the optimizer keeps for each parameter."""

    def __init__(self, stacked: nn.Module, masks: Mapping[str, Tensor], momentum: float, weight_decay: float) -> None:
        """`masks` are bool, (lanes, *shape of the weight), by the weight's name; an all-True mask costs no time.

        Parameters that require no gradient are not updated.
        """
        self.momentum, self.weight_decay = momentum, weight_decay
        trained = {name: each for name, each in stacked.named_parameters() if each.requires_grad}
        self.parameters = list(trained.values())
        self.steps = 0
        self._masks = [
            None if name not in masks or bool(masks[name].all()) else masks[name].to(parameter)
            for name, parameter in trained.items()
        ]
        self.averages = [
            [torch.zeros_like(parameter) for parameter in self.parameters] for _ in range(self.averages_per_parameter)
        ]

    @torch.no_grad()
    def forget(self, lane: int) -> None:
        """Set one lane's averages to zero."""
        for averages in self.averages:
            for average in averages:
                average[lane].zero_()

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], rates: Tensor) -> None:
        """Update all lanes in place; `rates` has one learning rate per lane. The gradients are overwritten.

        A parameter without a gradient, because no logit depends on it, stays as it is: no weight decay either.
        """
        self.steps += 1
        for parameter, gradient, mask, *averages in zip(
            self.parameters, gradients, self._masks, *self.averages, strict=True
        ):
            if gradient is None:
                continue
            if mask is not None:
                gradient.mul_(mask)
            gradient.add_(parameter, alpha=self.weight_decay)
            self._update(parameter, gradient, rates.view(-1, *[1] * (parameter.dim() - 1)), *averages)

    @abstractmethod
    def _update(self, parameter: Tensor, gradient: Tensor, rates: Tensor, *averages: Tensor) -> None:
        """Update one parameter of all lanes. `rates` has a shape that broadcasts to the parameter's."""


class LaneSGD(LaneOptimizer):
    """SGD with momentum."""

    averages_per_parameter = 1

    def _update(self, parameter: Tensor, gradient: Tensor, rates: Tensor, *averages: Tensor) -> None:
        (velocity,) = averages
        torch.add(gradient, velocity, alpha=self.momentum, out=velocity)
        parameter.addcmul_(velocity, rates, value=-1)


class LaneAdam(LaneOptimizer):
    """Adam, with the momentum as its first beta."""

    averages_per_parameter = 2

    def _update(self, parameter: Tensor, gradient: Tensor, rates: Tensor, *averages: Tensor) -> None:
        mean, square = averages
        mean.lerp_(gradient, 1 - self.momentum)
        square.mul_(ADAM_BETA2).addcmul_(gradient, gradient, value=1 - ADAM_BETA2)
        scale = square.sqrt().div_((1 - ADAM_BETA2**self.steps) ** 0.5).add_(EPS)
        parameter.addcmul_(mean / scale, rates, value=-1 / (1 - self.momentum**self.steps))


class LaneRMSprop(LaneOptimizer):
    """RMSprop, with momentum where it is not 0."""

    averages_per_parameter = 2

    def _update(self, parameter: Tensor, gradient: Tensor, rates: Tensor, *averages: Tensor) -> None:
        velocity, square = averages
        square.mul_(RMSPROP_ALPHA).addcmul_(gradient, gradient, value=1 - RMSPROP_ALPHA)
        velocity.mul_(self.momentum).addcdiv_(gradient, square.sqrt().add_(EPS))
        parameter.addcmul_(velocity, rates, value=-1)


OPTIMIZERS: dict[str, type[LaneOptimizer]] = {"sgd": LaneSGD, "adam": LaneAdam, "rmsprop": LaneRMSprop}


def optimizer(spec: TrainSpec, stacked: nn.Module, masks: Mapping[str, Tensor]) -> LaneOptimizer:
    """Return the optimizer that the settings name. Raises ValueError for an unknown one."""
    if spec.optimizer not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {spec.optimizer!r}; known are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[spec.optimizer](stacked, masks, spec.momentum, spec.weight_decay)
