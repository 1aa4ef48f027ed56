"""Metrics of an image's pixels that are defined on every image."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.data import MetaTensor
from monai.metrics import (
    CumulativeIterationMetric,
    HausdorffDistanceMetric,
    SurfaceDistanceMetric,
    do_metric_reduction,
    get_confusion_matrix,
)
from monai.metrics.utils import ignore_background

__all__ = ["ConfusionMetric", "FiniteHausdorffDistance", "FiniteSurfaceDistance", "volumes"]

# numerator and denominator, from the numbers of true and false positives and negatives
FORMULAS = {
    "accuracy": lambda tp, fp, tn, fn: (tp + tn, tp + fp + tn + fn),
    "precision": lambda tp, fp, tn, fn: (tp, tp + fp),
    "sensitivity": lambda tp, fp, tn, fn: (tp, tp + fn),
    # with a smoothing of 1, as published with DPSAU2-Net
    "iou_smoothed": lambda tp, fp, tn, fn: (tp + 1, tp + fp + fn + 1),
}


class ConfusionMetric(CumulativeIterationMetric):
    """
    A metric of the confusion matrix, per image, that is defined on every image.

    If mask and prediction are both empty, the metric is 1. If only one of them is empty and the denominator is 0, it is
    0.

    ``monai.metrics.ConfusionMatrixMetric`` computes accuracy, precision and sensitivity too, but returns NaN in these
    cases, and the mean over the images ignores NaN. ``monai.metrics.MeanIoU`` computes the IoU without the smoothing
    that the published IoU of DPSAU2-Net has.

    Args:
        name: ``accuracy``, ``precision``, ``sensitivity`` or ``iou_smoothed``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.formula = FORMULAS[name]

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            raise ValueError("the true masks y are needed")
        tp, fp, tn, fn = get_confusion_matrix(y_pred, y, include_background=True).double().unbind(-1)
        numerator, denominator = self.formula(tp, fp, tn, fn)
        both_empty = tp + fp + fn == 0
        metric = torch.where(denominator > 0, numerator / denominator.clamp(min=1), both_empty.double())
        return metric.float()

    def aggregate(self, reduction: str = "mean") -> torch.Tensor:
        """Reduce the buffered metrics (image, channel) over both axes."""
        metric, _ = do_metric_reduction(self.get_buffer(), reduction)
        return metric


def _spacing(masks: torch.Tensor) -> list[float] | None:
    """
    Return the voxel spacing of masks (image, class, x, y, z), which is that of their affine. None for pictures (image,
    class, x, y), whose distances are in pixels.
    """
    if masks.ndim < 5:
        return None
    return [float(size) for size in masks.pixdim] if isinstance(masks, MetaTensor) else [1.0] * 3


class _FiniteDistance(CumulativeIterationMetric):
    """
    Makes a distance of MONAI defined on every image. It is in pixels for pictures, and in mm for volumes.

    If mask and prediction are both empty, the distance is 0. If only one of them is empty, it is the image's diagonal,
    the largest possible distance. MONAI returns NaN and infinity in these cases.
    """

    include_background: bool

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        spacing = _spacing(y)
        distance = super()._compute_tensor(y_pred, y, **kwargs, spacing=spacing)  # type: ignore[safe-super]
        distance = torch.as_tensor(distance)
        if not self.include_background:
            y_pred, y = ignore_background(y_pred, y)
        axes = list(range(2, y.ndim))
        empty, empty_pred = y.sum(axes) == 0, y_pred.sum(axes) == 0
        sizes = [size * step for size, step in zip(y.shape[2:], spacing or [1.0] * len(axes))]
        diagonal = torch.tensor(sizes, dtype=distance.dtype).norm().to(distance)
        distance = torch.where(empty != empty_pred, diagonal, distance)
        return torch.where(empty & empty_pred, torch.zeros_like(distance), distance)


class FiniteHausdorffDistance(_FiniteDistance, HausdorffDistanceMetric):
    """
    ``monai.metrics.HausdorffDistanceMetric``, defined on every image, in pixels for pictures and in mm for volumes.

    If mask and prediction are both empty, the distance is 0. If only one of them is empty, it is the image's diagonal,
    the largest possible distance. MONAI returns NaN and infinity in these cases, and does not know the voxel spacing.
    """


class FiniteSurfaceDistance(_FiniteDistance, SurfaceDistanceMetric):
    """
    ``monai.metrics.SurfaceDistanceMetric``, with the units and the conventions of :class:`FiniteHausdorffDistance`.
    """


def volumes(true: torch.Tensor, predicted: torch.Tensor) -> dict[str, torch.Tensor]:
    """
    Measure the classes of a volume.

    Args:
        true: true masks (classes, x, y, z) of 0 and 1. A ``MetaTensor`` has the voxel spacing, which otherwise is 1 mm.
        predicted: predicted masks, likewise.

    Returns:
        ``true_volume``, ``predicted_volume``, and ``volume_error``, which is predicted minus true: each (classes,), in
        millilitres.
    """
    spacing = _spacing(true[None])
    voxel = math.prod(spacing or []) / 1000
    sizes = [torch.as_tensor(mask).flatten(1).sum(1, dtype=torch.float64).cpu() * voxel for mask in (true, predicted)]
    return {"true_volume": sizes[0], "predicted_volume": sizes[1], "volume_error": sizes[1] - sizes[0]}
