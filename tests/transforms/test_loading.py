from __future__ import annotations

import nibabel
import numpy as np
import pytest
from PIL import Image

from dpsau2net_monai.data import Labels
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


@pytest.mark.parametrize("count, channels", [(3, 1), (4, 1), (4, 3)])
def test_the_channels_of_a_volume_are_no_colours(count, channels, tmp_path):
    path = save(tmp_path / "volume.nii", np.zeros((8, 9, 10, count), np.uint8))
    with pytest.raises(InputError, match=f"volume.nii: has {count} channels, but the network takes {channels}"):
        LoadInputImaged("image", channels, spatial_dims=3)({"image": path})


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_an_image_of_several_files_has_their_channels_in_order(ending, tmp_path):
    shape = (8, 9, 10) if ending == ".nii.gz" else (30, 40)
    arrays = [RNG.integers(0, 256, shape, np.uint8) for _ in range(4)]
    paths = [str(save(tmp_path / f"patient_{i:04d}{ending}", array)) for i, array in enumerate(arrays)]
    loaded = LoadInputImaged("image", 4, spatial_dims=len(shape))({"image": paths})
    image = loaded["image"]
    assert loaded["image_path"] == image.meta["filename_or_obj"] == paths[0]
    for channel, array in zip(image.numpy(), arrays):
        np.testing.assert_allclose(channel, array if ending == ".nii.gz" else array.T / 255, rtol=1e-5)


def test_files_that_are_not_one_image_are_refused_by_name(tmp_path):
    paths = [str(save(tmp_path / f"{i}.nii", np.zeros((8, 9, 10 + (i == 2)), np.uint8))) for i in range(3)]
    with pytest.raises(InputError, match="2.nii: is 8 x 9 x 11, but .*0.nii is 8 x 9 x 10"):
        LoadInputImaged("image", 3, spatial_dims=3)({"image": paths})
    with pytest.raises(InputError, match="0.nii: has 2 channels in 2 files, but the network takes 3"):
        LoadInputImaged("image", 3, spatial_dims=3)({"image": paths[:2]})
    with pytest.raises(InputError, match="0.nii: has 1 channels, but the network takes 3"):
        LoadInputImaged("image", 3, spatial_dims=3)({"image": paths[0]})


@pytest.mark.parametrize("shift, refused", [(0.4, False), (0.6, True)])
def test_sequences_of_different_places_are_refused(shift, refused, tmp_path):
    affine = np.array([[0, 2, 0, 5], [0.5, 0, 0, 6], [0, 0, -3, 7], [0, 0, 0, 1]])
    paths = [str(tmp_path / name) for name in ("flair.nii", "t1.nii")]
    for path, moved in zip(paths, (0, shift)):
        move = nibabel.affines.from_matvec(np.eye(3), (0, 0, moved))
        nibabel.save(nibabel.Nifti1Image(np.ones((8, 9, 10), np.uint8), affine @ move), path)
    load = LoadInputImaged("image", 2, spatial_dims=3)
    if refused:
        with pytest.raises(InputError, match="t1.nii: its affine puts it in another place than .*flair.nii"):
            load({"image": paths})
    else:
        assert load({"image": paths})["image"].shape == (2, 8, 9, 10)


def test_the_place_of_a_single_slice_is_of_no_use(tmp_path):
    slice_ = nibabel.Nifti1Image(np.ones((8, 9), np.uint8), np.eye(4))
    slice_.header["srow_z"] = 0  # the thickness is unknown
    (tmp_path / "a.nii").write_bytes(slice_.header.binaryblock + bytes(4) + np.ones(72, np.uint8).tobytes())
    assert LoadInputImaged("image", 1, spatial_dims=2)({"image": str(tmp_path / "a.nii")})["image"].shape == (1, 8, 9)


CODES = RNG.integers(0, 3, (30, 40))  # 30 rows, 40 columns
COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 200, 100)], np.uint8)
ONE_HOT = np.stack([CODES == code for code in (0, 1, 2)], -1).astype(np.uint8)
CLASSES = {"background": 0, "tumour": 1, "stroma": 2}


@pytest.mark.parametrize(
    "definition, name, array",
    [
        (CLASSES, "values.png", CODES.astype(np.uint8)),
        (CLASSES, "sixteen.png", CODES.astype(np.uint16)),
        (CLASSES, "rgb.png", np.repeat(CODES[..., None], 3, -1).astype(np.uint8)),
        (CLASSES, "values.nii.gz", CODES.T.astype(np.int16)),
        (CLASSES, "float.nii.gz", CODES.T[..., None].astype(np.float32)),
        (CLASSES, "one_hot.nii.gz", ONE_HOT.swapaxes(0, 1)[:, :, None]),
        (CLASSES, "one_hot_without_background.nii.gz", ONE_HOT[..., 1:].swapaxes(0, 1)[:, :, None]),
        ({"background": 255, "a": 0, "b": 7}, "odd.png", np.array([255, 0, 7], np.uint8)[CODES]),
        ({"background": 0, "a": 1000, "b": 40000}, "large.png", np.array([0, 1000, 40000], np.uint16)[CODES]),
        ({"background": 0, "a": -1, "b": -7}, "negative.nii", np.array([0, -1, -7], np.int16)[CODES].T),
        ({"background": 0, "whole": [1, 2], "core": [2]}, "regions.png", CODES.astype(np.uint8)),
        ({"#000000": "background", "#ff0000": "a", "#00c864": "b"}, "colours.png", COLOURS[CODES]),
        ({"#ff0000": "a", "#00c864": "b"}, "rgba.png", np.dstack([COLOURS[CODES], np.full_like(CODES, 255, np.uint8)])),
        ({"#ff0000": "a", "#00c864": "b"}, "colours.nii.gz", COLOURS[CODES].swapaxes(0, 1)[:, :, None]),
        (["a", "b"], "channels.nii.gz", ONE_HOT[..., 1:].swapaxes(0, 1)[:, :, None]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_masks_of_several_classes(definition, name, array, tmp_path):
    labels = Labels(definition)
    mask = LoadMaskd("label", labels)({"label": save(tmp_path / name, array)})["label"]
    assert mask.shape == (1, 40, 30)
    np.testing.assert_array_equal(mask[0].numpy(), CODES.T)


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_a_mask_for_each_class(ending, tmp_path):
    inside = [RNG.random((30, 40)) > 0.5 for _ in range(3)]
    arrays = [one.T.astype(np.uint8) if ending == ".nii.gz" else one.astype(np.uint8) * 255 for one in inside]
    paths = []
    for name, array in zip("abc", arrays):
        (tmp_path / name).mkdir()
        paths.append(str(save(tmp_path / name / f"image{ending}", array)))
    labels = Labels(["a", "b", "c"])
    mask = LoadMaskd("label", labels)({"label": paths})["label"]
    np.testing.assert_array_equal(labels.channels(mask).numpy(), np.stack(inside).swapaxes(1, 2))
    with pytest.raises(InputError, match="has 2 channels, but there are 3 classes"):
        LoadMaskd("label", labels)({"label": paths[:2]})


@pytest.mark.parametrize(
    "definition, name, array, says",
    [
        (CLASSES, "strange.png", (CODES * 3 + 1).astype(np.uint8), "the value [47], and 1 other values; the labels"),
        (CLASSES, "half.nii", (CODES.T / 2).astype(np.float32), "pixels have the value 0.5; the labels"),
        ({"#ff0000": "a"}, "strange.png", COLOURS[CODES], "pixels have the value #00c864; the labels"),
        (CLASSES, "several.nii", np.ones((40, 30, 1, 3), np.uint8), "1200 pixels are in several classes"),
        (CLASSES, "four.nii", np.ones((40, 30, 1, 4), np.uint8), "a mask of 4 channels, but the labels have 2 classes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_masks_with_other_values_are_refused_by_name(definition, name, array, says, tmp_path):
    with pytest.raises(InputError, match=f"{name}: .*{says}"):
        LoadMaskd("label", Labels(definition))({"label": save(tmp_path / name, array)})
