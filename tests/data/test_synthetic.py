from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from dpsau2net_monai.data import Labels, check_dataset, dataset_settings, synthesize
from dpsau2net_monai.errors import InputError

SMALL = (64, 80)
# the arguments of each kind of dataset
NUCLEI = {"size": SMALL}
CELLS = {"size": SMALL, "classes": 3}
VOLUMES = {"size": (32, 40, 36), "spatial_dims": 3, "classes": 3}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*_*.*"))}


@pytest.fixture(scope="module")
def default_set(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, ...]]:
    """The images, masks and instances of a dataset with the default arguments."""
    folder = tmp_path_factory.mktemp("default")
    synthesize(folder)
    names = [f"nuclei_{index:03d}.png" for index in range(24)]
    parts = ("images", "masks", "instances")
    for part in parts:
        assert sorted(path.name for path in (folder / part).iterdir()) == names
    return [tuple(np.asarray(Image.open(folder / part / name)) for part in parts) for name in names]


def test_each_image_has_a_usable_mask(default_set):
    for image, mask, instances in default_set:
        assert image.dtype == mask.dtype == np.uint8
        assert mask.ndim == 2 and image.shape in (mask.shape, (*mask.shape, 3))
        assert set(np.unique(mask)) == {0, 255}
        assert 0.01 < (mask > 0).mean() < 0.7
        assert np.array_equal(instances > 0, mask > 0) and instances.max() > 1


def test_sizes_vary_around_the_given_size(default_set):
    shapes = [mask.shape for _, mask, _ in default_set]
    assert (256, 256) in shapes and any(height != width for height, width in shapes)
    assert all(192 <= side <= 320 for shape in shapes for side in shape)


def test_the_kinds_of_image_are_mixed(default_set):
    kinds = set()
    for image, mask, _ in default_set:
        inside, outside = image[mask > 0].mean(), image[mask == 0].mean()
        assert abs(inside - outside) > 5, "the nuclei do not stand out from the background"
        kinds.add(("grey" if image.ndim == 2 else "colour", "bright" if inside > outside else "dark"))
    assert kinds == {("grey", "bright"), ("grey", "dark"), ("colour", "dark")}


@pytest.mark.parametrize("arguments", [NUCLEI, CELLS, VOLUMES], ids=["nuclei", "cells", "volumes"])
def test_an_image_depends_only_on_seed_and_index(tmp_path, arguments):
    for name, number, seed in (("one", 1, 5), ("three", 3, 5), ("again", 3, 5), ("other", 3, 6)):
        synthesize(tmp_path / name, number, seed=seed, **arguments)
    one, three, again, other = (contents(tmp_path / name) for name in ("one", "three", "again", "other"))
    assert three == again
    assert len(one) == (3 if arguments is NUCLEI else 2) and one.items() <= three.items()
    assert three.keys() == other.keys() and all(three[name] != other[name] for name in three)


def test_the_default_dataset_stays_as_it_is(default_set):
    """With other images, the results of the demo and of the benchmarks could not be compared with earlier ones."""
    means = [(image.mean(), mask.mean()) for image, mask, _ in default_set[:4]]
    expected = [(182.22, 83.08), (133.80, 100.32), (10.56, 13.65), (154.23, 22.62)]
    np.testing.assert_allclose(means, expected, atol=0.2)


def test_cells_differ_in_colour(tmp_path):
    synthesize(tmp_path, 6, classes=3)
    assert dataset_settings(tmp_path) == {
        "labels": {"background": 0, "lymphocyte": 1, "tumour": 2, "macrophage": 3},
        "in_channels": 3,
        "spatial_dims": 2,
        "modality": "picture",
    }
    assert not check_dataset(tmp_path).problems
    for path in (tmp_path / "images").iterdir():
        image, mask = np.asarray(Image.open(path)), np.asarray(Image.open(tmp_path / "masks" / path.name))
        assert image.shape == (*mask.shape, 3) and set(np.unique(mask)) == {0, 1, 2, 3}
        lymphocyte, tumour, macrophage = (image[mask == code].mean(0) for code in (1, 2, 3))
        assert lymphocyte.sum() < tumour.sum() - 20  # darker
        assert lymphocyte[2] > lymphocyte[0] and macrophage[0] > macrophage[2]  # blue and brown


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    synthesize(folder, 12, spatial_dims=3, classes=3)
    return folder


def test_structures_differ_in_intensity(volumes):
    assert dataset_settings(volumes) == {
        "labels": {"background": 0, "organ": 1, "vessel": 2, "lesion": 3},
        "in_channels": 1,
        "spatial_dims": 3,
        "modality": "mr",
    }
    assert not check_dataset(volumes).problems
    for path in (volumes / "images").iterdir():
        image, mask = nibabel.load(path), nibabel.load(volumes / "masks" / path.name)
        assert np.array_equal(image.affine, mask.affine)
        codes, array = np.asarray(mask.dataobj), np.asarray(image.dataobj)
        assert image.shape == mask.shape and set(np.unique(codes)) == {0, 1, 2, 3}
        organ, vessel, lesion = (array[codes == code].mean() for code in (1, 2, 3))
        assert organ < min(vessel, lesion)


def test_volumes_differ_in_size_spacing_and_orientation(volumes):
    loaded = [nibabel.load(path) for path in (volumes / "images").iterdir()]
    assert len({volume.shape for volume in loaded}) > 6
    assert all(36 <= side <= 64 for volume in loaded for side in volume.shape)
    zooms = [volume.header.get_zooms() for volume in loaded]
    assert len({max(zoom) > 1.2 * min(zoom) for zoom in zooms}) == 2  # some with thick slices, some without
    assert len({nibabel.aff2axcodes(volume.affine) for volume in loaded}) > 1


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("classes", [1, 2])
def test_the_first_classes_only(tmp_path, dims, classes):
    synthesize(tmp_path, 1, (40,) * dims, spatial_dims=dims, classes=classes)
    labels = Labels(dataset_settings(tmp_path).get("labels"))
    assert len(labels.names) == classes
    (path,) = (tmp_path / "masks").iterdir()
    mask = np.asarray(Image.open(path) if dims == 2 else nibabel.load(path).dataobj)
    assert len(np.unique(mask)) == classes + 1


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_existing_data_is_not_overwritten(tmp_path, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "nuclei_000.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=f"already has {folder}"):
        synthesize(tmp_path, 2, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert contents(tmp_path) == {f"{folder}/nuclei_000.png": b"mine"}


def test_another_dataset_json_is_not_contradicted(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(InputError, match="already has dataset.json"):
        synthesize(tmp_path, 2, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"number": 0}, {"size": (256, 8)}, {"seed": -1}, {"classes": 0}, {"classes": 4}, {"spatial_dims": 1},
        {"spatial_dims": 3, "size": (64, 64)},
    ],
)  # fmt: skip
def test_arguments_out_of_range_write_nothing(tmp_path, arguments):
    with pytest.raises(InputError):
        synthesize(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
