"""Networks and small volumes, for tests of what does not depend on the quality of the masks."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigParser

from dpsau2net_monai.data import Task, plan
from dpsau2net_monai.networks import DPSAU2NetLite

HIPPOCAMPUS = Path(__file__).parents[1] / "bundle" / "tasks" / "hippocampus"
# voxels of 1 mm from left to right, back to front and up; thick slices in another order, and partly reversed
AFFINES = {
    "straight": np.diag([1.0, 1, 1, 1]),
    "turned": np.array([[0, 0, -1.5, 30], [-1, 0, 0, 40], [0, 1.25, 0, -7], [0, 0, 0, 1]]),
}


def hippocampus_task() -> Task:
    """Return the settings that a training with the recipe of the hippocampus writes to ``task.yaml``."""
    config = ConfigParser.load_config_file(HIPPOCAMPUS / "train.yaml")
    task = Task(**{field.name: config[field.name] for field in fields(Task) if field.name in config})
    return plan(task, list, DPSAU2NetLite.number_of_strides(task.spatial_dims))


def write_untrained(folder: Path, task: Task) -> DPSAU2NetLite:
    """Write ``model.pt`` and ``task.yaml`` to ``folder``. On noise, all classes of the network are frequent."""
    torch.manual_seed(0)
    network = DPSAU2NetLite(task.spatial_dims, task.in_channels, task.out_channels, strides=task.strides)
    noise = torch.randn(2, task.in_channels, *[40] * task.spatial_dims)
    with torch.no_grad():
        for _ in range(5):  # for the statistics of batch norm
            network(noise)
        logits = network.eval()(noise)
        mean = logits.mean((0, *range(2, logits.ndim)))
        # a channel has a bias for each pixel that a position of the network gives
        network.fuse.bias -= mean.repeat_interleave(len(network.fuse.bias) // len(mean))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "model.pt")
    task.write(folder / "task.yaml")
    return network


def write_volumes(folder: Path, names: dict[str, str], size: tuple[int, int, int] = (36, 42, 30)) -> None:
    """
    Write ``images/NAME.nii.gz`` of noise and ``masks/NAME.nii.gz`` of 0, 1 and 2.

    Args:
        folder: to write to.
        names: the names, and for each the name of its affine.
        size: of the volumes, in voxels.
    """
    rng = np.random.default_rng(0)
    for name, affine in names.items():
        volumes = {"images": rng.normal(100, 20, size).astype(np.float32), "masks": np.zeros(size, np.uint8)}
        volumes["masks"][8:20, 8:-8, 8:-8], volumes["masks"][20:-8, 8:-8, 8:-8] = 1, 2
        for kind, volume in volumes.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(volume, AFFINES[affine]), folder / kind / f"{name}.nii.gz")


class Interrupted(torch.nn.Module):
    """A network that is stopped at a call, as Ctrl-C does, and counts the windows."""

    def __init__(self, network: torch.nn.Module, last: float) -> None:
        super().__init__()
        self.network = network
        self.last, self.windows = last, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.windows += len(images)
        if self.windows > self.last:
            raise KeyboardInterrupt
        return self.network(images)
