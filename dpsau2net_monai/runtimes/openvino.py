"""A network on OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any

import torch
from monai.config import PathLike
from monai.utils import optional_import
from torch import nn

from ..errors import InputError

__all__ = ["OpenVinoNetwork"]


class OpenVinoNetwork(nn.Module):
    """
    A network that OpenVINO computes on the CPU, as :class:`OnnxNetwork` does with ONNX Runtime.

    Args:
        path: ONNX file with one float32 input (batch, channels, spatial...), as :func:`export_onnx` writes it.
        bfloat16: whether it computes in bfloat16. By itself, OpenVINO does so wherever the processor can.

    Raises:
        OptionalImportError: openvino is not installed.
        InputError: OpenVINO cannot read the file.
    """

    def __init__(self, path: PathLike, bfloat16: bool = False) -> None:
        super().__init__()
        openvino, _ = optional_import("openvino", "2025.0", descriptor="{} failed; pip install --upgrade openvino")
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        try:
            self.model = _only(openvino.Core).compile_model(str(path), "CPU", settings)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"{path}: openvino {openvino.__version__} cannot read it ({reason})") from error
        # calls of a compiled model share one request: of several threads, one would get the logits of another
        self.lock = Lock()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """
        Args:
            images: (batch, channels, spatial...).
        """
        with self.lock:
            (result,) = self.model([images.float().cpu().numpy()]).values()
        return torch.from_numpy(result).to(images.device)


@cache
def _only(core: Callable[[], Any]) -> Any:
    """
    Return the only ``openvino.Core`` of this process.

    On a processor with AVX-512, the CPU plugin of each core sets the thread's stack for signals, and restores the
    former one at its end. When several cores end in the order of their start, they restore a stack that is gone, and
    the next signal ends the process: that of Ctrl-C, or of a child process at its end. So one core serves all networks.
    """
    return core()
