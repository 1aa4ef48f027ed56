"""Clicks of a simulated annotator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt

__all__ = ["next_click"]


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
