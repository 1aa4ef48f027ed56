"""Synthetic sample images: the menu File > Open Sample."""

from __future__ import annotations

import numpy as np

from ..data.synthetic.pictures import cells_picture, nuclei_picture
from ..data.synthetic.volumes import volume

__all__ = ["brightfield", "cells", "fluorescence", "structures", "tissue"]

LayerData = tuple[np.ndarray, dict, str]


def _nuclei(name: str, *seed: int) -> list[LayerData]:
    return [(nuclei_picture((256, 256), np.random.default_rng(seed))[0], {"name": name}, "image")]


def fluorescence() -> list[LayerData]:
    """Return a picture of nuclei in fluorescence microscopy, as the layer that napari makes of it."""
    return _nuclei("fluorescence", 1, 0)  # the seeds are those of a picture of this kind


def brightfield() -> list[LayerData]:
    """Return a picture of nuclei in brightfield microscopy."""
    return _nuclei("brightfield", 7, 0)


def tissue() -> list[LayerData]:
    """Return a picture of nuclei in stained tissue."""
    return _nuclei("tissue", 2, 2)


def cells() -> list[LayerData]:
    """Return a picture of stained tissue with three kinds of cells."""
    return [(cells_picture((256, 256), 3, np.random.default_rng(0))[0], {"name": "cells"}, "image")]


def structures() -> list[LayerData]:
    """Return a volume that looks like a magnetic resonance image, in napari's order (z, y, x)."""
    image = volume((48, 48, 48), 2, np.random.default_rng(0))[0]
    scale = [float(size) for size in image.header.get_zooms()[::-1]]
    return [(np.asarray(image.dataobj).T, {"name": "structures", "scale": scale}, "image")]
