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

    A grouped convolution gives two candidates for the output; the image's global average weighs them, channel by
    channel, with a softmax over the two.

    Args:
        spatial_dims: 2 or 3.
        channels: number of input and of output channels, even.
        act: activation type and arguments.
        norm: normalisation type and arguments. Instance norm is left out of the pooled vector: one value per channel
            and image has nothing to normalise over.
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
        # a softmax over two is a sigmoid of their difference
        attention = torch.sigmoid(weight_first - weight_second)
        return attention * first + (1 - attention) * second


class SABlock(nn.Module):
    """
    Residual split-attention block, after Zhang et al. (see :class:`SplitAttention`): 1x1 convolution, split-attention
    convolution, 1x1 convolution, all of one width, added to the input.

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
