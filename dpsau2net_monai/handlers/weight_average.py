"""A running average of the network's weights during training."""

from __future__ import annotations

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from ..errors import InputError, at_least_zero

__all__ = ["WeightAverage"]

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def _bare(network: nn.Module) -> nn.Module:
    return network.module if isinstance(network, DistributedDataParallel) else network


class WeightAverage(AveragedModel):
    """
    Ignite handler of a trainer, and the network that it makes: the exponential moving average of the weights, after
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992. The running statistics of batch
    norm are averaged too. ``module`` is the averaged network, which validation uses.

    At the beginning, the average moves faster than ``momentum`` says, as in TensorFlow's ``ExponentialMovingAverage``:
    the random weights of the beginning would otherwise stay in it for long. ``ignite.handlers.EMAHandler`` counts the
    steps of its warm-up in an object that is not part of its state, so a resumed run would warm up again.

    Args:
        network: the trainer's network.
        momentum: weight of a step's weights in the average. 1: the average is the weights of the last step.

    Raises:
        InputError: the momentum is no number from 0 to 1.
    """

    def __init__(self, network: nn.Module, momentum: float) -> None:
        if at_least_zero("ema_momentum", momentum) > 1:
            raise InputError(f"ema_momentum is {momentum}; it must be a number from 0 to 1")

        def update(averages: Tensors, currents: Tensors, count: torch.Tensor | int) -> None:
            weight = max(momentum, 9 / (10 + int(count)))
            if averages[0].is_floating_point():  # torch groups the tensors by their type
                torch._foreach_lerp_(averages, currents, weight)
            else:  # counters
                torch._foreach_copy_(averages, currents)

        super().__init__(_bare(network), multi_avg_fn=update, use_buffers=True)

    def attach(self, engine: SupervisedTrainer) -> None:
        """
        Args:
            engine: a ``monai.engines.SupervisedTrainer``.
        """
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)

    def start(self) -> None:
        self.n_averaged.zero_()  # the first step's weights replace the average

    def update(self, engine: SupervisedTrainer) -> None:
        self.update_parameters(_bare(engine.network))
