"""Random fields that pictures and volumes share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.filters import gaussian
from skimage.transform import resize

__all__ = ["illumination", "log_uniform", "texture"]


def texture(shape: Sequence[int], sigma: float | np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random texture of mean 0 and standard deviation 1. ``sigma`` is the size of its grains in pixels."""
    field = gaussian(rng.standard_normal(shape), sigma)
    return (field - field.mean()) / field.std()


def illumination(shape: Sequence[int], most: float, rng: np.random.Generator) -> np.ndarray:
    """Return uneven, very smooth illumination: 1 plus or minus up to ``most``."""
    return 1 + rng.uniform(0, most) * resize(rng.uniform(-1, 1, [3] * len(shape)), shape, order=2, mode="edge")


def log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """Draw a number between ``low`` and ``high`` whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
