from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import AsDiscrete

from dpsau2net_monai.handlers.evaluation_report import THRESHOLDS, dice_by_threshold, metrics_by_image


def test_each_image_has_its_own_metrics_whatever_the_number_of_channels():
    details = {
        "val_mean_dice": torch.tensor([[0.1, 0.3], [0.5, 0.9], [1.0, float("nan")]]),
        "val_hd95": torch.tensor([[7.0], [8.0], [9.0]]),
    }
    first, second, third = metrics_by_image(details)
    assert first == pytest.approx({"dice": 0.2, "dice_0": 0.1, "dice_1": 0.3, "hd95": 7})
    assert second == pytest.approx({"dice": 0.7, "dice_0": 0.5, "dice_1": 0.9, "hd95": 8})
    assert third == pytest.approx({"dice": 1, "dice_0": 1, "dice_1": float("nan"), "hd95": 9}, nan_ok=True)


@pytest.mark.parametrize("threshold", [0.05, 0.4, 0.5])
def test_the_curve_of_dice_against_the_threshold(threshold):
    rng = np.random.default_rng(0)
    true = torch.from_numpy(rng.random((40, 30)) < 0.3)
    probability = torch.from_numpy((0.6 * true.numpy() + 0.4 * rng.random(true.shape)).round(2)).float()
    curve = dict(zip(THRESHOLDS, dice_by_threshold(probability, true)))
    predicted = AsDiscrete(threshold=threshold)(probability) > 0
    assert curve[threshold] == pytest.approx(
        2 * (predicted & true).sum().item() / (predicted.sum() + true.sum()).item()
    )
    assert dice_by_threshold(probability * 0, true & False) == [1] * 19
