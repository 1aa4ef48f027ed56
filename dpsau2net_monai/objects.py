"""Single objects, as nuclei, of a binary mask: telling them apart, matching them with the true ones, measuring them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects
from skimage.measure import label, regionprops_table
from skimage.metrics import contingency_table
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

__all__ = ["IOU_THRESHOLDS", "Matches", "match_objects", "object_figures", "object_table", "split_objects"]

# of the Data Science Bowl 2018; as quotients, so that an IoU of 3/5 is exactly 0.6, and not over it
IOU_THRESHOLDS = np.arange(50, 100, 5) / 100

# Two parts are two objects where the neck between them is narrower than this share of the narrower part. On the true
# masks of the Data Science Bowl's nuclei, 0.85 to 0.87 tells them apart best; 0.9 cuts single ones, 0.8 leaves pairs.
NECK = 0.85


class Matches(NamedTuple):
    """Two sets of objects against each other."""

    pairs: np.ndarray  # (pairs, 2): the numbers of a true and a predicted object that overlap
    iou: np.ndarray  # of each pair
    true_positives: np.ndarray  # at each of IOU_THRESHOLDS, as the next two
    false_positives: np.ndarray
    false_negatives: np.ndarray


def split_objects(mask: np.ndarray) -> np.ndarray:
    """
    Number the objects of a mask: its connected components, and those that touch are split at their necks, by a
    watershed on the distance to the background.

    Each component keeps an object, however small it is.

    Args:
        mask: binary, 2D or 3D.

    Returns:
        Integers of the same shape, 0 for the background and the objects from 1.
    """
    mask = np.asarray(mask) > 0
    if mask.all():  # no background to be distant from
        return np.ones(mask.shape, np.int32)
    distance = distance_transform_edt(mask)
    # all with diagonal neighbours, as a component that only touches another's peak would be lost otherwise
    components = label(mask)
    peaks = np.zeros(mask.shape, bool)
    for number, box in enumerate(find_objects(components), 1):  # the whole image at once takes four times as long
        peaks[box] |= _peaks(np.where(components[box] == number, distance[box], 0))
    return watershed(-distance, label(peaks), connectivity=mask.ndim, mask=mask)


def _peaks(distance: np.ndarray) -> np.ndarray:
    """
    Where the distance to the background peaks, such that one has to go below NECK of a peak's height to reach a higher
    one. Heights are compared by their ratio, not their difference, so that small objects split as large ones do, and
    none is too low to have a peak.
    """
    distance = np.pad(distance, 1)  # for an object that fills its box, as there are no maxima in what is all the same
    return local_maxima(reconstruction(distance * NECK, distance))[(slice(1, -1),) * distance.ndim]


def match_objects(true: np.ndarray, predicted: np.ndarray) -> Matches:
    """
    Match true and predicted objects as the Data Science Bowl 2018 did: a pair matches where its IoU is greater than the
    threshold. As none is below 0.5, an object has one match at most.

    Args:
        true: numbered objects, 0 is the background; the numbers may have gaps.
        predicted: the same, of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if true.shape != predicted.shape:
        raise ValueError(f"the true objects are {true.shape}, the predicted ones {predicted.shape}")
    table = contingency_table(true, predicted).tocoo()
    true_areas = np.bincount(table.row, table.data)
    predicted_areas = np.bincount(table.col, table.data)
    both = (table.row > 0) & (table.col > 0)
    pairs = np.stack([table.row[both], table.col[both]], axis=1)
    shared = table.data[both]
    iou = shared / (true_areas[pairs[:, 0]] + predicted_areas[pairs[:, 1]] - shared)
    matched = np.count_nonzero(iou > IOU_THRESHOLDS[:, None], axis=1)
    return Matches(
        pairs,
        iou,
        matched,
        np.count_nonzero(predicted_areas[1:]) - matched,
        np.count_nonzero(true_areas[1:]) - matched,
    )


def object_figures(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """
    Args:
        true: numbered objects, 0 is the background.
        predicted: the same, of the same shape.

    Returns:
        ``object_ap``, the mean over ``IOU_THRESHOLDS`` of TP / (TP + FP + FN), ``object_ap50`` and ``object_ap75`` at
        one of them, ``object_f1`` at an IoU of 0.5, each 1 where both have no objects and 0 where just one has none;
        ``true_objects``, ``predicted_objects`` and ``count_error``, how many are predicted too many.

    Raises:
        ValueError: the shapes differ.
    """
    _, _, tp, fp, fn = match_objects(true, predicted)
    n_true, n_predicted = int(tp[0] + fn[0]), int(tp[0] + fp[0])
    none = n_true + n_predicted == 0
    precision = np.ones(len(tp)) if none else tp / (tp + fp + fn)
    return {
        "object_ap": float(precision.mean()),
        "object_ap50": float(precision[0]),
        "object_ap75": float(precision[5]),
        "object_f1": 1.0 if none else float(2 * tp[0] / (n_true + n_predicted)),
        "true_objects": float(n_true),
        "predicted_objects": float(n_predicted),
        "count_error": float(n_predicted - n_true),
    }


def object_table(labels: np.ndarray, image: np.ndarray) -> dict[str, np.ndarray]:
    """
    Measure each object.

    Args:
        labels: numbered objects (row, column) or (x, y, z), 0 is the background.
        image: of the same shape, or with a last axis of channels besides.

    Returns:
        A row an object in the columns ``label``; ``area`` in pixels, in 3D ``volume`` in voxels; ``centroid_row`` and
        ``centroid_column``, in 3D ``centroid_x``, ``_y`` and ``_z``, from 0; ``mean_intensity``, or of each channel
        ``mean_intensity_0``, ``_1`` ...
    """
    table = regionprops_table(labels, image, ("label", "area", "centroid", "intensity_mean"), separator="_")
    size, axes = ("area", ("row", "column")) if labels.ndim == 2 else ("volume", ("x", "y", "z"))
    columns = {"label": table["label"], size: table["area"].astype(int)}
    columns |= {f"centroid_{axis}": table[f"centroid_{i}"] for i, axis in enumerate(axes)}
    means = {name: column for name, column in table.items() if name.startswith("intensity_mean")}
    return columns | {name.replace("intensity_mean", "mean_intensity"): column for name, column in means.items()}
