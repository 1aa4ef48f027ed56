from __future__ import annotations

import logging

import nibabel
import numpy as np
import pytest

from dpsau2net_monai.data import Labels, Task, plan, plan_strides
from dpsau2net_monai.data.planning import LARGEST_WINDOW
from dpsau2net_monai.errors import InputError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "spacing, roi_size, expected",
    [
        ((1, 1, 1), (96, 96, 96), ["222", "222", "222"]),
        ((1, 1, 1.9), (96, 96, 96), ["222", "222", "222"]),
        ((1, 1, 2), (96, 96, 96), ["221", "222", "222"]),  # thick slices are not reduced yet
        ((0.7, 0.7, 3), (160, 160, 40), ["221", "221", "222"]),
        ((5, 0.5, 0.5), (10, 96, 96), ["122", "122", "122"]),
        ((1, 1, 1), (96, 96, 12), ["222", "221", "221"]),  # no map gets too small
        ((1, 1, 1), (9, 9, 9), ["111", "111", "111"]),
        ((0.5, 0.5, 0.1), (96, 96, 8), ["221", "221", "221"]),  # the finest axis is too small to count
    ],
)
def test_strides(spacing, roi_size, expected):
    strides = plan_strides(spacing, roi_size, 3)
    assert ["".join(map(str, one)) for one in strides] == expected
    assert all(side // factor >= 4 or factor == 1 for side, factor in zip(roi_size, np.prod(strides, 0)))


def volumes(folder, geometries, mask=None, **task):
    """Save the headers of volumes of the given affines and sizes. Return them with the settings of a 3D MR task."""
    pairs = []
    for i, (affine, size) in enumerate(geometries):
        affine = np.asarray(affine, float)
        affine = nibabel.affines.from_matvec(np.diag(affine) if affine.ndim == 1 else affine)
        pair = {"image": str(folder / f"{i}.nii"), "label": str(folder / f"{i}_mask.nii")}
        header = nibabel.Nifti1Header()
        header.set_data_shape(size)
        header.set_sform(affine, 1)
        with open(pair["image"], "wb") as file:
            header.write_to(file)
        pairs.append(pair)
    settings = {"spatial_dims": 3, "in_channels": 1, "modality": "mr", **task}
    return Task(**settings), lambda: pairs


@pytest.mark.parametrize(
    "spacing, size, steps, window, strides",
    [
        ((1, 1, 1), (35, 50, 36), 3, [36, 56, 36], ["222", "222", "121"]),  # a small image is one window
        ((1, 1, 1), (40, 50, 40), 3, [40, 56, 40], ["222", "222", "222"]),
        ((1, 1, 1), (200, 200, 200), 3, [96, 96, 96], ["222", "222", "222"]),
        ((0.7, 0.7, 5), (300, 300, 20), 3, [208, 208, 20], ["221", "221", "222"]),  # all of the few slices
        ((0.8, 0.8, 2.5), (300, 300, 100), 3, [136, 136, 44], ["221", "222", "222"]),
        ((1, 1, 1), (200, 200, 200), 0, [96, 96, 96], None),  # a network that takes no strides
        ((1, 1, 1), (70, 50, 40), 0, [96, 64, 64], None),
    ],
)
def test_window_and_strides_of_volumes(spacing, size, steps, window, strides, tmp_path, caplog):
    task, training = volumes(tmp_path, [(spacing, size)] * 2)
    with caplog.at_level(logging.INFO, "dpsau2net_monai"):
        planned = plan(task, training, steps)
    assert planned.spacing == list(spacing)
    assert planned.roi_size == window and np.prod(window) <= LARGEST_WINDOW
    assert planned.strides == (strides and [list(map(int, one)) for one in strides])
    if strides:
        assert (np.array(window) % np.prod(planned.strides, axis=0) == 0).all()
    assert f"window: {' x '.join(map(str, window))}" in caplog.text


def test_spacing_is_the_median_along_the_axes_of_the_patient(tmp_path):
    permuted = np.array([[0, -2, 0], [0, 0, 3], [1, 0, 0]])  # left-right is the second axis of the array
    task, training = volumes(tmp_path, [(permuted, (30, 20, 10)), ((2, 3, 1), (20, 10, 30)), ((9, 9, 9), (5, 5, 5))])
    planned = plan(task, training, 0)
    assert planned.spacing == [2, 3, 1]


def test_the_thickest_slices_do_not_decide(tmp_path):
    task, training = volumes(tmp_path, [((1, 1, thick), (20, 20, 5)) for thick in (2, 5, 5, 5, 8)])
    assert plan(task, training, 3).spacing == [1, 1, pytest.approx(3.2)]


def test_what_is_given_is_kept_and_no_image_is_read():
    given = Task(3, 1, spacing=[1, 1, 2], roi_size=[48, 48, 16], modality="mr", strides=[[2, 2, 1]] * 3)
    assert plan(given, pytest.fail, 3) == given
    assert plan(Task(), pytest.fail, 4) == Task()  # pictures


def test_a_2d_network_on_volumes_sees_single_slices(tmp_path):
    task, training = volumes(tmp_path, [((3, 0.7, 0.7), (20, 300, 200))], spatial_dims=2)
    planned = plan(task, training, 4)
    assert (planned.spacing, planned.roi_size, planned.strides) == ([3, 0.7, 0.7], [1, 256, 224], None)


def test_a_2d_network_on_2d_nifti_needs_no_plan(tmp_path):
    task, training = volumes(tmp_path, [((1, 1, 1), (20, 30, 1)), ((1, 1, 1), (20, 30))], spatial_dims=2)
    assert plan(task, training, 4) == task


@pytest.mark.parametrize(
    "labels, codes_to_values",
    [
        ("tumour", [0, 1, 1]),
        ({"background": 0, "liver": 1, "tumour": 2}, [0, 1, 2]),
        ({"background": 255, "liver": 0, "tumour": 7}, [255, 0, 7]),
        ({"background": 5, "liver": -1, "tumour": -3}, [5, -1, -3]),
        ({"background": 0, "whole": [1, 2], "core": [2]}, [0, 1, 2]),
    ],
    ids=["foreground", "values", "background 255", "negative values", "regions"],
)
def test_ct_statistics_are_those_of_the_foreground(labels, codes_to_values, tmp_path, caplog):
    pairs, inside = [], []
    for i in range(3):
        codes = RNG.integers(0, 3, (12, 13, 14))
        image = RNG.normal(40, 30, codes.shape).astype(np.float32) - 1000 * (codes == 0)
        pairs.append({"image": [str(tmp_path / f"{i}.nii.gz")], "label": str(tmp_path / f"{i}_mask.nii.gz")})
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), pairs[-1]["image"][0])
        mask = np.array(codes_to_values, np.int16)[codes]
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), pairs[-1]["label"])
        inside.append(image[codes > 0])
    task = Task(3, 1, Labels(labels), "ct", [1, 1, 1], roi_size=[16, 16, 16])
    with caplog.at_level(logging.INFO, "dpsau2net_monai"):
        found = plan(task, lambda: pairs, 0).intensity
    values = np.concatenate(inside)
    assert found["low"] == pytest.approx(np.percentile(values, 0.5), abs=1e-3)
    assert found["high"] == pytest.approx(np.percentile(values, 99.5), abs=1e-3)
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-3)
    assert found["std"] == pytest.approx(values.std(), abs=1e-3)
    assert "CT: clipped to" in caplog.text


def test_ct_masks_of_each_class_in_files(tmp_path):
    image = RNG.normal(0, 1, (8, 8, 8)).astype(np.float32)
    masks = [np.zeros((8, 8, 8), np.uint8) for _ in range(2)]
    masks[0][:2], masks[1][1:4] = 1, 1
    paths = [str(tmp_path / f"{name}.nii") for name in ("image", "cell", "nucleus")]
    for path, array in zip(paths, [image, *masks]):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    task = Task(3, 1, Labels(["cell", "nucleus"]), "ct", [1, 1, 1], roi_size=[8, 8, 8])
    found = plan(task, lambda: [{"image": paths[0], "label": paths[1:]}], 0).intensity
    assert found["mean"] == pytest.approx(image[:4].mean(), abs=1e-3)


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"modality": "ct", "in_channels": 2}, "modality is ct, but the images have 2 channels"),
        ({"strides": [[2, 2, 1]]}, "strides has 1 entries, but the network has 3 steps"),
    ],
)
def test_contradictions_are_refused_in_one_line(settings, says, tmp_path):
    task, training = volumes(tmp_path, [((1, 1, 1), (12, 12, 12))], **settings)
    with pytest.raises(InputError, match=says):
        plan(task, training, 3)


def test_an_affine_without_a_size_is_refused_by_name(tmp_path):
    task, training = volumes(tmp_path, [((1, 1, 0), (12, 12, 12))])
    with pytest.raises(InputError, match="0.nii: has voxels of"):
        plan(task, training, 3)


def test_pictures_of_a_modality_of_volumes_are_refused():
    with pytest.raises(InputError, match="0.png: is a picture; set modality to picture"):
        plan(Task(2, 1, modality="mr"), lambda: [{"image": "0.png", "label": "0.png"}], 0)


def test_ct_without_foreground_is_refused(tmp_path):
    path = str(tmp_path / "empty.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)), path)
    with pytest.raises(InputError, match="no training image has foreground"):
        plan(Task(3, 1, modality="ct"), lambda: [{"image": path, "label": path}], 3)
