"""
Find what limits the instance AP of the nuclei: replace the mask, the distance or the borders between the nuclei by the
true ones, and enlarge or reduce the images:

    python benchmarks/nuclei/limits.py DATA

DATA is the folder of the images and masks that bundle/docs/nuclei_split.csv names. The images are those of validation,
and the weights are `benchmarks/nuclei/validation/model.pt`, which have not seen them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from further_outputs import print_table
from monai.bundle import ConfigParser
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import watershed
from torch.nn import functional
from tqdm import tqdm

from dpsau2net_monai.metrics import instance_metrics, split_instances
from dpsau2net_monai.networks import load_weights
from dpsau2net_monai.transforms.instances import instance_distance, true_instances

CONFIGS = Path(__file__).parents[2] / "bundle" / "configs"
WEIGHTS = Path(__file__).parent / "validation" / "model.pt"
SCALES = (0.75, 1.25, 1.5)


def with_truth(mask: np.ndarray, distance: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """Return the instances by the predicted mask and distance, where the true nuclei replace one of them."""
    return {
        "predicted mask, true distance": split_instances(mask, instance_distance(true)),
        "predicted mask, divided by the nearest true nucleus": watershed(
            distance_transform_edt(true == 0), true * mask, mask=mask
        ),
        "true mask, predicted distance": split_instances(true > 0, distance),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", metavar="DATA", help="folder of the dataset")
    data = arguments.parse_args().data

    parser = ConfigParser()
    parser.read_config([CONFIGS / "train.yaml", CONFIGS / "nuclei.yaml"])
    parser.update({"bundle_root": str(CONFIGS.parent), "dataset_dir": data, "show_progress": False})
    network, inferer, device = (parser.get_parsed_content(key) for key in ("network", "validate#inferer", "device"))
    load_weights(network.eval(), WEIGHTS)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for batch in tqdm(parser.get_parsed_content("validate#dataloader"), disable=None):
        image = batch["image"].as_tensor().to(device)
        true = true_instances(f"{data}/instances", batch["image_path"][0], batch["label"][0, 0])
        for scale in (1, *SCALES):
            size = [round(scale * side) for side in image.shape[2:]]
            resized = functional.interpolate(image, size, mode="bilinear", antialias=True)
            with torch.inference_mode():
                probability = inferer(resized, network).sigmoid()
            probability = functional.interpolate(probability, image.shape[2:], mode="bilinear", antialias=True)
            mask, distance = probability[0].cpu().numpy()
            name = "predicted mask and distance" + f", image resized by {scale}" * (scale != 1)
            results = {name: split_instances(mask >= 0.5, distance)}
            if scale == 1:
                results |= with_truth(mask >= 0.5, distance, true)
            for name, predicted in results.items():
                metrics = instance_metrics(true, predicted)
                found[name].append((metrics["instance_ap"], metrics["instance_ap50"]))
    print_table(found)


if __name__ == "__main__":
    main()
