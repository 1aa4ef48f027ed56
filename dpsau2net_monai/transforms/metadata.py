"""Transforming without MONAI's metadata."""

from __future__ import annotations

from typing import Any

from monai.data import MetaTensor, get_track_meta, set_track_meta
from monai.transforms import Compose

__all__ = ["ComposeWithoutMetadata"]


class ComposeWithoutMetadata(Compose):
    """
    ``monai.transforms.Compose`` of transforms of dictionaries that first drops the metadata of the items. They
    keep neither metadata nor what would invert them. On small crops, this bookkeeping takes longer than they do.

    ``monai.transforms.EnsureTyped(track_meta=False)`` drops metadata, but the next transform begins it anew. MONAI's
    switch, ``monai.data.set_track_meta``, is one for the whole process, and validation needs metadata.
    """

    def __call__(
        self,
        input_: Any,
        start: int = 0,
        end: int | None = None,
        threading: bool = False,
        lazy: bool | None = None,
    ) -> Any:
        plain = {key: item.as_tensor() if isinstance(item, MetaTensor) else item for key, item in input_.items()}
        tracked = get_track_meta()
        set_track_meta(False)
        try:
            return super().__call__(plain, start, end, threading, lazy)
        finally:
            set_track_meta(tracked)
