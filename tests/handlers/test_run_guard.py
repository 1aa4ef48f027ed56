from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedTrainer
from processes import fork_server, ranks
from running import environment, succeeded

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


CLOCKS = """
import time
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from dpsau2net_monai import bundle
from dpsau2net_monai.handlers import RunGuard
from dpsau2net_monai.schedules import CosineOverTime

bundle.join_processes("cpu")
rank = torch.distributed.get_rank()
seconds = 0
time.monotonic = lambda: seconds
schedule = CosineOverTime(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0), minutes=4)

def step(engine, batch):
    global seconds
    seconds += 60 if rank == 0 else 90

engine = Engine(step)
engine.register_events(*IterationEvents)
RunGuard(max_minutes=3.5).attach(engine)
engine.run([0], max_epochs=9)
schedule.step()
print(f"epochs: {engine.state.epoch}, rate: {schedule.get_last_lr()[0]:.4f}")
"""


@pytest.mark.slow
def test_the_first_of_several_processes_has_the_clock(tmp_path):
    results = fork_server().run_together(["-c", CLOCKS], tmp_path, [{**environment(), **rank} for rank in ranks(2)])
    assert [succeeded(result).stdout.splitlines()[-1] for result in results] == ["epochs: 3, rate: 0.1464"] * 2
