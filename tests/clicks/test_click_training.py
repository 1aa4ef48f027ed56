from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedTrainer

from dpsau2net_monai.clicks import ClickTraining, click_names
from dpsau2net_monai.data import Labels, Task

PARTS = {"background": 0, "anterior": 1, "posterior": 2}
REGION = {"background": 0, "tumour": [1, 2]}  # two values, one class


class Recorder(torch.nn.Module):
    """A network that predicts the background, and keeps its inputs."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor([-1.0] if out_channels == 1 else [1.0, 0, 0]))
        self.inputs: list[tuple[bool, torch.Tensor]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.inputs.append((self.training, images))
        return self.bias.view(1, -1, 1, 1).expand(len(images), -1, *images.shape[2:])


def trained(definition, **options) -> tuple[Recorder, torch.Tensor]:
    """Train for an epoch of four batches on images whose true masks differ. Return the network, and the masks."""
    labels = Labels(definition)
    torch.manual_seed(0)
    network = Recorder(labels.out_channels)
    masks = torch.zeros(3, 1, 40, 40)
    masks[0, :, 5:16, 5:16], masks[1, :, 20:31, 20:31] = 1, len(labels.values) - 1
    trainer = SupervisedTrainer(
        torch.device("cpu"), 1, [{"image": torch.randn(3, 2, 40, 40), "label": masks} for _ in range(4)], network,
        torch.optim.SGD(network.parameters(), 0.0), lambda pred, label: (pred.mean() - label.mean()) ** 2,
        iteration_update=ClickTraining(labels, **options),
    )  # fmt: skip
    trainer.run()
    return network, masks


@pytest.mark.parametrize("definition", ["nucleus", PARTS, REGION], ids=["one", "two", "region"])
def test_clicks_are_put_on_the_errors_of_each_image(definition):
    names = click_names(Labels(definition))
    assert Task(2, 2, definition, clicks=True).network_channels == 2 + len(names)
    network, masks = trained(definition, without=0.0)
    steps = [inputs for training, inputs in network.inputs if training]
    assert len(steps) == 4 < len(network.inputs)
    for inputs in steps:
        assert inputs.shape[1] == 2 + len(names)
        guidance = inputs[:, 2:]
        assert not guidance[2].any() and not guidance[:, 0].any()  # no errors there
        for index, code in ((0, 1), (1, len(names) - 1)):
            clicked = (guidance[index] == 1).nonzero()
            assert len(clicked) and (clicked[:, 0] == code).all()
            assert all(masks[index, 0, x, y] > 0 for _, x, y in clicked)


def test_a_share_of_the_batches_has_no_clicks():
    network, _ = trained("nucleus", without=1.0)
    assert len(network.inputs) == 4 and not any(inputs[:, 2:].any() for _, inputs in network.inputs)
