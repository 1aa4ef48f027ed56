"""An inferer for test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from monai.inferers import Inferer

__all__ = ["TTAInferer"]


class TTAInferer(Inferer):
    """
    Test-time augmentation: infer eight views of the images, undo the flips and rotations, and average the foreground
    probabilities.

    In 2D, the views are the four rotations by 90 degrees, each with and without a flip. In 3D, they are the eight
    combinations of flips. The inference takes eight times as long.

    ``monai.data.TestTimeAugmentation`` draws random transforms, works on the items of a dataset, and replaces the
    evaluator. This class replaces only the inferer.

    Args:
        inferer: inferer for each view, such as ``monai.inferers.SlidingWindowInferer``.

    Returns (of a call):
        Logits of the averaged probabilities, in the shape that ``inferer`` returns. So sigmoid and threshold can follow
        as without test-time augmentation.
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        axes = range(2, inputs.ndim)
        views: list[tuple[tuple[int, ...], int]]
        if inputs.ndim == 4:
            views = [((axis,) if axis else (), turns) for axis, turns in product((0, 2), range(4))]
        else:
            views = [(tuple(axis for axis, flip in zip(axes, flips) if flip), 0) for flips in product((0, 1), repeat=3)]
        total = torch.zeros(())
        for flipped, turns in views:
            view = inputs.flip(flipped).rot90(turns, (2, 3))
            logits = self.inferer(view, network, *args, **kwargs)
            total = total + logits.float().sigmoid().rot90(-turns, (2, 3)).flip(flipped)
        return torch.logit(total / len(views), eps=1e-6)
