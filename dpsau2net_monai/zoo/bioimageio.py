"""Writing a package of the BioImage Model Zoo, which QuPath, Fiji, ilastik and napari open."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.config import PathLike
from monai.utils import optional_import
from PIL import Image
from torch import nn

from ..data import Task, read_task, synthesize
from ..errors import InputError
from ..files import whole_file
from ..runtimes import OPSET, write_onnx
from ..transforms import normalization
from ..visualize import draw_contours
from .package import NUCLEI, check_order, load_network, package_metadata, task_files

__all__ = ["write_bioimageio"]

# A program that cuts an image into tiles adds HALO pixels on each side and drops them afterwards. It is half of the
# overlap of the bundle's own windows.
SMALLEST, STEP, HALO = 96, 32, 32
TEST_SIZE = SMALLEST + 3 * STEP
VALIDATION = """
## Validation

The bundle's `evaluating` compares the predicted masks with your own, image by image. See "Commands" and "What the
metrics mean" above.
"""


class _RowsFirst(nn.Module):
    """The network for images (y, x), as other programs have them. MONAI's are (x, y)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image.transpose(2, 3)).transpose(2, 3)


def _write_weights(network: nn.Module, in_channels: int, folder: Path) -> dict[str, Any]:
    """Write TorchScript and, where the package onnx is installed, ONNX. Return their part of the description."""
    torch.jit.save(torch.jit.script(network), folder / "weights.pt")
    weights: dict[str, Any] = {
        "torchscript": {"source": "weights.pt", "pytorch_version": torch.__version__.partition("+")[0]}
    }
    if importlib.util.find_spec("onnx"):
        write_onnx(network, in_channels, (97, 113), folder / "weights.onnx")
        weights["onnx"] = {"source": "weights.onnx", "opset_version": OPSET, "parent": "torchscript"}
    return weights


def _write_example(network: nn.Module, task: Task, folder: Path) -> None:
    """Write an input and its output, with which every program can be tested, and a picture of them."""
    with tempfile.TemporaryDirectory() as data:
        synthesize(data, 1)
        with Image.open(next(Path(data, "images").iterdir())) as picture:
            pixels = np.asarray(picture.convert("RGB"))[:TEST_SIZE, :TEST_SIZE]
    channels = pixels.transpose(2, 0, 1)[np.arange(task.in_channels) % 3]
    image = torch.from_numpy(channels.astype(np.float32))
    scaled = image / 255 if _is_fixed(task) else image
    with torch.inference_mode():
        logits = network(torch.as_tensor(normalization("image", task)({"image": scaled})["image"])[None])
    probability = logits.softmax(1) if task.labels.softmax else logits.sigmoid()
    np.save(folder / "input.npy", image[None].numpy())
    np.save(folder / "output.npy", probability.numpy())
    foreground = task.labels.codes(probability[0, : task.labels.out_channels], 0.5)[0] > 0
    Image.fromarray(draw_contours(pixels, foreground.numpy())).save(folder / "cover.png")


def _axes(channels: list[str], **sizes: dict[str, Any]) -> list[dict[str, Any]]:
    space = [{"type": "space", "id": axis, **size} for axis, size in sizes.items()]
    return [{"type": "batch"}, {"type": "channel", "channel_names": channels}, *space]


def _citations(references: list[str]) -> list[dict[str, str]]:
    """Return the references that have a link, as the format demands one."""
    citations = []
    for text in references:
        for link in re.findall(r"https?://\S+", text):
            doi = link.partition("doi.org/")[2]
            citations.append({"text": text, **({"doi": doi} if doi else {"url": link})})
    return citations


def _is_fixed(task: Task) -> bool:
    """Whether all pictures are normalised alike, by numbers for values of 0 to 1. The format has values of 0 to 255."""
    return task.modality == "picture" and task.intensity is not None


def _preprocessing(task: Task, axes: list[str]) -> list[dict[str, Any]]:
    """Return the steps of :func:`dpsau2net_monai.transforms.normalization` as the format has them."""
    if task.modality == "ct" and task.intensity:
        low, high, mean, std = (task.intensity[name] for name in ("low", "high", "mean", "std"))
        return [
            {"id": "clip", "kwargs": {"min": low, "max": high}},
            {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": mean, "std": std}},
        ]
    if _is_fixed(task):
        return [
            {"id": "scale_linear", "kwargs": {"gain": 1 / 255, "offset": 0}},
            {"id": "fixed_zero_mean_unit_variance", "kwargs": dict(task.intensity or {})},
        ]
    reduced = ["channel", *axes] if task.modality == "picture" else axes
    return [{"id": "zero_mean_unit_variance", "kwargs": {"axes": reduced}}]


def _meaning(task: Task) -> str:
    """Return what the output is, and how a mask follows from it."""
    names = ", ".join(task.labels.channel_names)
    if task.labels.softmax:
        return f"probabilities of {names}, which exclude each other; the largest one is the class"
    if len(task.labels.names) > 1:
        return f"probabilities of {names}, which may overlap; a class is where its probability is over 0.5"
    distance = "; distance is that to the border of an instance, 1 in its middle" * task.instances
    return f"probability of {names}; foreground is what is over 0.5{distance}"


def _description(metadata: dict[str, Any], name: str, task: Task, format_version: str) -> dict[str, Any]:
    """Return the content of ``bioimageio.yaml`` without the weights, for the task with this name and metadata."""
    data_in = metadata["network_data_format"]["inputs"]["image"]
    axes = ["y", "x"]
    grey = "; repeat a grey image's channel" * (task.modality == "picture" and task.in_channels > 1)
    values = "of 0 to 255" if _is_fixed(task) else "of any range"
    return {
        "type": "model",
        "format_version": format_version,
        "name": metadata["name"],
        "description": metadata["description"],
        "version": metadata["version"],
        "authors": [{"name": metadata["authors"]}],
        "license": "Apache-2.0",
        "cite": _citations(metadata["references"]),
        "tags": [name, "segmentation", data_in["modality"], "2d", "monai", "u-net", "pytorch"],
        "covers": [{"source": "cover.png"}],
        "documentation": {"source": "README.md"},
        "inputs": [
            {
                "id": "image",
                "description": f"{data_in['format']} {values}{grey}",
                "axes": _axes(
                    list(data_in["channel_def"].values()),
                    **{axis: {"size": {"min": SMALLEST, "step": STEP}} for axis in axes},
                ),
                "data": {"type": "float32"},
                "test_tensor": {"source": "input.npy"},
                "preprocessing": _preprocessing(task, axes),
            }
        ],
        "outputs": [
            {
                "id": "probability",
                "description": _meaning(task),
                "axes": _axes(
                    task.channel_names,
                    **{axis: {"size": {"tensor_id": "image", "axis_id": axis}, "halo": HALO} for axis in axes},
                ),
                "data": {"type": "float32", "range": [0, 1]},
                "test_tensor": {"source": "output.npy"},
                "postprocessing": [{"id": "softmax" if task.labels.softmax else "sigmoid"}],
            }
        ],
    }


def write_bioimageio(bundle_root: PathLike, output: PathLike, name: str, task: str = NUCLEI) -> Path:
    """
    Write the network of one of a bundle's tasks as a model package of the BioImage Model Zoo. It holds TorchScript and,
    where the package onnx is installed, ONNX; both take images (batch, channel, y, x) of any range and give the
    probabilities of the classes. It also holds a test input and output, a picture, the task's docs and the licences. It
    runs without this package.

    Args:
        bundle_root: folder of the bundle.
        output: folder to write to.
        name: of the package.
        task: ``nuclei``, or a folder in the bundle's ``tasks``; see :func:`package_bundle`. Its images are 2D.

    Returns:
        The package, ``output/name.zip``.

    Raises:
        InputError: the name cannot be used, the file exists, there is no such task, the task is for volumes, or the
            bundle is incomplete, or the format does not take its metadata.
        OptionalImportError: bioimageio.core is not installed.
    """
    root, target = Path(bundle_root), Path(output) / f"{name}.zip"
    check_order(root, target, name, task)
    # version 0.5.12 of bioimageio.spec fails with a later pydantic
    spec, _ = optional_import("bioimageio.spec", descriptor="{} failed; pip install bioimageio.core 'pydantic<2.14'")
    format_version = spec.model.v0_5.ModelDescr.implemented_format_version
    files = task_files(root, task)
    settings = read_task(files["models/task.yaml"])
    if settings.image_dims != 2:
        raise InputError(
            f"task '{task}' segments volumes: the BioImage Model Zoo's format cannot express that their voxels are "
            "resampled; use --format monai"
        )
    metadata = package_metadata(root, task, settings)
    network = _RowsFirst(load_network(root, files["models/model.pt"])).eval()

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        description = _description(metadata, task, settings, format_version)
        description["weights"] = _write_weights(network, settings.in_channels, folder)
        _write_example(network, settings, folder)
        docs = files["docs/README.md"].read_text(encoding="utf-8")
        (folder / "README.md").write_text(docs + VALIDATION, encoding="utf-8")
        attached = [root / "LICENSE", *(path for file, path in files.items() if file.startswith("docs/"))]
        attached.remove(files["docs/README.md"])
        for path in attached:
            shutil.copy2(path, folder)
        description["attachments"] = [{"source": path.name} for path in attached]
        rdf = folder / "bioimageio.yaml"
        rdf.write_text(yaml.safe_dump(description, sort_keys=False, allow_unicode=True), encoding="utf-8")
        with whole_file(target) as part:
            try:
                spec.save_bioimageio_package(rdf, output_path=part)
            except ValueError as error:
                text = f"the BioImage Model Zoo does not take the metadata of task '{task}'"
                raise InputError(f"{root}: {text} ({error}); correct them") from error
    return target
