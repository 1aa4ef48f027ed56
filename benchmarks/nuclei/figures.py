"""
Score the shipped weights on the test images of the Data Science Bowl 2018, beside MONAI's UNet and SegResNet, trained
on the same images with the same recipe (bundle/configs/nuclei.yaml) for as many epochs, and print a Markdown table:

    python benchmarks/nuclei/figures.py DATA --output runs/figures

DATA is the folder of the 598 images and masks that bundle/docs/nuclei_split.csv names. The evaluations with their
reports stay in the output folder; `python -m dpsau2net_monai compare` takes them. It takes some minutes on two CPU
cores.

With --train, all networks are trained first, into the output folder. That takes hours. Started again, it continues
where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from dpsau2net_monai.report import summarise

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundle" / "configs"
# name: the folder of its weights, and of the config that puts it in the place of DPSAU2NetLite
NETWORKS = {
    "DPSAU2NetLite": ROOT / "bundle" / "models",
    "MONAI UNet": ROOT / "benchmarks" / "nuclei" / "unet",
    "MONAI SegResNet": ROOT / "benchmarks" / "nuclei" / "segresnet",
}
METRICS = ("dice", "iou", "iou_smoothed", "precision", "sensitivity", "hd95", "instance_ap", "instance_f1")


def configs(folder: Path, *last: Path) -> list[str]:
    network = folder / "network.yaml"
    files = [CONFIGS / "train.yaml", CONFIGS / "nuclei.yaml", *([network] if network.exists() else []), *last]
    return [str(file) for file in files]


def bundle(run_id: str, files: list[str], **keys: object) -> None:
    options = {"config_file": files, "bundle_root": ROOT / "bundle", "show_progress": sys.stderr.isatty(), **keys}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"})


def row(name: str, folder: Path, evaluation: Path) -> str:
    with open(evaluation / "images.csv", newline="", encoding="utf-8") as file:
        images = list(csv.DictReader(file))
    parser = ConfigParser()
    parser.read_config(configs(folder))
    parameters = sum(parameter.numel() for parameter in parser.get_parsed_content("network_def").parameters())
    digits = {"hd95": 1}
    cells = []
    for metric in METRICS:
        summary, d = summarise([float(image[metric]) for image in images]), digits.get(metric, 3)
        cells.append(f"{summary.mean:.{d}f} ± {summary.std:.{d}f} ({summary.median:.{d}f})")
    return f"| {name} | {parameters / 1e6:.2f} M | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="folder with images/ and masks/")
    parser.add_argument("--output", required=True, type=Path, help="folder for the evaluations")
    parser.add_argument("--train", action="store_true", help="train all first, into the output folder")
    args = parser.parse_args()

    rows = []
    for name, folder in NETWORKS.items():
        weights = folder
        if args.train:
            weights = args.output / "models" / name
            log = args.output / "logs" / name
            bundle("training", configs(folder), dataset_dir=args.data, ckpt_dir=weights, output_dir=log, resume=True)
        for suffix, tta in (("", False), (", test-time augmentation", True)):
            if tta and name != "DPSAU2NetLite":
                continue
            evaluation = args.output / (name + (" tta" if tta else ""))
            bundle(
                "evaluating", configs(folder, CONFIGS / "evaluate.yaml"),
                dataset_dir=args.data, ckpt_dir=weights, output_dir=evaluation, tta=tta,
            )  # fmt: skip
            rows.append(row(name + suffix, folder, evaluation))

    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} CPU cores, torch {torch.__version__}")
    print("mean ± standard deviation (median) over the test images\n")
    print("| network | parameters | " + " | ".join(METRICS) + " |")
    print("|---|--:|" + "--:|" * len(METRICS))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
