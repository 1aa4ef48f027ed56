"""An exported network, where a torch module is wanted."""

from __future__ import annotations

import os

import torch
from torch import nn

from ..errors import InputError
from ..optional import require

__all__ = ["OnnxNetwork"]

# the kinds of onnxruntime that compute on a GPU; TensorRT's is left out, as it builds an engine for minutes first
GPU_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider")


class OnnxNetwork(nn.Module):
    """
    A network that ONNX Runtime computes, on a GPU where the installed kind of it has one, for MONAI's inferers and
    engines to call as any other. MONAI writes ONNX, but has nothing that runs it. There are no weights in it for torch
    to load or train.

    Args:
        path: ONNX file with one input (batch, channels, spatial...) of 32-bit floats, as ``python -m monai.bundle
            onnx_export`` writes it. Its sizes may be fixed; where a batch is fixed to one image, those of a larger
            batch are computed one by one.

    Raises:
        InputError: onnxruntime is not installed, or it cannot take the file; or, in ``forward``, images of that size.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        onnxruntime = require("onnxruntime", "1.18", "onnxruntime (or onnxruntime-gpu)")
        available = onnxruntime.get_available_providers()
        providers = [name for name in GPU_PROVIDERS if name in available] + ["CPUExecutionProvider"]
        self.path = path
        try:
            self.session = onnxruntime.InferenceSession(path, providers=providers)
        except Exception as error:  # each of its own kind, all without a common one
            raise InputError(f"{path}: onnxruntime {onnxruntime.__version__} cannot take it ({error})") from error
        self.input = self.session.get_inputs()[0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        expected = self.input.shape
        results = []
        for batch in images.split(1) if expected[0] == 1 else [images]:
            if any(isinstance(size, int) and size != given for size, given in zip(expected, batch.shape)):
                sizes = [" x ".join(map(str, shape)) for shape in (expected, batch.shape)]
                raise InputError(
                    f"{self.path}: takes {sizes[0]}, not {sizes[1]}; set roi_size to its size, or export it for another"
                )
            (result,) = self.session.run(None, {self.input.name: batch.float().cpu().numpy()})
            results.append(torch.from_numpy(result))
        return torch.cat(results).to(images.device)
