"""Masks of images that are read in bands are those of images that are read whole."""

from __future__ import annotations

import csv
import errno
import os
from dataclasses import replace
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from samples import Interrupted

from dpsau2net_monai.data import Task, memory
from dpsau2net_monai.errors import InputError, root_input_error
from dpsau2net_monai.metrics import match_instances, split_instances

zarr = pytest.importorskip("zarr", "3.1.5")

from dpsau2net_monai.large import LargeSegmenter, instances, open_large, segmenter  # noqa: E402
from dpsau2net_monai.large.saving import write_pyramid  # noqa: E402

CONFIG = str(Path(__file__).parents[2] / "bundle" / "configs" / "inference.yaml")
HEIGHT, WIDTH = 201, 150
TASK = Task(roi_size=[48, 64])


def network(out_channels: int = 1) -> torch.nn.Conv2d:
    """Its output depends on the place in the window and on the axes, so that a shifted or turned window shows."""
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, out_channels, (3, 9), padding=(1, 4))


NETWORK = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "kernel_size": [3, 9], "padding": [1, 4]}


def pixels(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_ome_zarr(path: Path, array: np.ndarray, version: str) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group["0"] = array
    axes = [{"name": name} for name in ("tczyx" if array.ndim == 5 else "cyx")]
    image = {"multiscales": [{"version": version, "axes": axes, "datasets": [{"path": "0"}]}]}
    group.attrs.update(image if version == "0.4" else {"ome": image})


def run(run_id: str, dataset_dir: Path, output_dir: Path, task: Task = TASK, **keys: object) -> None:
    """In this process, which is quicker than one of its own."""
    out_channels = task.out_channels
    weights = output_dir.parent / "model.pt"
    task.write(output_dir.parent / "task.yaml")
    torch.save(network(out_channels).state_dict(), weights)
    monai.bundle.run(
        run_id, config_file=CONFIG, bundle_root="bundle", dataset_dir=str(dataset_dir), output_dir=str(output_dir),
        ckpt_path=str(weights), network_def={**NETWORK, "out_channels": out_channels}, sw_batch_size=3,
        **{"precision": "float32", **keys},  # auto may take bfloat16 for one of two runs
    )  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of images for either run. Those of a name have the same pixels."""
    whole, large = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("large")
    array = pixels()
    for name in ("tiles", "zarr4", "zarr5", "picture", "jpeg"):
        Image.fromarray(array).save(whole / f"{name}.png")
    grey = array[..., 0]
    Image.fromarray(grey).save(whole / "strips.png")
    deep = (grey.astype(np.uint16) << 7) + 11
    tifffile.imwrite(whole / "memmap.tif", deep)
    floats = np.where(grey > 40, grey * 3.5 + 1e4, 1e4).astype(np.float32)
    tifffile.imwrite(whole / "floats.tif", floats)
    Image.fromarray(pixels(30, 20)).save(whole / "small.png")
    palette = Image.fromarray(array).quantize(8)
    palette.save(whole / "palette.png")

    tifffile.imwrite(large / "tiles.ome.tif", array, tile=(64, 64), compression="zlib", photometric="rgb")
    write_ome_zarr(large / "zarr4.ome.zarr", np.moveaxis(array, -1, 0)[None, :, None], "0.4")
    write_ome_zarr(large / "zarr5.zarr", np.moveaxis(array, -1, 0), "0.5")
    Image.fromarray(np.dstack([array, grey])).save(large / "picture.png")
    Image.fromarray(array).save(large / "jpeg.jpg", quality=90)
    Image.open(large / "jpeg.jpg").save(whole / "jpeg.png")
    tifffile.imwrite(large / "strips.tif", grey, rowsperstrip=7, compression="lzw")
    tifffile.imwrite(large / "memmap.tif", deep, byteorder=">")
    tifffile.imwrite(large / "floats.tif", floats, tile=(32, 32))
    tifffile.imwrite(large / "small.tiff", pixels(30, 20), photometric="rgb")
    palette.save(large / "palette.tif")
    return whole, large


@pytest.mark.parametrize(
    ("task", "folders", "keys"),
    [
        (TASK, [""], {}),
        (replace(TASK, modality="mr"), [""], {"overlap": 0.6}),
        (replace(TASK, labels={"background": 0, "cell": 5, "gland": 300}), [""], {}),
        (replace(TASK, labels={"#ff0000": "cell", "#00ff00": "gland"}), [""], {}),
        (replace(TASK, labels=["cell", "gland"]), ["cell", "gland"], {"threshold": 0.4}),
    ],
    ids=["single", "overlap", "classes", "colours", "files"],
)
def test_masks_are_those_of_images_in_memory(task, folders, keys, images, tmp_path):
    whole, large = images
    run("segmenting", whole, tmp_path / "whole", task, **keys)
    run("segmenting_large", large, tmp_path / "large", task, **keys)
    for folder in folders:
        expected = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "whole" / folder).glob("*.png")}
        masks = {path.name[:-8]: tifffile.imread(path) for path in (tmp_path / "large" / folder).glob("*.ome.tif")}
        assert masks.keys() == expected.keys() and len(masks) == 10
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask, expected[name], err_msg=name)
            assert 0.05 < (mask > 0).mean() < 0.95 or mask.ndim == 3
    assert not list(tmp_path.rglob("*.part*"))


def test_whole_slides_and_levels(tmp_path):
    pytest.importorskip("openslide")
    array = pixels(600, 500)
    with tifffile.TiffWriter(tmp_path / "slide.svs") as writer:  # OpenSlide looks at the content, not the name
        options = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib", "metadata": None}
        writer.write(array, **options)
        writer.write(array[::2, ::2], subfiletype=1, **options)
    for level, expected in enumerate([array, array[::2, ::2]]):
        with open_large(tmp_path / "slide.svs", level) as image:
            assert image.size == expected.shape[1::-1]
            np.testing.assert_array_equal(np.rint(image.read(100, 140) * 255), expected[100:140].T)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.7])
def test_a_killed_run_goes_on_unless_the_settings_differ(overlap, tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", pixels(), photometric="rgb")
    item = {"image": str(tmp_path / "image.tif")}

    def segment(folder: str, last: float, **settings) -> int:
        counting = Interrupted(network(), last)
        options = {"overlap": overlap, "sw_batch_size": 1, **settings}
        LargeSegmenter(TASK, counting, tmp_path / folder, tmp_path / "none", **options)(item)
        return counting.windows

    windows = segment("whole", np.inf)
    expected = tifffile.imread(tmp_path / "whole" / "image.ome.tif")
    for threshold in (0.5, 0.6):
        with pytest.raises(KeyboardInterrupt):
            segment("killed", 0.7 * windows)
        assert not (tmp_path / "killed" / "image.ome.tif").exists()
        again = segment("killed", np.inf, threshold=threshold)
        mask = tifffile.imread(tmp_path / "killed" / "image.ome.tif")
        assert (again < windows) == (threshold == 0.5)
        assert np.array_equal(mask, expected) == (threshold == 0.5)
        (tmp_path / "killed" / "image.ome.tif").unlink()


def test_a_killed_run_begins_again_if_a_chunk_has_changed(tmp_path):
    write_ome_zarr(tmp_path / "image.zarr", np.moveaxis(pixels(), -1, 0), "0.5")

    def segment(folder: str, last: float) -> int:
        counting = Interrupted(network(), last)
        item = {"image": str(tmp_path / "image.zarr")}
        LargeSegmenter(TASK, counting, tmp_path / folder, tmp_path / "none", sw_batch_size=1)(item)
        return counting.windows

    windows = segment("whole", np.inf)
    with pytest.raises(KeyboardInterrupt):
        segment("killed", 0.7 * windows)
    zarr.open_array(tmp_path / "image.zarr" / "0")[:, :20] = 0
    assert segment("killed", np.inf) == windows


@pytest.mark.parametrize("array", ["codes", "numbers"])
def test_a_full_disk_ends_in_one_line(array, monkeypatch, tmp_path):
    """Rows that are finished stay, and the next run goes on."""
    tifffile.imwrite(tmp_path / "image.tif", pixels(), photometric="rgb")
    segment = LargeSegmenter(TASK, network(), tmp_path / "masks", tmp_path / "none", instances=True)
    put = zarr.storage.LocalStore.set

    async def put_if_there_is_room(store, key, value):
        if key.startswith(f"{array}/c"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await put(store, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage.LocalStore, "set", put_if_there_is_room)
        with pytest.raises(InputError, match="masks: cannot be written to .No space left on device"):
            segment({"image": str(tmp_path / "image.tif")})
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["image.part.zarr"] * (array == "numbers")
    segment({"image": str(tmp_path / "image.tif")})
    assert (tmp_path / "masks" / "image.ome.tif").exists()


def test_skip_background_leaves_out_flat_windows(tmp_path):
    array = np.full((HEIGHT, WIDTH, 3), 240, np.uint8)
    array[70:100, 60:90] = pixels(30, 30)
    array += np.random.default_rng(1).integers(0, 3, array.shape, dtype=np.uint8)  # noise
    tifffile.imwrite(tmp_path / "image.tif", array, photometric="rgb")
    masks, windows = [], []
    for skip in (False, True):
        counting = Interrupted(network(), np.inf)
        counting.network.bias.data.fill_(5)  # all is foreground
        folder = tmp_path / str(skip)
        LargeSegmenter(TASK, counting, folder, tmp_path / "none", skip_background=skip)(
            {"image": str(tmp_path / "image.tif")}
        )
        masks.append(tifffile.imread(folder / "image.ome.tif"))
        windows.append(counting.windows)
    assert windows[1] < windows[0] / 2
    np.testing.assert_array_equal(masks[0][70:100, 60:90], masks[1][70:100, 60:90])
    assert masks[0][-1].all() and not masks[1][-1].any()


def test_instances_keep_their_number_across_tiles(monkeypatch, tmp_path):
    monkeypatch.setattr(instances, "CORE", 64)
    monkeypatch.setattr(instances, "MARGIN", 24)
    rows, columns = np.mgrid[:200, :230]
    mask = ((rows - 3) % 17 - 8) ** 2 + ((columns - 5) % 17 - 8) ** 2 < 80  # discs that touch
    expected = split_instances(mask)
    numbers = np.zeros(mask.shape, np.uint32)
    count = instances.number_instances(mask, None, numbers)
    assert count == len(np.unique(numbers)) - 1 == expected.max()
    matches = match_instances(expected, numbers)
    assert matches.false_negatives[-1] == 0 and matches.false_positives[-1] == 0


@pytest.mark.parametrize("predicted", [False, True])
def test_instances_are_those_of_images_in_memory(predicted, tmp_path):
    array = pixels()
    (tmp_path / "images").mkdir()
    Image.fromarray(array).resize((WIDTH * 3, HEIGHT)).save(tmp_path / "images" / "image.png")
    results = []
    for run_id, suffix in (("segmenting", ".tif"), ("segmenting_large", ".ome.tif")):
        run(run_id, tmp_path / "images", tmp_path / run_id, replace(TASK, instances=predicted), instances=True)
        results.append(tifffile.imread(tmp_path / run_id / "instances" / f"image{suffix}"))
    assert results[1].dtype == np.uint32
    matches = match_instances(*results)
    assert matches.false_negatives[-1] == 0 and matches.false_positives[-1] == 0 and len(matches.pairs) > 10


def test_one_broken_image_does_not_stop_the_others(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    tifffile.imwrite(folder / "b.tif", pixels(), photometric="rgb", tile=(64, 64), compression="zlib")
    broken = bytearray((folder / "b.tif").read_bytes())
    broken[-3000:] = bytes(3000)
    (folder / "a.tif").write_bytes(broken)
    tifffile.imwrite(folder / "c.tif", np.zeros((5, 50, 60), np.uint8))
    (folder / "d.zarr").mkdir()
    with pytest.raises(Exception) as caught:  # MONAI wraps it
        run("segmenting_large", folder, tmp_path / "masks")
    assert "3 of 4 images could not be read" in str(root_input_error(caught.value))
    with open(tmp_path / "masks" / "failed.csv", newline="") as file:
        failed = {Path(row["image"]).name: row["error"] for row in csv.DictReader(file)}
    assert failed.keys() == {"a.tif", "c.tif", "d.zarr"}
    assert "one plane" in failed["c.tif"] and "OME-Zarr" in failed["d.zarr"]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["b.ome.tif", "failed.csv"]


def test_the_pyramid_ends_below_1024_pixels(tmp_path):
    array = np.zeros((1030, 2100), np.uint8)
    array[500:800, 300:1900] = 1
    write_pyramid(tmp_path / "mask.ome.tif", zarr.array(array), lambda codes: codes * np.uint8(255))
    with tifffile.TiffFile(tmp_path / "mask.ome.tif") as file:
        levels = file.series[0].levels
        assert file.is_ome and [level.shape for level in levels] == [(1030, 2100), (515, 1050), (258, 525)]
        for step, level in zip((1, 2, 4), levels):
            assert level.keyframe.is_tiled and level.keyframe.compression == 8
            np.testing.assert_array_equal(level.asarray(), array[::step, ::step] * 255)


def test_statistics_are_those_of_the_whole_image(tmp_path):
    array = np.random.default_rng(0).normal(1e4, 2, (HEIGHT, WIDTH, 3)).astype(np.float32) + [0, 50, 9]
    array = array.astype(np.float32)
    tifffile.imwrite(tmp_path / "image.tif", array, photometric="rgb")
    for modality, axes in (("picture", (0, 1, 2)), ("mr", (0, 1))):
        segment = segmenter.LargeSegmenter(Task(modality=modality, roi_size=[48, 64]), network(), tmp_path, "none")
        with open_large(tmp_path / "image.tif") as image:
            statistics = segment._statistics(image)
        np.testing.assert_allclose(statistics["mean"], np.broadcast_to(array.mean(axes, dtype=float), 3), rtol=1e-12)
        np.testing.assert_allclose(statistics["std"], np.broadcast_to(array.std(axes, dtype=float), 3), rtol=1e-9)


@pytest.mark.parametrize(("free", "limit", "reason"), [(40_000, None, "GB are free"), (10**12, 5000, "at once")])
def test_segmenting_names_segmenting_large_where_memory_is_too_small(free, limit, reason, monkeypatch, tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels()).save(tmp_path / "images" / "image.png")
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(Exception) as caught:
        run("segmenting", tmp_path / "images", tmp_path / "masks")
    message = str(root_input_error(caught.value))
    assert reason in message and "run segmenting_large" in message
    assert (tmp_path / "masks" / "failed.csv").exists()


@pytest.mark.parametrize(
    ("names", "keys", "reason"),
    [
        (["a.tif"], {"tta": True}, "has no tta"),
        (["a.tif"], {"level": 1}, "level is 1; set it to 0 to 0"),
        (["a.tif"], {"overlap": 1.0}, "overlap is 1.0"),
        (["a.tif"], {"overlap": [0.5] * 3}, "overlap is [0.5, 0.5, 0.5]; give one share, or one for each of 2 axes"),
        (["a.tif"], {"threshold": 2}, "threshold is 2; it must be a number from 0 to 1"),
        (["a.tif", "a.ome.tif"], {}, "has the same name"),
        (["a.ome.tif"], {"output_dir": "images", "overwrite": True}, "set output_dir to another folder"),
        ([], {}, "has no images"),
    ],
)
def test_bad_input_ends_in_one_line(names, keys, reason, tmp_path):
    (tmp_path / "images").mkdir()
    for name in names:
        tifffile.imwrite(tmp_path / "images" / name, pixels(), photometric="rgb")
    output_dir = tmp_path / keys.get("output_dir", "masks")
    with pytest.raises(Exception) as caught:
        run("segmenting_large", tmp_path / "images", **{**keys, "output_dir": output_dir})
    assert reason in str(root_input_error(caught.value))
