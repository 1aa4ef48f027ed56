"""The default batch norm of DPSAU2-Net's blocks."""

from __future__ import annotations

import torch
from monai.networks.layers import Norm
from torch import nn
from torch.nn import functional as F

__all__ = ["SafeBatchNorm"]


class SafeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """
    Batch norm of any dimension that also accepts a single value per channel.

    In training mode, ``torch.nn.BatchNorm2d`` refuses an input with one value per channel, because it has no variance.
    Split attention pools each image to one value per channel, so a batch of one image gives such an input. For it, this
    class uses the running statistics and does not update them, as in evaluation mode. For any other input, it computes
    the same numbers as ``torch.nn.BatchNorm2d``, with the same parameters and buffers.

    It is registered in MONAI's factory as ``Norm["SAFE_BATCH"]``.

    The arguments are those of ``torch.nn.BatchNorm2d``.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        # `training` and `shape[0]` come first: an export may leave the spatial sizes unknown
        updating = self.training and not (input.shape[0] == 1 and input.numel() == input.shape[1])
        # the base class's own code from here on: TorchScript cannot compile a call of `super()`
        momentum = 0.0 if self.momentum is None else self.momentum
        if updating and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # a cumulative average
                momentum = 1.0 / float(self.num_batches_tracked)
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            updating or self.running_mean is None,
            momentum,
            self.eps,
        )


@Norm.factory_function("safe_batch")
def _safe_batch_factory(dim: int) -> type[SafeBatchNorm]:
    return SafeBatchNorm
