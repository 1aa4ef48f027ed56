"""
Time DPSAU2Net beside DPSAU2NetLite and two of MONAI's networks, on the GPU where there is one, else on the CPU:

    python benchmarks/network_speed.py

It prints a line on the machine and a Markdown table: parameters, seconds of a forward pass (one 256 x 256 image in
inference mode) and seconds of training an image (forward, backward and Adam step on a batch, divided by its size), each
with its ratio to the full network. All are in channels-last layout. It takes about two minutes on two CPU cores.

Another busy process distorts the times unevenly: threads wait for one another, and networks of many small layers
suffer most. With OMP_NUM_THREADS=1 there is no such wait, and the ratios hold.
"""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Callable

import monai
import torch
from monai.networks.nets import SegResNet, UNet
from torch import nn

from dpsau2net_monai.networks import DPSAU2Net, DPSAU2NetLite

SIZE = 256
REPEATS = 5
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# name: how to build it, and the images in a training batch; the ratios are to the first
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "DPSAU2Net": (lambda: DPSAU2Net(2, 3, 1), 1),
    "DPSAU2NetLite": (lambda: DPSAU2NetLite(2, 3, 1), 4),
    "MONAI UNet": (lambda: UNet(2, 3, 1, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2), 4),
    "MONAI SegResNet": (lambda: SegResNet(2, init_filters=8, in_channels=3, out_channels=1), 4),
}


def median_seconds(step: Callable[[], object]) -> float:
    """Time ``step`` until the device has finished it, after two runs that warm up."""
    seconds = []
    for _ in range(2 + REPEATS):
        start = time.perf_counter()
        step()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def images(number: int, channels: int) -> torch.Tensor:
    return torch.rand(number, channels, SIZE, SIZE, device=DEVICE).contiguous(memory_format=torch.channels_last)


def forward_seconds(network: nn.Module) -> float:
    network.eval()
    image = images(1, 3)
    with torch.inference_mode():
        return median_seconds(lambda: network(image))


def training_seconds(network: nn.Module, batch_size: int) -> float:
    network.train()
    image, target = images(batch_size, 3), images(batch_size, 1).round()
    optimizer = torch.optim.Adam(network.parameters())
    loss_function = nn.BCEWithLogitsLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss_function(network(image), target).backward()
        optimizer.step()

    return median_seconds(step) / batch_size


def main() -> None:
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{datetime.date.today()}, torch {torch.__version__}, MONAI {monai.__version__}, {device}\n")
    print("| network | parameters | forward, s | ratio | training, s/image (batch) | ratio |")
    print("|---|--:|--:|--:|--:|--:|")
    full = None
    for name, (build, batch_size) in NETWORKS.items():
        network = build().to(DEVICE, memory_format=torch.channels_last)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        forward, training = forward_seconds(network), training_seconds(network, batch_size)
        full = full or (forward, training)
        print(
            f"| {name} | {parameters:,} | {forward:.4f} | {forward / full[0]:.3f} "
            f"| {training:.4f} ({batch_size}) | {training / full[1]:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
