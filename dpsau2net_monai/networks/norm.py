"""The batch norm that every block of DPSAU2-Net uses by default."""

from __future__ import annotations

import torch
from monai.networks.layers import Norm
from torch import nn
from torch.nn import functional as F

__all__ = ["SafeBatchNorm"]


class SafeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """
    Batch norm in any dimension that lets a single value per channel through.

    In training mode ``torch.nn.BatchNorm`` refuses an input with one value per channel, as it has no variance. A batch
    of one image gives just that to the pooled 1 x 1 vector of split attention, at any image size. There this class
    normalises with the running statistics and leaves them as they are, as evaluation mode does. On every other input it
    is ``torch.nn.BatchNorm``, number for number, with the same parameters and buffers.

    It is registered with MONAI's factory as ``Norm["SAFE_BATCH"]``.

    Args:
        num_features: number of channels; the rest as in ``torch.nn.BatchNorm2d``.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        # `training` and `shape[0]` first: they are known without the spatial sizes, which an export may leave free
        updating = self.training and not (input.shape[0] == 1 and input.numel() == input.shape[1])
        # from here on as the base class does; TorchScript could not compile a call of it, as it has no `super()`
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
