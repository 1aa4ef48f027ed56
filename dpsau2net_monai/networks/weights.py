"""Reading weights, and importing those of the published DPSAU2-Net."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ..errors import InputError
from .dpsau2net import DPSAU2Net

__all__ = ["convert_weights", "load_weights", "read_weights"]


def read_weights(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """
    Read a state dictionary, plain or under the key ``model``, onto the CPU. Nothing but tensors is ever unpickled.

    Raises:
        InputError: the file is not there, is no weights file, or holds pickled objects.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such weights file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of whatever kind the unpickler stumbles into
        if "Unsupported global" in str(error):
            raise InputError(
                f"{path}: holds a pickled module, which is not opened as it could run any code; where it was made, "
                "save its tensors alone: torch.save(network.state_dict(), 'weights.pt')"
            ) from error
        raise InputError(f"{path}: is not a weights file (of torch.save), or is cut short") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path}: holds no state dictionary, neither at its top nor under the key 'model'")
    return dict(content)


def _first_mismatch(expected: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str | None:
    """Say in words what first keeps the tensors ``given`` from taking the place of those ``expected``."""
    for name, tensor in expected.items():
        if name not in given:
            return f"'{name}' is missing"
        if given[name].shape != tensor.shape:
            return f"'{name}' has shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
    extra = next((name for name in given if name not in expected), None)
    return None if extra is None else f"'{extra}' is not part of the network"


def load_weights(network: nn.Module, path: str | os.PathLike) -> None:
    """
    Load the weights at ``path`` into ``network``. ``monai.handlers.CheckpointLoader`` does as much, but tells of a
    wrong file in a traceback, and of a wrong network in some thousand lines.

    Raises:
        InputError: as :func:`read_weights`, or the weights are of another network.
    """
    weights = read_weights(path)
    problem = _first_mismatch(network.state_dict(), weights)
    if problem:
        raise InputError(f"{path}: these weights are not of this {type(network).__name__}: {problem}")
    network.load_state_dict(weights)


def published_name(name: str, network: DPSAU2Net) -> str:
    """Translate the name of one of our tensors, such as ``encoder.0.down.1.conv.weight``, to the published one."""
    part, _, rest = name.partition(".")
    if part == "fuse":
        return f"outconv.{rest}"
    index, _, rest = rest.partition(".")
    number = int(index)
    if part == "sides":
        return f"side{number + 1}.{rest}"
    if part in ("entries", "attention"):
        if part == "entries":
            rest = rest.removeprefix("1.")  # behind the pooling
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
    Turn a state dictionary of the published 2D network into one of :class:`DPSAU2Net`.

    The published network holds a second convolution and batch norm in each split-attention block that take no part in
    its forward pass; they are dropped.

    Args:
        published: tensors by their published names; the numbers of channels are taken from their shapes.

    Returns:
        The same tensors by our names.

    Raises:
        InputError: a tensor is missing, has another shape, or is none of the published network's.
    """
    used = {k: v for k, v in published.items() if not re.fullmatch(r"spl\d+\.block\.3\.(conv2|bn2)\..+", k)}
    channels = []
    for name, axis in {"stage1.rebnconvin.conv_s1.weight": 1, "outconv.weight": 0}.items():
        if name not in used:
            raise InputError(f"not the published network's weights: '{name}' is missing")
        if used[name].dim() != 4:
            raise InputError(f"not the published network's weights: '{name}' has {used[name].dim()} dimensions, not 4")
        channels.append(used[name].shape[axis])
    with torch.device("meta"):
        network = DPSAU2Net(2, *channels)
    names = {name: published_name(name, network) for name in network.state_dict()}
    problem = _first_mismatch({names[name]: tensor for name, tensor in network.state_dict().items()}, used)
    if problem:
        raise InputError(f"not the published network's weights: {problem}")
    return {name: used[theirs] for name, theirs in names.items()}
