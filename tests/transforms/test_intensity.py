from __future__ import annotations

import numpy as np
import pytest
import torch

from dpsau2net_monai.data import Task
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import normalization

# two sequences, of which one is a hundred times as bright
NOISE = torch.randn(2, 8, 9, 10, generator=torch.Generator().manual_seed(0))
IMAGE = NOISE * torch.tensor([5, 500]).view(2, 1, 1, 1) + 30


def normalized(**settings):
    return normalization("image", Task(3, **settings))({"image": IMAGE.clone()})["image"].numpy()


def test_each_sequence_of_mr_is_normalised_by_itself():
    image = normalized(in_channels=2, modality="mr")
    np.testing.assert_allclose(image.mean((1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(image.std((1, 2, 3)), 1, atol=1e-3)


def test_the_channels_of_a_picture_are_normalised_together():
    image = normalized(in_channels=2, modality="picture")
    assert image.mean() == pytest.approx(0, abs=1e-4) and image.std() == pytest.approx(1, abs=1e-3)
    assert image[1].std() > 50 * image[0].std()


def test_a_picture_is_normalised_by_the_intensity_of_the_task():
    image = normalized(in_channels=2, modality="picture", intensity={"mean": 0.4, "std": 0.2})
    np.testing.assert_allclose(image, (IMAGE.numpy() - 0.4) / 0.2, rtol=1e-4)


def test_ct_is_clipped_and_normalised_by_the_training_images():
    image = normalized(in_channels=2, modality="ct", intensity={"low": 10, "high": 50, "mean": 30, "std": 4})
    np.testing.assert_allclose(image, (IMAGE.numpy().clip(10, 50) - 30) / 4, atol=1e-4)


def test_ct_without_the_intensities_of_the_training_images_is_refused():
    with pytest.raises(InputError, match="modality is ct, but the task has no intensity"):
        normalized(in_channels=1, modality="ct")
