"""Prepare images for display, and draw the contours of masks on them."""

from __future__ import annotations

import math

import numpy as np
import torch
from skimage.segmentation import find_boundaries

from .palette import PREDICTION, TRUTH

__all__ = ["as_pictures", "draw_contours", "stretch"]

BOTH = (255, 255, 255)  # where the contours coincide


def stretch(image: np.ndarray) -> np.ndarray:
    """
    Stretch an image's contrast for display.

    Args:
        image: array (height, width, channels) of any range, with 1, 3 or 4 channels.

    Returns:
        uint8 array (height, width, 3), without alpha. The image's percentiles 0.2 and 99.8 become 0 and 255.
    """
    image = image[..., :3]
    low, high = np.percentile(image, (0.2, 99.8))
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return (np.broadcast_to(grey, (*grey.shape[:2], 3)) * 255).astype(np.uint8)


def draw_contours(image: np.ndarray, prediction: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """
    Draw the contours of the predicted mask and of the true mask on an image.

    Args:
        image: array (height, width, channels) of any range; see :func:`stretch`.
        prediction: predicted mask (height, width) of 0 and 1. Its contour is blue.
        truth: true mask (height, width) of 0 and 1, or None. Its contour is orange. Where both contours coincide, they
            are white.

    Returns:
        uint8 array (height, width, 3), enlarged by the smallest integer that gives the longer side at least 512 pixels.
    """
    picture = stretch(image)
    factor = max(1, math.ceil(512 / max(picture.shape[:2])))

    def enlarge(array: np.ndarray) -> np.ndarray:
        return array.repeat(factor, axis=0).repeat(factor, axis=1)

    picture = enlarge(picture)
    predicted = find_boundaries(enlarge(prediction > 0), mode="inner")
    picture[predicted] = PREDICTION
    if truth is not None:
        true = find_boundaries(enlarge(truth > 0), mode="inner")
        picture[true] = TRUTH
        picture[true & predicted] = BOTH
    return picture


def as_pictures(image: torch.Tensor, *masks: torch.Tensor) -> list[np.ndarray]:
    """
    Convert an image and its masks from MONAI's axes to those of pictures.

    A volume becomes one slice: the one along the last axis with the most foreground in all masks together.

    Args:
        image: tensor (channels, spatial...).
        masks: tensors (1, spatial...) of 0 and 1.

    Returns:
        The image (row, column, channel) and the masks (row, column).
    """
    arrays = [torch.as_tensor(array).float().cpu().numpy() for array in (image, *masks)]
    if image.ndim == 4:
        slice_ = int(sum(array[0].sum((0, 1)) for array in arrays[1:]).argmax())
        arrays = [array[..., slice_] for array in arrays]
    return [arrays[0].transpose(2, 1, 0), *(array[0].T for array in arrays[1:])]
