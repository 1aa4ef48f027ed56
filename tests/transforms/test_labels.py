from __future__ import annotations

import tracemalloc

import pytest
import torch
from monai.data import MetaTensor

from dpsau2net_monai.data import Labels
from dpsau2net_monai.transforms import LabelToChannelsd, ProbabilityToLabeld

EXCLUSIVE = Labels({"background": 0, "anterior": 1, "posterior": 2})
REGIONS = Labels({"background": 0, "whole": [1, 2], "core": [2]})
OVERLAPPING = Labels(["cell", "nucleus"])
ONE = Labels("nucleus")


@pytest.mark.parametrize(
    "labels, probabilities, expected",
    [
        (ONE, [[0.2, 0.5, 0.9]], [0, 1, 1]),
        (EXCLUSIVE, [[0.5, 0.3, 0.2], [0.3, 0.4, 0.1], [0.2, 0.3, 0.7]], [0, 1, 2]),  # whatever the threshold is
        (REGIONS, [[0.1, 0.9, 0.9], [0.2, 0.3, 0.8]], [0, 1, 2]),
        (REGIONS, [[0.4], [0.9]], [0]),  # a core outside the whole: the first of the nearest values
        (OVERLAPPING, [[0.1, 0.9, 0.1, 0.9], [0.1, 0.1, 0.9, 0.9]], [0, 1, 2, 3]),
    ],
)
@pytest.mark.parametrize("shape", [(-1, 1), (-1, 1, 1)], ids=["2D", "3D"])
def test_decisions(labels, probabilities, expected, shape):
    channels = torch.tensor(probabilities)
    probability = MetaTensor(channels.reshape(len(channels), *shape), meta={"filename_or_obj": "a.nii"})
    result = ProbabilityToLabeld("pred", labels, threshold=0.5)({"pred": probability})["pred"]
    assert result.shape == (1, *probability.shape[1:])
    assert result.flatten().tolist() == expected
    assert result.meta["filename_or_obj"] == "a.nii"


def test_the_threshold_is_that_of_single_and_overlapping_classes():
    probability = torch.tensor([0.4, 0.6]).view(2, 1, 1)
    codes = [ProbabilityToLabeld("pred", OVERLAPPING, t)({"pred": probability})["pred"].item() for t in (0.3, 0.5, 0.7)]
    assert codes == [3, 2, 0]


def test_many_overlapping_classes_take_little_memory():
    labels = Labels([f"class {i}" for i in range(10)])
    tracemalloc.start()
    try:
        assert labels.codes(torch.ones(10, 1, 1), threshold=0.5).item() == 2**10 - 1
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "labels, codes, expected",
    [
        (ONE, [0, 1], [[0, 1]]),
        (EXCLUSIVE, [0, 1, 2], [[0, 1, 0], [0, 0, 1]]),
        (REGIONS, [0, 1, 2], [[0, 1, 1], [0, 0, 1]]),
        (OVERLAPPING, [0, 1, 2, 3], [[0, 1, 0, 1], [0, 0, 1, 1]]),
    ],
)
def test_channels(labels, codes, expected):
    mask = MetaTensor(torch.tensor(codes, dtype=torch.float32).view(1, -1, 1), meta={"filename_or_obj": "a.png"})
    result = LabelToChannelsd("label", labels)({"label": mask})["label"]
    assert result[..., 0].tolist() == expected
    assert result.dtype == mask.dtype and result.meta["filename_or_obj"] == "a.png"


def test_the_background_of_the_target_of_a_loss_has_a_channel():
    channels = EXCLUSIVE.channels(torch.tensor([0, 1, 2]).view(1, -1, 1), background=True)
    assert channels[..., 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
