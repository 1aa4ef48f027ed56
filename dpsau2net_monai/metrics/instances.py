"""Instances, such as nuclei, of a binary mask: split them, match them with the true instances, and measure them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects
from skimage.filters import gaussian
from skimage.measure import label, regionprops_table
from skimage.metrics import contingency_table
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

__all__ = ["IOU_THRESHOLDS", "Matches", "match_instances", "instance_metrics", "instance_table", "split_instances"]

# the thresholds of the Data Science Bowl 2018; they are quotients, so that an IoU of 3/5 equals 0.6 and is not over it
IOU_THRESHOLDS = np.arange(50, 100, 5) / 100

# Two parts are two instances if the neck between them is narrower than this share of the narrower part. On the true
# masks of the Data Science Bowl, 0.85 to 0.87 split the nuclei best: 0.9 cuts single nuclei, 0.8 leaves pairs.
NECK = 0.85
SMOOTHING = 1.5  # pixels: a predicted distance is rough, and each of its maxima would be an instance
LEAST = 1e-3  # of a predicted distance, so that every component has a peak
# An instance whose predicted distance is lower everywhere is none. By the validation images of the nuclei: there, it
# raises the instance AP from 0.547 to 0.567; 0.3 and 0.5 give the same to 0.001.
SURE = 0.4


class Matches(NamedTuple):
    """The matches between true and predicted instances."""

    pairs: np.ndarray  # (pairs, 2): the numbers of a true and a predicted instance that overlap
    iou: np.ndarray  # IoU of each pair
    true_positives: np.ndarray  # number at each of IOU_THRESHOLDS
    false_positives: np.ndarray  # the same
    false_negatives: np.ndarray  # the same
    # whether the predicted instance of a pair covers two or more true ones, each by more than half of the true one
    merged: np.ndarray
    # whether two or more predicted instances are in the true one of a pair, each with more than half of itself
    split: np.ndarray


def split_instances(mask: np.ndarray, normalised_distance: np.ndarray | None = None) -> np.ndarray:
    """
    Number the instances of a mask.

    The instances are the connected components of the mask. A component is split at its necks, by a watershed on the
    distance to the background. Every component has at least one instance, however small it is, unless the predicted
    distance says that there is none.

    Args:
        mask: binary mask in 2D or 3D.
        normalised_distance: of the same shape, 0 at the border of an instance and 1 in its middle, as a network
            predicts it. The square root of the distance to the background is multiplied by it, so that it also falls
            where two instances touch. In a mask without background, it counts alone. Instances in which it is under
            ``SURE`` everywhere are left out. None: it is not known.

    Returns:
        Integers of the same shape: 0 is the background, the instances are numbered from 1.
    """
    mask = np.asarray(mask) > 0
    full = mask.all()  # without background, there is no distance to it
    if full and normalised_distance is None:
        return np.ones(mask.shape, np.int32)
    distance = np.ones(mask.shape) if full else distance_transform_edt(mask)
    if normalised_distance is not None:
        distance = np.sqrt(distance) * np.clip(gaussian(normalised_distance, SMOOTHING), LEAST, None)
    # Diagonal neighbours count in every step. Otherwise a component that only touches another's peak would be lost.
    components = label(mask)
    highest = np.zeros(components.max() + 1)
    np.maximum.at(highest, components[mask], distance[mask])
    # Most components have their maxima in one part that no neck divides: it is their peak. The others are searched.
    peaks = mask & (local_maxima(distance) | (distance >= (NECK * highest)[components]))
    parts = label(peaks)
    component_of = np.zeros(parts.max() + 1, int)
    component_of[parts] = components
    boxes = find_objects(components)
    for number in np.flatnonzero(np.bincount(component_of[1:]) > 1):
        box = boxes[number - 1]
        inside = components[box] == number
        peaks[box][inside] = _peaks(np.where(inside, distance[box], 0))[inside]
    instances = watershed(-distance, label(peaks), connectivity=mask.ndim, mask=mask)
    if normalised_distance is None:
        return instances
    sure = np.zeros(instances.max() + 1, bool)
    sure[instances[mask & (normalised_distance >= SURE)]] = True
    return (np.cumsum(sure) * sure).astype(instances.dtype)[instances]


def _peaks(distance: np.ndarray) -> np.ndarray:
    """
    Return the peaks of the distance to the background, as booleans.

    A local maximum is a peak if every path from it to a higher maximum goes below NECK times its height. The ratio of
    heights counts, not their difference: so small instances split like large ones, and even the smallest has a peak.
    """
    distance = np.pad(distance, 1)  # a constant array has no maxima, so an instance that fills its box needs a border
    return local_maxima(reconstruction(distance * NECK, distance))[(slice(1, -1),) * distance.ndim]


def match_instances(true: np.ndarray, predicted: np.ndarray) -> Matches:
    """
    Match true and predicted instances as the Data Science Bowl 2018 did.

    A pair matches if its IoU is greater than the threshold. No threshold is below 0.5, so an instance has at most one
    match.

    Args:
        true: numbered instances; 0 is the background. The numbers may have gaps.
        predicted: the same, with the same shape.

    Returns:
        The pairs that overlap, their IoU, the numbers of true and false positives and of false negatives, and which of
        the pairs belong to merged and to split instances.

    Raises:
        ValueError: the shapes differ.
    """
    if true.shape != predicted.shape:
        raise ValueError(f"the true instances have the shape {true.shape}, the predicted ones {predicted.shape}")
    table = contingency_table(true, predicted).tocoo()
    true_areas = np.bincount(table.row, table.data)
    predicted_areas = np.bincount(table.col, table.data)
    both = (table.row > 0) & (table.col > 0)
    pairs = np.stack([table.row[both], table.col[both]], axis=1)
    shared = table.data[both]
    of_true, of_predicted = true_areas[pairs[:, 0]], predicted_areas[pairs[:, 1]]
    iou = shared / (of_true + of_predicted - shared)
    matched = np.count_nonzero(iou > IOU_THRESHOLDS[:, None], axis=1)
    return Matches(
        pairs,
        iou,
        matched,
        np.count_nonzero(predicted_areas[1:]) - matched,
        np.count_nonzero(true_areas[1:]) - matched,
        _several(pairs[:, 1], 2 * shared > of_true),
        _several(pairs[:, 0], 2 * shared > of_predicted),
    )


def _several(numbers: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Return which of the selected pairs have the number of another selected pair."""
    return selected & (np.bincount(numbers[selected], minlength=numbers.max(initial=0) + 1)[numbers] > 1)


def instance_metrics(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """
    Compute the metrics of an image's instances.

    Args:
        true: numbered instances; 0 is the background.
        predicted: the same, with the same shape.

    Returns:
        - ``instance_ap``: mean of TP / (TP + FP + FN) over ``IOU_THRESHOLDS``,
        - ``instance_ap50`` and ``instance_ap75``: the same at an IoU of 0.5 and of 0.75,
        - ``instance_f1``: F1 at an IoU of 0.5,
        - ``true_instances`` and ``predicted_instances``: their numbers,
        - ``count_error``: predicted minus true instances,
        - ``merged``: number of predicted instances that cover more than half of each of two or more true ones,
        - ``split``: number of true instances in which more than half of each of two or more predicted ones lies.

        The first four are 1 if there are no true and no predicted instances, and 0 if only one of both has instances.

    Raises:
        ValueError: the shapes differ.
    """
    pairs, _, tp, fp, fn, merged, split = match_instances(true, predicted)
    n_true, n_predicted = int(tp[0] + fn[0]), int(tp[0] + fp[0])
    none = n_true + n_predicted == 0
    precision = np.ones(len(tp)) if none else tp / (tp + fp + fn)
    return {
        "instance_ap": float(precision.mean()),
        "instance_ap50": float(precision[0]),
        "instance_ap75": float(precision[5]),
        "instance_f1": 1.0 if none else float(2 * tp[0] / (n_true + n_predicted)),
        "true_instances": float(n_true),
        "predicted_instances": float(n_predicted),
        "count_error": float(n_predicted - n_true),
        "merged": float(len(np.unique(pairs[merged, 1]))),
        "split": float(len(np.unique(pairs[split, 0]))),
    }


def instance_table(
    labels: np.ndarray, image: np.ndarray, spacing: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """
    Measure each instance.

    Args:
        labels: numbered instances (row, column) or (x, y, z); 0 is the background.
        image: array of the same shape, or with an additional last axis of channels.
        spacing: of the voxels in mm. None: the table has no volume in mm³.

    Returns:
        The columns of a table with one row per instance:

        - ``label``: number of the instance,
        - ``area`` in pixels, or in 3D ``volume`` in voxels, and with a spacing ``volume_mm3``,
        - ``centroid_row`` and ``centroid_column``, or in 3D ``centroid_x``, ``_y`` and ``_z``, in pixels from 0,
        - ``mean_intensity``, or with several channels ``mean_intensity_0``, ``_1`` ...
    """
    table = regionprops_table(labels, image, ("label", "area", "centroid", "intensity_mean"), separator="_")
    size, axes = ("area", ("row", "column")) if labels.ndim == 2 else ("volume", ("x", "y", "z"))
    columns = {"label": table["label"], size: table["area"].astype(int)}
    if spacing is not None:
        columns["volume_mm3"] = table["area"] * math.prod(spacing)
    columns |= {f"centroid_{axis}": table[f"centroid_{i}"] for i, axis in enumerate(axes)}
    means = {name: column for name, column in table.items() if name.startswith("intensity_mean")}
    return columns | {name.replace("intensity_mean", "mean_intensity"): column for name, column in means.items()}
