"""Kinds of pictures in a dataset, such as stains, as far as their colours tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans2, whiten

from .picture_reader import read_picture

__all__ = ["kind_weights"]


def _colours(path: str) -> list[float]:
    """Return mean and standard deviation of red, green and blue, and three percentiles of the brightness."""
    picture = np.asarray(read_picture(path), np.float32)
    colours = picture[..., :3] if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)
    brightness = np.percentile(colours.mean(-1), (5, 50, 95))
    return [*colours.mean((0, 1)), *colours.std((0, 1)), *brightness]


def kind_weights(pairs: Sequence[Mapping[str, Any]], kinds: int = 8) -> list[float]:
    """
    Return weights of pictures for ``torch.utils.data.WeightedRandomSampler``, so that rare kinds are drawn more often
    than their number says: one over the square root of the number of pictures of a kind. The kinds are clusters of the
    pictures' colours, by k-means.

    Args:
        pairs: dictionaries with the path of a picture under ``image``.
        kinds: number of clusters.
    """
    colours = whiten(np.array([_colours(str(pair["image"])) for pair in pairs]))
    _, kind = kmeans2(colours, min(kinds, len(pairs)), seed=0, minit="++", iter=50)
    return (1 / np.sqrt(np.bincount(kind)[kind])).tolist()
