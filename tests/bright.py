"""A network of one convolution, so that its logits are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dpsau2net_monai.data import Task

NETWORK: dict[str, Any] = {  # for the configs, as network_def
    "_target_": "monai.networks.blocks.Convolution",
    "spatial_dims": "$@task.spatial_dims",
    "in_channels": "$@task.in_channels",
    "out_channels": "$@task.out_channels",
    "kernel_size": 1,
    "conv_only": True,
}


def write_bright(folder: Path, task: Task, brightness: float = 0.0) -> None:
    """
    Write ``model.pt`` and ``task.yaml`` to ``folder``. The logit of the background is 0, where it has one, that of a
    class is -1, and that of the first channel is ``brightness`` times the mean of the image's channels more.
    """
    weight = torch.zeros(task.out_channels, task.in_channels, *[1] * task.spatial_dims)
    weight[0] = brightness / task.in_channels
    bias = torch.full([task.out_channels], -1.0)
    if task.labels.softmax:
        bias[0] = 0
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"conv.weight": weight, "conv.bias": bias}, folder / "model.pt")
    task.write(folder / "task.yaml")
