"""Clicks as channels beside an image, as they go from a transform to an inferer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..data.labels import BACKGROUND, Labels
from ..errors import InputError

__all__ = ["click_names", "draw_clicks", "require_clickable"]


def click_names(labels: Labels) -> list[str]:
    """Return the names of the channels of clicks: of the background and of each class, in the order of the codes."""
    return [BACKGROUND, *labels.names]


def require_clickable(labels: Labels, remedy: str) -> None:
    """
    Args:
        labels: the classes.
        remedy: what to do where they cannot be clicked.

    Raises:
        InputError: the classes overlap.
    """
    if not labels.softmax and len(labels.names) > 1:
        raise InputError(f"classes that overlap cannot be clicked; {remedy}")


def draw_clicks(clicks: Mapping[str, Sequence[Sequence[float]]], labels: Labels, shape: Sequence[int]) -> torch.Tensor:
    """
    Draw the clicks of an image.

    Args:
        clicks: points by the names of :func:`click_names`, each in pixels or voxels, inside of the image.
        labels: the classes.
        shape: of the image, (spatial...).

    Returns:
        (names, spatial...) of float32: 1 at the clicks, else 0.
    """
    names = click_names(labels)
    channels = torch.zeros(len(names), *shape)
    for channel, name in zip(channels, names):
        for point in clicks.get(name, ()):
            channel[tuple(int(value + 0.5) for value in point)] = 1
    return channels
