"""Numbered instances of masks that are larger than memory."""

from __future__ import annotations

import logging
from itertools import product
from typing import Any

import numpy as np
from skimage.measure import regionprops
from tqdm import tqdm

from ..metrics import split_instances

__all__ = ["number_instances"]

CORE = 2048  # pixels: the side of a tile
MARGIN = 256  # pixels around it: more than the longest instance


def number_instances(codes: Any, distance: Any | None, numbers: Any, progress: bool = True) -> int:
    """
    Number the instances of a mask in tiles (see :func:`dpsau2net_monai.metrics.split_instances`). Neighbouring tiles
    overlap. An instance belongs to the tile whose core has its centre, so that it keeps one number across the borders.
    An instance that is longer than ``MARGIN`` may be cut.

    Args:
        codes: (height, width), zarr or NumPy; over 0 is foreground.
        distance: the distance that the network predicts, of the same shape. None: it predicts none.
        numbers: array of zeros of the same shape, that the numbers are written to.
        progress: whether to show the progress bar. It shows only in a terminal.

    Returns:
        The number of instances.
    """
    height, width = codes.shape
    count = missing = 0
    corners = list(product(range(0, height, CORE), range(0, width, CORE)))
    for row, column in tqdm(corners, desc="instances", unit="tile", disable=None if progress else True):
        top, left = max(row - MARGIN, 0), max(column - MARGIN, 0)
        box = np.s_[top : row + CORE + MARGIN, left : column + CORE + MARGIN]
        mask = np.asarray(codes[box]) > 0
        if not mask.any():
            continue
        # in MONAI's (x, y), as of an image in memory: the watershed depends on the order of the axes
        of_tile = None if distance is None else np.asarray(distance[box], np.float32).T
        instances = split_instances(mask.T, of_tile).T
        written = np.asarray(numbers[box])
        for instance in regionprops(instances):
            y, x = instance.centroid
            if row <= y + top < row + CORE and column <= x + left < column + CORE:
                count += 1
                inside = written[instance.slice]
                inside[instance.image & (inside == 0)] = count
        numbers[box] = written
        # no later tile writes here
        stop = row + CORE - MARGIN if row + CORE < height else height
        end = column + CORE - MARGIN if column + CORE < width else width
        done = np.s_[: stop - top, : end - left]
        missing += int(np.count_nonzero((instances[done] > 0) & (written[done] == 0)))
    if missing:
        text = f"{missing} pixels of the mask have no number: instances longer than {MARGIN} pixels lie over tiles"
        logging.getLogger(__name__).warning(text)
    return count
