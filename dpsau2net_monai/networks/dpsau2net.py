"""DPSAU2-Net and its small variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv, Pool
from monai.utils import ensure_tuple_rep
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


class Design(NamedTuple):
    """The numbers that make a network of DPSAU2-Net's parts."""

    # Both tables go from the finest to the deepest resolution. The decoder has no entry for the deepest one.
    encoder: tuple[Stage, ...]
    decoder: tuple[Stage, ...]
    # Of a strided convolution before the first stage. The heads then compute a logit for each pixel of the image in the
    # channels of their own pixels. None: no such convolution.
    stem_channels: int | None = None
    kernel_size: int = 7  # of the depthwise convolutions
    # whether the decoder's split attention sees its input before it is resized, at an eighth of the cost in 3D
    attend_before_resize: bool = False


def sub_pixel(x: torch.Tensor, factors: list[int]) -> torch.Tensor:
    """
    Arrange channels as pixels, after Shi et al., "Real-time single image and video super-resolution using an efficient
    sub-pixel convolutional neural network", 2016. ``monai.networks.utils.pixelshuffle`` has one factor for all axes.

    Args:
        x: (batch, channels * product of the factors, spatial...).
        factors: an integer for each spatial axis.

    Returns:
        (batch, channels, spatial * factors).
    """
    dims = len(factors)
    channels = x.shape[1]
    for factor in factors:
        channels = channels // factor
    shape, order, size = [x.shape[0], channels], [0, 1], [x.shape[0], channels]
    for i in range(dims):
        shape.append(factors[i])
        order += [2 + dims + i, 2 + i]
        size.append(factors[i] * x.shape[2 + i])
    for i in range(dims):
        shape.append(x.shape[2 + i])
    return x.reshape(shape).permute(order).reshape(size)


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
        strides: factor of each reduction of the resolution, from the finest to the deepest: an integer, or one for each
            axis, as ``[[2, 2, 1], [2, 2, 2], ...]`` for volumes with thick slices. The inner Us pool alike. None: 2.
            :meth:`number_of_strides` says how many the network has.

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

    DESIGNS: Mapping[int, Design] = dict.fromkeys(  # by spatial_dims
        (2, 3),
        Design(
            encoder=(
                Stage(7, 32, 64),
                Stage(6, 32, 128),
                Stage(5, 64, 256),
                Stage(4, 128, 512),
                Stage(4, 256, 512, dilated=True),
                Stage(4, 256, 512, dilated=True),
            ),
            decoder=(
                Stage(7, 16, 64),
                Stage(6, 32, 64),
                Stage(5, 64, 128),
                Stage(4, 128, 256),
                Stage(4, 256, 512, dilated=True),
            ),
        ),
    )

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        act: tuple | str = "relu",
        norm: tuple | str = "safe_batch",
        dropout: tuple | str | float | None = None,
        deep_supervision: bool = False,
        strides: Sequence[Sequence[int] | int] | None = None,
    ) -> None:
        super().__init__()
        if spatial_dims not in self.DESIGNS:
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
        design = self.DESIGNS[spatial_dims]
        stem_channels = design.stem_channels
        steps = self.number_of_strides(spatial_dims)
        if strides is not None and len(strides) != steps:
            raise ValueError(f"{type(self).__name__} needs {steps} strides in {spatial_dims}D, got {len(strides)}")
        factors = [ensure_tuple_rep(stride, spatial_dims) for stride in strides or [2] * steps]
        self.deep_supervision = deep_supervision
        self.attend_before_resize = design.attend_before_resize
        # the pixels of the image that a position of the heads has logits for
        self.factors: list[int] = [1] * spatial_dims if stem_channels is None else list(factors[0])

        # An inner U pools as the network does below it.
        inner = list(factors if stem_channels is None else factors[1:])
        inner += [factors[-1]] * max(stage.height for stage in design.encoder)

        def block(n_in: int, stage: Stage, level: int) -> RSDPU:
            return RSDPU(
                spatial_dims, n_in, stage.mid, stage.out, stage.height, stage.dilated, act, norm, dropout,
                design.kernel_size, inner[level:],
            )  # fmt: skip

        def attention(channels: int) -> SABlock:
            return SABlock(spatial_dims, channels, act, norm)

        def pool(level: int) -> nn.Module:
            return Pool["MAX", spatial_dims](kernel_size=inner[level], stride=inner[level], ceil_mode=True)

        widths = [stage.out for stage in design.encoder]
        stem: nn.Module = nn.Identity()
        if stem_channels is not None:
            stem = Convolution(spatial_dims, in_channels, stem_channels, strides=factors[0], act=act, norm=norm)
            in_channels = stem_channels
        # the layers before each encoder stage: the stem before the first, pooling and split attention before the others
        self.entries = nn.ModuleList(
            [stem, *(nn.Sequential(pool(level), attention(width)) for level, width in enumerate(widths[:-1]))]
        )
        self.encoder = nn.ModuleList(
            block(n_in, stage, level)
            for level, (n_in, stage) in enumerate(zip([in_channels, *widths[:-1]], design.encoder))
        )

        # In the order of use, deepest first. Each stage gets the output of the stage below and of the encoder stage.
        decoder, skips = design.decoder[::-1], widths[-2::-1]
        below = [widths[-1], *(stage.out for stage in decoder[:-1])]
        self.attention = nn.ModuleList(attention(width) for width in below)
        self.decoder = nn.ModuleList(
            block(n_below + n_skip, stage, len(decoder) - 1 - i)
            for i, (n_below, n_skip, stage) in enumerate(zip(below, skips, decoder))
        )

        conv = Conv["CONV", spatial_dims]
        outputs = [stage.out for stage in design.decoder] + [widths[-1]]
        logits = out_channels * math.prod(self.factors)
        self.sides = nn.ModuleList(conv(width, logits, kernel_size=3, padding=1) for width in outputs)
        self.fuse = conv(len(outputs) * logits, logits, kernel_size=1)

    @classmethod
    def number_of_strides(cls, spatial_dims: int) -> int:
        """Return how many times the network reduces the resolution: the length of ``strides``."""
        design = cls.DESIGNS[spatial_dims]
        return len(design.decoder) + (design.stem_channels is not None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = x
        outputs: list[torch.Tensor] = []
        for entry, stage in zip(self.entries, self.encoder):
            x = stage(entry(x))
            outputs.append(x)

        # each decoder stage's output replaces the encoder output that it was computed from
        for i, (attention, stage) in enumerate(zip(self.attention, self.decoder)):
            skip = outputs[-2 - i]
            if self.attend_before_resize:
                below = resize_like(attention(x), skip)
            else:
                below = attention(resize_like(x, skip))
            x = stage(torch.cat([below, skip], dim=1))
            outputs[-2 - i] = x

        logits: list[torch.Tensor] = []
        for i, side in enumerate(self.sides):
            logit = side(outputs[i])
            logits.append(resize_like(logit, outputs[0]) if i > 0 else logit)
        fused = self.fuse(torch.cat(logits, dim=1))
        if self.deep_supervision and self.training:
            return torch.stack([self.enlarge(logit, image) for logit in [fused] + logits], dim=1)
        return self.enlarge(fused, image)

    def enlarge(self, logits: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Bring ``logits`` from the resolution of the first stage to that of ``image``."""
        if max(self.factors) == 1:
            return logits
        logits = sub_pixel(logits, self.factors)
        # The stem rounds an odd size up. An exported program with a view in place of the copy takes odd sizes only.
        for axis in range(2, image.dim()):
            logits = logits.index_select(axis, torch.arange(image.shape[axis], device=image.device))
        return logits


class DPSAU2NetLite(DPSAU2Net):
    """
    DPSAU2-Net at a fraction of its cost.

    The design is the same, but there are fewer stages with fewer channels. A strided stem halves the resolution, so the
    nested U works at half of the image's resolution. Its heads compute four logits at each position in 2D and eight in
    3D, one for each pixel of the image. The inner Us have fewer levels than those of the full network, because there
    are fewer resolutions below them.

    A forward pass with an image of 256 x 256 pixels takes 3.8 GFLOP (full network: 111 GFLOP); ``benchmarks/speed.py``
    measures the time. Much of the difference comes from the stem: without it (``stem_channels=None``), training takes
    some five times as long. With so few channels, memory traffic costs the time, not arithmetic, and the stem reduces
    it to a quarter.

    The arguments are those of :class:`DPSAU2Net`. With ``deep_supervision`` there is one side output per resolution:
    (batch, outputs, out_channels, spatial...), with 5 outputs in 2D and 4 in 3D.
    """

    # 2D: with four resolutions and a dilation of at most 4, every weight of every kernel sees data when training uses
    # crops of 128 pixels. A weight that only sees padding keeps its random initial value, which harms larger images.
    # 3D: three resolutions, for crops from 33 voxels. Below that, maps of 2 x 2 x 2 appear.
    DESIGNS = {
        2: Design(
            encoder=(
                Stage(5, 12, 24),
                Stage(4, 16, 40),
                Stage(4, 24, 64),
                Stage(3, 40, 80, dilated=True),
            ),
            decoder=(
                Stage(5, 12, 24),
                Stage(4, 16, 40),
                Stage(4, 24, 64),
            ),
            stem_channels=16,
        ),
        3: Design(
            encoder=(
                Stage(4, 16, 32),
                Stage(4, 32, 64),
                Stage(3, 48, 128, dilated=True),
            ),
            decoder=(
                Stage(4, 16, 32),
                Stage(4, 32, 64),
            ),
            stem_channels=16,
            kernel_size=3,
            attend_before_resize=True,
        ),
    }
