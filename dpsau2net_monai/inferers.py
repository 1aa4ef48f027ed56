"""Test-time augmentation."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from monai.inferers import Inferer
from torch import nn

__all__ = ["FlipsAndTurns"]


class FlipsAndTurns(Inferer):
    """
    Test-time augmentation: infer every flip of the images, in 2D of every quarter turn too (eight in all, in 2D and in
    3D), turn the results back and average their foreground probabilities. It costs eight times as much.

    ``monai.data.TestTimeAugmentation`` draws random transforms instead, works on a dataset's items, and takes the place
    of the evaluator; this takes the place of the inferer alone.

    Args:
        inferer: of each flip and turn, such as ``monai.inferers.SlidingWindowInferer``.

    Returns (of a call):
        The logits of the averaged probabilities, of the shape that ``inferer`` gives, so that what follows (sigmoid,
        threshold) stays as it is.
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        axes = range(2, inputs.ndim)
        if inputs.ndim == 4:
            views = [((axis,) if axis else (), turns) for axis, turns in product((0, 2), range(4))]
        else:
            views = [(tuple(axis for axis, flip in zip(axes, flips) if flip), 0) for flips in product((0, 1), repeat=3)]
        total: torch.Tensor | int = 0
        for flipped, turns in views:
            view = inputs.flip(flipped).rot90(turns, (2, 3))
            logits = self.inferer(view, network, *args, **kwargs)
            total = total + logits.float().sigmoid().rot90(-turns, (2, 3)).flip(flipped)
        return torch.logit(total / len(views), eps=1e-6)
