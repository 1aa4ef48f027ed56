"""Split attention, and the residual block that DPSAU2-Net puts between its stages."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv, Pool, get_act_layer, get_norm_layer
from torch import nn

__all__ = ["SplitAttention", "SABlock"]


class SplitAttention(nn.Module):
    """
    Split-attention convolution of radix 2 and cardinality 1, after Zhang et al., "ResNeSt: Split-Attention Networks",
    2020, https://arxiv.org/abs/2004.08955.

    A grouped convolution computes two candidates for the output. The output is their weighted mean. Each channel has
    two weights of its own: two 1x1 convolutions compute them from the global average, and a softmax makes their sum 1.

    Args:
        spatial_dims: 2 or 3.
        channels: number of input and of output channels, even.
        act: activation type and arguments.
        norm: normalisation type and arguments. Instance norm does not act on the pooled vector, which has only one
            value per channel and image.
    """

    def __init__(
        self, spatial_dims: int, channels: int, act: tuple | str = "relu", norm: tuple | str = "safe_batch"
    ) -> None:
        super().__init__()
        hidden = max(channels // 2, 32)
        self.conv = Convolution(spatial_dims, channels, 2 * channels, kernel_size=3, groups=2, act=act, norm=norm)
        self.pool = Pool["ADAPTIVEAVG", spatial_dims](1)
        self.reduce = Conv["CONV", spatial_dims](channels, hidden, kernel_size=1)
        norm_name = norm if isinstance(norm, str) else norm[0]
        self.norm = (
            nn.Identity() if norm_name.lower().startswith("instance") else get_norm_layer(norm, spatial_dims, hidden)
        )
        self.act = get_act_layer(act)
        self.expand = Conv["CONV", spatial_dims](hidden, 2 * channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.conv(x).chunk(2, dim=1)
        pooled = self.pool(first + second)
        weights = self.expand(self.act(self.norm(self.reduce(pooled))))
        weight_first, weight_second = weights.chunk(2, dim=1)
        # a softmax over two values is the sigmoid of their difference
        attention = torch.sigmoid(weight_first - weight_second)
        return attention * first + (1 - attention) * second


class SABlock(nn.Module):
    """
    Residual split-attention block, after Zhang et al. (see :class:`SplitAttention`): a 1x1 convolution, a
    split-attention convolution and a 1x1 convolution, all with the same number of channels, and a residual connection.

    Args:
        spatial_dims: 2 or 3.
        channels: number of input and of output channels, even.
        act: activation type and arguments.
        norm: normalisation type and arguments.
    """

    def __init__(
        self, spatial_dims: int, channels: int, act: tuple | str = "relu", norm: tuple | str = "safe_batch"
    ) -> None:
        super().__init__()
        self.reduce = Convolution(spatial_dims, channels, channels, kernel_size=1, act=act, norm=norm, bias=False)
        self.attention = SplitAttention(spatial_dims, channels, act, norm)
        self.project = Convolution(spatial_dims, channels, channels, kernel_size=1, act=None, norm=norm, bias=False)
        self.act = get_act_layer(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x + self.project(self.attention(self.reduce(x))))
