"""Resampling volumes to the spacing of the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.transforms import Spacingd

__all__ = ["ResampleSpacingd"]


class ResampleSpacingd(Spacingd):
    """
    ``monai.transforms.Spacingd`` for dictionaries that have other entries too. For a NIfTI under ``image``, MONAI's
    transform updates every entry ``image_...`` as a dictionary of metadata, and fails on others. The loading transforms
    and MONAI Label keep the path of the image as ``image_path``.

    The arguments are those of ``Spacingd``.
    """

    def __call__(self, data: Mapping[Hashable, torch.Tensor], lazy: bool | None = None) -> dict[Hashable, torch.Tensor]:
        return {**data, **super().__call__({key: data[key] for key in self.key_iterator(dict(data))}, lazy)}
