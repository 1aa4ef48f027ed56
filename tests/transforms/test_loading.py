from __future__ import annotations

import nibabel
import numpy as np
import pytest
from PIL import Image

from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import LoadInputImaged, LoadMaskd

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 40), np.uint8)  # 30 rows, 40 columns
RGB = RNG.integers(0, 256, (30, 40, 3), np.uint8)
MASK = np.zeros((30, 40), np.uint8)
MASK[3:9, 5:30] = 1


def save(path, array):
    if path.name.endswith(".png"):
        Image.fromarray(array).save(path)
    else:
        nibabel.save(nibabel.Nifti1Image(array, np.diag([0.5, 2, 1, 1])), path)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "name, array, picture",
    [
        ("grey.png", GREY, GREY / 255),
        ("rgb.png", RGB, RGB / 255),
        ("slice.nii.gz", GREY.T[..., None], GREY),
        ("plane.nii", GREY.T, GREY),
        ("colours.nii.gz", RGB.transpose(1, 0, 2)[:, :, None], RGB),
    ],
)
def test_images_arrive_with_the_networks_channels(name, array, picture, channels, tmp_path):
    image = LoadInputImaged("image", channels)({"image": save(tmp_path / name, array)})["image"]
    assert image.shape == (channels, 40, 30)  # MONAI's (x, y)
    if picture.ndim == 2:
        picture = picture[..., None]
    if channels == 1 and picture.shape[2] == 3:
        picture = (picture @ [0.299, 0.587, 0.114])[..., None]
    expected = np.broadcast_to(picture, (30, 40, channels)).transpose(2, 1, 0)
    np.testing.assert_allclose(image.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "name, array",
    [
        ("zero_one.png", MASK),
        ("zero_255.png", MASK * 255),
        ("bool.png", MASK > 0),
        ("three.png", np.repeat(MASK[..., None] * 255, 3, axis=2)),
        ("rgba.png", np.dstack([MASK * 255] * 3 + [np.full_like(MASK, 255)])),
        ("sixteen.png", MASK.astype(np.uint16) * 65535),
        ("objects.png", MASK * np.arange(1, 41, dtype=np.uint8)),
        ("smoothed.png", np.maximum(MASK * 255, np.roll(MASK, 1, axis=0) * 100)),
        ("volume.nii.gz", MASK.T[..., None]),
        ("volume_255.nii", MASK.T * 255),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_all_forms_of_a_mask_mean_the_same(name, array, tmp_path):
    mask = LoadMaskd("label")({"label": save(tmp_path / name, array)})["label"]
    assert mask.shape == (1, 40, 30)
    np.testing.assert_array_equal(mask[0].numpy(), MASK.T)


@pytest.mark.parametrize(
    "name, array, says",
    [
        ("volume.nii.gz", np.zeros((40, 30, 5), np.uint8), "an image of 40 x 30 x 5, but the network takes 2D"),
        ("two.nii.gz", np.zeros((40, 30, 1, 2), np.uint8), "has 2 channels, but the network takes 3"),
    ],
)
def test_an_image_for_another_network_is_refused_by_name(name, array, says, tmp_path):
    with pytest.raises(InputError, match=f"{name}: .*{says}"):
        LoadInputImaged("image", 3)({"image": save(tmp_path / name, array)})


def test_volumes_for_a_3d_network(tmp_path):
    path = save(tmp_path / "volume.nii.gz", RNG.integers(0, 99, (8, 9, 10), np.uint8))
    assert LoadInputImaged("image", 1, spatial_dims=3)({"image": path})["image"].shape == (1, 8, 9, 10)
