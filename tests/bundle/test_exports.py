"""The network as MONAI's commands export it: alone, and in the whole of segmentation, it gives what PyTorch does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from PIL import Image
from running import CONFIGS, ROOT, verb
from samples import hippocampus_task, write_untrained, write_volumes

from dpsau2net_monai.data import Task, synthesize
from dpsau2net_monai.networks import DPSAU2NetLite, load_weights

WEIGHTS = ROOT / "bundle" / "models" / "model.pt"
WINDOW = (64, 64)
SIZES = ((33, 47), (64, 65), (75, 102), (101, 64), (131, 97))
EXPORT = (
    "network_def", "--ckpt_file", str(WEIGHTS), "--config_file", str(CONFIGS / "inference.yaml"),
    "--bundle_root", str(ROOT / "bundle"),
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    network = DPSAU2NetLite(2, 3, 2).eval()
    load_weights(network, WEIGHTS)
    return network


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    synthesize(folder / "made", 1, size=(256, 256), seed=3)
    (path,) = (folder / "made" / "images").iterdir()
    (folder / "images").mkdir()
    with Image.open(path) as picture:
        for height, width in SIZES:
            picture.crop((0, 0, width, height)).save(folder / "images" / f"{height}x{width}.png")
    return folder / "images"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A copy, as the exported network is written beside it."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("model.pt", "task.yaml"):
        shutil.copy(WEIGHTS.with_name(name), folder / name)
    return str(folder / "model.pt")


@pytest.fixture(scope="module")
def torchscript(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.ts"
    verb("ckpt_export", "--filepath", str(path), "--meta_file", str(CONFIGS / "metadata.json"), *EXPORT)
    return path


def read_mask(path: Path) -> np.ndarray:
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return np.asarray(picture)
    return np.asarray(nibabel.load(path).dataobj)


def segment(images, output_dir, **keys):
    """Segment in this process and return the masks by their names."""
    monai.bundle.run(
        "segmenting", config_file=str(CONFIGS / "inference.yaml"),
        bundle_root=str(ROOT / "bundle"), dataset_dir=str(images), output_dir=str(output_dir),
        **{"roi_size": list(WINDOW), **keys},
    )  # fmt: skip
    return {path.name: read_mask(path) for path in output_dir.iterdir()}


@pytest.fixture(scope="module")
def masks(images, tmp_path_factory):
    masks = segment(images, tmp_path_factory.mktemp("masks"))
    assert {mask.shape for mask in masks.values()} == set(SIZES)
    assert all(0 < (mask > 0).mean() < 1 for mask in masks.values())
    return masks


def assert_agree(given, expected):
    assert given.keys() == expected.keys()
    different = sum(int((given[name] != mask).sum()) for name, mask in expected.items())
    assert different <= 1e-4 * sum(mask.size for mask in expected.values())


def test_torchscript_and_its_sliding_windows(torchscript, network):
    exported = torch.jit.load(torchscript)
    windows = SlidingWindowInferer(WINDOW, sw_batch_size=4, overlap=0.25, mode="gaussian")
    with torch.inference_mode():
        for size in SIZES:
            image = torch.randn(1, 3, *size)
            torch.testing.assert_close(exported(image), network(image), atol=1e-4, rtol=0)
            torch.testing.assert_close(windows(image, exported), windows(image, network), atol=1e-4, rtol=0)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_segmentation_on_another_runtime(runtime, images, masks, weights, tmp_path):
    assert_agree(segment(images, tmp_path, ckpt_path=weights, runtime=runtime), masks)


OTHERS = {
    "volumes": replace(hippocampus_task(), roi_size=[40, 40, 40]),
    "classes": Task(2, 3, {"background": 0, "tumour": 1, "stroma": 2}, roi_size=list(WINDOW)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_another_task_on_other_runtimes_and_as_torchscript(kind, images, tmp_path):
    """What is exported follows from the task.yaml beside the weights."""
    task = OTHERS[kind]
    network = write_untrained(tmp_path, task)
    if kind == "volumes":
        write_volumes(tmp_path, {"a": "straight", "b": "turned"})
        images = tmp_path / "images"
    keys = {"ckpt_path": str(tmp_path / "model.pt"), "roi_size": None}
    expected = segment(images, tmp_path / "expected", **keys)
    assert all(len(np.unique(mask)) == 3 for mask in expected.values())

    for runtime in ("onnx", "openvino"):
        assert_agree(segment(images, tmp_path / runtime, runtime=runtime, **keys), expected)

    weights = ("--ckpt_file", keys["ckpt_path"], "--ckpt_path", keys["ckpt_path"])
    verb("ckpt_export", "--filepath", str(tmp_path / "model.ts"), *EXPORT, *weights)
    image = torch.randn(1, task.in_channels, *task.window)
    with torch.inference_mode():
        exported = torch.jit.load(tmp_path / "model.ts")(image)
        torch.testing.assert_close(exported, network(image), atol=1e-4, rtol=0)
