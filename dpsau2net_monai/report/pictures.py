"""Make pictures of an image, its masks and their contours, small enough for hundreds of images in one page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from ..metrics import IOU_THRESHOLDS, match_instances
from ..visualize import Volume, class_colours

__all__ = ["NEAR", "Pictures", "Slices", "draw_pictures", "draw_slices"]

NEAR = 2  # two contours agree up to this distance, in pixels of the original image
LONGEST, SHORTEST = 512, 32  # limits of the pictures' longer side, in pixels
LONGEST_SLICE = 256  # the same of each of a volume's slices
SLICE_LIMIT = 3000  # characters that a slice needs at least; a volume with fewer for each shows every n-th slice
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
        truth: data URI of the true mask as a PNG, white for a single class, else with the classes' colours.
        prediction: data URI of the predicted mask, likewise.
        contours: the contours as SVG path data, in pixels of the pictures, a path for each class. Their kinds are
            ``right``, ``false``, ``missed``, ``merged`` and ``split``, or ``predicted`` and ``true``; see
            :func:`draw_pictures`.
    """

    width: int
    height: int
    image: str
    truth: str
    prediction: str
    contours: dict[str, list[str]]

    @property
    def size(self) -> int:
        """Number of characters in the page."""
        paths = [path for of_kind in self.contours.values() for path in of_kind]
        return sum(map(len, (self.image, self.truth, self.prediction, *paths)))


class Slices(NamedTuple):
    """
    The axial slices of a volume.

    Args:
        total: number of slices of the volume.
        numbers: the numbers of the slices that the page has. The lowest slice of the volume has the number 1.
        start: index of the slice to show first.
        pictures: the pictures of each slice.
    """

    total: int
    numbers: list[int]
    start: int
    pictures: list[Pictures]


def _contours(mask: np.ndarray) -> list[np.ndarray]:
    """Return closed contours (points, (x, y)) in the coordinates of SVG: the first pixel extends from 0 to 1."""
    # the padding closes the contours at the border
    return [contour[:, ::-1] - 0.5 for contour in find_contours(np.pad(mask, 1).astype(float), 0.5)]


def _contours_of_instances(instances: np.ndarray) -> dict[int, list[np.ndarray]]:
    """Return the contours of each of the numbered instances."""
    boxes = enumerate(find_objects(instances), 1)
    return {
        number: [contour + (box[1].start, box[0].start) for contour in _contours(instances[box] == number)]
        for number, box in boxes
        if box is not None
    }


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


def _lines_of_instances(true: np.ndarray, predicted: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Return the lines to draw by kind. See ``instances`` of :func:`draw_pictures`."""
    matches = match_instances(true, predicted)
    of_true, of_predicted = _contours_of_instances(true), _contours_of_instances(predicted)

    def numbers(selected: np.ndarray) -> list[set[int]]:
        """The true and the predicted instances of the selected pairs."""
        return [set(column) for column in matches.pairs[selected].T.tolist()]

    def lines(contours: Mapping[int, list[np.ndarray]], chosen: Collection[int]) -> list[np.ndarray]:
        return [contour for number in sorted(chosen) for contour in contours[number]]

    all_true, all_predicted = lines(of_true, of_true), lines(of_predicted, of_predicted)
    merged, split, matched = map(numbers, (matches.merged, matches.split, matches.iou > IOU_THRESHOLDS[0]))
    left_true, left_predicted = of_true.keys() - merged[0] - split[0], of_predicted.keys() - merged[1] - split[1]
    right, false = _cut(lines(of_predicted, left_predicted & matched[1]), all_true)
    missed = _cut(lines(of_true, left_true & matched[0]), all_predicted)[1]
    return {
        "right": right,
        "false": false + lines(of_predicted, left_predicted - matched[1]),
        "missed": missed + lines(of_true, left_true - matched[0]),
        "merged": lines(of_predicted, merged[1]) + _cut(lines(of_true, merged[0]), all_predicted)[1],
        "split": lines(of_predicted, split[1] - merged[1]),
    }


def _small_mask(masks: np.ndarray, shape: tuple[int, int]) -> str:
    """Return masks (classes, height, width) as the data URI of one PNG of the size (width, height)."""
    if len(masks) == 1:
        small = Image.fromarray(masks[0].astype(np.uint8) * 255).resize(shape, Image.Resampling.BOX)
        return _data_uri(small.point(lambda value: 255 * (value > 127), "1"), "PNG")
    classes = np.zeros(masks.shape[1:], np.uint8)
    for i in np.argsort([-mask.sum() for mask in masks], kind="stable"):  # the smaller classes over the larger ones
        classes[masks[i]] = i + 1
    picture = Image.fromarray(classes)  # of up to 255 classes, which is the most that a palette has
    picture.putpalette([0, 0, 0, *(value for colour in class_colours(len(masks)) for value in colour)])
    return _data_uri(picture.resize(shape, Image.Resampling.NEAREST), "PNG")


def draw_pictures(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    limit: int = 50_000,
    instances: tuple[np.ndarray, np.ndarray] | None = None,
    longest: int = LONGEST,
) -> Pictures:
    """
    Draw an image and its masks, and compare the contours of the masks.

    Args:
        image: uint8 array (height, width, 3).
        truth: true masks (classes, height, width) of 0 and 1.
        prediction: predicted masks, likewise.
        limit: largest number of characters of these pictures in the page. To meet it, the contours get coarser first,
            then the JPEG's quality lower, then all pictures smaller, down to 32 pixels.
        instances: numbered true and predicted instances of a single class, (height, width) each. The contours show how
            they agree:

            - ``merged``: predicted instances that cover two or more true ones, each by more than half of the true one;
              of these true ones, the parts of their contours that ``missed`` would have,
            - ``split``: predicted instances of which two or more are in one true instance, each with more than half of
              itself,
            - ``missed``: other true instances without a match at an IoU of 0.5; of those with a match, the parts of the
              contour that are more than 2 pixels of the image away from every predicted contour,
            - ``false``: the same of the other predicted instances, away from every true contour,
            - ``right``: the rest of the contours of the predicted instances.

            None: the contours are ``predicted`` and ``true``.
        longest: largest number of pixels of the longer side.

    Returns:
        The pictures. They are never enlarged.
    """
    picture = Image.fromarray(image)
    truth, prediction = (np.asarray(masks) > 0 for masks in (truth, prediction))
    if instances is None:
        lines = {
            kind: [_contours(mask) for mask in masks] for kind, masks in (("predicted", prediction), ("true", truth))
        }
    else:
        lines = {kind: [of_kind] for kind, of_kind in _lines_of_instances(*instances).items()}

    size, tolerance = min(longest, max(picture.size)), TOLERANCE
    while True:
        factor = size / max(picture.size)
        shape = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
        scale = np.divide(shape, picture.size)
        lines = {
            kind: [_simplify(runs, tolerance / factor, tolerance == TOLERANCE) for runs in classes]
            for kind, classes in lines.items()
        }
        paths = {kind: [_path(runs, scale) for runs in classes] for kind, classes in lines.items()}
        characters = sum(len(path) for of_kind in paths.values() for path in of_kind)
        if characters > CONTOURS_SHARE * limit and tolerance < size:
            tolerance *= 2
            continue
        small_truth, small_prediction = _small_mask(truth, shape), _small_mask(prediction, shape)
        small = picture.resize(shape, Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            jpeg = _data_uri(small, "JPEG", quality=quality)
            pictures = Pictures(*shape, jpeg, small_truth, small_prediction, paths)
            if pictures.size <= limit:
                return pictures
        if size <= SHORTEST:
            return pictures
        size = max(SHORTEST, size * 3 // 4)


def draw_slices(volume: Volume, limit: int) -> Slices:
    """
    Draw the axial slices of a volume.

    Args:
        volume: with the true and the predicted masks.
        limit: largest number of characters of the slices in the page. To meet it, the slices get smaller, then only
            every n-th slice is drawn.
    """
    step = max(1, math.ceil(volume.depth * SLICE_LIMIT / limit))
    middle = volume.centre[2]
    shown = range(volume.depth - 1 - (volume.depth - 1 - middle) % step, -1, -step)  # the lowest slice first
    pictures = []
    for index in shown:
        image, truth, prediction = volume.slice(2, index)
        image = np.repeat(image[..., None], 3, axis=2)
        pictures.append(draw_pictures(image, truth, prediction, limit // len(shown), None, LONGEST_SLICE))
    return Slices(volume.depth, [volume.depth - index for index in shown], shown.index(middle), pictures)
