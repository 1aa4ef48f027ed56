"""Files that the tests of the data write."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from PIL import Image


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None, turn: int | None = None) -> Path:
    """Write an image. Its suffix says the kind. ``turn`` is the EXIF orientation of a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        exif = Image.Exif()
        if turn:
            exif[274] = turn
        Image.fromarray(array).save(path, exif=exif)
    return path


def save_all(root: Path, *names: str, shape: tuple[int, ...] = (6, 5, 4)) -> None:
    """Write files below ``root``: masks with the values 0, 1 and 2 in the folders of labels, and noise elsewhere."""
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        is_mask = Path(name).parts[0] in ("labelsTr", "masks")
        array = np.arange(np.prod(shape)).reshape(shape) % 3 if is_mask else rng.integers(0, 256, shape)
        save(root / name, array.astype(np.uint8))


def write_json(path: Path, **content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
