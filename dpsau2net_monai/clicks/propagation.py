"""What clicks say of the pixels of an image."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["spread_clicks"]

# by the validation images of the nuclei, and those of the hippocampus for volumes
LOGIT = 2.0  # by which the logit of a clicked class is to exceed those of the others
REACH = {2: 8.0, 3: 2.5}  # standard deviation in space, in pixels or voxels of what the network sees
ANYWHERE = {2: 0.3, 3: 0.0}  # share of the likeness that does not depend on the distance
NOISE = 0.05  # variance of a click
CHUNK = 2**19  # pairs of a pixel and a click at a time, which fit into a cache


def _rbf(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return exp(-d^2 / 2) of the distances d between two lists of vectors, (n, axes) and (m, axes), as (n, m)."""
    halves = [(vectors**2).sum(1) / 2 for vectors in (first, second)]
    return torch.addmm(-halves[1], first, second.T).sub_(halves[0][:, None]).exp_()


def spread_clicks(
    clicks: torch.Tensor, logits: torch.Tensor, features: torch.Tensor, anywhere: float = 1.0
) -> torch.Tensor:
    """
    Correct the logits at the clicks and at the pixels that are like the clicked ones: the mean of a Gaussian process,
    as in Zhou et al., "Interactive Segmentation as Gaussian Process Classification", 2023. Its observations are what
    the logits lack at the clicks. A click on a class that the mask has there already is an observation of 0: it holds
    its place against others. Pixels are alike if their features are similar, and more so the nearer they are. A clicked
    pixel itself always gets its class.

    Args:
        clicks: not 0 at the clicks of each class, (classes, spatial...), the background first. A pixel with clicks of
            two classes counts for none.
        logits: of the classes, (classes, spatial...).
        features: of the pixels, (features, spatial...).
        anywhere: from 0, clicks speak only for what is near, to 1, also for what is far.

    Returns:
        What to add to the logits, (classes, spatial...).
    """
    clicked = (clicks != 0) & ((clicks != 0).sum(0) == 1)
    classes, places = clicked.flatten(1).nonzero(as_tuple=True)

    own = functional.one_hot(classes, len(clicks)).bool()

    def lacking(at_clicks: torch.Tensor) -> torch.Tensor:
        others = at_clicks.masked_fill(own, -torch.inf).amax(1)
        return own * (LOGIT - at_clicks[own] + others).clamp(min=0)[:, None]

    at_clicks = logits.flatten(1)[:, places].T
    values = features.flatten(1)
    values = functional.layer_norm(values, values.shape[1:], eps=1e-6).T / len(values) ** 0.5  # each standardised
    sides = [torch.arange(side, device=values.device, dtype=values.dtype) for side in features.shape[1:]]
    points = torch.cartesian_prod(*sides) / REACH[len(sides)]
    share = ANYWHERE[len(sides)] * anywhere

    def likeness(of_values: torch.Tensor, of_points: torch.Tensor) -> torch.Tensor:
        # _rbf loses the distances of points that are far from the origin
        near = torch.cdist(of_points, points[places], compute_mode="donot_use_mm_for_euclid_dist")
        near = near.square_().mul_(-0.5).exp_()
        return _rbf(of_values, values[places]) * near.mul_(1 - share).add_(share)

    noise = NOISE * torch.eye(len(places), device=values.device, dtype=values.dtype)
    weights = torch.linalg.solve(likeness(values[places], points[places]) + noise, lacking(at_clicks))
    step = max(1, CHUNK // max(1, len(places)))
    parts = [likeness(*part) @ weights for part in zip(values.split(step), points.split(step))]
    spread = torch.cat(parts)
    spread[places] += lacking(at_clicks + spread[places])  # where clicks nearby contradict each other
    return spread.T.reshape(clicks.shape)
