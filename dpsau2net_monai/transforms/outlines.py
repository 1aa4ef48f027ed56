"""The outlines of numbered instances, for QuPath and ImageJ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from monai.utils import optional_import
from skimage.measure import find_contours, label, regionprops

__all__ = ["has_roifile", "write_geojson", "write_imagej"]

roifile, has_roifile = optional_import("roifile")

Ring = np.ndarray  # (points, (x, y)), the last as the first: corners of pixels. The first pixel extends from 0 to 1.
Polygon = list[Ring]  # the outer ring, then those of its holes


def _ring(contour: np.ndarray) -> Ring:
    """
    Return the line along the borders of the pixels for a contour of :func:`skimage.measure.find_contours`.

    Each point of the contour is the middle of the border between two pixels: one coordinate is a whole number, the
    other is a whole number and a half. A corner of pixels, with two halves, lies between each two of them.
    """
    first, second = contour[:-1], contour[1:]
    corners = np.where(first % 1 == 0.5, first, np.where(second % 1 == 0.5, second, (first + second) / 2))
    steps = corners - np.roll(corners, 1, axis=0)
    corners = corners[(steps != np.roll(steps, -1, axis=0)).any(1)]  # without those on a straight line
    return (np.vstack([corners, corners[:1]])[:, ::-1] + 0.5).astype(int)


def _polygons(instances: np.ndarray) -> Iterator[tuple[int, list[Polygon]]]:
    """
    Return the outlines of instances (row, column): for each, its number and a polygon for each of its parts. Pixels
    that only touch in a corner are two parts.
    """
    found: dict[int, list[Polygon]] = {}
    for part in regionprops(label(instances, connectivity=1)):
        rows, columns, _, _ = part.bbox
        # so that holes whose corners touch are several: a ring must not touch itself
        contours = find_contours(np.pad(part.image, 1).astype(float), 0.5, fully_connected="high")
        rings = [_ring(contour) + (columns - 1, rows - 1) for contour in contours]
        rings.sort(key=lambda ring: np.ptp(ring[:, 0]), reverse=True)  # the outer one is the widest
        found.setdefault(int(instances[tuple(part.coords[0])]), []).append(rings)
    yield from sorted(found.items())


def write_geojson(instances: np.ndarray, path: Path, name: str) -> None:
    """
    Write outlines as a GeoJSON ``FeatureCollection`` of QuPath's detections.

    Args:
        instances: numbered instances (row, column); 0 is the background.
        path: file to write.
        name: of the class.
    """
    features = []
    for number, polygons in _polygons(instances):
        parts = [[ring.tolist() for ring in polygon] for polygon in polygons]
        kind, coordinates = ("Polygon", parts[0]) if len(parts) == 1 else ("MultiPolygon", parts)
        geometry = {"type": kind, "coordinates": coordinates}
        properties = {"objectType": "detection", "name": str(number), "classification": {"name": name}}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    text = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text, encoding="utf-8")


def write_imagej(instances: np.ndarray, path: Path) -> None:
    """
    Write outlines as a ZIP of ImageJ's regions of interest, whose names are the numbers of the instances.

    Args:
        instances: numbered instances (row, column); 0 is the background.
        path: file to write.
    """
    rois = []
    for number, polygons in _polygons(instances):
        rings = [ring for polygon in polygons for ring in polygon]
        if len(rings) == 1:
            roi = roifile.ImagejRoi.frompoints(rings[0][:-1], name=str(number))
            roi.roitype = roifile.ROI_TYPE.TRACED
        else:  # a path of several rings, in ImageJ's codes: 0 moves to a point, 1 draws a line to it, 4 closes the ring
            points = np.concatenate(rings)
            (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
            steps = [[[min(i, 1), *point] for i, point in enumerate(ring[:-1].tolist())] for ring in rings]
            codes = np.array([code for ring in steps for code in [*(c for step in ring for c in step), 4]], np.float32)
            roi = roifile.ImagejRoi(
                roitype=roifile.ROI_TYPE.RECT, name=str(number), left=left, top=top, right=right, bottom=bottom,
                shape_roi_size=len(codes), multi_coordinates=codes,
            )  # fmt: skip
        rois.append(roi)
    roifile.roiwrite(path, rois, mode="w")
