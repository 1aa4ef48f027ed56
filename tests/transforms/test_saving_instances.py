from __future__ import annotations

import csv

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from monai.transforms import NormalizeIntensityd
from PIL import Image

import dpsau2net_monai.transforms.saving as saving
from dpsau2net_monai.data import Labels
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import LoadInputImaged, SaveInstanceTabled

# 30 rows, 40 columns: an object of 24 pixels and one of a single pixel
MASK = np.zeros((30, 40), np.uint8)
MASK[3:7, 10:16] = MASK[20, 30] = 1
GREY = MASK * 150 + 50
FIRST, SECOND = ["24", "4.5", "12.5"], ["1", "20", "30"]


def save(path, array):
    if path.suffix == ".tif":
        tifffile.imwrite(path, array)
    elif path.suffix == ".png":
        Image.fromarray(array).save(path)
    else:
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    return str(path)


def objects_of(path, mask, folder, spatial_dims=2, labels=None):
    """The table's head and its rows, after what the bundle does to an image before."""
    data = LoadInputImaged("image", 3 if spatial_dims == 2 else 1, spatial_dims)({"image": path})
    data = NormalizeIntensityd("image")(data)
    data["pred"] = data["image"][:1] * 0 + torch.as_tensor(np.ascontiguousarray(mask))[None]
    SaveInstanceTabled("pred", folder, labels)(data)
    (table,) = folder.iterdir()
    assert table.name == "image.csv"
    with open(table, newline="") as file:
        head, *rows = csv.reader(file)
    return head, rows


@pytest.mark.parametrize(
    "name, array, means",
    [
        ("image.png", GREY, [["200"], ["200"]]),
        ("image.png", MASK > 0, [["1"], ["1"]]),
        ("image.png", np.dstack([GREY, GREY // 2, MASK]), [["200", "100", "1"]] * 2),
        ("image.tif", GREY.astype(np.uint16) * 100, [["20000"], ["20000"]]),
        ("image.tif", GREY / np.float32(8), [["25"], ["25"]]),
        ("image.nii.gz", GREY.T.astype(np.int16) - 300, [["-100"], ["-100"]]),
        ("image.nii", GREY.T[..., None], [["200"], ["200"]]),
    ],
    ids=["8 bits", "1 bit", "colours", "16 bits", "float", "volume", "slice"],
)
def test_objects_have_their_place_and_the_files_intensity(name, array, means, tmp_path):
    head, rows = objects_of(save(tmp_path / name, array), MASK.T, tmp_path / "objects")
    colours = ["mean_intensity"] if len(means[0]) == 1 else [f"mean_intensity_{i}" for i in range(3)]
    assert head == ["label", "area", "centroid_row", "centroid_column", *colours]
    assert rows == [["1", *FIRST, *means[0]], ["2", *SECOND, *means[1]]]


def test_objects_of_a_volume(tmp_path):
    volume = np.zeros((8, 9, 10), np.uint8)
    volume[1:3, 2:5, 3:7] = 1
    path = save(tmp_path / "image.nii.gz", volume * 7)
    head, rows = objects_of(path, volume, tmp_path / "objects", spatial_dims=3)
    assert head == ["label", "volume", "volume_mm3", "centroid_x", "centroid_y", "centroid_z", "mean_intensity"]
    assert rows == [["1", "24", "24", "1.5", "3", "4.5", "7"]]


def test_the_volume_of_an_instance_is_that_of_its_voxels(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((6, 6, 6), np.uint8), np.diag([-0.5, 1, 3, 1])), tmp_path / "image.nii.gz")
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    _, rows = objects_of(str(tmp_path / "image.nii.gz"), mask, tmp_path / "objects", spatial_dims=3)
    assert [row[:3] for row in rows] == [["1", "8", "12"]]


@pytest.mark.parametrize("regions", [False, True])
def test_each_class_has_its_instances(regions, tmp_path):
    labels = Labels({"whole": [1, 2], "core": [2]} if regions else {"background": 0, "whole": 1, "core": 2})
    codes = np.zeros((30, 40), np.uint8)
    codes[3:9, 10:16], codes[3:9, 16:18], codes[20, 30] = 1, 2, 2
    head, rows = objects_of(save(tmp_path / "image.png", GREY), codes.T, tmp_path / "objects", labels=labels)
    assert head[:3] == ["class", "label", "area"]
    whole = [["whole", "1", "48"], ["whole", "2", "1"]] if regions else [["whole", "1", "36"]]
    assert [row[:3] for row in rows] == [*whole, ["core", "1", "12"], ["core", "2", "1"]]


def test_without_objects_there_is_the_head_alone(tmp_path):
    head, rows = objects_of(save(tmp_path / "image.png", GREY), MASK.T * 0, tmp_path / "objects")
    assert head == ["label", "area", "centroid_row", "centroid_column", "mean_intensity"] and rows == []


def test_a_table_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stopped_table(labels, image, spacing):
        def rows():
            yield "label"
            raise Stopped

        return rows()

    monkeypatch.setattr(saving, "instance_table", stopped_table)
    with pytest.raises(Stopped):
        objects_of(save(tmp_path / "image.png", GREY), MASK.T, tmp_path / "objects")
    assert not list((tmp_path / "objects").iterdir())


def test_an_image_that_is_gone_is_named(tmp_path):
    data = LoadInputImaged("image", 1)({"image": save(tmp_path / "image.png", GREY)})
    (tmp_path / "image.png").unlink()
    with pytest.raises(InputError, match="image.png: no such file"):
        SaveInstanceTabled("image", tmp_path)(data)
