"""Make pictures of an image, its masks and their contours, small enough for hundreds of images in one page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from ..visualize import stretch

__all__ = ["NEAR", "Pictures", "draw_pictures"]

NEAR = 2  # two contours agree up to this distance, in pixels of the original image
LONGEST, SHORTEST = 512, 32  # limits of the pictures' longer side, in pixels
QUALITIES = (90, 80, 70, 60, 50, 40)  # of the JPEG, from the best
TOLERANCE = 0.3  # largest error of a simplified contour, in pixels of the picture
CONTOURS_SHARE = 0.4  # of the limit; so a prediction of many specks leaves enough for the image


class Pictures(NamedTuple):
    """
    The pictures of an image, in the form that a page embeds.

    Args:
        width: width of the three pictures in pixels.
        height: their height in pixels.
        image: data URI of the image as a JPEG.
        truth: data URI of the true mask as a 1-bit PNG.
        prediction: data URI of the predicted mask as a 1-bit PNG.
        right: right parts of the contours as SVG path data, in pixels of the pictures.
        missed: missed parts, likewise.
        false: false parts, likewise.
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
    """Return closed contours (points, (x, y)) in the coordinates of SVG: the first pixel extends from 0 to 1."""
    # the padding closes the contours at the border
    return [contour[:, ::-1] - 0.5 for contour in find_contours(np.pad(mask, 1).astype(float), 0.5)]


def _cut(contours: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut contours into runs that are within NEAR of the other contours, and runs that are farther away."""
    near: list[np.ndarray] = []
    far: list[np.ndarray] = []
    if not contours:
        return near, far
    points = np.concatenate(contours)
    away = np.ones(len(points), bool)
    if others:
        bound = np.nextafter(NEAR, NEAR + 1)  # the bound itself is excluded, but NEAR counts as near
        away = np.isinf(cKDTree(np.concatenate(others)).query(points, distance_upper_bound=bound)[0])
    stop = 0
    for contour in contours:
        start, stop = stop, stop + len(contour)
        # the last point of a closed contour is its first
        cuts = start + 1 + np.flatnonzero(np.diff(away[start : stop - 1]))
        for first, last in zip([start, *cuts], [*cuts, stop - 1]):
            # a run includes the first point of the next run, which leaves no gap
            (far if away[first] else near).append(points[first : last + 1])
    return near, far


def _simplify(runs: Sequence[np.ndarray], tolerance: float, specks: bool) -> list[np.ndarray]:
    """
    Simplify runs by the algorithm of Douglas and Peucker, all at once.

    ``skimage.measure.approximate_polygon`` simplifies one run at a time, which takes seconds for an image with some
    hundred instances. ``specks``: whether to keep the runs that are smaller than the tolerance.
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
    """Return SVG path data of runs multiplied by ``scale``: relative lines, rounded to a tenth of a pixel."""
    parts: dict[str, None] = {}
    for run in runs:
        tenths = np.rint(run * scale * 10).astype(int).tolist()
        x, y = tenths[0]
        steps: list[int] = []
        for (x1, y1), (x2, y2) in zip(tenths, tenths[1:]):
            steps += (x2 - x1, y2 - y1)
        if any(steps):
            numbers = "".join(f" {number / 10:g}" for number in steps).replace(" -", "-")
            parts[f"M{x / 10:g} {y / 10:g}l{numbers.lstrip()}"] = None
        else:  # a speck: its round line caps make it visible; several in one place are written once
            parts[f"M{x / 10:.0f} {y / 10:.0f}h0"] = None
    return "".join(parts)


def _data_uri(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def draw_pictures(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, limit: int = 50_000) -> Pictures:
    """
    Draw an image and its masks, and compare the contours of the masks.

    Args:
        image: array (height, width, channels) of any range, with 1, 3 or 4 channels; see
            :func:`~dpsau2net_monai.visualize.stretch`.
        truth: true mask (height, width) of 0 and 1.
        prediction: predicted mask (height, width) of 0 and 1.
        limit: largest number of characters of these pictures in the page. To meet it, the contours get coarser first,
            then the JPEG's quality lower, then all pictures smaller, down to 32 pixels.

    Returns:
        Pictures with at most 512 pixels on the longer side. They are never enlarged. ``missed`` is the part of the true
        contour that is more than 2 pixels of the image away from the predicted contour. ``false`` is the part of the
        predicted contour that is more than 2 pixels away from the true contour. ``right`` is the rest of the predicted
        contour.
    """
    picture = Image.fromarray(stretch(image))
    masks = [Image.fromarray((np.asarray(mask) > 0).astype(np.uint8) * 255) for mask in (truth, prediction)]
    true, predicted = (_contours(np.asarray(mask) > 0) for mask in masks)
    right, false = _cut(predicted, true)
    lines = [right, _cut(true, predicted)[1], false]

    size, tolerance = min(LONGEST, max(picture.size)), TOLERANCE
    while True:
        factor = size / max(picture.size)
        shape = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
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
