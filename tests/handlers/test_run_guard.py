from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedTrainer

from dpsau2net_monai.errors import InputError
from dpsau2net_monai.handlers import RunGuard


class OutOfMemory(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nSee documentation.")


def test_out_of_gpu_memory_says_which_key_to_lower():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), OutOfMemory())
    batch = {"image": torch.zeros(1, 1, 4, 4), "label": torch.zeros(1, 1, 4, 4), "image_path": ["a.png"]}
    trainer = SupervisedTrainer(
        device="cpu", max_epochs=1, train_data_loader=[batch], network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1), loss_function=torch.nn.MSELoss(),
        train_handlers=[RunGuard()],
    )  # fmt: skip
    with pytest.raises(InputError, match="lower batch_size, then roi_size"):
        trainer.run()
