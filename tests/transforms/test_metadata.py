from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor, get_track_meta
from monai.transforms import FlipD

from dpsau2net_monai.transforms import ComposeWithoutMetadata


def test_the_items_of_a_dictionary_lose_their_metadata_and_are_transformed():
    image = MetaTensor(torch.arange(4.0)[None], affine=2 * torch.eye(4))
    result = ComposeWithoutMetadata([FlipD("image", 0)])({"image": image, "image_path": "a.png"})
    assert type(result["image"]) is torch.Tensor and result["image_path"] == "a.png"
    assert result["image"].tolist() == [[3, 2, 1, 0]]
    assert get_track_meta()


def test_metadata_is_kept_again_after_an_error():
    def fail(data):
        raise ValueError

    with pytest.raises(RuntimeError):
        ComposeWithoutMetadata([fail])({"image": torch.zeros(1)})
    assert get_track_meta()
