"""Training a network that follows clicks."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.networks.utils import eval_mode
from monai.utils import CommonKeys

from ..data.labels import Labels
from .guidance import add_click, click_names
from .simulation import random_clicks

__all__ = ["ClickTraining"]


class ClickTraining:
    """
    The iteration of a trainer whose network takes clicks, after DeepEdit (Diaz-Pinto et al., 2022). A share of the
    batches has no clicks, so that the network also segments without any. For the others, the network predicts, clicks
    are put on its errors, and it predicts again, some times. The clicks follow the image in its channels.

    ``monai.apps.deepedit.Interaction`` takes all but the first channel of an image for clicks, and empties them in the
    first image of a batch only.

    Args:
        labels: the classes.
        without: share of the batches without clicks.
        rounds: the largest number of predictions that get clicks.
        clicks: the largest number of clicks that a prediction gets.
    """

    def __init__(self, labels: Labels, without: float = 0.4, rounds: int = 3, clicks: int = 3) -> None:
        self.labels = labels
        self.without = without
        self.rounds = rounds
        self.clicks = clicks

    def __call__(self, engine: SupervisedTrainer, batchdata: dict[str, Any]) -> dict:
        device = engine.state.device
        images = batchdata[CommonKeys.IMAGE].to(device)
        truth = batchdata[CommonKeys.LABEL].to(device)[:, 0].long()
        if not self.labels.softmax:  # one class, which may have several codes
            truth = (truth > 0).long()
        guidance = images.new_zeros(len(images), len(click_names(self.labels)), *images.shape[2:])
        rounds = 0 if torch.rand(()) < self.without else int(torch.randint(1, self.rounds + 1, ()))
        for _ in range(rounds):
            codes = self._predict(engine, torch.cat([images, guidance], 1))
            for _ in range(int(torch.randint(1, self.clicks + 1, ()))):
                for index, click in enumerate(random_clicks(codes, truth)):
                    if click is not None:
                        code, point = click
                        add_click(guidance[index, code], point)
                clicked = (guidance > 0.5).any(1)  # the next clicks of this round lie elsewhere
                codes = torch.where(clicked, truth, codes)
        batchdata[CommonKeys.IMAGE] = torch.cat([images, guidance], 1)
        return engine._iteration(engine, batchdata)

    def _predict(self, engine: SupervisedTrainer, inputs: torch.Tensor) -> torch.Tensor:
        with eval_mode(engine.network), torch.autocast(inputs.device.type, enabled=engine.amp, **engine.amp_kwargs):
            logits = engine.inferer(inputs, engine.network)[:, : self.labels.out_channels].float()
        if self.labels.softmax:
            return logits.argmax(1)
        return (logits[:, 0] > 0).long()
