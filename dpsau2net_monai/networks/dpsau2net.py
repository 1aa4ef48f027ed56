"""DPSAU2-Net and its small variant."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv, Pool
from torch import nn

from .rsdpu import RSDPU, resize_like
from .split_attention import SABlock

__all__ = ["DPSAU2Net", "DPSAU2NetLite"]


class Stage(NamedTuple):
    """One RSDPU block: height, channels of the inner U and of the output, and whether it dilates instead of pooling."""

    height: int
    mid: int
    out: int
    dilated: bool = False


class DPSAU2Net(nn.Module):
    """
    DPSAU2-Net, after "Enhanced U2-Net with residual depthwise separable and split-attention blocks for precise medical
    image segmentation", The Visual Computer, 2025.

    The network is a U of eleven stages. Each stage is an :class:`RSDPU` block, which is a U itself. A split-attention
    block (:class:`SABlock`) stands between two resolutions. A 1x1 convolution fuses six side outputs.

    In 2D, with the default arguments, it equals the published network.
    :func:`dpsau2net_monai.networks.convert_weights` imports the published weights.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of input channels.
        out_channels: number of output channels.
        act: activation type and arguments.
        norm: normalisation type and arguments. The default is a batch norm that also accepts a batch of one image.
            Instance norm needs images of at least 33 pixels per side: at 32, the deepest resolution is a single pixel.
        dropout: dropout type and arguments, or its probability. Each stage has one dropout layer. None: no dropout.
        deep_supervision: whether to return the six side logits too. They are returned in training mode only.

    Returns (of ``forward``):
        Logits (batch, out_channels, spatial...) of the input's spatial size. The input needs at least 32 pixels per
        side. With ``deep_supervision`` in training mode, the shape is (batch, 7, out_channels, spatial...): the fused
        logits, then the six side logits from the finest to the deepest stage, stacked as in
        ``monai.networks.nets.DynUNet``.

    Example:
        >>> import torch
        >>> from dpsau2net_monai.networks import DPSAU2Net
        >>> network = DPSAU2Net(spatial_dims=2, in_channels=3, out_channels=1).eval()
        >>> network(torch.rand(1, 3, 97, 113)).shape
        torch.Size([1, 1, 97, 113])
    """

    # Both tables go from the finest to the deepest resolution. The decoder has no entry for the deepest one.
    ENCODER: tuple[Stage, ...] = (
        Stage(7, 32, 64),
        Stage(6, 32, 128),
        Stage(5, 64, 256),
        Stage(4, 128, 512),
        Stage(4, 256, 512, dilated=True),
        Stage(4, 256, 512, dilated=True),
    )
    DECODER: tuple[Stage, ...] = (
        Stage(7, 16, 64),
        Stage(6, 32, 64),
        Stage(5, 64, 128),
        Stage(4, 128, 256),
        Stage(4, 256, 512, dilated=True),
    )
    STEM_CHANNELS: int | None = None  # of a strided convolution before the first stage; None: no such convolution

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        act: tuple | str = "relu",
        norm: tuple | str = "safe_batch",
        dropout: tuple | str | float | None = None,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
        self.deep_supervision = deep_supervision
        self.strided = self.STEM_CHANNELS is not None

        def block(n_in: int, stage: Stage) -> RSDPU:
            return RSDPU(spatial_dims, n_in, stage.mid, stage.out, stage.height, stage.dilated, act, norm, dropout)

        def attention(channels: int) -> SABlock:
            return SABlock(spatial_dims, channels, act, norm)

        widths = [stage.out for stage in self.ENCODER]
        stem: nn.Module = nn.Identity()
        if self.STEM_CHANNELS is not None:
            stem = Convolution(spatial_dims, in_channels, self.STEM_CHANNELS, strides=2, act=act, norm=norm)
            in_channels = self.STEM_CHANNELS
        # the layers before each encoder stage: the stem before the first, pooling and split attention before the others
        pool = Pool["MAX", spatial_dims](kernel_size=2, stride=2, ceil_mode=True)
        self.entries = nn.ModuleList([stem, *(nn.Sequential(pool, attention(width)) for width in widths[:-1])])
        self.encoder = nn.ModuleList(
            block(n_in, stage) for n_in, stage in zip([in_channels, *widths[:-1]], self.ENCODER)
        )

        # In the order of use, deepest first. Each stage gets the output of the stage below and of the encoder stage.
        decoder, skips = self.DECODER[::-1], widths[-2::-1]
        below = [widths[-1], *(stage.out for stage in decoder[:-1])]
        self.attention = nn.ModuleList(attention(width) for width in below)
        self.decoder = nn.ModuleList(
            block(n_below + n_skip, stage) for n_below, n_skip, stage in zip(below, skips, decoder)
        )

        conv = Conv["CONV", spatial_dims]
        outputs = [stage.out for stage in self.DECODER] + [widths[-1]]
        self.sides = nn.ModuleList(conv(width, out_channels, kernel_size=3, padding=1) for width in outputs)
        self.fuse = conv(len(outputs) * out_channels, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = x
        outputs: list[torch.Tensor] = []
        for entry, stage in zip(self.entries, self.encoder):
            x = stage(entry(x))
            outputs.append(x)

        # each decoder stage's output replaces the encoder output that it was computed from
        for i, (attention, stage) in enumerate(zip(self.attention, self.decoder)):
            skip = outputs[-2 - i]
            x = stage(torch.cat([attention(resize_like(x, skip)), skip], dim=1))
            outputs[-2 - i] = x

        logits: list[torch.Tensor] = []
        for i, side in enumerate(self.sides):
            logit = side(outputs[i])
            logits.append(resize_like(logit, outputs[0]) if i > 0 else logit)
        fused = self.fuse(torch.cat(logits, dim=1))
        if self.deep_supervision and self.training:
            return torch.stack([resize_like(logit, image) for logit in [fused] + logits], dim=1)
        return resize_like(fused, image) if self.strided else fused


class DPSAU2NetLite(DPSAU2Net):
    """
    DPSAU2-Net at a fraction of its cost.

    The design is the same, but there are fewer stages with fewer channels. A strided stem halves the resolution, so the
    nested U works at half of the image's resolution and its logits are enlarged at the end. The inner Us have fewer
    levels than those of the full network, because there are fewer resolutions below them.

    On two CPU threads, training takes 0.32 s per image of 256 x 256 pixels (full network: 6.0 s), and a forward pass
    0.10 s (full network: 1.06 s) (2026-11-22, ``benchmarks/network_speed.py``). Much of this comes from the stem:
    without it (``STEM_CHANNELS = None``), training takes some five times as long. With so few channels, memory traffic
    costs the time, not arithmetic, and the stem reduces it to a quarter.

    The arguments are those of :class:`DPSAU2Net`. With ``deep_supervision`` there is one side output per resolution:
    (batch, 5, out_channels, spatial...).
    """

    # With four resolutions and a dilation of at most 4, every weight of every kernel sees data when training uses crops
    # of 128 pixels. A weight that only sees padding keeps its random initial value, which harms larger images.
    ENCODER = (
        Stage(5, 12, 24),
        Stage(4, 16, 40),
        Stage(4, 24, 64),
        Stage(3, 40, 80, dilated=True),
    )
    DECODER = (
        Stage(5, 12, 24),
        Stage(4, 16, 40),
        Stage(4, 24, 64),
    )
    STEM_CHANNELS = 16
