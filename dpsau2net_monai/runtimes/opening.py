"""The network that segmentation computes with, on the runtime and in the precision that the config names."""

from __future__ import annotations

import logging
from functools import partial

import torch
from monai.config import PathLike
from torch import nn

from ..data.task import Task
from ..errors import InputError
from ..inferers import has_bfloat16
from ..networks import fold_batch_norms, load_weights
from .onnx import OnnxNetwork, export_onnx
from .openvino import OpenVinoNetwork
from .precision import AutoPrecision, ReducedPrecision

__all__ = ["PRECISIONS", "RUNTIMES", "open_network", "usable_device"]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
RUNTIMES = {  # precisions beside float32, on a CPU and on CUDA; auto tries the first one
    "torch": (("bfloat16",), ("float16", "bfloat16")),
    "compile": (("bfloat16",), ("float16", "bfloat16")),
    "onnx": ((), ()),
    "openvino": (("bfloat16",), ()),
    "tensorrt": ((), ("float16",)),
}


def open_network(
    network: nn.Module,
    ckpt_path: PathLike,
    task: Task,
    runtime: str = "torch",
    precision: str = "auto",
    device: torch.device | str = "cpu",
    threshold: float = 0.5,
) -> nn.Module:
    """
    Load the weights at ``ckpt_path`` into ``network``, and return it ready for inference.

    Args:
        network: the network.
        ckpt_path: its weights.
        task: what is segmented, in what images.
        runtime: ``torch``; ``compile``, which is ``torch.compile``; ``onnx``, ONNX Runtime; ``openvino``, on the CPU;
            ``tensorrt``, through ONNX Runtime. The last three export the network once (see :func:`export_onnx`).
        precision: ``float32``, ``bfloat16``, ``float16`` or ``auto``, the half precision that the device computes in,
            where it is faster and the masks are equal (see :class:`AutoPrecision`), else float32.
        device: where to compute.
        threshold: of the probability, for ``auto``.

    Raises:
        InputError: the runtime does not compute in this precision, or on this device, or there is no such device.
        OptionalImportError: the runtime's package is not installed.
    """
    halves = _half_precisions(runtime, precision, str(device).partition(":")[0])
    device = usable_device(device)
    load_weights(network, ckpt_path)
    network = fold_batch_norms(network)
    full: nn.Module
    if runtime in ("torch", "compile"):
        layout = torch.channels_last if task.spatial_dims == 2 else torch.channels_last_3d
        full = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        if runtime == "compile":
            full.compile()

        def reduced(name: str) -> nn.Module:
            return ReducedPrecision(full, getattr(torch, name))

    else:
        sides = [side for side in task.window if side > 1]
        path = export_onnx(network, ckpt_path, task.in_channels, sides[: task.spatial_dims])
        full = OpenVinoNetwork(path) if runtime == "openvino" else OnnxNetwork(path, device, runtime == "tensorrt")

        def reduced(name: str) -> nn.Module:
            openvino = runtime == "openvino"
            return OpenVinoNetwork(path, bfloat16=True) if openvino else OnnxNetwork(path, device, True, half=True)

    logging.getLogger("dpsau2net_monai").info(f"runtime: {runtime} on {device}")
    if precision == "auto" and halves and (device.type != "cpu" or has_bfloat16()):
        return AutoPrecision(full, partial(reduced, halves[0]), halves[0], task.labels, threshold)
    return full if precision in ("auto", "float32") else reduced(precision)


def usable_device(device: torch.device | str) -> torch.device:
    """
    Return ``device``.

    Raises:
        InputError: there is no such device.
    """
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device is '{device}'; set it to cpu, or to cuda for an NVIDIA GPU") from error
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        advice = "number them from 0" if count else "set it to cpu, or install torch for CUDA"
        raise InputError(f"device is '{device}', but torch finds {count} NVIDIA GPUs; {advice}")
    return device


def _half_precisions(runtime: str, precision: str, kind: str) -> tuple[str, ...]:
    """
    Return the half precisions that the runtime has on a kind of device: cpu or cuda.

    Raises:
        InputError: the runtime does not compute in this precision, or on this kind of device.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"runtime is '{runtime}'; it must be one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision is '{precision}'; it must be one of {', '.join(PRECISIONS)}")
    halves = RUNTIMES[runtime][kind == "cuda"]
    if precision not in ("auto", "float32", *halves):
        possible = ", ".join(("auto", "float32", *halves))
        raise InputError(f"precision is '{precision}'; on {kind}, runtime {runtime} has {possible}")
    if runtime == "tensorrt" and kind != "cuda":
        raise InputError("runtime is 'tensorrt', which needs an NVIDIA GPU; set runtime to torch, onnx or openvino")
    if runtime == "openvino" and kind != "cpu":
        raise InputError("runtime is 'openvino', which computes on the CPU; set device to cpu")
    return halves
