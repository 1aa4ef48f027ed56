from __future__ import annotations

import highdicom
import numpy as np
import pytest
from monai.data import MetaTensor
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation
from series import affine_of, write_series

from dpsau2net_monai.data import Labels, name_of
from dpsau2net_monai.data.dicom import as_nifti, find_series
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import LoadInputImaged, SaveDicomSegd

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(-1000, 1000, (14, 11, 6)).astype(float)
OBLIQUE = Rotation.from_euler("xyz", [20, 15, 100], degrees=True).as_matrix()[:, :2].T
AFFINE = affine_of(OBLIQUE, (0.7, 0.9, 3), (-40.5, 12.25, 7))
TO_RAS = np.diag([-1, -1, 1, 1])


@pytest.fixture
def series(tmp_path):
    return write_series(tmp_path / "1.2.826.5", IMAGE, AFFINE)


def load(folder):
    return LoadInputImaged("image", 1, spatial_dims=3)({"image": str(folder)})["image"]


def test_a_series_is_one_volume_in_the_world_of_nifti(series):
    image = load(series)
    np.testing.assert_allclose(image[0].numpy(), IMAGE)  # after slope and intercept
    np.testing.assert_allclose(image.affine.numpy(), TO_RAS @ AFFINE, atol=1e-5)
    nifti = as_nifti(series)
    np.testing.assert_allclose(nifti.get_fdata(), IMAGE)
    np.testing.assert_allclose(nifti.get_qform(), TO_RAS @ AFFINE, atol=1e-4)


def test_the_order_of_the_instance_numbers_does_not_matter(tmp_path):
    def shuffle(one, number):
        one.InstanceNumber = [3, 1, 6, 2, 5, 4][number]

    image = load(write_series(tmp_path / "series", IMAGE, AFFINE, shuffle))
    np.testing.assert_allclose(image[0].numpy(), IMAGE)
    np.testing.assert_allclose(image.affine.numpy(), TO_RAS @ AFFINE, atol=1e-5)


def test_a_series_has_the_name_of_its_folder_also_from_inside(series, monkeypatch):
    (series / "sub").mkdir()
    for folder, path in ((series, "."), (series / "sub", "..")):
        monkeypatch.chdir(folder)
        assert name_of(path) == series.name


def test_series_are_found_in_a_folder_and_in_its_folders(series):
    (series.parent / "notes").mkdir()
    (series.parent / "notes" / "readme.txt").write_text("no image")
    (series / "readme.txt").write_text("no slice")
    (series / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    other = write_series(series.parent / "1.2.826.6", IMAGE, AFFINE)
    assert find_series(series.parent) == [series, other]
    assert find_series(series) == [series]
    assert load(series).shape == (1, 14, 11, 6)


def moved(one, number):
    if number == 3:
        one.ImagePositionPatient = [f"{value:.6f}" for value in AFFINE[:3] @ (0, 0, 3.4, 1)]


def twice(one, number):
    if number == 3:
        one.ImagePositionPatient = [f"{value:.6f}" for value in AFFINE[:3] @ (0, 0, 2, 1)]


def of_another_series(one, number):
    if number == 3:
        one.SeriesInstanceUID = generate_uid()


def without_place(one, number):
    if number == 3:
        del one.ImagePositionPatient


def of_another_size(one, number):
    if number == 3:
        one.Rows, one.Columns = one.Columns, one.Rows


def without_pixels(one, number):
    if number == 3:
        del one.PixelData


@pytest.mark.parametrize(
    "change, says",
    [
        (moved, "series: the distances of the slices are between 1.8 and 4.2 mm; add the missing slices"),
        (twice, "series: has several slices at one place"),
        (of_another_series, "series: has 2 DICOM series; put each in a folder of its own"),
        (without_place, r"0003.dcm: has no ImagePositionPatient"),
        (of_another_size, r"0003.dcm: its Rows is not that of .*0001.dcm"),
        (without_pixels, "series: cannot be decoded"),
    ],
)
def test_what_is_not_one_volume_is_refused_in_one_line(change, says, tmp_path):
    folder = write_series(tmp_path / "series", IMAGE, AFFINE, change)
    with pytest.raises(InputError, match=says):
        load(folder)


def test_a_single_slice_and_a_broken_file_are_refused(series):
    for path in sorted(series.iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match="has 1 DICOM slices"):
        load(series)
    (series / "broken.dcm").write_bytes(bytes(128) + b"DICM" + bytes(50))
    with pytest.raises(InputError, match="has 2 DICOM series"):
        load(series)


def save(series, codes, labels, output):
    mask = MetaTensor(codes[None], affine=TO_RAS @ AFFINE, meta={"filename_or_obj": str(series)})
    SaveDicomSegd("pred", str(output), labels)({"pred": mask})
    return output / f"{series.name}.dcm"


@pytest.mark.parametrize(
    "definition, values",
    [
        ("nodule", 2),
        ({"background": 0, "liver": 1, "Gefäß, groß": 2}, 3),
        ({"background": 0, "whole": [1, 2], "core": [2]}, 3),
    ],
    ids=["one class", "two classes", "regions"],
)
def test_a_dicom_segmentation_lies_on_its_series(definition, values, series, tmp_path):
    labels = Labels(definition)
    codes = RNG.integers(0, values, IMAGE.shape)
    codes[..., 2] = 0
    path = save(series, codes, labels, tmp_path / "masks")
    segmentation = highdicom.seg.segread(path)
    segments = range(1, len(labels.names) + 1)
    assert [segmentation.get_segment_description(i).segment_label for i in segments] == labels.names
    slices = {one.SOPInstanceUID for one in map(highdicom.imread, series.iterdir())}
    assert {str(uids[2]) for uids in segmentation.get_source_image_uids()} == slices

    volume = segmentation.get_volume(combine_segments=False, rescale_fractional=False)
    for index in ((0, 0, 0), (13, 10, 5), (4, 9, 1)):  # x, y, slice
        world = AFFINE[:3] @ (*index, 1)
        found = np.rint(volume.map_reference_to_indices(world[None])[0]).astype(int)
        np.testing.assert_allclose(volume.map_indices_to_reference(found[None])[0], world, atol=1e-3)
        np.testing.assert_array_equal(volume.array[tuple(found)], labels.table[codes[index]])
    assert volume.array.sum() == labels.table[codes].sum()
    assert not list((tmp_path / "masks").glob(".part*"))


def test_an_empty_mask_is_a_segmentation_too(series, tmp_path):
    path = save(series, np.zeros(IMAGE.shape, int), Labels("nodule"), tmp_path / "masks")
    assert not highdicom.seg.segread(path).pixel_array.any()


def test_a_mask_of_another_image_is_refused(series, tmp_path):
    with pytest.raises(InputError, match="image.nii: is not a DICOM series"):
        save(tmp_path / "image.nii", np.zeros(IMAGE.shape, int), Labels("nodule"), tmp_path)
