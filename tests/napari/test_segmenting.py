"""The plugin's arrays are those that the bundle writes, and what it saves is what the bundle reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from bright_network import Bright
from monai.data import MetaTensor
from PIL import Image
from samples import write_untrained

from dpsau2net_monai.cli import main
from dpsau2net_monai.data import Labels, Task, synthesize
from dpsau2net_monai.errors import InputError

pytest.importorskip("napari.layers")
from dpsau2net_monai.napari.clicks import correct, labels_around  # noqa: E402
from dpsau2net_monai.napari.saving import AlreadySavedError, save_pair  # noqa: E402
from dpsau2net_monai.napari.segmenting import SHIPPED, Segmenter, Settings, Stopped, open_segmenter, planes  # noqa: E402

pytestmark = pytest.mark.napari
ROOT = Path(__file__).parents[2]


def segment(settings: Settings, array: np.ndarray, rgb: bool = False, scale: tuple[float, ...] = ()) -> np.ndarray:
    segmenter = open_segmenter(settings)
    image = segmenter.prepare(array, rgb, scale)
    return segmenter.labels(image, segmenter.logits(image))


def run_segmenting(images: Path, output: Path, **keys) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "segmenting", "--config_file",
               ROOT / "bundle" / "configs" / "inference.yaml", "--bundle_root", ROOT / "bundle",
               "--dataset_dir", images, "--output_dir", output]  # fmt: skip
    words = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    subprocess.run([*command, *words], check=True, capture_output=True, timeout=600)


def test_pictures_as_in_the_bundle(tmp_path):
    """Grey and colour, 8 and 16 bits, several windows, and settings other than the defaults."""
    synthesize(tmp_path, 2, size=(300, 280))
    images = tmp_path / "images"
    arrays = {path.stem: np.asarray(Image.open(path)) for path in images.iterdir()}
    arrays["deep"] = arrays["nuclei_000"].astype(np.uint16) * 200
    tifffile.imwrite(images / "deep.tif", arrays["deep"])
    assert {array.ndim for array in arrays.values()} == {2, 3}
    run_segmenting(images, tmp_path / "out", instances=True, threshold=0.4, overlap=0.5, tta=True, precision="float32")
    settings = Settings(SHIPPED, threshold=0.4, overlap=0.5, tta=True)
    for name, array in arrays.items():
        labels = segment(settings, array, rgb=array.ndim == 3)
        assert labels.max() > 1
        assert np.array_equal(labels, tifffile.imread(tmp_path / "out" / "instances" / f"{name}.tif"))


def test_volumes_as_in_the_bundle(tmp_path):
    """napari's order of the axes is (z, y, x). The spacing is that of the layer."""
    task = Task(
        spatial_dims=3, in_channels=1, labels={"background": 0, "head": 1, "tail": 2}, modality="mr",
        spacing=[1, 1, 1], strides=[[2, 2, 2]] * 3, roi_size=[32, 32, 32],
    )  # fmt: skip
    write_untrained(tmp_path / "run", task)
    volume = np.random.default_rng(0).normal(100, 20, (20, 36, 30)).astype(np.float32)
    (tmp_path / "images").mkdir()
    nibabel.save(nibabel.Nifti1Image(volume.T, np.diag([1.25, 1, 2, 1])), tmp_path / "images" / "one.nii.gz")
    run_segmenting(tmp_path / "images", tmp_path / "out", ckpt_path=tmp_path / "run" / "model.pt")
    labels = segment(Settings(tmp_path / "run"), volume, scale=(2, 1, 1.25))
    assert set(np.unique(labels)) == {0, 1, 2}
    assert np.array_equal(labels, np.asarray(nibabel.load(tmp_path / "out" / "one.nii.gz").dataobj).T)


def test_channels(tmp_path):
    """A leading axis of channels is what separate files of the channels are to the bundle."""
    write_untrained(tmp_path / "run", Task(in_channels=2, roi_size=[64, 64]))
    array = np.random.default_rng(0).integers(0, 255, (2, 64, 80), np.uint8)
    (tmp_path / "imagesTs").mkdir()
    (tmp_path / "dataset.json").write_text("{}")
    for index, channel in enumerate(array):
        Image.fromarray(channel).save(tmp_path / "imagesTs" / f"one_{index:04d}.png")
    run_segmenting(tmp_path / "imagesTs", tmp_path / "out", ckpt_path=tmp_path / "run" / "model.pt", instances=True)
    (path,) = (tmp_path / "out" / "instances").iterdir()
    assert np.array_equal(segment(Settings(tmp_path / "run"), array), tifffile.imread(path))


@pytest.mark.parametrize("planes_first, rgb", [((), False), ((5,), False), ((5, 2), False), ((5,), True)])
def test_planes_of_channels(planes_first, rgb):
    """All channels of a plane belong together, whether they are the first axis or the last one."""
    data = np.random.default_rng(0).random((*planes_first, 8, 9, 3))
    given = data if rgb else np.moveaxis(data, -1, 0)
    found = dict(planes(given, 2, rgb, not rgb))
    assert found.keys() == set(np.ndindex(*planes_first))
    for index, plane in found.items():
        assert np.array_equal(plane, data[index] if rgb else np.moveaxis(data[index], -1, 0))


def test_stopping():
    segmenter = open_segmenter(Settings(SHIPPED))
    image = segmenter.prepare(np.zeros((300, 300), np.uint8), rgb=False)
    with pytest.raises(Stopped):
        segmenter.logits(image, lambda: True)


@pytest.mark.parametrize(
    ("shape", "scale", "window"),
    [
        ((90, 80), (), (64, 64)),
        ((24, 48, 40), (1, 1, 1), (24, 32, 32)),
        ((24, 48, 40), (2, 1, 1), (16, 32, 32)),  # thick slices
        ((20, 40, 60), (3.1, -1, 0.6), (10, 32, 53)),  # rows from front to back
    ],
)
def test_window_around_a_click(tmp_path, shape, scale, window):
    """The labels of a window are those of the whole image there. The clicked voxel gets the class of the click."""
    volume = Task(3, 1, "nucleus", "mr", spacing=[1, 1, 1], strides=[[2, 2, 2]] * 3, roi_size=[32, 32, 32])
    write_untrained(tmp_path, volume if scale else Task(labels="nucleus", roi_size=[64, 64]))
    segmenter = Segmenter(Settings(tmp_path))
    segmenter._network = Bright()
    array = np.zeros(shape, np.float32)
    array[tuple(slice(n // 2, n // 2 + 4) for n in shape)] = 200
    image = segmenter.prepare(array, False, scale)
    whole = segmenter.labels(image, segmenter.logits(image))
    assert whole.max() == 1
    points = [tuple(n // 2 + 1 for n in shape), (0,) * len(shape), tuple(n - 1 for n in shape)]
    for point in points:
        box, labels = labels_around(segmenter, image, {}, point)
        assert np.array_equal(labels, whole[box])
        assert np.allclose(labels.shape, window, atol=1)
        inner = tuple(place - span.start for place, span in zip(point, box))
        name = "background" if whole[point] else "nucleus"
        _, labels = labels_around(segmenter, image, {name: points[:1] if whole[point] else points[1:]}, point)
        assert bool(labels[inner]) != bool(whole[point])
    with pytest.raises(InputError, match="outside"):
        labels_around(segmenter, image, {}, shape)


def test_further_click_computes_no_network():
    segmenter = open_segmenter(Settings(SHIPPED))
    image = segmenter.prepare(np.eye(64, dtype=np.uint8) * 200, rgb=False)
    computed: list[torch.Size] = []
    handle = segmenter._network.register_forward_hook(lambda _, inputs, __: computed.append(inputs[0].shape))
    labels_around(segmenter, image, {"nucleus": [(10, 10)]}, (10, 10))
    assert computed
    computed.clear()
    labels_around(segmenter, image, {"nucleus": [(10, 10)], "background": [(40, 9)]}, (40, 9))
    handle.remove()
    assert not computed


@pytest.mark.parametrize(
    ("weights", "message"),
    [("missing", "no such file"), ("run", "task.yaml")],
)
def test_wrong_weights(tmp_path, weights, message):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").touch()
    with pytest.raises(InputError, match=message):
        open_segmenter(Settings(tmp_path / weights))


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float colours"])
def test_saved_pair(tmp_path, kind, capsys):
    """The saved dataset passes the check, has what was saved, and is not overwritten by itself."""
    rng = np.random.default_rng(0)
    image = rng.random((40, 50, 3) if kind == "float colours" else (40, 50))
    if kind.startswith("uint"):
        image = (image * np.iinfo(kind).max).astype(kind)
    labels = np.zeros((40, 50), np.int32)
    labels[5:15, 5:15], labels[5:15, 15:30] = 1, 70  # they touch
    for index, name in enumerate(["one", "two", "three", "four", "five", "six"]):  # the check draws a split
        save_pair(tmp_path, name, np.roll(image, index, 0), labels, Labels("nucleus"))
    assert main(["check", str(tmp_path)]) == 0, capsys.readouterr().out
    assert np.array_equal(tifffile.imread(tmp_path / "instances" / "one.tif"), labels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks" / "one.png")), np.where(labels, 255, 0))
    with pytest.raises(AlreadySavedError, match="exists"):
        save_pair(tmp_path, "one", image, labels * 0, Labels("nucleus"))
    Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "instances" / "one.png")  # as the importers write them
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "masks" / "one.bmp")
    save_pair(tmp_path, "one", np.zeros((40, 50), np.uint8), labels * 0, Labels("nucleus"), overwrite=True)
    left = {path.parent.name: path.name for path in sorted(tmp_path.glob("*/one.*"))}
    assert left == {"images": "one.png", "instances": "one.tif", "masks": "one.png"}
    assert len(list(tmp_path.glob("*/one.*"))) == 3


CLASSES = Labels({"background": 0, "one": 10, "two": 20})


def test_saved_classes(tmp_path):
    """Masks of several classes have the values that the classes have, and there are no instances."""
    codes = np.arange(1200).reshape(30, 40) % 3
    save_pair(tmp_path, "classes", np.zeros((30, 40, 3), np.uint8), codes, CLASSES)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks" / "classes.png")), codes * 10)
    assert not (tmp_path / "instances").exists()
    for wrong in (codes + 1, codes - 1):  # of instances, or painted by hand
        with pytest.raises(InputError, match="the classes those from 0 to 2"):
            save_pair(tmp_path, "wrong", np.zeros((30, 40, 3), np.uint8), wrong, CLASSES)
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["classes.png"]


@pytest.mark.parametrize(
    ("image", "labels", "says"),
    [
        (np.full((30, 40, 3), 200, np.float32), np.ones((30, 40), int), "the colours go from 200 to 200; scale them"),
        (np.full((30, 40), np.nan, np.float32), np.ones((30, 40), int), "NaN or infinite"),
        (np.zeros((30, 40), np.uint8), np.full((30, 40), -1), "the labels have negative numbers, down to -1"),
    ],
    ids=["colours", "NaN", "negative"],
)
def test_what_cannot_be_saved(tmp_path, image, labels, says):
    with pytest.raises(InputError, match=says):
        save_pair(tmp_path, "one", image, labels, Labels())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.int16, np.float64, bool])
def test_saved_volume(tmp_path, dtype):
    """A volume and its mask are NIfTI with the voxels of the layer, and nothing else is left."""
    image = np.random.default_rng(0).integers(0, 2, (5, 6, 7)).astype(dtype)
    codes = np.arange(210).reshape(5, 6, 7) % 3
    save_pair(tmp_path, "one", image, codes, CLASSES, scale=(3, 2, 1))
    stored, mask = (nibabel.load(tmp_path / folder / "one.nii.gz") for folder in ("images", "masks"))
    assert np.array_equal(np.asarray(stored.dataobj).T, image)
    assert np.array_equal(np.asarray(mask.dataobj).T, codes * 10)
    assert (stored.affine == np.diag([1, 2, 3, 1])).all() and (mask.affine == stored.affine).all()
    assert {path.name for path in tmp_path.iterdir()} == {"images", "masks"}
    with pytest.raises(AlreadySavedError, match="exists"):
        save_pair(tmp_path, "one", image, codes, CLASSES)


def test_a_correction_of_classes_keeps_the_other_classes():
    labels = np.ones((60, 60), np.int32)
    labels[40:50, 40:50], labels[5:8, 5:8] = 2, 0
    corrected = correct(labels, np.full((60, 60), 3), (20, 20), 3, False, 4)
    assert (corrected == np.where(labels == 2, 2, 3)).all()


def disc(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:60, :60]
    return np.hypot(rows - row, columns - column) <= radius


def test_correction():
    """A click changes the region under it, and nothing else that the person or the network drew."""
    labels = np.zeros((60, 60), np.int32)
    labels[disc(15, 15, 8)], labels[disc(15, 25, 8)] = 1, 1  # two that are taken for one
    labels[disc(45, 15, 4)] = 2  # too small
    new = np.zeros_like(labels)
    new[disc(45, 15, 8)], new[disc(45, 45, 8)] = 7, 9
    new[disc(15, 10, 8)], new[disc(15, 30, 8)] = 3, 4

    added = correct(labels, new, (45, 45), 1, True, 3)
    assert (added == np.where(disc(45, 45, 8), 3, labels)).all()
    grown = correct(labels, new, (45, 15), 1, True, 3)
    assert (grown == np.where(disc(45, 15, 8), 2, labels)).all()
    cut = correct(labels, new, (15, 20), 0, True, 3)
    assert set(np.unique(cut)) == {0, 1, 2, 3}
    assert cut[15, 12] != cut[15, 28] and cut[15, 20] == 0 and (cut[30:] == labels[30:]).all()
    alike = correct((labels > 0).astype(np.int32), new, (15, 20), 0, True, 3)  # as in a mask
    assert set(np.unique(alike)) == {0, 1, 3} and (alike[30:] == (labels[30:] > 0)).all()

    classes = correct(labels, new, (45, 15), 7, False, 3)
    assert (classes == np.where(disc(45, 15, 8), 7, labels)).all()
    removed = correct(labels, new * 0, (45, 15), 0, False, 3)
    assert (removed == np.where(disc(45, 15, 4), 0, labels)).all()

    for point, code in (((15, 20), 1), ((45, 45), 0)):  # the network does not follow
        assert (correct(labels, new, point, code, True, 3) == labels).all()


def test_a_clicked_instance_is_one_however_unsure_the_network_is():
    found = disc(45, 15, 8) | disc(15, 40, 5)

    class Unsure:
        task = Task(2, 1, "nucleus", roi_size=[64, 64], instances=True)

        def logits(self, _: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(np.stack([np.where(found.T, 1.0, -1.0), np.full((60, 60), -9.0)]))

        def labels(self, *_: torch.Tensor) -> np.ndarray:
            return np.zeros((60, 60), np.int32)  # the predicted distance is too low

    image = MetaTensor(torch.zeros(1, 60, 60), meta={"original_affine": np.eye(4), "spatial_shape": (60, 60)})
    _, labels = labels_around(Unsure(), image, {"nucleus": [(45, 15)]}, (45, 15))
    assert (labels == disc(45, 15, 8)).all()
