"""Correction of labels by clicks: the network computes the window around a click again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import SpatialCrop, create_translate
from monai.utils import MetaKeys
from nibabel.affines import apply_affine
from skimage.measure import label
from skimage.segmentation import flood

from ..clicks import click_names, draw_clicks
from ..errors import InputError
from .segmenting import Segmenter

__all__ = ["correct", "labels_around"]

Clicks = Mapping[str, Sequence[Sequence[int]]]
Box = tuple[slice, ...]


def _span(center: float, whole: int, side: int) -> slice:
    """Return the part of an axis that a window of ``side`` voxels covers, as near to ``center`` as the axis allows."""
    start = min(max(round(center) - side // 2, 0), max(0, whole - side))
    return slice(start, min(start + side, whole))


def labels_around(
    segmenter: Segmenter, image: MetaTensor, clicks: Clicks, point: Sequence[int]
) -> tuple[Box, np.ndarray]:
    """
    Segment the window around a click, guided by all clicks in it.

    Args:
        segmenter: of pictures or volumes.
        image: what :meth:`Segmenter.prepare` returns.
        clicks: pixels (row, column) or voxels (z, y, x) of the array that was prepared, by the names of
            :func:`dpsau2net_monai.clicks.click_names`.
        point: the click in the middle of the window.

    Returns:
        The window as a part of the array, and its labels as of :meth:`Segmenter.labels`.

    Raises:
        InputError: the click lies outside of the image.
    """
    task, size = segmenter.task, np.array(image.meta[MetaKeys.SPATIAL_SHAPE])
    original_affine = np.asarray(image.meta[MetaKeys.ORIGINAL_AFFINE])
    center = np.array(point)[::-1]
    if not ((center >= 0) & (center < size)).all():
        raise InputError("the click lies outside of the image; remove it")
    # from the voxels of the array to those of the network
    affine = to_affine_nd(len(size), np.linalg.solve(image.affine.numpy(), original_affine))
    spans = [_span(*sizes) for sizes in zip(apply_affine(affine, center), image.shape[1:], task.window)]
    start, stop = (np.array([getattr(span, end) for span in spans]) for end in ("start", "stop"))
    edges = apply_affine(np.linalg.inv(affine), [start - 0.5, stop - 0.5])
    low = np.maximum(np.ceil(edges.min(0) - 1e-3), 0).astype(int)
    high = np.minimum(np.floor(edges.max(0) + 1e-3) + 1, size).astype(int)
    window = cast(MetaTensor, SpatialCrop(roi_slices=spans)(image))
    window.meta[MetaKeys.ORIGINAL_AFFINE] = original_affine @ create_translate(3, low)
    window.meta[MetaKeys.SPATIAL_SHAPE] = tuple(high - low)
    inside, drawn = {}, {}
    for name in click_names(task.labels):
        points = np.asarray(clicks.get(name, ()), int).reshape(-1, len(size))[:, ::-1]
        inside[name] = points[((points >= low) & (points < high)).all(1)]
        drawn[name] = np.clip(np.rint(apply_affine(affine, inside[name])), start, stop - 1) - start
    channels = draw_clicks(drawn, task.labels, window.shape[1:])
    logits = segmenter.logits(torch.cat([window, channels.to(window)]))
    labels = segmenter.labels(window, logits)
    if task.instances:  # a clicked instance is one, however unsure the network is of it
        left = (logits[0].cpu().numpy().T > 0) & (labels == 0)
        for place in map(tuple, (inside[task.labels.names[0]] - low)[:, ::-1]):
            if left[place]:
                clicked = flood(left, place)
                labels[clicked] = labels.max() + 1
                left &= ~clicked
    return tuple(slice(*span) for span in zip(low[::-1].tolist(), high[::-1].tolist())), labels


def correct(
    labels: np.ndarray, new: np.ndarray, point: tuple[int, ...], code: int, single: bool, unused: int
) -> np.ndarray:
    """
    Take over what the network decided anew about the region under a click. All else stays as the person left it, and so
    does this region if the network does not follow the click. A click on the background changes only what it lies on.

    Args:
        labels: present labels in the window, (row, column) or (z, y, x).
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
    number = labels[point]
    if code == 0:
        if number:
            under = flood(labels, point)
            result[region & under] = 0
        if number and single:
            parts = label(under & (result != 0))
            for part in range(2, parts.max() + 1):
                result[parts == part] = unused + part - 2
        return result
    if not single:
        result[region & (flood(labels, point) | (labels == 0))] = code
        return result
    if number == 0:
        present, covered = np.unique(labels[region & (labels != 0)], return_counts=True)
        most = covered.max(initial=0)
        number = int(present[covered.argmax()]) if 2 * most > region.sum() else unused
    result[region & (labels == 0)] = number
    return result
