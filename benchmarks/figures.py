"""
Score the shipped weights of a task on its test images, beside MONAI's networks, trained on the same images with the
same recipe, print a Markdown table, and draw the curves of their trainings, curves.png:

    python benchmarks/figures.py nuclei DATA --output runs/figures
    python benchmarks/figures.py hippocampus DATA --output runs/figures --train

DATA is, for the nuclei, the folder of the 598 images and masks that bundle/docs/nuclei_split.csv names; for the
hippocampus, the Decathlon's folder Task04_Hippocampus with the volumes that bundle/tasks/hippocampus/split.csv names.
All networks of a task but the shipped one were trained for the same minutes. The evaluations with their reports stay in
the output folder; `python -m dpsau2net_monai compare` takes them. It takes some minutes on two CPU cores.

With --train, all networks but the shipped one are trained first, into the output folder, for the minutes of the recipe
or those of --minutes. Started again, it continues where it was stopped. Without it, networks whose weights are not in
benchmarks/ are left out.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser

from dpsau2net_monai.data import find_pairs
from dpsau2net_monai.data.picture_reader import read_picture
from dpsau2net_monai.data.reading import name_of
from dpsau2net_monai.report import summarise
from dpsau2net_monai.runs import read_history

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "bundle" / "configs"
SHIPPED = "DPSAU2NetLite"


class Benchmark(NamedTuple):
    """What is compared for a task."""

    recipe: tuple[Path, ...]  # configs over train.yaml
    networks: dict[str, Path]  # name: folder of the weights, and of the config that puts it in DPSAU2NetLite's place
    metrics: tuple[str, ...]  # columns of images.csv


BENCHMARKS = {
    "nuclei": Benchmark(
        (CONFIGS / "nuclei.yaml",),
        {
            SHIPPED: ROOT / "bundle" / "models",
            "DPSAU2NetLite, equal minutes": ROOT / "benchmarks" / "nuclei" / "lite",
            "DPSAU2Net": ROOT / "benchmarks" / "nuclei" / "full",
            "MONAI UNet": ROOT / "benchmarks" / "nuclei" / "unet",
            "MONAI BasicUNet": ROOT / "benchmarks" / "nuclei" / "basicunet",
            "MONAI SegResNet": ROOT / "benchmarks" / "nuclei" / "segresnet",
            "MONAI AttentionUnet": ROOT / "benchmarks" / "nuclei" / "attentionunet",
            "MONAI DynUNet": ROOT / "benchmarks" / "nuclei" / "dynunet",
        },
        (
            "dice",
            "iou",
            "iou_smoothed",
            "precision",
            "sensitivity",
            "hd95",
            "instance_ap",
            "instance_ap50",
            "instance_f1",
        ),
    ),
    "hippocampus": Benchmark(
        (
            ROOT / "bundle" / "tasks" / "hippocampus" / "train.yaml",
            ROOT / "benchmarks" / "hippocampus" / "minutes.yaml",
        ),
        {
            SHIPPED: ROOT / "bundle" / "tasks" / "hippocampus",
            "DPSAU2NetLite, equal minutes": ROOT / "benchmarks" / "hippocampus" / "lite",
            "MONAI SegResNet": ROOT / "benchmarks" / "hippocampus" / "segresnet",
            "MONAI DynUNet": ROOT / "benchmarks" / "hippocampus" / "dynunet",
            "MONAI UNet": ROOT / "benchmarks" / "hippocampus" / "unet",
        },
        ("dice", "dice_anterior", "dice_posterior", "hd95", "hd95_anterior", "hd95_posterior"),
    ),
}


def configs(benchmark: Benchmark, folder: Path, *last: Path) -> list[str]:
    network = folder / "network.yaml"
    files = [CONFIGS / "train.yaml", *benchmark.recipe, *([network] if network.exists() else []), *last]
    return [str(file) for file in files]


def bundle(run_id: str, files: list[str], **keys: object) -> None:
    options = {"config_file": files, "bundle_root": ROOT / "bundle", "show_progress": sys.stderr.isatty(), **keys}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"})


def read_images(evaluation: Path) -> list[dict[str, str]]:
    with open(evaluation / "images.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def worst_tenth(images: list[dict[str, str]]) -> float:
    """Return the mean Dice of the tenth of the images with the lowest."""
    dice = sorted(float(image["dice"]) for image in images)
    return float(np.mean(dice[: math.ceil(len(dice) / 10)]))


def row(name: str, files: list[str], images: list[dict[str, str]], metrics: tuple[str, ...]) -> str:
    parser = ConfigParser()
    parser.read_config(files)
    parser["bundle_root"] = str(ROOT / "bundle")
    parameters = sum(parameter.numel() for parameter in parser.get_parsed_content("network_def").parameters())
    cells = []
    for metric in metrics:
        summary, d = summarise([float(image[metric]) for image in images]), 1 if metric.startswith("hd95") else 3
        cells.append(f"{summary.mean:.{d}f} ± {summary.std:.{d}f} ({summary.median:.{d}f})")
    cells.append(f"{worst_tenth(images):.3f}")
    return f"| {name} | {parameters / 1e6:.2f} M | " + " | ".join(cells) + " |"


def kind_of(path: str) -> str:
    """Return the kind of a picture of nuclei, by its colours and its background."""
    picture = read_picture(path)
    if picture.ndim == 3 and np.ptp(picture, axis=2).max() > 0:
        return "stained tissue (in colour)"
    return "fluorescence (grey on dark)" if np.median(picture) < 0.5 else "brightfield (grey on light)"


def table_of_kinds(data: str, evaluations: dict[str, list[dict[str, str]]]) -> list[str]:
    """Return a Markdown table with Dice and instance AP of each kind of picture."""
    kinds = {name_of(pair["image"]): kind_of(str(pair["image"])) for pair in find_pairs(data)}
    lines = ["| network, mean Dice / instance AP | " + " | ".join(sorted(set(kinds.values()))) + " |"]
    lines.append("|---|" + "--:|" * len(set(kinds.values())))
    for name, images in evaluations.items():
        cells = []
        for kind in sorted(set(kinds.values())):
            of_kind = [image for image in images if kinds[image["image"]] == kind]
            dice, ap = (np.mean([float(image[metric]) for image in of_kind]) for metric in ("dice", "instance_ap"))
            cells.append(f"{dice:.3f} / {ap:.3f} (n = {len(of_kind)})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def draw_curves(networks: dict[str, Path], path: Path) -> None:
    """Draw the validation Dice of each network by its share of the training time."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, folder in networks.items():
        epochs = read_history(folder / "history.csv")
        if name == SHIPPED or not epochs:
            continue
        validated = [index for index, epoch in enumerate(epochs, 1) if epoch["val_mean_dice"]]
        dice = [float(epochs[index - 1]["val_mean_dice"]) for index in validated]
        axes.plot([100 * index / len(epochs) for index in validated], dice, marker=".", label=name)
    axes.set(xlabel="share of the training time, %", ylabel="mean Dice of the validation images")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=BENCHMARKS)
    parser.add_argument("data", metavar="DATA", help="folder of the dataset")
    parser.add_argument("--output", required=True, type=Path, help="folder for the evaluations")
    parser.add_argument("--train", action="store_true", help="train all first, into the output folder")
    parser.add_argument("--minutes", type=float, help="of training, for each network (that of the recipe)")
    args = parser.parse_args()

    benchmark = BENCHMARKS[args.task]
    minutes = {} if args.minutes is None else {"max_minutes": args.minutes}
    rows, evaluations = [], {}
    for name, folder in benchmark.networks.items():
        files, weights = configs(benchmark, folder), folder
        if args.train and name != SHIPPED:
            weights = args.output / "models" / name
            log = args.output / "logs" / name
            bundle("training", files, dataset_dir=args.data, ckpt_dir=weights, output_dir=log, resume=True, **minutes)
        if not (weights / "model.pt").exists():
            print(f"{name} is left out: {weights} has no model.pt; --train makes it", file=sys.stderr)
            continue
        for suffix, tta in (("", False), (", test-time augmentation", True)):
            if tta and name != SHIPPED:
                continue
            evaluation = args.output / (name + (" tta" if tta else ""))
            bundle(
                "evaluating", [*files, str(CONFIGS / "evaluate.yaml")],
                dataset_dir=args.data, ckpt_dir=weights, output_dir=evaluation, tta=tta,
            )  # fmt: skip
            evaluations[name + suffix] = read_images(evaluation)
            rows.append(row(name + suffix, files, evaluations[name + suffix], benchmark.metrics))

    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} CPU cores, torch {torch.__version__}")
    print("mean ± standard deviation (median) over the test images\n")
    print("| network | parameters | " + " | ".join(benchmark.metrics) + " | dice, worst tenth |")
    print("|---|--:|--:|" + "--:|" * len(benchmark.metrics))
    print("\n".join(rows))
    draw_curves(
        {name: args.output / "models" / name if args.train else folder for name, folder in benchmark.networks.items()},
        args.output / "curves.png",
    )
    if args.task == "nuclei":
        print("\n" + "\n".join(table_of_kinds(args.data, evaluations)))


if __name__ == "__main__":
    main()
