"""Turn images and masks from MONAI's axes into pictures."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from monai.data import MetaTensor

from .volume import Volume

__all__ = ["as_pictures"]


def as_pictures(image: torch.Tensor, *masks: torch.Tensor) -> list[np.ndarray]:
    """
    Convert an image and its masks from MONAI's axes to those of pictures.

    Args:
        image: (channels, spatial...). An image of a volume has the metadata of its file (see :class:`Volume`).
        masks: (classes, spatial...) of 0 and 1, or of a single class's numbered instances.

    Returns:
        The image (row, column, channel) and the masks (classes, row, column). For a volume, they show three orthogonal
        slices (see :meth:`Volume.planes`).
    """
    if image.ndim == 4:
        picture, *planes = Volume(cast(MetaTensor, image), *masks).planes()
        return [picture[..., None], *planes]
    arrays = [torch.as_tensor(array).float().cpu().numpy() for array in (image, *masks)]
    return [arrays[0].transpose(2, 1, 0), *(array.swapaxes(1, 2) for array in arrays[1:])]
