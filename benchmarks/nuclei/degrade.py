"""
Copy the validation images with noise, and with blur, to see what both do to the masks:

    python benchmarks/nuclei/degrade.py DATA runs/degraded
    python -m monai.bundle run evaluating \
      --config_file "['bundle/configs/train.yaml','bundle/configs/evaluate.yaml']" --bundle_root bundle \
      --dataset_dir runs/degraded/noise --csvfile runs/degraded/noise/split.csv --part validation \
      --ckpt_path benchmarks/nuclei/validation/model.pt --output_dir runs/noise

DATA is the folder of the images and masks that bundle/docs/nuclei_split.csv names. `noise` has Gaussian noise in each
colour, with 0.3 of the standard deviation of the image. `blur` is by a Gaussian of 2 pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from shutil import copyfile

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from dpsau2net_monai.data import make_datalist, write_split
from dpsau2net_monai.data.reading import name_of

SPLIT = Path(__file__).parents[2] / "bundle" / "docs" / "nuclei_split.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of the dataset")
    parser.add_argument("output", type=Path, help="new folder for the copies")
    args = parser.parse_args()

    images = {name_of(pair["image"]): pair["image"] for pair in make_datalist(args.data, SPLIT)["validation"]}
    random = np.random.default_rng(0)
    for kind in ("noise", "blur"):
        for subfolder in ("images", "masks", "instances"):
            (args.output / kind / subfolder).mkdir(parents=True)
        for name, path in images.items():
            image = np.asarray(Image.open(path).convert("RGB")).astype(float)
            if kind == "noise":
                image += random.normal(0, 0.3 * image.std(), image.shape)
            else:
                image = gaussian_filter(image, (2, 2, 0))
            degraded = Image.fromarray(image.round().clip(0, 255).astype(np.uint8))
            degraded.save(args.output / kind / "images" / f"{name}.png")
            for subfolder in ("masks", "instances"):
                (truth,) = (args.data / subfolder).glob(f"{name}.*")
                copyfile(truth, args.output / kind / subfolder / truth.name)
        write_split(args.output / kind / "split.csv", dict.fromkeys(images, "validation"))


if __name__ == "__main__":
    main()
