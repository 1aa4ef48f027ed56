"""
Train other designs of DPSAU2-Net's parts, and MONAI's networks, for the same minutes with the recipe of the nuclei, and
print a Markdown table of their figures on the validation images:

    export OMP_NUM_THREADS=1
    taskset -c 0 python benchmarks/nuclei/designs.py DATA --output runs/designs

DATA is the folder of the images and masks that bundle/docs/nuclei_split.csv names. `taskset` gives all of them the same
core. Started again, it continues where it was stopped. `python -m dpsau2net_monai compare` takes the evaluations in the
output folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from monai.networks.blocks import Convolution
from torch import nn

from dpsau2net_monai.networks import DPSAU2NetLite
from dpsau2net_monai.networks.dpsau2net import Stage, sub_pixel
from dpsau2net_monai.runs import read_history

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))
from figures import BENCHMARKS, CONFIGS, bundle, configs, read_images, worst_tenth  # noqa: E402

LITE = DPSAU2NetLite.DESIGNS[2]._replace(attend_before_resize=True)


class AttendBeforeResize(DPSAU2NetLite):
    """DPSAU2NetLite, with the decoder's split attention before its input is resized, as in 3D."""

    DESIGNS = {2: LITE}


class Narrow(DPSAU2NetLite):
    """AttendBeforeResize, with fewer channels and one level less at the finest resolution, and kernels of 5 pixels."""

    DESIGNS = {
        2: LITE._replace(
            encoder=(Stage(4, 16, 16), Stage(4, 16, 32), Stage(4, 32, 64), Stage(3, 48, 96, dilated=True)),
            decoder=(Stage(4, 16, 16), Stage(4, 16, 32), Stage(4, 32, 64)),
            kernel_size=5,
        )
    }


class NarrowInstanceEntries(Narrow):
    """Narrow, with instance norm in place of batch norm after the strided stem and each stage's first convolution."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, strides: None = None) -> None:
        super().__init__(spatial_dims, in_channels, out_channels)
        stages = [*self.encoder, *self.decoder]
        for convolution in [self.entries[0], *(stage.stem for stage in stages)]:
            convolution.adn.N = nn.InstanceNorm2d(convolution.adn.N.num_features, affine=True)


class Quarter(DPSAU2NetLite):
    """A stem of two strided convolutions, and wider stages from a quarter of the image's resolution on."""

    DESIGNS = {
        2: LITE._replace(
            encoder=(Stage(4, 24, 48), Stage(4, 32, 64), Stage(3, 64, 128, dilated=True)),
            decoder=(Stage(4, 24, 48), Stage(4, 32, 64)),
            stem_channels=32,
            kernel_size=5,
        )
    }
    HALF = 16  # channels at half of the image's resolution

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, strides: None = None) -> None:
        super().__init__(spatial_dims, in_channels, out_channels, strides=[4, 2, 2])
        self.entries[0] = nn.Sequential(
            Convolution(2, in_channels, self.HALF, strides=2, act="relu", norm="safe_batch"),
            Convolution(2, self.HALF, 32, strides=2, act="relu", norm="safe_batch"),
        )


class QuarterAndHalf(Quarter):
    """Quarter, with added logits from the stem's features at half of the resolution, beside the decoder's."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, strides: None = None) -> None:
        super().__init__(spatial_dims, in_channels, out_channels)
        self.finest: dict[str, torch.Tensor] = {}  # the last features of the stem and of the decoder
        for name, module in (("stem", self.entries[0][0]), ("decoder", self.decoder[-1])):
            module.register_forward_hook(lambda _, inputs, output, name=name: self.finest.update({name: output}))
        self.shrink = nn.Conv2d(48, 4 * self.HALF, kernel_size=1)
        self.mix = Convolution(2, 2 * self.HALF, self.HALF, act="relu", norm="safe_batch")
        self.detail = nn.Conv2d(self.HALF, 4 * out_channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x)
        stem = self.finest["stem"]
        decoder = sub_pixel(self.shrink(self.finest["decoder"]), [2, 2])[..., : stem.shape[2], : stem.shape[3]]
        detail = sub_pixel(self.detail(self.mix(torch.cat([decoder, stem], dim=1))), [2, 2])
        return logits + detail[..., : x.shape[2], : x.shape[3]]


NARROW = {"network_def#_target_": "designs.Narrow"}
WITH_TWO_SEEDS: dict[str, tuple[str, dict[str, object]]] = {  # name: folder of the network's config, and options
    "DPSAU2NetLite": ("lite", {}),
    "Narrow": ("lite", NARROW),
    "MONAI UNet": ("unet", {}),
    "MONAI AttentionUnet": ("attentionunet", {}),
    "MONAI SegResNet": ("segresnet", {"amp": False}),  # faster without bfloat16
    "MONAI DynUNet": ("dynunet", {}),
    "MONAI BasicUNet": ("basicunet", {}),
}
TRIALS = {
    **{f"{name}, seed {seed}": (folder, {**options, "seed": seed})
       for name, (folder, options) in WITH_TWO_SEEDS.items() for seed in (42, 1)},
    **{name: ("lite", {"network_def#_target_": f"designs.{name}"})
       for name in ("AttendBeforeResize", "NarrowInstanceEntries", "Quarter", "QuarterAndHalf")},
    "Narrow, batches of 8": ("lite", {**NARROW, "batch_size": 8}),
    "Narrow, instance norm": ("lite", {**NARROW, "network_def#norm": ["instance", {"affine": True}]}),
}  # fmt: skip
METRICS = ("dice", "hd95", "instance_ap", "instance_ap50")  # columns of images.csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="folder of the dataset")
    parser.add_argument("--output", required=True, type=Path, help="folder for the weights and evaluations")
    parser.add_argument("--minutes", type=float, default=11, help="of training, for each network (11)")
    args = parser.parse_args()

    os.environ["PYTHONPATH"] = str(FOLDER)  # where the configs find the designs
    print("| network | crops | " + " | ".join(METRICS) + " | dice, worst tenth |")
    print("|---|--:|--:|" + "--:|" * len(METRICS))
    for name, (folder, options) in TRIALS.items():
        files = configs(BENCHMARKS["nuclei"], FOLDER / folder)
        weights, evaluation = args.output / name, args.output / f"{name}, figures"
        bundle(
            "training", files, dataset_dir=args.data, ckpt_dir=weights, output_dir=weights / "log", resume=True,
            **{"max_minutes": args.minutes, "crops_per_image": 1, "batch_size": 16, "val_interval": 100000, **options},
        )  # fmt: skip
        bundle(
            "evaluating", [*files, str(CONFIGS / "evaluate.yaml")], dataset_dir=args.data, part="validation",
            ckpt_dir=weights, output_dir=evaluation, save_overlay=False, **options,
        )  # fmt: skip
        images = read_images(evaluation)
        means = [(metric, np.mean([float(image[metric]) for image in images])) for metric in METRICS]
        cells = " | ".join(f"{mean:.{1 if metric == 'hd95' else 3}f}" for metric, mean in means)
        crops = 478 * len(read_history(weights / "history.csv"))  # each epoch has a crop of each training image
        print(f"| {name} | {crops:,} | {cells} | {worst_tenth(images):.3f} |", flush=True)


if __name__ == "__main__":
    main()
