from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedTrainer

from dpsau2net_monai.handlers import WeightAverage


def trained(momentum: float, runs: int = 1) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Train a weight from 0 for 100 steps, each of which adds 1 to it. Return the network and its average."""
    network = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.BatchNorm1d(1, affine=False))
    average = WeightAverage(network, momentum)
    trainer = SupervisedTrainer(
        torch.device("cpu"), 100, [{"image": torch.randn(4, 1), "label": torch.zeros(4, 1)}], network,
        torch.optim.SGD(network.parameters(), 1.0), lambda pred, label: -network[0].weight.sum(),
        train_handlers=[average],
    )  # fmt: skip
    for _ in range(runs):
        torch.nn.init.zeros_(network[0].weight)
        trainer.state.epoch = 0
        trainer.run()
    return network, average.module


@pytest.mark.parametrize("momentum, mean", [(1, 100), (0.5, 99), (0.01, 91)])
def test_the_average_follows_the_weights(momentum, mean):
    network, average = trained(momentum)
    assert network[0].weight.item() == pytest.approx(100)
    assert average[0].weight.item() == pytest.approx(mean, abs=1.5)
    assert average[1].num_batches_tracked == 100


def test_a_second_run_begins_anew():
    first, second = (trained(0.01, runs)[1][0].weight.item() for runs in (1, 2))
    assert first == pytest.approx(second)
