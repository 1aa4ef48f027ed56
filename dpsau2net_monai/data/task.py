"""What a network segments, in what images: the settings that training, evaluation and segmentation share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from monai.config import PathLike

from ..errors import InputError
from ..files import whole_file
from .labels import Labels

__all__ = ["MODALITIES", "Task", "read_task"]

MODALITIES = ("picture", "mr", "ct")


@dataclass(frozen=True)
class Task:
    """
    What a network segments, in what images. It is the content of the file ``task.yaml`` beside a network's weights.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of channels of the images.
        labels: the classes.
        modality: how intensities are normalised. ``picture``: to mean 0 and standard deviation 1 over all channels of
            an image together, or by ``intensity``. ``mr``: the same for each channel by itself. ``ct``: clipped to a
            range and normalised, both by ``intensity``.
        spacing: of the voxels that the network sees, in mm. None: as the image has it.
        intensity: ``low``, ``high``, ``mean`` and ``std`` of the foreground of the training images, for ``ct``. For
            ``picture``, the ``mean`` and ``std`` that all images are normalised by, with the largest value that an
            image's type can hold as 1. None: each image by its own.
        strides: of the network. None: its own.
        roi_size: of the windows in validation and segmentation. None: see :attr:`window`. For a 2D network that sees
            single slices of volumes, it has three sides, and that along the axis of the slices is 1.
        flip_axes: axes of volumes that test-time augmentation flips, from 0: those that training flipped. None: all.
        instances: whether the network has one more output channel, which separates touching instances of a single
            class in pictures (see :func:`dpsau2net_monai.metrics.split_instances`).

    Raises:
        InputError: a setting is out of range.
    """

    spatial_dims: int = 2
    in_channels: int = 3
    labels: Labels = field(default_factory=Labels)
    modality: str = "picture"
    spacing: list[float] | None = None
    intensity: dict[str, float] | None = None
    strides: list[list[int]] | None = None
    roi_size: list[int] | None = None
    flip_axes: list[int] | None = None
    instances: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", Labels(self.labels))
        if self.modality not in MODALITIES:
            raise InputError(f"modality is '{self.modality}'; it must be one of {', '.join(MODALITIES)}")
        if self.spatial_dims not in (2, 3):
            raise InputError(f"spatial_dims is {self.spatial_dims}; it must be 2 or 3")
        for name in ("spacing", "roi_size", "strides", "flip_axes"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (list, tuple)):
                raise InputError(f"{name} is {value}; give a list, or null")
        for name in ("spacing", "roi_size"):
            value = getattr(self, name) or ()
            if not all(isinstance(size, (int, float)) for size in value):
                raise InputError(f"{name} is {value}; give a list of numbers, or null")
        if self.spacing is not None and (len(self.spacing) != 3 or not all(size > 0 for size in self.spacing)):
            raise InputError(f"spacing is {self.spacing}; give three sizes over 0 in mm, or null")
        if self.image_dims < self.spatial_dims:
            raise InputError(f"roi_size is {self.window}, but the network is {self.spatial_dims}D; give all sides")
        if self.image_dims > self.spatial_dims and self.window.count(1) != 1:
            raise InputError(f"roi_size is {self.window}; a 2D network needs two sides, or three, one of which is 1")
        if self.instances and (len(self.labels.names) > 1 or self.image_dims > 2):
            raise InputError("instances is true, but only pictures of a single class have instances; set it to false")

    @property
    def out_channels(self) -> int:
        """Number of channels of the network's output."""
        return self.labels.out_channels + self.instances

    @property
    def channel_names(self) -> list[str]:
        """A name for each channel of the network's output."""
        return self.labels.channel_names + ["distance"] * self.instances

    @property
    def window(self) -> list[int]:
        """Size of the windows in validation and segmentation, in pixels or voxels."""
        return self.roi_size or [256 if self.spatial_dims == 2 else 96] * self.spatial_dims

    def window_for(self, shape: Sequence[int]) -> list[int]:
        """
        Return the size of the windows in an image of ``shape``, (spatial...): :attr:`window`, or less along axes where
        the image is smaller. Then it is the image's, rounded up to a multiple of the product of the strides.
        """
        strides = self.strides or [[32]]
        factors = np.prod([np.broadcast_to(stride, self.spatial_dims) for stride in strides], axis=0).tolist()
        if self.slice_axis >= 0:
            factors.insert(self.slice_axis, 1)
        return [min(side, -(-n // factor) * factor) for side, n, factor in zip(self.window, shape, factors)]

    @property
    def image_dims(self) -> int:
        """Dimensions of the images: 3 where a 2D network sees single slices of volumes, else ``spatial_dims``."""
        return len(self.window)

    @property
    def slice_axis(self) -> int:
        """Axis of the volumes along which a 2D network sees single slices. -1: it sees whole images."""
        return self.window.index(1) if self.image_dims > self.spatial_dims else -1

    def write(self, path: PathLike) -> None:
        """Write the settings to ``path``, as YAML."""
        settings = {**asdict(self), "labels": self.labels.definition}
        with whole_file(Path(path)) as part:
            text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, default_flow_style=None)
            part.write_text(
                f"# What the weights beside this file segment, and in what images\n{text}", encoding="utf-8"
            )


def read_task(path: PathLike, **settings: Any) -> Task:
    """
    Read a ``task.yaml``.

    Args:
        path: the file. If it does not exist, the settings are those of :class:`Task`.
        settings: settings to replace. None keeps that of the file. With another ``spatial_dims`` or
            ``modality`` than the file's, the file's spacing, intensities, strides and windows mean nothing, and are
            left out. So is its ``instances`` with several classes, and with slices of volumes.

    Raises:
        InputError: the file is not a ``task.yaml``, or a setting is out of range.
    """
    content: Any = {}
    if Path(path).is_file():
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path}: cannot be read as YAML; restore it") from error
        known = {one.name for one in fields(Task)}
        if isinstance(content, dict) and content.pop("clicks", False):  # version 0.7.0 writes it
            raise InputError(f"{path}: these weights have input channels for clicks; choose others, which need none")
        strange = set(content) - known if isinstance(content, Mapping) else {"no settings"}
        if strange:
            raise InputError(f"{path}: has {', '.join(sorted(strange))}; the settings are {', '.join(sorted(known))}")
    given = {name: value for name, value in settings.items() if value is not None}
    task = Task(**content)
    if any(given.get(name, getattr(task, name)) != getattr(task, name) for name in ("spatial_dims", "modality")):
        task = replace(task, spacing=None, intensity=None, strides=None, roi_size=None, flip_axes=None, instances=False)
    if len(Labels(given.get("labels", task.labels)).names) > 1 or np.size(given.get("roi_size", task.window)) == 3:
        task = replace(task, instances=False)
    return replace(task, **given)
