"""Segmentation, with a network whose right answer is known: the foreground is what is brighter than the image's
mean."""

from __future__ import annotations

import csv
import json
import os
import shutil

import monai.bundle
import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from processes import fork_server
from running import CONFIGS, ROOT, bundle_arguments, bundle_run, environment, succeeded
from skimage.measure import label

from dpsau2net_monai.errors import root_input_error
from dpsau2net_monai.transforms import LoadInputImaged

BRIGHT = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}

# 50 rows, 90 columns, like itself under no turn and no flip
PATTERN = np.zeros((50, 90), bool)
PATTERN[4:12, 3:60] = PATTERN[12:40, 3:9] = PATTERN[30:34, 70:85] = True
AFFINE = np.array([[-0.5, 0, 0, 10], [0, 2, 0, -3], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save({"weight": torch.ones(1, 3, 1, 1), "bias": torch.zeros(1)}, path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    colours = (PATTERN[..., None] * [200, 150, 90] + 20).astype(np.uint8)
    Image.fromarray(colours).save(folder / "colours.png")
    tifffile.imwrite(folder / "deep.tif", (PATTERN * 900 + 100).astype(np.uint16))
    nibabel.save(nibabel.Nifti1Image(PATTERN.T.astype(np.float32), AFFINE), folder / "plane.nii.gz")
    nibabel.save(nibabel.Nifti1Image(PATTERN.T[..., None].astype(np.int16), AFFINE), folder / "slice.nii")
    return folder


def keys(dataset_dir, weights, output_dir):
    return dict(
        bundle_root="bundle", dataset_dir=dataset_dir, ckpt_path=weights, output_dir=output_dir, network_def=BRIGHT,
        roi_size=[48, 48],
    )  # fmt: skip


def segment(dataset_dir, weights, output_dir, **more):
    """In this process, which is quicker than one of its own."""
    values = {key: value if isinstance(value, (list, dict)) else str(value)
              for key, value in keys(dataset_dir, weights, output_dir).items()}  # fmt: skip
    monai.bundle.run("segmenting", config_file=str(CONFIGS / "inference.yaml"), **values, **more)


@pytest.mark.parametrize("tta, side", [("false", 48), ("true", 48), ("false", 96)])  # 96: two images in a batch
def test_masks_lie_over_their_images(tta, side, images, weights, tmp_path):
    options = keys(images, weights, tmp_path / "masks") | {"save_overlay": "true", "save_objects": "true", "tta": tta}
    options["roi_size"] = [side, side]
    assert f"weights: {weights}" in succeeded(bundle_run("segmenting", "inference.yaml", **options)).stdout
    with open(tmp_path / "masks" / "objects" / "deep.csv", newline="") as file:
        instances = list(csv.DictReader(file))
    assert sum(float(row["area"]) for row in instances) == PATTERN.sum()
    assert {float(row["mean_intensity"]) for row in instances} == {1000}  # as in the file
    assert any((float(row["centroid_row"]), float(row["centroid_column"])) == (31.5, 77) for row in instances)
    for name in ("colours.png", "deep.png"):
        mask = np.asarray(Image.open(tmp_path / "masks" / name))
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, PATTERN * 255)
    for name, image in (("plane.nii.gz", "plane.nii.gz"), ("slice.nii.gz", "slice.nii")):
        mask = nibabel.load(tmp_path / "masks" / name)
        assert mask.get_data_dtype() == np.uint8 and mask.shape == nibabel.load(images / image).shape
        np.testing.assert_array_equal(mask.get_fdata().reshape(90, 50), PATTERN.T)
        np.testing.assert_allclose(mask.affine, AFFINE)

    # the picture is a whole number of times the image, with the contour on the pattern's outermost pixels
    for name in ("colours", "plane"):
        overlay = np.asarray(Image.open(tmp_path / "masks" / "overlays" / f"{name}.png"))
        factor = overlay.shape[0] // 50
        assert overlay.shape == (50 * factor, 90 * factor, 3) and overlay.shape[1] >= 512
        contour = (overlay == (86, 180, 233)).all(-1).reshape(50, factor, 90, factor).any((1, 3))
        assert contour.any() and not contour[~PATTERN].any()
        assert contour[4, 3:60].all() and contour[12:40, 3].all() and contour[33, 70:85].all()
    assert not list(tmp_path.rglob(".part*"))


def test_instances_by_the_further_output_and_those_that_lack_files(images, tmp_path):
    # both outputs are high where the image is bright
    torch.save({"weight": torch.ones(2, 3, 1, 1), "bias": torch.zeros(2)}, tmp_path / "model.pt")
    (tmp_path / "task.yaml").write_text("labels: nucleus\ninstances: true\n")
    options = keys(str(images / "deep.tif"), str(tmp_path / "model.pt"), str(tmp_path / "masks"))
    options |= {"network_def": {**BRIGHT, "out_channels": 2}, "outlines": "geojson", "save_objects": "true"}
    expected = label(PATTERN)
    folder = tmp_path / "masks" / "instances"
    for _ in range(2):
        monai.bundle.run("segmenting", config_file=str(CONFIGS / "inference.yaml"), **options)
        instances = tifffile.imread(folder / "deep.tif")
        assert instances.dtype == np.uint16 and len(np.unique(instances)) == expected.max() + 1 == 3
        np.testing.assert_array_equal(instances > 0, PATTERN)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "masks" / "deep.png")), PATTERN * 255)
        with open(tmp_path / "masks" / "objects" / "deep.csv", newline="") as file:
            areas = {int(row["label"]): int(row["area"]) for row in csv.DictReader(file)}
        assert areas == {number: int((instances == number).sum()) for number in (1, 2)}
        assert len(json.loads((folder / "deep.geojson").read_text())["features"]) == 2
        (folder / "deep.geojson").unlink()


@pytest.mark.parametrize("kind", ["one file", "a list"])
def test_one_file_or_a_list(kind, images, weights, tmp_path):
    path = images / "deep.tif"
    segment(path if kind == "one file" else [str(path)], weights, tmp_path)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "deep.png")), PATTERN * 255)


def test_from_inside_the_bundle_without_its_root_and_with_false_as_it_is_typed(images, weights, tmp_path):
    result = bundle_run(
        "segmenting", config_file="configs/inference.yaml", cwd=ROOT / "bundle", dataset_dir=images / "deep.tif",
        ckpt_path=weights, network_def=BRIGHT, output_dir=tmp_path, save_overlay="false", overwrite="true",
    )  # fmt: skip
    succeeded(result)
    assert [path.name for path in tmp_path.iterdir()] == ["deep.png"]


def test_bad_input_is_named_and_leaves_nothing(images, weights, tmp_path):
    (tmp_path / "text.pt").write_text("no weights")
    other = tmp_path / "other.pt"
    torch.save(torch.nn.Conv2d(3, 2, 1).state_dict(), other)
    outlines = {"outlines": "geojson"}
    for source, path, more, says in [
        (tmp_path / "nowhere", weights, {}, "nowhere: no such file or folder"),
        (images, tmp_path / "text.pt", {}, "text.pt: is not a weights file"),
        (images, other, {}, "'weight' has shape (2, 3, 1, 1), expected (1, 3, 1, 1)"),
        (images, tmp_path / "no.pt", {}, "no.pt: no such weights file"),
        (images, weights, outlines, "plane.nii.gz: is a volume, but only pictures have outlines; set outlines to none"),
        (images, weights, {**outlines, "overwrite": "true"}, "plane.nii.gz: is a volume"),
        (images, weights, {"dataloader#num_workers": 1}, "dataloader#num_workers is 1; set it to 0"),
        (images, weights, {"sw_batch_size": 0}, "sw_batch_size is 0; it must be a whole number from 1 on"),
        (images, weights, {"threshold": 2}, "threshold is 2; it must be a number from 0 to 1"),
        (images, weights, {"threshold": "a"}, "threshold is a; it must be a number from 0 to 1"),
        (images, weights, {"overlap": [0.5] * 3}, "overlap is [0.5, 0.5, 0.5]; give one share"),
    ]:
        with pytest.raises(Exception) as error:
            segment(source, path, tmp_path / "masks", **more)
        # what one_line_errors shows of it where the process ends with it
        assert says in str(root_input_error(error.value))
        assert not (tmp_path / "masks").exists()
    content = {path: path.read_bytes() for path in images.iterdir()}
    (tmp_path / "instances").symlink_to(images)
    for keys in ({"output_dir": images}, {"instances": True}, {"output_dir": images, "overwrite": "true"}):
        with pytest.raises(Exception) as error:
            segment(images, weights, **{"output_dir": tmp_path, **keys})
        assert "its mask would replace it; set output_dir to another folder" in str(root_input_error(error.value))
        assert {path: path.read_bytes() for path in images.iterdir()} == content
    with pytest.raises(Exception) as error:
        segment(images, weights, tmp_path / "text.pt" / "masks")
    assert str(root_input_error(error.value)) == f"{tmp_path / 'text.pt' / 'masks' / 'failed.csv'}: Not a directory"


def test_what_is_done_is_left_out(images, weights, tmp_path):
    segment(images, weights, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "deep.png").unlink()
    segment(images, weights, tmp_path)
    segment(images, weights, tmp_path)  # nothing is left to do
    after = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert [path.name for path in after if after[path] != before[path]] == ["deep.png"]


def test_an_image_that_vanishes_in_the_meantime_does_not_stop_the_others(images, weights, tmp_path, monkeypatch):
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    gone = [str(folder / name) for name in ("deep.tif", "plane.nii.gz")]
    load = LoadInputImaged.__call__

    def load_and_remove(self, data, *args):
        loaded = load(self, data, *args)
        if data["image"] in gone:
            os.remove(data["image"])
        return loaded

    monkeypatch.setattr(LoadInputImaged, "__call__", load_and_remove)
    with pytest.raises(Exception) as error:
        segment(folder, weights, tmp_path / "masks", save_objects="true")
    failed = tmp_path / "masks" / "failed.csv"
    assert str(root_input_error(error.value)) == f"2 of 4 images could not be read: see {failed}"
    with open(failed, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == gone and all("no such file" in row["error"] for row in rows)
    assert {path.name for path in failed.parent.iterdir()} == {"colours.png", "slice.nii.gz", "failed.csv", "objects"}


PEAK_MEMORY = """
import atexit, resource, runpy
atexit.register(lambda: print("", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
runpy.run_module("monai.bundle", run_name="__main__")
"""


@pytest.mark.slow
def test_broken_images_do_not_stop_the_others_and_memory_stays_flat(weights, tmp_path):
    folders = {20: tmp_path / "some", 160: tmp_path / "many"}
    rng = np.random.default_rng(0)
    for number, folder in folders.items():
        folder.mkdir()
        for i in range(number):
            Image.fromarray(rng.integers(0, 256, (240, 320, 3), np.uint8)).save(folder / f"{i:03d}.png")
    broken = [folders[160] / f"{i:03d}.png" for i in (0, 37, 80, 81, 159)]
    for path in broken:
        path.write_bytes(path.read_bytes()[:1000])

    memory = {}
    for number, folder in folders.items():
        output = tmp_path / f"masks{number}"
        options = keys(folder, weights, output) | {"roi_size": [240, 320]}
        _, _, *arguments = bundle_arguments("segmenting", "inference.yaml", **options)
        result = fork_server().run(["-c", PEAK_MEMORY, *arguments], ROOT, environment())
        memory[number] = int(result.stdout.split()[-1])
    assert memory[160] < 1.1 * memory[20]

    assert result.returncode != 0
    assert result.stderr == f"error: 5 of 160 images could not be read: see {output / 'failed.csv'}\n"
    assert len(list(output.glob("*.png"))) == 155
    with open(output / "failed.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(path) for path in broken]
    assert all("cannot be read" in row["error"] for row in rows)
