"""Folding batch norms into convolutions, for inference."""

from __future__ import annotations

from copy import deepcopy

from monai.networks.blocks import Convolution
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_eval

__all__ = ["fold_batch_norms"]


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """
    Return a copy of ``network`` in evaluation mode, in which no ``monai.networks.blocks.Convolution`` has a batch norm
    any more: its factors and offsets are in the convolution's weights. The outputs are equal to rounding.

    ``torch.nn.utils.fuse_conv_bn_eval`` folds one pair. torch has a function for whole networks too, but it traces the
    network, which fixes the size of the image.
    """
    network = deepcopy(network).eval()
    for block in network.modules():
        after = getattr(block, "adn", None)
        if not isinstance(block, Convolution) or not isinstance(after, nn.Sequential) or not len(after):
            continue
        if isinstance(block.conv, (nn.Conv2d, nn.Conv3d)) and isinstance(after[0], _BatchNorm):
            block.conv = fuse_conv_bn_eval(block.conv, after[0])
            after[0] = nn.Identity()
    return network
