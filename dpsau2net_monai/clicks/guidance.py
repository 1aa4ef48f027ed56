"""Clicks as channels of the network's input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..data.labels import BACKGROUND, Labels

__all__ = ["add_click", "click_names", "draw_clicks"]

SIGMA = {2: 4.0, 3: 2.0}  # of the Gaussian around a click, in pixels or voxels of what the network sees


def click_names(labels: Labels) -> list[str]:
    """Return the names of the channels of clicks: of the background and of each class, in the order of the codes."""
    return [BACKGROUND, *labels.names]


def add_click(channel: torch.Tensor, point: Sequence[float]) -> None:
    """
    Draw a click into a channel, in place: a Gaussian of height 1, as of DeepEdit (Diaz-Pinto et al., "DeepEdit: Deep
    Editable Learning for Interactive Segmentation of 3D Medical Images", 2022). Where clicks overlap, the larger value
    stays, so that a second click at a place changes nothing.

    Args:
        channel: (spatial...).
        point: the click, in pixels or voxels.
    """
    sigma = SIGMA[channel.ndim]
    box, patch = [], torch.ones([1] * channel.ndim, device=channel.device)
    for axis, (center, side) in enumerate(zip(point, channel.shape)):
        low, high = max(0, int(center - 4 * sigma)), min(side, int(center + 4 * sigma) + 1)
        box.append(slice(low, high))
        distance = torch.arange(low, high, device=channel.device) - center
        shape = [-1 if other == axis else 1 for other in range(channel.ndim)]
        patch = patch * torch.exp(-(distance**2) / (2 * sigma**2)).view(shape)
    inside = channel[tuple(box)]
    torch.maximum(inside, patch.to(channel.dtype), out=inside)


def draw_clicks(clicks: Mapping[str, Sequence[Sequence[float]]], labels: Labels, shape: Sequence[int]) -> torch.Tensor:
    """
    Draw the clicks of an image.

    Args:
        clicks: points by the names of :func:`click_names`, each in pixels or voxels, inside of the image.
        labels: the classes.
        shape: of the image, (spatial...).

    Returns:
        (names, spatial...) of float32.
    """
    names = click_names(labels)
    guidance = torch.zeros(len(names), *shape)
    for channel, name in zip(guidance, names):
        for point in clicks.get(name, ()):
            add_click(channel, point)
    return guidance
