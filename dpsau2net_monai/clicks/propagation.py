"""What clicks say of the other pixels of an image."""

from __future__ import annotations

import torch
from torch.nn import functional

from .guidance import SIGMA

__all__ = ["spread_clicks"]

# by the validation images of the nuclei
LOGIT = 3.0  # at a click
REACH = 10.0  # standard deviation in space, in those of a click's guidance
ANYWHERE = 0.2  # share of the likeness that does not depend on the distance
NOISE = 0.05  # variance of a click


def spread_clicks(guidance: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """
    Spread clicks to the pixels that are like the clicked ones: the mean of a Gaussian process whose observations are
    the clicks, as in Zhou et al., "Interactive Segmentation as Gaussian Process Classification", 2023. Pixels are alike
    if their features are similar, and more so the nearer they are.

    Args:
        guidance: the clicks of each class, (classes, spatial...), as of :func:`draw_clicks`.
        features: of the pixels, (features, spatial...).

    Returns:
        What to add to the logits of each class, (classes, spatial...).
    """
    dims = features.dim() - 1
    pool = functional.max_pool2d if dims == 2 else functional.max_pool3d
    peaks = (guidance == pool(guidance[None], 3, 1, 1)[0]) & (guidance > 0.5)
    classes, clicked = peaks.flatten(1).nonzero(as_tuple=True)

    values = features.flatten(1)
    values = (values - values.mean(1, keepdim=True)) / values.std(1, keepdim=True).clamp(min=1e-3)
    values = values.T / len(values) ** 0.5
    sides = [torch.arange(side, device=values.device, dtype=values.dtype) for side in features.shape[1:]]
    points = torch.cartesian_prod(*sides) / (REACH * SIGMA[dims])

    near = torch.exp(-(torch.cdist(points, points[clicked]) ** 2) / 2)
    likeness = torch.exp(-(torch.cdist(values, values[clicked]) ** 2) / 2) * ((1 - ANYWHERE) * near + ANYWHERE)
    noise = NOISE * torch.eye(len(clicked), device=values.device, dtype=values.dtype)
    observed = LOGIT * functional.one_hot(classes, len(guidance)).to(values)
    return (likeness @ torch.linalg.solve(likeness[clicked] + noise, observed)).T.reshape(guidance.shape)
