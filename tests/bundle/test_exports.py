"""The network as MONAI's commands export it: alone, and in the whole of segmentation, it gives what PyTorch does."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from PIL import Image
from running import CONFIGS, ROOT, bundle_run, verb
from samples import hippocampus_task, write_untrained, write_volumes

from dpsau2net_monai.data import Task, synthesize
from dpsau2net_monai.errors import InputError, root_input_error
from dpsau2net_monai.networks import DPSAU2NetLite, load_weights
from dpsau2net_monai.runtimes import OnnxNetwork

WEIGHTS = ROOT / "bundle" / "models" / "model.pt"
WINDOW = (64, 64)
SIZES = ((33, 47), (64, 65), (75, 102), (101, 64), (131, 97))
EXPORT = (
    "network_def", "--ckpt_file", str(WEIGHTS), "--config_file", str(CONFIGS / "inference.yaml"),
    "--bundle_root", str(ROOT / "bundle"),
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    network = DPSAU2NetLite(2, 3, 1).eval()
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
def torchscript(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.ts"
    verb("ckpt_export", "--filepath", str(path), "--meta_file", str(CONFIGS / "metadata.json"), *EXPORT)
    return path


def read_mask(path: Path) -> np.ndarray:
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return np.asarray(picture)
    return np.asarray(nibabel.load(path).dataobj)


def segment(images, output_dir, *configs, **keys):
    """Segment in this process and return the masks by their names."""
    monai.bundle.run(
        "segmenting", config_file=[str(CONFIGS / name) for name in ("inference.yaml", *configs)],
        bundle_root=str(ROOT / "bundle"), dataset_dir=str(images), output_dir=str(output_dir),
        **{"roi_size": list(WINDOW), **keys},
    )  # fmt: skip
    return {path.name: read_mask(path) for path in output_dir.iterdir()}


def what_is_wrong(*args, **keys):
    """Segment and return the one line that a process would end with."""
    with pytest.raises(Exception) as error:
        segment(*args, **keys)
    return str(root_input_error(error.value))


@pytest.fixture(scope="module")
def onnx_file(images, tmp_path_factory):
    """Made by the command that segmentation names where there is none."""
    folder = tmp_path_factory.mktemp("exported")
    path = folder / "not yet" / "model.onnx"
    message = what_is_wrong(images, folder / "masks", "inference_onnx.yaml", onnx_path=str(path))
    assert message.startswith(f"{path}: no such file; make it: python -m monai.bundle onnx_export network_def")
    assert not (folder / "masks").exists()
    path.parent.mkdir()
    verb(*shlex.split(message.partition("monai.bundle ")[2]))
    return path


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


def test_segmentation_with_torchscript_as_with_tensorrt(torchscript, images, masks, tmp_path, monkeypatch):
    """inference_trt.yaml with what can be had without a GPU: any TorchScript in place of the engine."""
    monkeypatch.setitem(sys.modules, "torch_tensorrt", ModuleType("torch_tensorrt"))
    assert_agree(segment(images, tmp_path, "inference_trt.yaml", trt_path=str(torchscript)), masks)


def test_segmentation_on_onnxruntime(onnx_file, images, masks, tmp_path):
    assert_agree(segment(images, tmp_path, "inference_onnx.yaml", onnx_path=str(onnx_file)), masks)


def test_onnx_takes_what_it_was_exported_for(onnx_file, network):
    runtime = OnnxNetwork(onnx_file)
    image = torch.randn(3, 3, *WINDOW)  # one image at a time is what it takes; three come out all the same
    with torch.inference_mode():
        torch.testing.assert_close(runtime(image), network(image), atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="takes 1 x 3 x 64 x 64, not 1 x 3 x 96 x 96; set roi_size"):
        runtime(torch.zeros(1, 3, 96, 96))


def test_a_missing_engine_gives_the_command_that_makes_it(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_tensorrt", ModuleType("torch_tensorrt"))
    path = tmp_path / "model_trt.ts"
    message = what_is_wrong(images, tmp_path / "masks", "inference_trt.yaml", trt_path=str(path))
    assert message.startswith(f"{path}: no such file; make it: python -m monai.bundle trt_export network_def")
    assert "--input_shape '[1, 3, 64, 64]' --dynamic_batchsize '[1, 4, 4]'" in message


def test_what_is_not_installed_is_named(images, tmp_path, monkeypatch):
    for config, module, install in (
        ("inference_onnx.yaml", "onnxruntime", "onnxruntime"),
        ("inference_trt.yaml", "torch_tensorrt", "torch-tensorrt"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        message = what_is_wrong(images, tmp_path, config, onnx_path=__file__, trt_path=__file__)
        assert message.startswith(f"import {module} failed; pip install --upgrade {install}")


def test_a_file_that_is_no_onnx_ends_in_one_line(images, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("no ONNX")
    result = bundle_run(
        "segmenting", "inference.yaml", "inference_onnx.yaml",
        bundle_root="bundle", dataset_dir=images, output_dir=tmp_path / "masks", onnx_path=path,
    )  # fmt: skip
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1 and f"error: {path}: onnxruntime" in result.stderr


OTHERS = {
    "volumes": replace(hippocampus_task(), roi_size=[40, 40, 40]),
    "classes": Task(2, 3, {"background": 0, "tumour": 1, "stroma": 2}, roi_size=list(WINDOW)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_another_task_with_onnxruntime_and_torchscript(kind, images, tmp_path):
    """What is exported follows from the task.yaml beside the weights."""
    task = OTHERS[kind]
    network = write_untrained(tmp_path, task)
    if kind == "volumes":
        write_volumes(tmp_path, {"a": "straight", "b": "turned"})
        images = tmp_path / "images"
    keys = {"ckpt_path": str(tmp_path / "model.pt"), "onnx_path": str(tmp_path / "model.onnx"), "roi_size": None}
    expected = segment(images, tmp_path / "expected", **keys)
    assert all(len(np.unique(mask)) == 3 for mask in expected.values())

    message = what_is_wrong(images, tmp_path / "given", "inference_onnx.yaml", **keys)
    verb(*shlex.split(message.partition("monai.bundle ")[2]))
    assert_agree(segment(images, tmp_path / "given", "inference_onnx.yaml", **keys), expected)

    weights = ("--ckpt_file", keys["ckpt_path"], "--ckpt_path", keys["ckpt_path"])
    verb("ckpt_export", "--filepath", str(tmp_path / "model.ts"), *EXPORT, *weights)
    image = torch.randn(1, task.in_channels, *task.window)
    with torch.inference_mode():
        exported = torch.jit.load(tmp_path / "model.ts")(image)
        torch.testing.assert_close(exported, network(image), atol=1e-4, rtol=0)
