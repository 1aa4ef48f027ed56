"""A network on TensorRT."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from monai.config import PathLike
from monai.utils import optional_import

from .exported import ExportedNetwork

__all__ = ["TensorRTNetwork"]

INSTALL = "{} failed; pip install --upgrade torch-tensorrt"


class TensorRTNetwork(ExportedNetwork):
    """
    A network that TensorRT computes on an NVIDIA GPU.

    Args:
        path: TorchScript file with the engine, as ``python -m monai.bundle trt_export`` writes it.
        input_shape: (batch, channels, spatial...) that it was exported for; None for a batch size that is free.

    Raises:
        OptionalImportError: torch-tensorrt is not installed, or is too old.
    """

    def __init__(self, path: PathLike, input_shape: Sequence[int | None]) -> None:
        torch_tensorrt, _ = optional_import("torch_tensorrt", "2.6", descriptor=INSTALL)
        # torch can open the engine once torch_tensorrt is imported; to use the module raises where it is missing
        logging.getLogger(__name__).info(f"runtime: {torch_tensorrt.__name__}")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        super().__init__(path, input_shape, device)
        self.engine = torch.jit.load(path, map_location=device)

    def compute(self, images: torch.Tensor) -> torch.Tensor:
        return self.engine(images)
