"""Correction of labels by clicks: the network computes the window around a click again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from skimage.measure import label
from skimage.segmentation import flood

from ..clicks import click_names, draw_clicks, require_clickable
from ..data.task import Task
from ..errors import InputError
from .segmenting import Segmenter

__all__ = ["correct", "labels_around", "require_clicks"]

Clicks = Mapping[str, Sequence[Sequence[float]]]
Box = tuple[slice, slice]


def require_clicks(task: Task) -> None:
    """
    Raises:
        InputError: the classes overlap, or the images are volumes.
    """
    require_clickable(task.labels, "correct the labels by hand")
    if task.image_dims > 2:
        raise InputError("these weights are for volumes, and clicks correct pictures only; correct the labels by hand")


def _span(center: float, whole: int, side: int) -> slice:
    """Return the part of an axis that a window of ``side`` pixels covers, as near to ``center`` as the axis allows."""
    start = min(max(round(center) - side // 2, 0), max(0, whole - side))
    return slice(start, min(start + side, whole))


def labels_around(
    segmenter: Segmenter, image: torch.Tensor, clicks: Clicks, point: Sequence[float]
) -> tuple[Box, np.ndarray]:
    """
    Segment the window around a click, guided by all clicks in it.

    Args:
        segmenter: of pictures.
        image: what :meth:`Segmenter.prepare` returns.
        clicks: points (row, column) by the names of :func:`dpsau2net_monai.clicks.click_names`.
        point: the click in the middle of the window.

    Returns:
        The rows and columns of the window, and its labels as of :meth:`Segmenter.labels`.

    Raises:
        InputError: the click lies outside of the image.
    """
    task = segmenter.task
    height, width = image.shape[:0:-1]
    if not (-0.5 <= point[0] < height - 0.5 and -0.5 <= point[1] < width - 0.5):
        raise InputError("the click lies outside of the image; remove it")
    rows, columns = (_span(*sizes) for sizes in zip(point, (height, width), reversed(task.window)))
    corner = np.array([rows.start, columns.start])
    shape = (columns.stop - columns.start, rows.stop - rows.start)
    inside = {}
    for name in click_names(task.labels):
        shifted = (np.asarray(clicks.get(name, ()), float).reshape(-1, 2) - corner)[:, ::-1]
        inside[name] = shifted[((shifted >= -0.5) & (shifted < np.array(shape) - 0.5)).all(1)]
    window = image[:, columns, rows]
    logits = segmenter.logits(torch.cat([window, draw_clicks(inside, task.labels, shape).to(window)]))
    labels = segmenter.labels(window, logits)
    if task.instances:  # a clicked instance is one, however unsure the network is of it
        left = (logits[0].cpu().numpy().T > 0) & (labels == 0)
        for column, row in inside[task.labels.names[0]].round().astype(int):
            if left[row, column]:
                clicked = flood(left, (row, column))
                labels[clicked] = labels.max() + 1
                left &= ~clicked
    return (rows, columns), labels


def correct(
    labels: np.ndarray, new: np.ndarray, point: tuple[int, int], code: int, single: bool, unused: int
) -> np.ndarray:
    """
    Take over what the network decided anew about the region under a click. All else stays as the person left it, and so
    does this region if the network does not follow the click.

    Args:
        labels: present labels in the window, (row, column).
        new: the network's labels in the window.
        point: the click, in the window.
        code: of the class that was clicked, 0 for the background.
        single: whether the labels are instances of a single class, not codes of classes.
        unused: the first number that no instance of the image has.

    Returns:
        The corrected labels. Of a single class, a click on an instance makes it whole, or adds it; a click on the
        background takes from the instance under it, and what falls apart is numbered anew.
    """
    result = labels.copy()
    if code != (min(new[point], 1) if single else new[point]):
        return result
    region = flood(new, point)
    if not single:
        result[region] = code
        return result
    number = labels[point]
    if code == 0:
        if number:
            result[region & (labels == number)] = 0
            parts = label(result == number)
            for part in range(2, parts.max() + 1):
                result[parts == part] = unused + part - 2
        return result
    if number == 0:
        covered = np.bincount(labels[region], minlength=1)
        covered[0] = 0
        largest = int(covered.argmax())
        number = largest if 2 * covered[largest] > region.sum() else unused
    result[region & (labels == 0)] = number
    return result
