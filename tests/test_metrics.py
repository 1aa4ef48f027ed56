"""The figures against the published definitions, written out in numpy, and where they are easily undefined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric

from dpsau2net_monai.metrics import ConfusionMetric, FiniteHausdorffDistance

RNG = np.random.default_rng(0)
PREDICTIONS = RNG.random((6, 1, 20, 31)) > 0.6
TRUTHS = RNG.random((6, 1, 20, 31)) > 0.5


def figure(metric, prediction, truth):
    """The figure of each image on its own."""
    return metric(torch.tensor(prediction).float(), torch.tensor(truth).float()).flatten().tolist()


def test_figures_agree_with_the_published_definitions():
    for i, (p, t) in enumerate(zip(PREDICTIONS, TRUTHS)):
        tp, fp, fn, tn = (p & t).sum(), (p & ~t).sum(), (~p & t).sum(), (~p & ~t).sum()
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        expected = {
            "iou": ((p & t).sum() + 1) / ((p | t).sum() + 1),
            "accuracy": (p == t).mean(),
            "precision": precision,
            "sensitivity": recall,
            "f1": 2 * precision * recall / (precision + recall),
        }
        assert tp and fp and fn and tn
        for name, value in expected.items():
            assert figure(ConfusionMetric(name), PREDICTIONS, TRUTHS)[i] == pytest.approx(value, rel=1e-6), name


EMPTY, DOT = np.zeros((1, 1, 30, 40), bool), np.zeros((1, 1, 30, 40), bool)
DOT[..., 3, 4] = True


@pytest.mark.parametrize(
    "prediction, truth, dice, hd95",
    [(EMPTY, EMPTY, 1, 0), (EMPTY, DOT, 0, 50), (DOT, EMPTY, 0, 50), (DOT, DOT, 1, 0)],
    ids=["both empty", "nothing found", "nothing there", "equal"],
)
def test_figures_are_defined_where_something_is_empty(prediction, truth, dice, hd95):
    assert figure(DiceMetric(ignore_empty=False), prediction, truth) == [dice]
    for name in ("f1", "precision", "sensitivity"):
        assert figure(ConfusionMetric(name), prediction, truth) == [dice]
    assert figure(ConfusionMetric("iou"), prediction, truth) == [1 if dice else 0.5]  # one pixel, smoothing 1
    distance = FiniteHausdorffDistance(include_background=True, percentile=95)
    assert figure(distance, prediction, truth) == [hd95]
    # together with other images, nothing undefined reaches the mean
    distance.reset()
    distance(
        torch.tensor(np.concatenate([prediction, DOT])).float(), torch.tensor(np.concatenate([truth, DOT])).float()
    )
    assert distance.aggregate().item() == pytest.approx(hd95 / 2)
