from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpsau2net_monai.data.synthetic import synthesize
from dpsau2net_monai.errors import InputError

SMALL = (64, 80)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def default_set(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, np.ndarray]]:
    """The images and masks of a dataset with the default arguments."""
    folder = tmp_path_factory.mktemp("default")
    synthesize(folder)
    names = [f"nuclei_{index:03d}.png" for index in range(24)]
    for part in ("images", "masks"):
        assert sorted(path.name for path in (folder / part).iterdir()) == names
    return [tuple(np.asarray(Image.open(folder / part / name)) for part in ("images", "masks")) for name in names]


def test_each_image_has_a_usable_mask(default_set):
    for image, mask in default_set:
        assert image.dtype == mask.dtype == np.uint8
        assert mask.ndim == 2 and image.shape in (mask.shape, (*mask.shape, 3))
        assert set(np.unique(mask)) == {0, 255}
        assert 0.01 < (mask > 0).mean() < 0.7


def test_sizes_vary_around_the_given_size(default_set):
    shapes = [mask.shape for _, mask in default_set]
    assert (256, 256) in shapes and any(height != width for height, width in shapes)
    assert all(192 <= side <= 320 for shape in shapes for side in shape)


def test_the_kinds_of_image_are_mixed(default_set):
    kinds = set()
    for image, mask in default_set:
        inside, outside = image[mask > 0].mean(), image[mask == 0].mean()
        assert abs(inside - outside) > 5, "the nuclei do not stand out from the background"
        kinds.add(("grey" if image.ndim == 2 else "colour", "bright" if inside > outside else "dark"))
    assert kinds == {("grey", "bright"), ("grey", "dark"), ("colour", "dark")}


def test_an_image_depends_only_on_seed_and_index(tmp_path):
    for name, number, seed in (("one", 1, 5), ("three", 3, 5), ("again", 3, 5), ("other", 3, 6)):
        synthesize(tmp_path / name, number, SMALL, seed)
    one, three, again, other = (contents(tmp_path / name) for name in ("one", "three", "again", "other"))
    assert three == again
    assert len(one) == 2 and one.items() <= three.items()
    assert three.keys() == other.keys() and all(three[name] != other[name] for name in three)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_existing_data_is_not_overwritten(tmp_path, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "nuclei_000.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=f"already has {folder}"):
        synthesize(tmp_path, 2, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert contents(tmp_path) == {f"{folder}/nuclei_000.png": b"mine"}


@pytest.mark.parametrize("arguments", [{"number": 0}, {"size": (256, 8)}, {"seed": -1}])
def test_arguments_out_of_range_write_nothing(tmp_path, arguments):
    with pytest.raises(InputError):
        synthesize(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
