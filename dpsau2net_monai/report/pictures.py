"""An image, its masks and their contours, small enough to stand by the hundred in one page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from ..transforms.saving import stretch

__all__ = ["NEAR", "Pictures", "draw_pictures"]

NEAR = 2  # pixels of the original image that two contours may be apart and still agree
LONGEST, SHORTEST = 512, 32  # pixels of the pictures' longer side
QUALITIES = (90, 80, 70, 60, 50, 40)
TOLERANCE = 0.3  # pixels of the picture that a simplified contour may be off by
CONTOURS_SHARE = 0.4  # of the limit: a prediction that is all specks must not leave the image a thumbnail


class Pictures(NamedTuple):
    """
    An image as a page embeds it. ``image`` is the data URI of a JPEG, ``truth`` and ``prediction`` are those of 1-bit
    PNGs, all of ``width`` x ``height`` pixels, in which ``right``, ``missed`` and ``false`` are SVG path data.
    """

    width: int
    height: int
    image: str
    truth: str
    prediction: str
    right: str
    missed: str
    false: str


def _contours(mask: np.ndarray) -> list[np.ndarray]:
    """Closed contours (points, (x, y)) in the coordinates of SVG, where the first pixel reaches from 0 to 1."""
    # padded, so that what touches the border closes
    return [contour[:, ::-1] - 0.5 for contour in find_contours(np.pad(mask, 1).astype(float), 0.5)]


def _cut(contours: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut contours where they leave the others or come near them, into runs that are near and runs that are far."""
    near: list[np.ndarray] = []
    far: list[np.ndarray] = []
    if not contours:
        return near, far
    points = np.concatenate(contours)
    away = np.ones(len(points), bool)
    if others:
        bound = np.nextafter(NEAR, NEAR + 1)  # the bound itself is excluded
        away = np.isinf(cKDTree(np.concatenate(others)).query(points, distance_upper_bound=bound)[0])
    stop = 0
    for contour in contours:
        start, stop = stop, stop + len(contour)
        # the last point is the first
        cuts = start + 1 + np.flatnonzero(np.diff(away[start : stop - 1]))
        for first, last in zip([start, *cuts], [*cuts, stop - 1]):
            # up to the first point of the next run, so that there is no gap
            (far if away[first] else near).append(points[first : last + 1])
    return near, far


def _simplify(runs: Sequence[np.ndarray], tolerance: float, specks: bool) -> list[np.ndarray]:
    """
    Douglas and Peucker's algorithm on all runs at once: ``skimage.measure.approximate_polygon`` takes them one by one,
    which is seconds for an image of some hundred objects. ``specks``: whether with runs smaller than the tolerance.
    """
    if not runs:
        return []
    points = np.concatenate(runs)
    stops = np.cumsum([len(run) for run in runs])
    starts = np.append(0, stops[:-1])
    kept = np.zeros(len(points), bool)
    kept[starts] = kept[stops - 1] = True
    while True:
        ends = np.flatnonzero(kept)
        segment = np.cumsum(kept) - 1
        start = points[ends[segment]]
        along = points[ends[np.minimum(segment + 1, len(ends) - 1)]] - start
        offset = points - start
        length = np.maximum((along**2).sum(1), 1e-12)
        offset -= along * np.clip((offset * along).sum(1) / length, 0, 1)[:, None]
        distance = (offset**2).sum(1)
        distance[kept] = 0
        farthest = np.maximum.reduceat(distance, ends)[segment]
        candidates = np.flatnonzero((distance == farthest) & (distance > tolerance**2))
        if not len(candidates):
            break
        kept[candidates[np.diff(segment[candidates], prepend=-1) > 0]] = True
    large = np.add.reduceat(kept, starts, dtype=int) > 2
    large |= np.hypot(*(points[stops - 1] - points[starts]).T) > tolerance
    return [points[i:j][kept[i:j]] for i, j in zip(starts[large | specks], stops[large | specks])]


def _path(runs: Sequence[np.ndarray], scale: np.ndarray) -> str:
    """SVG path data of runs times ``scale``, relative, in tenths."""
    parts = {}
    for run in runs:
        tenths = np.rint(run * scale * 10).astype(int).tolist()
        (x, y), steps = tenths[0], []
        for (x1, y1), (x2, y2) in zip(tenths, tenths[1:]):
            steps += (x2 - x1, y2 - y1)
        if any(steps):
            numbers = "".join(f" {number / 10:g}" for number in steps).replace(" -", "-")
            parts[f"M{x / 10:g} {y / 10:g}l{numbers.lstrip()}"] = None
        else:  # a speck, which its round ends show; many in one place are written once
            parts[f"M{x / 10:.0f} {y / 10:.0f}h0"] = None
    return "".join(parts)


def _data_uri(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def draw_pictures(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, limit: int = 50_000) -> Pictures:
    """
    Draw an image, its masks, and where their contours agree.

    Args:
        image: (height, width, channels) of any range and 1, 3 or 4 channels; see
            :func:`~dpsau2net_monai.transforms.saving.stretch`.
        truth: (height, width) of 0 and 1.
        prediction: (height, width) of 0 and 1.
        limit: most characters that all of it may have in a page. For this, contours get coarser, the JPEG worse, and
            then all pictures smaller, down to 32 pixels.

    Returns:
        Pictures of at most 512 pixels on the longer side, never enlarged. ``missed`` is the true contour where it is
        farther than 2 pixels of the image from the predicted one, ``false`` is the predicted contour where it is
        farther than that from the true one, ``right`` is the rest of the predicted contour.
    """
    picture = Image.fromarray(stretch(image))
    masks = [Image.fromarray((np.asarray(mask) > 0).astype(np.uint8) * 255) for mask in (truth, prediction)]
    true, predicted = (_contours(np.asarray(mask) > 0) for mask in masks)
    right, false = _cut(predicted, true)
    lines = [right, _cut(true, predicted)[1], false]

    size, tolerance = min(LONGEST, max(picture.size)), TOLERANCE
    while True:
        factor = size / max(picture.size)
        shape = tuple(max(1, round(side * factor)) for side in picture.size)
        scale = np.divide(shape, picture.size)
        lines = [_simplify(runs, tolerance / factor, tolerance == TOLERANCE) for runs in lines]
        paths = [_path(runs, scale) for runs in lines]
        if sum(map(len, paths)) > CONTOURS_SHARE * limit and tolerance < size:
            tolerance *= 2
            continue
        small_masks = (mask.resize(shape, Image.Resampling.BOX) for mask in masks)
        rest = [_data_uri(mask.point(lambda value: 255 * (value > 127), "1"), "PNG") for mask in small_masks] + paths
        small = picture.resize(shape, Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            jpeg = _data_uri(small, "JPEG", quality=quality)
            if len(jpeg) + sum(map(len, rest)) <= limit:
                return Pictures(*shape, jpeg, *rest)
        if size <= SHORTEST:
            return Pictures(*shape, jpeg, *rest)
        size = max(SHORTEST, size * 3 // 4)
