"""RSDPU, the residual depthwise separable U-block: one stage of DPSAU2-Net."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Pool
from torch import nn
from torch.nn import functional as F

__all__ = ["RSDPU", "resize_like"]


def resize_like(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Resize ``x`` (batch, channel, spatial...) to the spatial size of ``like``, bilinear in 2D and trilinear in 3D."""
    mode = "bilinear" if x.dim() == 4 else "trilinear"
    return F.interpolate(x, size=like.shape[2:], mode=mode, align_corners=False)


class RSDPU(nn.Module):
    """
    Residual depthwise separable U-block: a depthwise separable convolution, followed by an inner U with a residual
    connection around it.

    The inner U is the RSU block of Qin et al., "U2-Net: Going deeper with nested U-structure for salient object
    detection", 2020, https://arxiv.org/abs/2005.09007.

    With ``dilated``, the inner U neither pools nor resizes. Its convolutions dilate by 1, 2, 4 ... 2^(height - 1)
    instead. With height 4, the paper calls this block RSDPU-4F.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of input channels.
        mid_channels: number of channels inside the inner U.
        out_channels: number of output channels.
        height: number of levels of the inner U, at least 3. It pools ``height - 2`` times.
        dilated: whether to dilate instead of pooling.
        act: activation type and arguments.
        norm: normalisation type and arguments.
        dropout: dropout type and arguments, or its probability. It acts once, on the input of the inner U.
        kernel_size: kernel size of the depthwise convolution.
        strides: factor of each pooling of the inner U, an integer or one for each axis. More than are needed are
            ignored. None: 2.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        height: int,
        dilated: bool = False,
        act: tuple | str = "relu",
        norm: tuple | str = "safe_batch",
        dropout: tuple | str | float | None = None,
        kernel_size: int = 7,
        strides: Sequence[Sequence[int] | int] | None = None,
    ) -> None:
        super().__init__()
        if height < 3:
            raise ValueError(f"height must be at least 3, got {height}")

        def conv(n_in: int, n_out: int, dilation: int) -> Convolution:
            return Convolution(spatial_dims, n_in, n_out, kernel_size=3, dilation=dilation, act=act, norm=norm)

        # the dilation of each level, from 0; without `dilated`, only the lowest level dilates
        dilations = [2**i if dilated else 1 for i in range(height - 1)] + [2 ** (height - 1) if dilated else 2]

        self.dilated = dilated
        self.stem = conv(in_channels, out_channels, 1)
        self.depthwise = Convolution(
            spatial_dims, out_channels, out_channels, kernel_size=kernel_size, groups=out_channels, act=act, norm=norm
        )
        self.pointwise = Convolution(
            spatial_dims, out_channels, out_channels, kernel_size=1, act=act, norm=norm, dropout=dropout
        )
        self.top = conv(out_channels, mid_channels, dilations[0])
        self.pools = nn.ModuleList(
            nn.Identity() if dilated else Pool["MAX", spatial_dims](kernel_size=stride, stride=stride, ceil_mode=True)
            for stride in (strides or [2] * (height - 2))[: height - 2]
        )
        self.down = nn.ModuleList(conv(mid_channels, mid_channels, d) for d in dilations[1:-1])
        self.bottom = conv(mid_channels, mid_channels, dilations[-1])
        # in the order of use: deepest first
        self.up = nn.ModuleList(
            conv(2 * mid_channels, mid_channels if level else out_channels, dilations[level])
            for level in reversed(range(height - 1))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.pointwise(x + self.depthwise(x))

        level = self.top(x)
        skips = [level]
        for pool, down in zip(self.pools, self.down):
            level = down(pool(level))
            skips.append(level)
        level = self.bottom(level)
        for i, up in enumerate(self.up):
            skip = skips.pop()
            if i > 0 and not self.dilated:  # the two lowest levels have the same size
                level = resize_like(level, skip)
            level = up(torch.cat([level, skip], dim=1))
        return x + level
