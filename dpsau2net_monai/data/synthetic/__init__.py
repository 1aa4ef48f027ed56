"""Make a small dataset of synthetic images with masks, to try everything without a download."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from monai.config import PathLike
from PIL import Image
from tqdm import tqdm

from ...errors import InputError
from ...files import whole_file
from ..reading import size_text
from .pictures import CELLS, cells_picture, nuclei_picture
from .volumes import STRUCTURES, volume

__all__ = ["synthesize"]

LEAST_SIDE = 32


def synthesize(
    output_dir: PathLike,
    number: int = 24,
    size: Sequence[int] | None = None,
    seed: int = 0,
    spatial_dims: int = 2,
    classes: int = 1,
) -> None:
    """
    Write synthetic images and their masks: ``images/NAME_000.EXT``, ``masks/NAME_000.EXT`` and so on.

    - Pictures with one class show nuclei. Three kinds of image are mixed: fluorescence (8-bit grey), brightfield (8-bit
      grey) and stained tissue (8-bit RGB). A mask has 0 and 255. ``instances/NAME_000.png`` has the
      numbered nuclei (16-bit).
    - Pictures with more classes show stained tissue (8-bit RGB) with up to three kinds of cells, which differ in colour
      and shape.
    - Volumes look like magnetic resonance images (16-bit NIfTI). They have up to three kinds of structures, which
      differ in shape and intensity. Some have thick slices, and some are not in RAS orientation.

    The masks of the last two have the values 0 to ``classes``. A ``dataset.json`` in the folder, in nnU-Net's format,
    names them.

    An image depends only on its own index and the other arguments. So a larger dataset starts with the smaller one.

    Args:
        output_dir: folder to write to. It is made if it does not exist.
        number: number of images, at least 1.
        size: height and width of pictures in pixels, or the sides of volumes in voxels; at least 32 each. None: 256 for
            pictures, 48 for volumes. Many images deviate from it by up to 25 % along each side.
        seed: seed of the images, 0 or more. The same seed gives the same files.
        spatial_dims: 2 for pictures, 3 for volumes.
        classes: number of classes, 1 to 3.

    Raises:
        InputError: ``output_dir`` already has a dataset, or another argument is out of range.
    """
    output_dir = Path(output_dir)
    size = tuple(size or ([256, 256] if spatial_dims == 2 else [48, 48, 48]))
    _check(output_dir, number, size, seed, spatial_dims, classes)
    names = [one.name for one in (CELLS if spatial_dims == 2 else STRUCTURES)[:classes]]
    if spatial_dims == 3:
        name, ending, channels = "volume", ".nii.gz", ["MRI"]
    else:
        name, ending, channels = "nuclei" if classes == 1 else "cells", ".png", ["R", "G", "B"]
    if name != "nuclei":
        _write_dataset_json(output_dir, names, channels, ending, number)
    for index in tqdm(range(number), desc="synthesize", unit="image", disable=None):
        rng = np.random.default_rng([seed, index])
        contents: Sequence[np.ndarray | nibabel.Nifti1Image]
        if name == "volume":
            contents = volume(size, classes, rng)
        else:
            contents = nuclei_picture(size, rng) if classes == 1 else cells_picture(size, classes, rng)
        # The image is written last: a run that is cut short leaves no image without a mask.
        folders = ("images", "masks", "instances")[: len(contents)]
        for folder, content in zip(reversed(folders), reversed(contents)):
            with whole_file(output_dir / folder / f"{name}_{index:03d}{ending}") as part:
                if isinstance(content, np.ndarray):
                    Image.fromarray(content).save(part)
                else:
                    nibabel.save(content, part)


def _check(output_dir: Path, number: int, size: Sequence[int], seed: int, spatial_dims: int, classes: int) -> None:
    if spatial_dims not in (2, 3):
        raise InputError(f"spatial_dims is {spatial_dims}; give 2 or 3")
    if not 1 <= classes <= len(STRUCTURES):
        raise InputError(f"number of classes is {classes}; give 1 to {len(STRUCTURES)}")
    if number < 1:
        raise InputError(f"number of images is {number}; give at least 1")
    if len(size) != spatial_dims or min(size) < LEAST_SIDE:
        raise InputError(f"size is {size_text(size)}; give at least {size_text([LEAST_SIDE] * spatial_dims)}")
    if seed < 0:
        raise InputError(f"seed is {seed}; give 0 or more")
    for entry in ("images", "masks", "instances", "dataset.json"):
        if (output_dir / entry).exists():
            raise InputError(f"{output_dir}: already has {entry}; name a new folder")


def _write_dataset_json(
    output_dir: Path, names: Sequence[str], channels: Sequence[str], ending: str, number: int
) -> None:
    content = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": {name: value for value, name in enumerate(["background", *names])},
        "numTraining": number,
        "file_ending": ending,
    }
    with whole_file(output_dir / "dataset.json") as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
