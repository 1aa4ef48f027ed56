from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacingd

from dpsau2net_monai.transforms import ResampleSpacingd


def test_it_resamples_as_monai_does_whatever_else_the_dictionary_has():
    meta = {"filename_or_obj": "volume.nii.gz"}
    image = MetaTensor(torch.rand(1, 8, 9, 10), affine=torch.diag(torch.tensor([1.0, 2, 1, 1])), meta=meta)
    others = {"image_path": "volume.nii.gz", "threshold": 0.5}
    expected = Spacingd("image", [1, 1, 2])({"image": image})["image"]
    transform = ResampleSpacingd("image", [1, 1, 2])
    result = transform({"image": image, **others})
    assert torch.equal(result["image"], expected) and {key: result[key] for key in others} == others
    assert transform.inverse(result)["image"].shape == image.shape
    with pytest.raises(KeyError):
        transform(others)
