"""Networks in half precision."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import nn

from ..data.labels import Labels

__all__ = ["AutoPrecision", "ReducedPrecision"]


class ReducedPrecision(nn.Module):
    """
    A network under autocast. It returns float32.

    Args:
        network: the network.
        dtype: ``torch.bfloat16`` or ``torch.float16``.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(images.device.type, self.dtype):
            return self.network(images).float()


class AutoPrecision(nn.Module):
    """
    The faster of a network in float32 and the same network in half precision, if their masks are equal but for
    ``TOLERANCE`` of the pixels. The first batches of windows decide. For them, it returns the logits of float32.

    Args:
        full: the network in float32.
        reduced: makes the network in half precision.
        name: of the half precision, for the log.
        labels: the classes.
        threshold: of the probability of a single class, and of classes that overlap.
    """

    BATCHES = 8  # that decide; the first one of them warms up, and is not timed
    TOLERANCE = 0.001

    def __init__(
        self, full: nn.Module, reduced: Callable[[], nn.Module], name: str, labels: Labels, threshold: float
    ) -> None:
        super().__init__()
        self.full = full
        self.reduced = reduced()
        self.name = name
        self.labels = labels
        self.threshold = threshold
        self.chosen: nn.Module | None = None
        self.seconds: list[list[float]] = []
        self.different = self.pixels = 0

    def masks(self, logits: torch.Tensor) -> torch.Tensor:
        classes = logits[:, : self.labels.out_channels]
        return classes.argmax(1) if self.labels.softmax else classes.sigmoid() > self.threshold

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.chosen is not None:
            return self.chosen(images)
        results, seconds = [], []
        for network in (self.full, self.reduced):
            start = time.perf_counter()
            results.append(network(images))
            if images.device.type == "cuda":
                torch.cuda.synchronize(images.device)
            seconds.append(time.perf_counter() - start)
        full, reduced = (self.masks(logits) for logits in results)
        self.different += int((full != reduced).sum())
        self.pixels += full.numel()
        self.seconds.append(seconds)
        if self.chosen is None and len(self.seconds) >= self.BATCHES:  # more, where threads run at once
            self.choose()
        return results[0]

    def choose(self) -> None:
        in_full, in_reduced = (sum(seconds) for seconds in zip(*self.seconds[1:]))
        share = self.different / self.pixels
        faster = in_reduced < in_full and share <= self.TOLERANCE
        self.chosen = self.reduced if faster else self.full
        logging.getLogger("dpsau2net_monai").info(
            f"precision: {self.name if faster else 'float32'} ({self.name} takes {in_reduced / in_full:.2f} of the "
            f"time of float32, and {share:.3%} of the pixels of the masks differ)"
        )
        self.full, self.reduced = self.chosen, self.chosen  # frees the other one
