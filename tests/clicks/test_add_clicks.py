"""Clicks come in pixels or voxels of the file, and the inferer sees them where they are on its image."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, Orientationd
from PIL import Image
from samples import AFFINES

from dpsau2net_monai.data import Labels
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import AddClicksd, LoadInputImaged, ResampleSpacingd

NUCLEUS, PARTS = Labels("nucleus"), Labels({"background": 0, "Anterior": 1, "Posterior": 2})


@pytest.fixture
def picture(tmp_path):
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[7, 41] = 255  # row, column
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return {"image": str(tmp_path / "a.png")}


def load_picture(labels: Labels, **clicks) -> torch.Tensor:
    return Compose([LoadInputImaged("image", 3), AddClicksd("image", labels)])(clicks)["image"]


@pytest.mark.parametrize("point", [[41, 7], [41, 7, 0]], ids=["two", "as 3D Slicer sends it"])
def test_a_click_on_a_picture_is_x_and_y(picture, point):
    image = load_picture(NUCLEUS, **picture, nucleus=[point])
    assert image.shape == (5, 50, 30) and not image[3].any()
    assert image[4].argmax() == image[0].argmax() and image[4].max() == 1


def test_programs_without_classes_click_on_the_foreground(picture):
    """OHIF and CVAT send it. With several classes, it says nothing."""
    image = load_picture(NUCLEUS, **picture, foreground=[[41, 7]], background=[[3, 3]])
    assert image[4].argmax() == image[0].argmax() and image[3, 3, 3] == 1
    assert load_picture(PARTS, **picture, foreground=[[41, 7]]).shape == (3, 50, 30)


def test_without_clicks_there_are_no_channels(picture):
    for clicks in ({}, {"nucleus": [], "background": []}):
        image = load_picture(NUCLEUS, **picture, **clicks)
        assert image.shape == (3, 50, 30)


@pytest.mark.parametrize("points", ["here", [3], [["a", "b"]], [[1, 2], [3]], 7])
def test_what_is_no_list_of_points_is_refused_in_one_line(picture, points):
    with pytest.raises((InputError, RuntimeError)) as raised:
        load_picture(NUCLEUS, **picture, nucleus=points)
    assert "'nucleus'" in str(raised.value.__cause__ or raised.value)


@pytest.fixture(params=[(1.0, 1.0, 1.0), (2.0, 1.0, 1.5), (0.7, 0.7, 0.7)], ids=str)
def preprocessing(request):
    return Compose(
        [
            LoadInputImaged("image", 1, 3),
            Orientationd("image", "RAS", labels=None),
            ResampleSpacingd("image", request.param),
            AddClicksd("image", PARTS),
        ]
    )


@pytest.fixture(params=AFFINES)
def volume(request, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((18, 24, 30), np.float32), AFFINES[request.param]), tmp_path / "a.nii.gz")
    return {"image": str(tmp_path / "a.nii.gz")}, AFFINES[request.param]


@pytest.mark.parametrize("point", [(3, 20, 11), (17, 2, 28)])
def test_a_click_on_a_volume_is_in_voxels_of_its_file(volume, preprocessing, point):
    data, affine = volume
    image = preprocessing({**data, "anterior": [list(point)]})["image"]  # MONAI Label has its labels in lower case
    assert not image[1].any() and not image[3].any()
    peak = np.array(np.unravel_index(int(image[2].argmax()), image.shape[1:]))
    place = image.affine.numpy() @ [*peak, 1]
    expected = affine @ [*point, 1]
    assert np.abs(place - expected)[:3].max() <= max(image.pixdim) / 2 + 1e-6


def test_a_click_on_any_corner_of_a_volume_is_inside(volume, preprocessing):
    data, _ = volume
    corners = [[x, y, z] for x in (0, 17) for y in (0, 23) for z in (0, 29)]
    image = preprocessing({**data, "posterior": corners})["image"]
    assert image[3].any()


@pytest.mark.parametrize("point", [(18, 3, 3), (3, -1, 3), (3, 3, 300)])
def test_a_click_outside_of_a_volume_is_refused_with_its_own_voxel(volume, preprocessing, point):
    data, _ = volume
    with pytest.raises(RuntimeError) as raised:
        preprocessing({**data, "background": [list(point)]})
    (line,) = str(raised.value.__cause__).splitlines()
    assert "background" in line and ", ".join(map(str, point)) in line and "18 x 24 x 30" in line


@pytest.mark.parametrize(
    "points, says",
    [
        ([[30, 5]], "the click of 'nucleus' at 30, 5 lies outside of the image of 30 x 12"),
        ([[5, 9], [-1, 5]], "at -1, 5 lies outside"),
        ([[5, float("nan")]], "lies outside"),
        ([[5]], "has 1 coordinates; the image has 2 axes"),
        (7, "are not a list of points"),
    ],
)
def test_what_is_no_click_in_a_picture_is_refused_in_one_line(points, says):
    with pytest.raises(InputError, match=says):
        AddClicksd("image", NUCLEUS)({"image": torch.zeros(3, 30, 12), "nucleus": points})


def test_classes_that_overlap_cannot_be_clicked():
    image = {"image": torch.zeros(3, 30, 12)}
    add = AddClicksd("image", Labels(["cell", "nucleus"]))
    assert add(image)["image"].shape == (3, 30, 12)
    with pytest.raises(InputError, match="classes that overlap cannot be clicked; send no clicks"):
        add({**image, "cell": [[5, 5]]})
