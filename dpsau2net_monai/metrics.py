"""Per-image figures that are defined on every image."""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric, HausdorffDistanceMetric, do_metric_reduction, get_confusion_matrix

__all__ = ["ConfusionMetric", "FiniteHausdorffDistance"]

# numerator and denominator, from the counts of true and false positives and negatives
FORMULAS = {
    "accuracy": lambda tp, fp, tn, fn: (tp + tn, tp + fp + tn + fn),
    "precision": lambda tp, fp, tn, fn: (tp, tp + fp),
    "sensitivity": lambda tp, fp, tn, fn: (tp, tp + fn),
    "f1": lambda tp, fp, tn, fn: (2 * tp, 2 * tp + fp + fn),
    # with a smoothing of 1, as published with DPSAU2-Net
    "iou": lambda tp, fp, tn, fn: (tp + 1, tp + fp + fn + 1),
}


class ConfusionMetric(CumulativeIterationMetric):
    """
    A figure of the confusion matrix, image by image, that is defined on every image: where mask and prediction are both
    empty it is 1, and where its denominator is 0 because just one of them is, it is 0.

    ``monai.metrics.ConfusionMatrixMetric`` gives NaN there, which then drops out of the mean, and
    ``monai.metrics.MeanIoU`` has no smoothing, with which DPSAU2-Net's figures were published.

    Args:
        name: ``accuracy``, ``precision``, ``sensitivity``, ``f1`` or ``iou``.
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
        figure = torch.where(denominator > 0, numerator / denominator.clamp(min=1), both_empty.double())
        return figure.float()

    def aggregate(self, reduction: str = "mean") -> torch.Tensor:
        """Reduce the buffered figures (image, channel) over both axes."""
        figure, _ = do_metric_reduction(self.get_buffer(), reduction)
        return figure


class FiniteHausdorffDistance(HausdorffDistanceMetric):
    """
    ``monai.metrics.HausdorffDistanceMetric``, in pixels, defined on every image: 0 where mask and prediction are both
    empty, and the image's diagonal, the largest distance that there could be, where just one of them is. MONAI gives
    NaN and infinity there.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        distance = super()._compute_tensor(y_pred, y, **kwargs)
        axes = list(range(2, y.ndim))
        empty, empty_pred = y.sum(axes) == 0, y_pred.sum(axes) == 0
        diagonal = torch.tensor(y.shape[2:], dtype=distance.dtype).norm().to(distance)
        distance = torch.where(empty != empty_pred, diagonal, distance)
        return torch.where(empty & empty_pred, torch.zeros_like(distance), distance)
