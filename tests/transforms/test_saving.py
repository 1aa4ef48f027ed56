"""Masks as the dataset has them, and pictures of their contours."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged, Orientationd, Spacingd
from PIL import Image

from dpsau2net_monai.data import Labels
from dpsau2net_monai.transforms import LoadInputImaged, SaveMaskd, SaveOverlayd
from dpsau2net_monai.visualize import class_colours

CODES = np.zeros((20, 30), np.uint8)  # rows, columns
CODES[3:9, 10:16], CODES[12:18, 4:8] = 1, 2
VALUES, REGIONS, FILES = {"background": 0, "a": 50, "b": 100}, {"whole": [1, 2], "core": [2]}, ["cell", "nucleus"]
COLOURS = {"#ff0000": "a", "#00ff80": "b"}


def picture(folder):
    """A picture's item with the mask's codes, in MONAI's axes."""
    Image.fromarray((CODES * 90 + 30).astype(np.uint8)).save(folder / "image.png")
    data = LoadInputImaged("image", 3)({"image": str(folder / "image.png")})
    data["pred"] = data["image"][:1] * 0 + torch.as_tensor(CODES.T.copy())[None]
    return data


@pytest.mark.parametrize(
    "definition, expected",
    [
        ("nucleus", np.array([0, 255])),
        (VALUES, np.array([0, 50, 100])),
        ({"background": 0, "a": 300, "b": 70}, np.array([0, 300, 70])),
        (REGIONS, np.array([0, 1, 2])),
        (COLOURS, np.array([[0, 0, 0], [255, 0, 0], [0, 255, 128]])),
    ],
    ids=["foreground", "values", "16 bits", "regions", "colours"],
)
def test_a_picture_has_the_values_of_the_dataset(definition, expected, tmp_path):
    data, labels = picture(tmp_path), Labels(definition)
    codes = np.minimum(CODES, len(expected) - 1)
    data["pred"] = data["pred"].clamp(max=len(expected) - 1)
    SaveMaskd("pred", tmp_path / "masks", labels)(data)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "masks" / "image.png")), expected[codes])


def test_classes_with_files_of_their_own_have_folders(tmp_path):
    data = picture(tmp_path)
    SaveMaskd("pred", tmp_path / "masks", Labels(FILES))(data | {"pred": data["pred"] + (data["pred"] == 2)})  # 3: both
    for name, codes in (("cell", (1, 2)), ("nucleus", (2,))):
        mask = np.asarray(Image.open(tmp_path / "masks" / name / "image.png"))
        np.testing.assert_array_equal(mask, np.isin(CODES, codes) * 255)


def affine(kind):
    matrix = np.diag([0.7, 0.8, 2.5])
    if kind == "flipped":
        matrix = matrix @ np.diag([-1, 1, -1])
    if kind == "oblique":
        matrix = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ matrix
    if kind == "permuted":
        matrix = matrix[[2, 0, 1]]
    return nibabel.affines.from_matvec(matrix, [-12, 30, 7])


@pytest.mark.parametrize("kind", ["straight", "flipped", "oblique", "permuted"])
@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 3)], ids=["both", "sform", "qform"])
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize(
    "definition", ["nucleus", VALUES, COLOURS, FILES], ids=["foreground", "values", "colours", "files"]
)
def test_a_volume_keeps_its_place(kind, codes, version, definition, tmp_path):
    image = version(np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4), None)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(2, -1024)
    image.header["cal_max"] = 400
    image.set_sform(affine(kind) if codes[0] else None, codes[0])
    image.set_qform(affine(kind) if codes[1] else None, codes[1])
    nibabel.save(image, tmp_path / "image.nii.gz")
    data = LoadInputImaged("image", 1, 3)({"image": str(tmp_path / "image.nii.gz")})
    data["pred"] = data["image"] * 0
    data["pred"][0, 2, 3, 1] = 1
    labels = Labels(definition)
    SaveMaskd("pred", tmp_path / "masks", labels)(data)

    folder = tmp_path / "masks" / ("cell" if labels.form == "files" else "")
    mask = nibabel.load(folder / "image.nii.gz")
    values = np.asarray(mask.dataobj)
    assert values.shape[:3] == (6, 5, 4) and values.dtype == np.uint8
    assert values[2, 3, 1].tolist() == {"values": 50, "colours": [255, 0, 0]}.get(labels.form, 1)
    assert np.count_nonzero(values) == 1
    for name in ("sform_code", "qform_code", "xyzt_units"):
        assert mask.header[name] == image.header[name]
    np.testing.assert_allclose(mask.header["pixdim"][:4], nibabel.load(tmp_path / "image.nii.gz").header["pixdim"][:4])
    np.testing.assert_allclose(mask.affine, affine(kind), atol=1e-5)
    assert mask.header["cal_max"] == 0


def colours_of(path):
    return {tuple(colour) for colour in np.asarray(Image.open(path)).reshape(-1, 3).tolist()}


@pytest.mark.parametrize("definition", [VALUES, REGIONS, COLOURS])
def test_an_overlay_of_several_classes_has_their_colours_and_a_legend(definition, tmp_path):
    data = picture(tmp_path)
    data["label"] = data["pred"].roll(5, 2)
    SaveOverlayd("pred", tmp_path / "plain", Labels(definition))(data)
    SaveOverlayd("pred", tmp_path / "both", Labels(definition), label_key="label")(data)
    plain, both = (np.asarray(Image.open(tmp_path / name / "image.png")) for name in ("plain", "both"))
    factor = 18  # 30 pixels become at least 512
    assert plain.shape[1] == both.shape[1] == 30 * factor and plain.shape[0] > 20 * factor
    for colour in class_colours(2):
        counts = [int((array[: 20 * factor] == colour).all(2).sum()) for array in (plain, both)]
        assert 0 < counts[0] < counts[1] < 2 * counts[0]  # the true contour is dashed
        assert (plain[20 * factor :] == colour).all(2).any()


def test_an_overlay_of_one_class_has_no_legend(tmp_path):
    data = picture(tmp_path)
    data["pred"] = (data["pred"] > 0).float()
    SaveOverlayd("pred", tmp_path / "overlays", label_key="pred")(data)
    assert Image.open(tmp_path / "overlays" / "image.png").size == (540, 360)
    assert (255, 255, 255) in colours_of(tmp_path / "overlays" / "image.png")  # both contours


@pytest.mark.parametrize("volume", [False, True])
def test_an_overlay_has_a_line_between_instances_that_touch(volume, tmp_path):
    mask = np.zeros((32, 64, 1), np.int32)
    mask[4:24, 8:40] = 1
    if volume:
        nibabel.save(nibabel.Nifti1Image(np.zeros(mask.shape, np.int16), np.eye(4)), tmp_path / "image.nii.gz")
        data = LoadInputImaged("image", 1, 3)({"image": str(tmp_path / "image.nii.gz")})
    else:
        mask = mask[..., 0]
        Image.fromarray(np.zeros(mask.T.shape, np.uint8)).save(tmp_path / "image.png")
        data = LoadInputImaged("image", 1)({"image": str(tmp_path / "image.png")})
    data["pred"] = data["image"] * 0 + torch.as_tensor(mask)[None]
    numbered = mask.copy()
    numbered[4:24, 20:40] *= 2
    counts = []
    for instances in ({}, {"instances": torch.as_tensor(numbered)[None]}):
        SaveOverlayd("pred", tmp_path / "overlays")(data | instances)
        overlay = np.asarray(Image.open(tmp_path / "overlays" / "image.png"))
        counts.append(int((overlay == (86, 180, 233)).all(2).sum()))
    length = 20 * (6 if volume else 8)  # the enlargement
    assert counts[1] - counts[0] == pytest.approx(2 * length, abs=8)  # two pixels wide


@pytest.mark.parametrize("definition", ["organ", {"background": 0, "organ": 1, "tumour": 2}])
def test_an_overlay_of_a_volume_shows_three_planes_in_proportion(definition, tmp_path):
    labels = Labels(definition)
    stored = np.zeros((40, 30, 10), np.float32)
    stored[10:20, 10:20, 4:8] = 100
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([1, 1, 3, 1])), tmp_path / "image.nii.gz")
    data = LoadImaged("image", ensure_channel_first=True)({"image": str(tmp_path / "image.nii.gz")})
    data = Spacingd("image", (2, 2, 2))(Orientationd("image", "LPS", labels=None)(data))
    data["pred"] = MetaTensor(torch.as_tensor(stored / 100)[None])
    SaveOverlayd("pred", tmp_path / "overlays", labels)(data)
    # an axial slice of 40 x 30 mm, a coronal one of 40 x 30 and a sagittal one of 30 x 30
    picture = np.asarray(Image.open(tmp_path / "overlays" / "image.png"))
    factor = 8
    assert picture.shape[1] == (40 + 1 + 30) * factor
    rows = picture.shape[0] if len(labels.names) == 1 else picture.shape[0] - 34  # without the legend
    assert rows == (30 + 1 + 30) * factor
    # the square of 10 mm is bright in the axial slice: x 10 to 20 from the right, y 10 to 20 from the back
    bright = picture[: 30 * factor, : 40 * factor].min(2) > 200
    where = np.argwhere(bright).mean(0) / factor
    assert where == pytest.approx([30 - 15, 40 - 15], abs=1)
    assert not picture[: 30 * factor, 41 * factor :].any()
