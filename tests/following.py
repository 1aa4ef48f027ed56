"""A network of one convolution whose mask follows the clicks, with weights set by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dpsau2net_monai.data import Task

HEIGHT = 40.0  # what a click adds to the logit of its class


NETWORK: dict[str, Any] = {  # for the configs, as network_def
    "_target_": "monai.networks.blocks.Convolution",
    "spatial_dims": "$@task.spatial_dims",
    "in_channels": "$@task.network_channels",
    "out_channels": "$@task.out_channels",
    "kernel_size": 1,
    "conv_only": True,
}


def write_following(folder: Path, task: Task, brightness: float = 0.0) -> None:
    """
    Write ``model.pt`` and ``task.yaml`` to ``folder``. The logit of each class is -1, ``HEIGHT`` more at a click on it,
    and that of the first one is ``brightness`` times the mean of the image's channels more. Where there is one class
    only, a click on the background subtracts ``HEIGHT``.
    """
    weight = torch.zeros(task.out_channels, task.network_channels)
    softmax = task.labels.softmax
    weight[int(softmax), : task.in_channels] = brightness / task.in_channels
    if task.clicks:
        weight[:, task.in_channels :] = HEIGHT * (torch.eye(task.out_channels) if softmax else torch.tensor([-1.0, 1]))
    bias = torch.full([task.out_channels], -1.0)
    if softmax:
        bias[0] = 0
    folder.mkdir(parents=True, exist_ok=True)
    weight = weight.view(*weight.shape, *[1] * task.spatial_dims)
    torch.save({"conv.weight": weight, "conv.bias": bias}, folder / "model.pt")
    task.write(folder / "task.yaml")
