"""Read and load weights, and convert the weights of the published DPSAU2-Net."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from monai.config import PathLike
from torch import nn

from ..errors import InputError
from .dpsau2net import DPSAU2Net

__all__ = ["convert_weights", "load_weights", "read_weights"]


def read_weights(path: PathLike) -> dict[str, torch.Tensor]:
    """
    Read a state dictionary onto the CPU. Only tensors are unpickled, so a file cannot run code.

    Args:
        path: file of ``torch.save`` with a state dictionary, either directly or under the key ``model``.

    Returns:
        The tensors by name.

    Raises:
        InputError: the file does not exist, is not a weights file, or holds other pickled objects.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such weights file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can raise any type of error
        if "Unsupported global" in str(error):
            raise InputError(
                f"{path}: holds a pickled module, which could run any code when opened; save only its tensors where it "
                "was made: torch.save(network.state_dict(), 'weights.pt')"
            ) from error
        raise InputError(f"{path}: is not a weights file of torch.save, or is cut short; restore it") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path}: has no state dictionary, neither directly nor under the key 'model'; restore it")
    return dict(content)


def _first_mismatch(expected: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str | None:
    """Return the first reason why the tensors ``given`` cannot replace those ``expected``. None: they can."""
    for name, tensor in expected.items():
        if name not in given:
            return f"'{name}' is missing"
        if given[name].shape != tensor.shape:
            return f"'{name}' has shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
    extra = next((name for name in given if name not in expected), None)
    return None if extra is None else f"'{extra}' is not part of the network"


def load_weights(network: nn.Module, path: PathLike) -> None:
    """
    Load the weights at ``path`` into ``network``, and log the path.

    ``monai.handlers.CheckpointLoader`` loads weights too. But for a wrong file it prints a traceback, and for a wrong
    network some thousand lines.

    Raises:
        InputError: the file cannot be read (see :func:`read_weights`), or its weights belong to another network.
    """
    weights = read_weights(path)
    problem = _first_mismatch(network.state_dict(), weights)
    if problem:
        name = type(network).__name__
        advice = "use the network that was trained, in its version, with its task.yaml beside the weights"
        raise InputError(f"{path}: does not match this {name}: {problem}; {advice}")
    network.load_state_dict(weights)
    logging.getLogger("dpsau2net_monai").info(f"weights: {path}")


def published_name(name: str, network: DPSAU2Net) -> str:
    """Return the published name of a tensor of :class:`DPSAU2Net`, such as ``encoder.0.down.1.conv.weight``."""
    part, _, rest = name.partition(".")
    if part == "fuse":
        return f"outconv.{rest}"
    index, _, rest = rest.partition(".")
    number = int(index)
    if part == "sides":
        return f"side{number + 1}.{rest}"
    if part in ("entries", "attention"):
        if part == "entries":
            rest = rest.removeprefix("1.")  # 0 is the pooling
        block = f"spl{number if part == 'entries' else number + 6}.block."
        for ours, theirs in {
            "reduce.conv": "0",
            "reduce.adn.N": "1",
            "attention.conv.conv": "3.conv",
            "attention.conv.adn.N": "3.bn0",
            "attention.reduce": "3.fc1",
            "attention.norm": "3.bn1",
            "attention.expand": "3.fc2",
            "project.conv": "4",
            "project.adn.N": "5",
        }.items():
            if rest.startswith(f"{ours}."):
                return block + theirs + rest.removeprefix(ours)
    stage = f"stage{number + 1}" if part == "encoder" else f"stage{5 - number}d"
    height = len(getattr(network, part)[number].down) + 2
    layer, _, rest = rest.partition(".")
    if layer in ("depthwise", "pointwise"):
        return f"{stage}.{layer}." + rest.replace("conv.", "0.").replace("adn.N.", "1.")
    if layer in ("down", "up"):
        index, _, rest = rest.partition(".")
        layer = str(int(index) + 2) if layer == "down" else f"{height - 1 - int(index)}d"
    layer = {"stem": "in", "top": "1", "bottom": str(height)}.get(layer, layer)
    return f"{stage}.rebnconv{layer}." + rest.replace("conv.", "conv_s1.").replace("adn.N.", "bn_s1.")


def convert_weights(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Convert a state dictionary of the published 2D network to one of :class:`DPSAU2Net`.

    Each split-attention block of the published network has a second convolution and batch norm that its forward pass
    does not use. Their tensors are dropped.

    Args:
        published: tensors by their published names. Their shapes give the numbers of channels.

    Returns:
        The same tensors by the names of :class:`DPSAU2Net`.

    Raises:
        InputError: a tensor is missing, has another shape, or does not belong to the published network.
    """
    used = {k: v for k, v in published.items() if not re.fullmatch(r"spl\d+\.block\.3\.(conv2|bn2)\..+", k)}
    channels = []
    for name, axis in {"stage1.rebnconvin.conv_s1.weight": 1, "outconv.weight": 0}.items():
        if name not in used:
            raise InputError(f"not the weights of the published network: '{name}' is missing")
        if used[name].dim() != 4:
            dimensions = used[name].dim()
            raise InputError(f"not the weights of the published network: '{name}' has {dimensions} dimensions, not 4")
        channels.append(used[name].shape[axis])
    in_channels, out_channels = channels
    with torch.device("meta"):
        network = DPSAU2Net(2, in_channels, out_channels)
    names = {name: published_name(name, network) for name in network.state_dict()}
    problem = _first_mismatch({names[name]: tensor for name, tensor in network.state_dict().items()}, used)
    if problem:
        raise InputError(f"not the weights of the published network: {problem}")
    return {name: used[theirs] for name, theirs in names.items()}
