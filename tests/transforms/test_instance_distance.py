from __future__ import annotations

import os

import numpy as np
import pytest
import tifffile
import torch
from monai.data import MetaTensor
from PIL import Image
from skimage.draw import disk

from dpsau2net_monai.data import instances as of_data
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.transforms import AddInstanceDistanced, SeparateInstancesd
from dpsau2net_monai.transforms.instances import instance_distance

SHAPE = (40, 60)


def overlapping_discs() -> np.ndarray:
    """Two nuclei with a wide neck, and a small one: a distance transform of their mask does not part the first two."""
    instances = np.zeros(SHAPE, np.int32)
    for number, (row, column, radius) in enumerate([(20, 18, 12), (20, 30, 12), (5, 52, 2)], 1):
        instances[disk((row, column), radius, shape=SHAPE)] = number
    return instances


def test_the_distance_is_normalised_by_instance():
    instances = overlapping_discs()
    distance = instance_distance(instances)
    assert (distance[instances == 0] == 0).all() and (distance[instances > 0] > 0).all()
    assert [distance[instances == number].max() for number in (1, 2, 3)] == [1, 1, 1]
    assert distance[20, 22:26].min() < 0.5 < distance[20, 32]  # lower where the two touch


@pytest.mark.parametrize("given, found", [(True, 3), (False, 2)])
def test_the_distance_separates_what_the_mask_does_not(given, found):
    instances = overlapping_discs()
    distance = instance_distance(instances)
    distance += np.random.default_rng(0).uniform(0, 0.1, SHAPE)  # a network's is rough
    item = {
        "pred": torch.as_tensor(instances > 0)[None].float(),
        "probability": torch.as_tensor(np.stack([instances > 0, distance])),
    }
    item = SeparateInstancesd("pred", "probability" if given else None)(item)
    result = item["instances"]
    assert result.dtype == torch.int32 and result.shape == (1, *SHAPE)
    assert result.max() == len(result.unique()) - 1 == found
    assert torch.equal(result > 0, item["pred"] > 0)  # every pixel of the mask belongs to an instance
    if given:
        for number in (1, 2, 3):
            _, counts = np.unique(result[0].numpy()[instances == number], return_counts=True)
            assert counts.max() > 0.9 * counts.sum()


def test_a_component_without_a_middle_is_no_instance():
    mask = torch.as_tensor(overlapping_discs() > 0)[None].float()
    result = SeparateInstancesd("pred", "probability")({"pred": mask, "probability": torch.zeros(2, *SHAPE)})
    assert result["instances"].max() == 0


@pytest.mark.parametrize("stored", ["<u2", ">i4", "<f4", ">f4", None])  # ImageJ saves 32 bits as floats
def test_the_target_of_training(stored, tmp_path):
    instances = overlapping_discs()
    if stored:
        tifffile.imwrite(tmp_path / "a.tif", instances.T.astype(stored), compression="zlib", byteorder=stored[0])
    # those of another image, and what segmentation writes beside them
    Image.fromarray(np.ones(SHAPE[::-1], np.uint16)).save(tmp_path / "a.2.png")
    (tmp_path / "a.geojson").write_text("{}")
    mask = MetaTensor(torch.as_tensor(instances > 0)[None].float(), meta={"filename_or_obj": "m/a.png"})
    item = AddInstanceDistanced("label", tmp_path)({"label": mask, "image_path": "images/a.tif"})
    label = item["label"]
    assert label.shape == (2, *SHAPE) and torch.equal(label[:1], mask) and label.meta == mask.meta
    assert np.allclose(label[1], instance_distance(instances)) == (stored is not None)
    assert label[1].max() == 1  # without the file, the mask is split


def test_the_folder_is_listed_once_until_it_changes(tmp_path, monkeypatch):
    listed = []
    list_files = of_data.files_by_stem
    monkeypatch.setattr(of_data, "files_by_stem", lambda *args: listed.append(args) or list_files(*args))
    add = AddInstanceDistanced("label", tmp_path)

    def middles(name):
        """The number of pixels in the middle of an instance."""
        item = {"label": MetaTensor(torch.ones(1, *SHAPE)), "image_path": f"images/{name}.png"}
        return int((add(item)["label"][1] == 1).sum())

    Image.fromarray(np.zeros(SHAPE[::-1], np.uint16)).save(tmp_path / "a.png")
    os.utime(tmp_path, (0, 0))
    assert [middles(name) == 0 for name in "abc"] == [True, False, False] and len(listed) == 1
    Image.fromarray(np.zeros(SHAPE[::-1], np.uint16)).save(tmp_path / "b.png")
    assert middles("b") == 0 and len(listed) == 2


@pytest.mark.parametrize(
    "stored, says",
    [
        (np.zeros((30, 30), np.uint16), "is 30 x 30, its image 40 x 60; restore it or remove it"),
        (np.full(SHAPE[::-1], 0.5, np.float32), "has values that are not integers"),
    ],
)
def test_instances_that_cannot_be_used(stored, says, tmp_path):
    Image.fromarray(stored).save(tmp_path / "a.tif")
    item = {"label": torch.zeros(1, *SHAPE), "image_path": "images/a.png"}
    with pytest.raises(InputError, match=f"a.tif: {says}"):
        AddInstanceDistanced("label", tmp_path)(item)


def test_two_files_of_one_name(tmp_path):
    for name in ("a.png", "a.tif"):
        Image.fromarray(np.zeros(SHAPE[::-1], np.uint16)).save(tmp_path / name)
    with pytest.raises(InputError, match="a.tif: has the same name as a.png; remove or rename one of them"):
        AddInstanceDistanced("label", tmp_path)({"label": torch.zeros(1, *SHAPE), "image_path": "images/a.png"})
