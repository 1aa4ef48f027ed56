"""Tables of instances, and the instances themselves with their outlines."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest
import roifile
import tifffile
import torch
from monai.transforms import NormalizeIntensityd
from PIL import Image
from skimage.draw import polygon2mask

import dpsau2net_monai.transforms.saving_instances as saving_instances
from dpsau2net_monai.data import Labels
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import LoadInputImaged, SaveInstancesd, SaveInstanceTabled, without_instances

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


def objects_of(path, mask, folder, spatial_dims=2, labels=None, **more):
    """The table's head and its rows, after what the bundle does to an image before."""
    data = LoadInputImaged("image", 3 if spatial_dims == 2 else 1, spatial_dims)({"image": path})
    data = NormalizeIntensityd("image")(data)
    data["pred"] = data["image"][:1] * 0 + torch.as_tensor(np.ascontiguousarray(mask))[None]
    SaveInstanceTabled("pred", folder, labels)(data | more)
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

    monkeypatch.setattr(saving_instances, "instance_table", stopped_table)
    with pytest.raises(Stopped):
        objects_of(save(tmp_path / "image.png", GREY), MASK.T, tmp_path / "objects")
    assert not list((tmp_path / "objects").iterdir())


def test_an_image_that_is_gone_is_named(tmp_path):
    data = LoadInputImaged("image", 1)({"image": save(tmp_path / "image.png", GREY)})
    (tmp_path / "image.png").unlink()
    with pytest.raises(InputError, match="image.png: no such file"):
        SaveInstanceTabled("image", tmp_path)(data)


def test_the_table_is_of_the_items_instances(tmp_path):
    instances = MASK.astype(np.int32)
    instances[3:7, 13:16] = 2  # two that touch; the mask alone has one there
    instances[20, 30] = 3
    image = save(tmp_path / "image.png", GREY)
    _, rows = objects_of(image, MASK.T, tmp_path / "objects", instances=torch.as_tensor(instances.T.copy())[None])
    assert [row[:4] for row in rows] == [["1", "12", "4.5", "11"], ["2", "12", "4.5", "14"], ["3", *SECOND]]


# two that touch, a ring, one in it, one of two parts that touch in a corner, one with two holes that do so, a pixel
INSTANCES = np.zeros((40, 30), np.int32)
INSTANCES[2:8, 0:5], INSTANCES[2:9, 5:9] = 1, 2
INSTANCES[12:24, 2:14], INSTANCES[15:21, 5:11], INSTANCES[17:19, 7:9] = 3, 0, 4
INSTANCES[2:5, 20:23] = INSTANCES[5:9, 23:25] = 5
INSTANCES[12:18, 20:26] = 6
INSTANCES[14, 22] = INSTANCES[15, 23] = 0
INSTANCES[39, 29] = 7


def item_of(folder, instances=INSTANCES, name="image.png"):
    """An image's item with its instances, in MONAI's axes."""
    array = np.zeros(instances.shape, np.uint8)
    path = save(folder / name, array if name.endswith("png") else array.astype(np.int16))
    data = LoadInputImaged("image", 3 if instances.ndim == 2 else 1, instances.ndim)({"image": path})
    numbers = instances.T if instances.ndim == 2 else instances
    return data | {"instances": torch.as_tensor(numbers.copy())[None]}


@pytest.mark.parametrize("count, dtype", [(7, np.uint16), (65535, np.uint16), (65536, np.uint32)])
def test_instances_of_a_picture(count, dtype, tmp_path):
    instances = np.arange(257 * 257).clip(max=count).reshape(257, 257) if count > 7 else INSTANCES
    SaveInstancesd("instances", tmp_path / "instances")(item_of(tmp_path, instances))
    (path,) = (tmp_path / "instances").iterdir()
    assert path.name == "image.tif"
    with tifffile.TiffFile(path) as file:
        (page,) = file.pages
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE and page.dtype == dtype
        np.testing.assert_array_equal(page.asarray(), instances)
    if dtype == np.uint16:
        np.testing.assert_array_equal(np.asarray(Image.open(path)), instances)


def test_instances_of_a_volume_keep_its_place(tmp_path):
    instances = np.zeros((6, 5, 4), np.int32)
    instances[1:3, 2, 1], instances[4, 4, 3] = 1, 2
    SaveInstancesd("instances", tmp_path / "instances")(item_of(tmp_path, instances, "image.nii.gz"))
    saved, image = (nibabel.load(folder / "image.nii.gz") for folder in (tmp_path / "instances", tmp_path))
    assert saved.get_data_dtype() == np.uint16
    np.testing.assert_array_equal(np.asarray(saved.dataobj), instances)
    np.testing.assert_array_equal(saved.affine, image.affine)


def filled(rings):
    """The pixels whose middle is in the outer ring, and in none of the holes."""
    outer, *holes = (polygon2mask(INSTANCES.shape, np.asarray(ring)[:, ::-1] - 0.5) for ring in rings)
    return outer & ~np.any(holes, axis=0) if holes else outer


def test_outlines_for_qupath(tmp_path):
    SaveInstancesd("instances", tmp_path, Labels("nucleus"), "geojson")(item_of(tmp_path))
    collection = json.loads((tmp_path / "image.geojson").read_text())
    assert collection["type"] == "FeatureCollection" and len(collection["features"]) == 7
    kinds = []
    for number, feature in enumerate(collection["features"], 1):
        geometry, properties = feature["geometry"], feature["properties"]
        kinds.append(geometry["type"])
        assert properties == {
            "objectType": "detection", "name": str(number), "classification": {"name": "nucleus"}
        }  # fmt: skip
        parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for ring in (ring for part in parts for ring in part):
            assert ring[0] == ring[-1] and len({tuple(point) for point in ring}) == len(ring) - 1 >= 4
        np.testing.assert_array_equal(np.any([filled(part) for part in parts], axis=0), INSTANCES == number)
    assert [i for i, kind in enumerate(kinds, 1) if kind == "MultiPolygon"] == [5]
    # along the borders of the pixels: what touches shares a line
    first, second = (collection["features"][i]["geometry"]["coordinates"][0] for i in (0, 1))
    assert sorted(map(tuple, first[:-1])) == [(0, 2), (0, 8), (5, 2), (5, 8)] and [5, 2] in second and [9, 9] in second


def test_outlines_for_imagej(tmp_path):
    SaveInstancesd("instances", tmp_path, outlines="imagej")(item_of(tmp_path))
    rois = roifile.roiread(tmp_path / "image.zip")
    assert [roi.name for roi in rois] == [str(number) for number in range(1, 8)]
    for roi in rois:
        # ImageJ fills a path of several rings by the even-odd rule
        mask = np.logical_xor.reduce([filled([ring]) for ring in roi.coordinates(multi=True)])
        np.testing.assert_array_equal(mask, INSTANCES == int(roi.name))
    assert [roi.composite for roi in rois] == [False, False, True, False, True, True, False]


def test_without_instances_the_files_are_empty(tmp_path):
    for outlines in ("geojson", "imagej"):
        SaveInstancesd("instances", tmp_path, outlines=outlines)(item_of(tmp_path, INSTANCES * 0))
    assert not tifffile.imread(tmp_path / "image.tif").any()
    assert json.loads((tmp_path / "image.geojson").read_text())["features"] == []
    assert roifile.roiread(tmp_path / "image.zip") == []


def test_instances_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="outlines is 'qupath'; it must be one of none, geojson, imagej"):
        SaveInstancesd("instances", tmp_path, outlines="qupath")
    with pytest.raises(InputError, match="set instances to false"):
        SaveInstancesd("instances", tmp_path, Labels({"a": 1, "b": 2}))
    volume = item_of(tmp_path, np.zeros((6, 5, 4), np.int32), "image.nii.gz")
    with pytest.raises(InputError, match="image.nii.gz: is a volume"):
        SaveInstancesd("instances", tmp_path / "instances", outlines="geojson")(volume)
    monkeypatch.setattr(saving_instances, "has_roifile", False)
    with pytest.raises(InputError, match=r"pip install 'dpsau2net-monai\[imagej\]'"):
        SaveInstancesd("instances", tmp_path, outlines="imagej")
    assert not (tmp_path / "instances").exists()


def test_an_image_without_its_instances_or_its_mask_is_segmented(tmp_path):
    images = [{"image": str(tmp_path / name)} for name in ("a.png", "b.png", "c.png", "d.nii.gz")]
    (tmp_path / "instances").mkdir()
    for name in ("a.png", "b.png", "d.nii.gz", "instances/a.tif", "instances/c.tif", "instances/d.nii.gz"):
        (tmp_path / name).touch()

    def left(outlines):
        chosen = without_instances(images, tmp_path / "instances", outlines, output_dir=tmp_path)
        return [image["image"].rpartition("/")[2] for image in chosen]

    assert left("none") == ["b.png", "c.png"]
    (tmp_path / "instances" / "a.geojson").touch()
    assert sorted(left("geojson")) == ["b.png", "c.png", "d.nii.gz"]
