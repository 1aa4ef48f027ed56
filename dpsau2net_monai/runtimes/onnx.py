"""A network on ONNX Runtime, and its export."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from monai.config import PathLike
from monai.networks.utils import convert_to_onnx
from monai.utils import optional_import
from torch import nn

from .. import __version__
from ..errors import InputError
from ..files import whole_file

__all__ = ["OPSET", "OnnxNetwork", "export_onnx", "write_onnx"]

OPSET = 18
INSTALL = "{} failed; pip install --upgrade onnxruntime (or onnxruntime-gpu)"


def write_onnx(network: nn.Module, in_channels: int, size: Sequence[int], path: PathLike) -> None:
    """
    Write ``network`` as ONNX file, with one float32 input, ``image``, and one output, ``logits``, both (batch,
    channels, spatial...). The batch and the spatial sizes are free.

    Args:
        network: the network, on the CPU, in evaluation mode.
        in_channels: number of channels of the network's input.
        size: of the image that the network is traced with, in pixels or voxels.
        path: file to write.
    """
    free = {0: "batch", **{2 + axis: f"side_{axis}" for axis in range(len(size))}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the older exporter, which takes seconds instead of a minute
        convert_to_onnx(
            network, (torch.zeros(1, in_channels, *size),), ["image"], ["logits"], OPSET,
            {"image": free, "logits": free}, path, dynamo=False,
        )  # fmt: skip


def export_onnx(network: nn.Module, ckpt_path: PathLike, in_channels: int, window: Sequence[int]) -> Path:
    """
    Return the path of ``network`` as ONNX file (see :func:`write_onnx`). The file is made once, beside the weights, or
    in the folder of ``torch.hub`` where that folder cannot be written to. Its name has a hash of the weights, the
    network and the versions, so other weights get another file. Of several processes, one exports and the others wait.

    Args:
        network: the network, on the CPU, in evaluation mode, with its weights.
        ckpt_path: file of the weights.
        in_channels: number of channels of the network's input.
        window: size of an image to export with.

    Raises:
        OptionalImportError: onnx is not installed.
    """
    onnx, _ = optional_import("onnx", descriptor="{} failed; pip install --upgrade onnx")
    versions = f"{network} {__version__} {torch.__version__} {onnx.__version__}"
    digest = hashlib.sha256(Path(ckpt_path).read_bytes() + versions.encode()).hexdigest()[:12]
    folder = Path(ckpt_path).parent
    if not os.access(folder, os.W_OK):
        folder = Path(torch.hub.get_dir()) / "dpsau2net_monai"
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{Path(ckpt_path).stem}-{digest}.onnx"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            logging.getLogger("dpsau2net_monai").info(f"exporting the network to {path}, once")
            with whole_file(path) as part:
                write_onnx(network, in_channels, window, part)
    return path


class OnnxNetwork(nn.Module):
    """
    A network that ONNX Runtime computes. MONAI's inferers and engines call it as any other network. MONAI exports
    networks, but has no class that runs the exported file. The weights are in the file: torch can neither load nor
    train them.

    Args:
        path: ONNX file with one float32 input (batch, channels, spatial...), as :func:`export_onnx` writes it.
        device: ``cuda`` needs onnxruntime-gpu.
        tensorrt: whether TensorRT computes. It builds an engine first, which takes minutes, and keeps it beside
            ``path``.
        half: whether TensorRT may compute in float16.

    Raises:
        OptionalImportError: onnxruntime is not installed, or is too old.
        InputError: onnxruntime cannot read the file, or computes on the CPU only.
    """

    def __init__(
        self, path: PathLike, device: torch.device | str = "cpu", tensorrt: bool = False, half: bool = False
    ) -> None:
        super().__init__()
        onnxruntime, _ = optional_import("onnxruntime", "1.18", descriptor=INSTALL)
        name = "Tensorrt" if tensorrt else "CUDA" if torch.device(device).type == "cuda" else "CPU"
        provider = f"{name}ExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise InputError(
                f"the installed onnxruntime has no {provider}; pip install onnxruntime-gpu"
                + (" tensorrt" if tensorrt else ", or set device to cpu")
            )
        options = {}
        if tensorrt:
            folder = str(Path(path).parent)
            options = {"trt_engine_cache_enable": True, "trt_engine_cache_path": folder, "trt_fp16_enable": half}
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(path, session_options, providers=[(provider, options)])
        except Exception as error:  # onnxruntime's errors have no common base class
            raise InputError(f"{path}: onnxruntime {onnxruntime.__version__} cannot read it ({error})") from error
        if provider not in self.session.get_providers():  # it logs a warning, and would compute on the CPU
            raise InputError(
                f"onnxruntime {onnxruntime.__version__} cannot load its {provider}; install the versions of CUDA"
                f"{', TensorRT' if tensorrt else ''} and cuDNN that it needs, or set runtime to torch"
            )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """
        Args:
            images: (batch, channels, spatial...).
        """
        (result,) = self.session.run(None, {self.session.get_inputs()[0].name: images.float().cpu().numpy()})
        return torch.from_numpy(result).to(images.device)
