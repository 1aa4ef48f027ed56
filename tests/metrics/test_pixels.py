"""Metrics of pixels: compared with the published definitions in numpy, and on images where something is empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import DiceMetric, MeanIoU

from dpsau2net_monai.metrics import ConfusionMetric, FiniteHausdorffDistance, FiniteSurfaceDistance, volumes

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


@pytest.mark.parametrize("distance", [FiniteHausdorffDistance, FiniteSurfaceDistance])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_background_can_be_left_out(distance, classes):
    prediction, truth = (np.concatenate([~DOT, *[mask] * (classes - 1)], 1) for mask in (EMPTY, DOT))
    assert compute(distance(include_background=False), prediction, truth) == [50] * (classes - 1)


def distances_of(prediction, truth, affine):
    """HD95 and surface distance, as an evaluation computes them: from lists of (classes, spatial...)."""
    y_pred, y = [torch.tensor(prediction).float()], [MetaTensor(torch.tensor(truth).float(), affine=affine)]
    hausdorff = FiniteHausdorffDistance(include_background=True, percentile=95)
    return [
        metric(y_pred, y)[0].tolist()
        for metric in (hausdorff, FiniteSurfaceDistance(include_background=True, symmetric=True))
    ]


@pytest.mark.parametrize("rotated", [False, True])
def test_distances_of_volumes_are_in_millimetres(rotated):
    affine = torch.diag(torch.tensor([0.5, 2.0, 3.0, 1.0], dtype=torch.float64))
    if rotated:
        affine[:3, :3] = torch.tensor([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]], dtype=torch.float64) @ affine[:3, :3]
    truth = np.zeros((3, 12, 12, 12), bool)
    truth[:, 3:6, 3:6, 3:6] = True
    # an empty prediction, and two that are shifted by a voxel along an axis
    prediction = np.stack([truth[0] & False, np.roll(truth[1], 1, 0), np.roll(truth[2], 1, 2)])
    hd95, surface = distances_of(prediction, truth, affine)
    diagonal = 12 * np.linalg.norm([0.5, 2, 3])
    assert hd95 == pytest.approx([diagonal, 0.5, 3]) and surface[0] == pytest.approx(diagonal)
    assert 0 < surface[1] < 0.5 < surface[2] < 3
    assert distances_of(truth & False, truth & False, affine) == [[0] * 3] * 2


def test_distances_of_pictures_are_in_pixels_whatever_the_affine():
    truth = DOT[0]
    assert distances_of(np.roll(truth, 4, 1), truth, torch.eye(4) * 7)[0] == [4]


def test_volumes_are_in_millilitres():
    truth = torch.zeros(2, 20, 20, 20)
    truth[0, :10, :10, :10] = truth[1, 0, 0, 0] = 1
    prediction = truth.clone()
    prediction[0, :5] = 0
    found = volumes(MetaTensor(truth, affine=torch.diag(torch.tensor([-1.0, 2, 3, 1]))), prediction)
    assert {name: values.tolist() for name, values in found.items()} == {
        "true_volume": pytest.approx([6, 0.006]),
        "predicted_volume": pytest.approx([3, 0.006]),
        "volume_error": pytest.approx([-3, 0]),
    }
