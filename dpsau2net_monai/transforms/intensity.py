"""Normalising intensities by modality."""

from __future__ import annotations

import numpy as np
from monai.transforms import MapTransform, NormalizeIntensityd, ScaleIntensityRanged

from ..data.task import Task
from ..errors import InputError

__all__ = ["normalization"]


def normalization(key: str, task: Task) -> MapTransform:
    """
    Return the transform that normalises the images of ``task`` (see ``modality`` and ``intensity`` of
    :class:`dpsau2net_monai.data.Task`). It is a single transform, not a ``Compose``: MONAI takes every ``Compose`` for
    random, and ``CacheDataset`` would keep the images as they are before it.

    Args:
        key: key of the images.
        task: what is segmented, in what images.

    Raises:
        InputError: the images are CT, and the intensities of the training images are not known.
    """
    if task.modality == "picture":  # over all channels together, which keeps colours
        if task.intensity is None:  # fits any bit depth and exposure
            return NormalizeIntensityd(key)
        center, scale = np.array(task.intensity["mean"]), np.array(task.intensity["std"])
        return NormalizeIntensityd(key, subtrahend=center, divisor=scale)
    if task.modality == "ct":
        if task.intensity is None:
            raise InputError("modality is ct, but the task has no intensity; take the task.yaml of the training")
        low, high, mean, std = (task.intensity[name] for name in ("low", "high", "mean", "std"))
        return ScaleIntensityRanged(key, low, high, (low - mean) / std, (high - mean) / std, clip=True)
    return NormalizeIntensityd(key, channel_wise=True)
