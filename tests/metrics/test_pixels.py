"""Metrics of pixels: compared with the published definitions in numpy, and on images where something is empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, MeanIoU

from dpsau2net_monai.metrics import ConfusionMetric, FiniteHausdorffDistance

RNG = np.random.default_rng(0)
PREDICTIONS = RNG.random((6, 1, 20, 31)) > 0.6
TRUTHS = RNG.random((6, 1, 20, 31)) > 0.5


def compute(metric, predictions, truths):
    """The metric of each image."""
    return metric(torch.tensor(predictions).float(), torch.tensor(truths).float()).flatten().tolist()


def test_metrics_agree_with_the_published_definitions():
    for i, (p, t) in enumerate(zip(PREDICTIONS, TRUTHS)):
        tp, fp, fn = (p & t).sum(), (p & ~t).sum(), (~p & t).sum()
        expected = {
            "iou_smoothed": ((p & t).sum() + 1) / ((p | t).sum() + 1),
            "accuracy": (p == t).mean(),
            "precision": tp / (tp + fp),
            "sensitivity": tp / (tp + fn),
        }
        assert tp and fp and fn
        for name, value in expected.items():
            assert compute(ConfusionMetric(name), PREDICTIONS, TRUTHS)[i] == pytest.approx(value, rel=1e-6), name


EMPTY, DOT = np.zeros((1, 1, 30, 40), bool), np.zeros((1, 1, 30, 40), bool)
DOT[..., 3, 4] = True


@pytest.mark.parametrize(
    "prediction, truth, dice, hd95",
    [(EMPTY, EMPTY, 1, 0), (EMPTY, DOT, 0, 50), (DOT, EMPTY, 0, 50), (DOT, DOT, 1, 0)],
    ids=["both empty", "prediction empty", "mask empty", "equal"],
)
def test_metrics_are_defined_if_a_mask_is_empty(prediction, truth, dice, hd95):
    for metric in (DiceMetric(ignore_empty=False), MeanIoU(ignore_empty=False)):
        assert compute(metric, prediction, truth) == [dice]
    for name in ("precision", "sensitivity"):
        assert compute(ConfusionMetric(name), prediction, truth) == [dice]
    assert compute(ConfusionMetric("iou_smoothed"), prediction, truth) == [1 if dice else 0.5]  # (0 + 1) / (1 + 1)
    distance = FiniteHausdorffDistance(include_background=True, percentile=95)
    assert compute(distance, prediction, truth) == [hd95]
    # the mean over several images is defined too
    distance.reset()
    compute(distance, np.concatenate([prediction, DOT]), np.concatenate([truth, DOT]))
    assert distance.aggregate().item() == pytest.approx(hd95 / 2)
