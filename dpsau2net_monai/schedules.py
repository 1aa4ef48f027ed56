"""Learning rates."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .errors import InputError

__all__ = ["CosineOverTime"]


class CosineOverTime(LRScheduler):
    """
    A learning rate that falls to 0 by half a cosine over a time, in place of a number of epochs. So networks of
    different speed can be trained for the same minutes, each with the whole of its schedule. A state keeps the time
    that has passed, but not ``minutes``. Of several processes, the first one's clock sets the rates of all.
    :class:`~dpsau2net_monai.handlers.RunKeeper` starts the clock with the training, after the images have been read.

    Args:
        optimizer: whose learning rates are set at every step of the schedule.
        minutes: of training.

    Raises:
        InputError: the minutes are no number over 0.
    """

    def __init__(self, optimizer: Optimizer, minutes: float) -> None:
        if not isinstance(minutes, (int, float)) or not minutes > 0:
            raise InputError(f"max_minutes is {minutes!r}; the learning rate falls over it: give a number over 0")
        self.minutes = minutes
        self.passed = 0.0  # minutes, until `since`
        self.start()
        super().__init__(optimizer)

    def start(self) -> None:
        """Count the time from now on."""
        self.since = time.monotonic()

    def get_lr(self) -> list[float | torch.Tensor]:
        now = time.monotonic()
        minutes: Any = idist.broadcast((now - self.since) / 60, src=0)
        self.passed, self.since = self.passed + minutes, now
        return self._rates()

    def _rates(self) -> list[float | torch.Tensor]:
        share = min(1.0, self.passed / self.minutes)
        return [rate * (1 + math.cos(math.pi * share)) / 2 for rate in self.base_lrs]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict({**state_dict, "since": time.monotonic(), "minutes": self.minutes})
        for group, rate in zip(self.optimizer.param_groups, self._rates()):
            group["lr"] = rate  # the state may have other minutes
