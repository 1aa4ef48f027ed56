"""Clicks of a simulated annotator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional

__all__ = ["next_click", "random_clicks"]

DEPTH = 5  # erosions of a region of errors; what is left of it is its middle


def next_click(
    prediction: np.ndarray, truth: np.ndarray, clicked: Sequence[tuple[int, ...]] = ()
) -> tuple[int, tuple[int, ...]] | None:
    """
    Return the next click of an annotator who corrects the largest error: that point, of all pixels with a wrong class,
    which is farthest from the right ones, as in Sofiiuk et al., "f-BRS: Rethinking Backpropagating Refinement for
    Interactive Segmentation", 2020.

    Args:
        prediction: codes of the predicted classes, (spatial...) of integers.
        truth: codes of the true classes.
        clicked: points that were clicked before. None of them is clicked again.

    Returns:
        The true class at the point, and the point. None: the prediction is right.
    """
    wrong = prediction != truth
    for point in clicked:
        wrong[point] = False
    best, click = 0.0, None
    for code in np.unique(truth[wrong]):
        depth = distance_transform_edt(np.pad(wrong & (truth == code), 1))[(slice(1, -1),) * wrong.ndim]
        place = np.unravel_index(depth.argmax(), depth.shape)
        if depth[place] > best:
            best, click = float(depth[place]), (int(code), tuple(int(value) for value in place))
    return click


def random_clicks(prediction: torch.Tensor, truth: torch.Tensor) -> list[tuple[int, list[int]] | None]:
    """
    Return a click for each image of a batch, at random in the middle of its errors, as DeepEdit trains.

    Args:
        prediction: codes of the predicted classes, (batch, spatial...).
        truth: codes of the true classes.

    Returns:
        For each image the true class at the click, and the click. None: its prediction is right.
    """
    dims = prediction.ndim - 1
    codes = torch.arange(int(truth.max()) + 1, device=truth.device).view(-1, *[1] * dims)
    errors = ((prediction != truth)[:, None] & (truth[:, None] == codes)).float()
    pool = functional.max_pool2d if dims == 2 else functional.max_pool3d
    depth, left = errors.clone(), errors
    for _ in range(DEPTH):
        left = 1 - pool(1 - left, 3, 1, 1)
        depth += left
    depth = depth + torch.rand_like(depth) * (depth > 0)
    deepest = depth.flatten(1).max(1)
    clicks: list[tuple[int, list[int]] | None] = []
    for value, index in zip(deepest.values.tolist(), deepest.indices.tolist()):
        code, *point = (int(one) for one in np.unravel_index(index, depth.shape[1:]))
        clicks.append((code, point) if value > 0 else None)
    return clicks
