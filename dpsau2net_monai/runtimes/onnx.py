"""A network on ONNX Runtime."""

from __future__ import annotations

import logging

import torch
from monai.config import PathLike
from monai.utils import optional_import

from ..errors import InputError
from .exported import ExportedNetwork

__all__ = ["OnnxNetwork"]

INSTALL = "{} failed; pip install --upgrade onnxruntime (or onnxruntime-gpu)"
# the execution providers that compute on a GPU; without TensorRT's, which builds an engine for minutes first
GPU_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider")


class OnnxNetwork(ExportedNetwork):
    """
    A network that ONNX Runtime computes, on a GPU where the installed onnxruntime has a provider for it.

    Args:
        path: ONNX file with one float32 input (batch, channels, spatial...), as ``python -m monai.bundle onnx_export``
            writes it. Its sizes may be fixed.

    Raises:
        OptionalImportError: onnxruntime is not installed, or is too old.
        InputError: onnxruntime cannot read the file.
    """

    def __init__(self, path: PathLike) -> None:
        onnxruntime, _ = optional_import("onnxruntime", "1.18", descriptor=INSTALL)
        available = onnxruntime.get_available_providers()
        providers = [name for name in GPU_PROVIDERS if name in available] + ["CPUExecutionProvider"]
        try:
            session = onnxruntime.InferenceSession(path, providers=providers)
        except Exception as error:  # onnxruntime's errors have no common base class
            raise InputError(f"{path}: onnxruntime {onnxruntime.__version__} cannot read it ({error})") from error
        super().__init__(path, session.get_inputs()[0].shape)
        self.session = session
        logging.getLogger(__name__).info(f"runtime: onnxruntime, {session.get_providers()[0]}")

    def compute(self, images: torch.Tensor) -> torch.Tensor:
        (result,) = self.session.run(None, {self.session.get_inputs()[0].name: images.numpy()})
        return torch.from_numpy(result)
