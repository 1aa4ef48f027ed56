"""Prepare images for display, and draw the contours of masks on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.measure import find_contours
from skimage.segmentation import find_boundaries

from .palette import PREDICTION, TRUTH, Colour, class_colours

__all__ = ["draw_class_contours", "draw_contours", "stretch", "stretch_grey"]

BOTH = (255, 255, 255)  # where the contours of a single class coincide
SHORTEST = 512  # the longer side of an overlay has at least so many pixels
DASH, PERIOD = 6, 16  # of dashed contours, in pixels; their width makes the dashes four pixels longer
FONT_SIZE, LINE, MARGIN = 14, 22, 8  # of the legend, in pixels


def stretch_grey(image: np.ndarray) -> np.ndarray:
    """Turn an array of any range and shape into uint8. Its percentiles 0.2 and 99.8 become 0 and 255."""
    low, high = np.percentile(image, (0.2, 99.8))
    return (np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def stretch(image: np.ndarray) -> np.ndarray:
    """
    Stretch an image's contrast for display.

    Args:
        image: array (height, width, channels) of any range. With 3 or 4 channels, the first three are colours.
            Otherwise, the first one is shown.

    Returns:
        uint8 array (height, width, 3). The image's percentiles 0.2 and 99.8 become 0 and 255.
    """
    grey = stretch_grey(image[..., : 3 if image.shape[-1] in (3, 4) else 1])
    return np.array(np.broadcast_to(grey, (*grey.shape[:2], 3)))


def _enlargement(shape: Sequence[int]) -> int:
    """Return the smallest integer that gives the longer side of an overlay at least SHORTEST pixels."""
    return max(1, math.ceil(SHORTEST / max(shape[:2])))


def _enlarged(array: np.ndarray, factor: int) -> np.ndarray:
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def draw_contours(image: np.ndarray, prediction: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """
    Draw the contours of the predicted mask, or of the predicted instances, and of the true mask of a single class on an
    image.

    Args:
        image: array (height, width, channels) of any range; see :func:`stretch`.
        prediction: predicted mask (height, width) of 0 and 1, or numbered instances. Each has its own contour, in blue,
            so that there are two lines between instances that touch.
        truth: true mask (height, width) of 0 and 1, or None. Its contour is orange. Where both contours coincide, they
            are white.

    Returns:
        uint8 array (height, width, 3), enlarged by the smallest integer that gives the longer side at least 512 pixels.
    """
    factor = _enlargement(image.shape)
    picture = _enlarged(stretch(image), factor)
    predicted = find_boundaries(_enlarged(prediction.astype(np.int32), factor), mode="inner")
    picture[predicted] = PREDICTION
    if truth is not None:
        true = find_boundaries(_enlarged(truth > 0, factor), mode="inner")
        picture[true] = TRUTH
        picture[true & predicted] = BOTH
    return picture


def draw_class_contours(
    image: np.ndarray, names: Sequence[str], prediction: np.ndarray, truth: np.ndarray | None = None
) -> np.ndarray:
    """
    Draw the contours of several classes on an image, each in its colour, with a legend below.

    Args:
        image: array (height, width, channels) of any range; see :func:`stretch`.
        names: the names of the classes.
        prediction: predicted masks (classes, height, width) of 0 and 1. Their contours are solid.
        truth: true masks (classes, height, width) of 0 and 1, or None. Their contours are dashed.

    Returns:
        uint8 array (height, width, 3), enlarged as in :func:`draw_contours`.
    """
    factor = _enlargement(image.shape)
    picture = _enlarged(stretch(image), factor)
    colours = class_colours(len(names))
    for masks, dashed in ((prediction, False), (truth, True)):
        for colour, mask in zip(colours, () if masks is None else masks):
            picture[_line(_enlarged(np.asarray(mask) > 0, factor), dashed)] = colour
    return np.concatenate([picture, _legend(picture.shape[1], list(zip(names, colours)), truth is not None)])


def _line(mask: np.ndarray, dashed: bool) -> np.ndarray:
    """Return the pixels of a contour two pixels wide, just inside the mask."""
    if not mask.any():
        return mask
    line = mask & ~binary_erosion(mask, iterations=2, border_value=0)
    if dashed:
        kept = np.zeros_like(mask)
        for contour in find_contours(np.pad(mask, 1).astype(float), 0.5):
            points = np.rint(contour[np.arange(len(contour)) % PERIOD < DASH] - 1).astype(int)
            kept[tuple(np.clip(points, 0, np.subtract(mask.shape, 1)).T)] = True
        line &= binary_dilation(kept, iterations=2)
    return line


@lru_cache
def _font() -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), FONT_SIZE)


def _legend(width: int, classes: Sequence[tuple[str, Colour]], with_truth: bool) -> np.ndarray:
    """Return a strip (height, width, 3) with the name and the colour of each class, in as many lines as needed."""
    entries: list[tuple[str, Colour | None]] = [*classes]
    if with_truth:
        entries.append(("solid: predicted, dashed: true", None))
    placed = []
    x, y = MARGIN, MARGIN
    for name, colour in entries:
        square = 0 if colour is None else FONT_SIZE + 6
        needed = square + math.ceil(_font().getlength(name))
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + LINE
        placed.append((name, colour, x, y, square))
        x += needed + 2 * MARGIN
    strip = Image.new("RGB", (width, y + LINE + MARGIN // 2))
    draw = ImageDraw.Draw(strip)
    for name, colour, x, y, square in placed:
        if colour is not None:
            draw.rectangle((x, y + 2, x + FONT_SIZE, y + FONT_SIZE), fill=colour)
        draw.text((x + square, y), name, fill=(255, 255, 255), font=_font())
    return np.asarray(strip)
