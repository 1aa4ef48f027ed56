"""Writing a package of the BioImage Model Zoo, which QuPath, Fiji, ilastik and napari open."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser
from monai.config import PathLike
from monai.utils import optional_import
from PIL import Image
from torch import nn
from torch.export import Dim

from ..data import synthesize
from ..errors import InputError
from ..files import whole_file
from ..networks import load_weights
from ..visualize import draw_contours
from .package import check_order

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


def _write_weights(network: nn.Module, folder: Path) -> dict[str, Any]:
    """Write TorchScript and, where its packages are installed, ONNX. Return their part of the description."""
    torch.jit.save(torch.jit.script(network), folder / "weights.pt")
    weights: dict[str, Any] = {
        "torchscript": {"source": "weights.pt", "pytorch_version": torch.__version__.partition("+")[0]}
    }
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxscript"):
        import onnx

        free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
        with torch.no_grad():
            program = torch.export.export(network, (torch.zeros(2, 3, 97, 113),), dynamic_shapes=(free,))
        torch.onnx.export(program, f=folder / "weights.onnx", dynamo=True, external_data=False, verbose=False)
        (opset,) = (one.version for one in onnx.load(folder / "weights.onnx").opset_import if not one.domain)
        weights["onnx"] = {"source": "weights.onnx", "opset_version": opset, "parent": "torchscript"}
    return weights


def _write_example(network: nn.Module, folder: Path) -> None:
    """Write an input and its output, with which every program can be tested, and a picture of them."""
    with tempfile.TemporaryDirectory() as data:
        synthesize(data, 1)
        with Image.open(next(Path(data, "images").iterdir())) as picture:
            pixels = np.asarray(picture.convert("RGB"))[:TEST_SIZE, :TEST_SIZE]
    image = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    with torch.inference_mode():
        probability = network((image - image.mean()) / image.std(correction=0)).sigmoid().numpy()
    np.save(folder / "input.npy", image.numpy())
    np.save(folder / "output.npy", probability)
    Image.fromarray(draw_contours(pixels, probability[0, 0] > 0.5)).save(folder / "cover.png")


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


def _description(metadata: dict[str, Any], format_version: str) -> dict[str, Any]:
    """Return the content of ``bioimageio.yaml`` without the weights, for a bundle with this ``metadata.json``."""
    (data_in,), (data_out,) = (metadata["network_data_format"][key].values() for key in ("inputs", "outputs"))
    channels = list(data_in["channel_def"].values())
    axes = ("y", "x")
    return {
        "type": "model",
        "format_version": format_version,
        "name": metadata["name"],
        "description": metadata["description"],
        "version": metadata["version"],
        "authors": [{"name": metadata["authors"]}],
        "license": "Apache-2.0",
        "cite": _citations(metadata["references"]),
        "tags": ["nuclei", "segmentation", "microscopy", "2d", "monai", "u-net", "pytorch"],
        "covers": [{"source": "cover.png"}],
        "documentation": {"source": "README.md"},
        "attachments": [{"source": "LICENSE"}, {"source": "data_license.txt"}],
        "inputs": [
            {
                "id": "image",
                "description": data_in["format"] + " of any range; repeat a grey image's channel",
                "axes": _axes(channels, **{axis: {"size": {"min": SMALLEST, "step": STEP}} for axis in axes}),
                "data": {"type": "float32"},
                "test_tensor": {"source": "input.npy"},
                "preprocessing": [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", *axes]}}],
            }
        ],
        "outputs": [
            {
                "id": "probability",
                "description": f"probability of {data_out['channel_def']['0']}; foreground is what is over 0.5",
                "axes": _axes(
                    list(data_out["channel_def"].values()),
                    **{axis: {"size": {"tensor_id": "image", "axis_id": axis}, "halo": HALO} for axis in axes},
                ),
                "data": {"type": "float32", "range": [0, 1]},
                "test_tensor": {"source": "output.npy"},
                "postprocessing": [{"id": "sigmoid"}],
            }
        ],
    }


def write_bioimageio(bundle_root: PathLike, output: PathLike, name: str) -> Path:
    """
    Write a bundle's network as a model package of the BioImage Model Zoo. It holds TorchScript and, where its packages
    are installed, ONNX; both take images (batch, channel, y, x) of any range and give the probability of foreground. It
    also holds a test input and output, a picture, the bundle's docs and its licences. It runs without this package.

    Args:
        bundle_root: folder of the bundle, of 2D images.
        output: folder to write to.
        name: of the package.

    Returns:
        The package, ``output/name.zip``.

    Raises:
        InputError: the name cannot be used, the file exists, or the bundle is for volumes or incomplete.
        OptionalImportError: bioimageio.core is not installed.
    """
    root, target = Path(bundle_root), Path(output) / f"{name}.zip"
    check_order(root, target, name)
    # version 0.5.12 of bioimageio.spec fails with a later pydantic
    spec, _ = optional_import("bioimageio.spec", descriptor="{} failed; pip install bioimageio.core 'pydantic<2.14'")
    format_version = spec.model.v0_5.ModelDescr.implemented_format_version
    metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    parser = ConfigParser(ConfigParser.load_config_file(root / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(root)
    if parser.get_parsed_content("spatial_dims") != 2:
        raise InputError(f"{root}: segments volumes; a package of the BioImage Model Zoo needs a 2D network")
    network = parser.get_parsed_content("network_def")
    load_weights(network, parser.get_parsed_content("ckpt_path"))
    network = _RowsFirst(network).eval()

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        description = _description(metadata, format_version)
        description["weights"] = _write_weights(network, folder)
        _write_example(network, folder)
        docs = (root / "docs" / "README.md").read_text(encoding="utf-8")
        (folder / "README.md").write_text(docs + VALIDATION, encoding="utf-8")
        shutil.copy2(root / "LICENSE", folder)
        shutil.copy2(root / "docs" / "data_license.txt", folder)
        rdf = folder / "bioimageio.yaml"
        rdf.write_text(yaml.safe_dump(description, sort_keys=False, allow_unicode=True), encoding="utf-8")
        with whole_file(target) as part:
            spec.save_bioimageio_package(rdf, output_path=part)
    return target
