"""
Time the segmentation of large images, and see how its memory grows:

    python benchmarks/large.py 1024 2048 4096
    python benchmarks/large.py 256x256x256 512x512x256 --runtime openvino

For each side, it writes a tiled RGB OME-TIFF of synthetic nuclei to a temporary folder, and segments it with the
shipped weights in a process of its own. For each size of a volume, it writes a NIfTI of noise, and segments it with the
weights of the hippocampus. It prints the seconds for each million pixels or voxels, of the whole process, and the peak
of its resident memory. Keys of the config may follow, such as ``--instances true``. A side of 32768 takes about 5 GB on
disk.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from PIL import Image

from dpsau2net_monai.data import synthesize

ROOT = Path(__file__).parents[1]
TILE = 256
DIFFERENT = 24


def write_image(path: Path, side: int, tiles: list[np.ndarray]) -> None:
    """Write a square of the tiles in random order."""
    rng = np.random.default_rng(0)
    across = -(-side // TILE)

    def repeated() -> Iterator[np.ndarray]:
        for _ in range(across * across):
            yield tiles[rng.integers(len(tiles))]

    shape = (side, side, 3)
    with tifffile.TiffWriter(path, ome=True, bigtiff=side > 16384) as writer:
        writer.write(
            repeated(), shape=shape, dtype=np.uint8, tile=(TILE, TILE), photometric="rgb", compression="zlib",
            metadata={"axes": "YXS"},
        )  # fmt: skip


def write_noise(path: Path, size: list[int]) -> None:
    """Write a volume of equal slices, one by one."""
    noise = np.random.default_rng(0).integers(0, 1000, size[:2], dtype=np.uint16)
    nibabel.save(nibabel.Nifti1Image(np.broadcast_to(noise[..., None], size), np.eye(4)), path)


def measure(image: Path, masks: Path, keys: list[str]) -> tuple[float, int]:
    """Return the seconds of a process that segments the image, and its peak of resident memory in MiB."""
    command = [sys.executable, "-m", "monai.bundle", "run", "segmenting_large"]
    command += ["--config_file", "bundle/configs/inference.yaml", "--bundle_root", "bundle"]
    command += ["--dataset_dir", str(image), "--output_dir", str(masks), *keys]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the segmentation of {image} failed")
    return time.perf_counter() - start, usage.ru_maxrss // 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", help="side of a square in pixels, or size of a volume, such as 512x512x256")
    arguments, keys = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesize(folder / "source", DIFFERENT, (TILE, TILE))
        pictures = [Image.open(path).convert("RGB").resize((TILE, TILE)) for path in folder.glob("source/images/*")]
        for text in arguments.sizes:
            size = [int(side) for side in text.split("x")]
            if len(size) == 3:
                image, weights = folder / f"{text}.nii", ["--ckpt_path", "bundle/tasks/hippocampus/model.pt"]
                write_noise(image, size)
            else:
                size, image, weights = size * 2, folder / f"{text}.ome.tif", []
                write_image(image, size[0], [np.asarray(picture) for picture in pictures])
            seconds, peak = measure(image, folder / "masks", [*weights, *keys])
            print(
                f"{datetime.date.today()}, {len(os.sched_getaffinity(0))} cores: {' x '.join(map(str, size))}: "
                f"{seconds:.0f} s, {seconds / math.prod(size) * 1e6:.2f} s/million, {peak} MiB",
                flush=True,
            )
            image.unlink()
