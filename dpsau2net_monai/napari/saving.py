"""Saving images and their labels as a dataset that ``check`` and training take."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
import tifffile
import torch
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from PIL import Image
from skimage.util import img_as_uint

from ..data.images import files_by_stem
from ..data.labels import Labels
from ..data.reading import require_finite, stem_of
from ..errors import InputError
from ..transforms import SaveInstancesd, SaveMaskd

__all__ = ["AlreadySavedError", "save_pair"]


class AlreadySavedError(InputError):
    """The dataset already has an image of this name."""


def save_pair(
    folder: Path,
    name: str,
    image: np.ndarray,
    labels: np.ndarray,
    classes: Labels,
    overwrite: bool = False,
    scale: Sequence[float] = (),
) -> None:
    """
    Write ``images/NAME.png`` or ``.tif``, ``masks/NAME.png`` and, of a single class, ``instances/NAME.tif``; of a
    volume, each as ``NAME.nii.gz``. The image comes last, so that a process that is killed leaves no image without a
    mask.

    Args:
        folder: the dataset. It is made if it does not exist.
        name: of the image.
        image: (row, column), (row, column, colour) or (z, y, x). Of pictures, 8 bits become PNG, 16 bits and floating
            point TIFF.
        labels: numbered instances of a single class, or codes of several classes: (row, column) or (z, y, x).
        classes: the classes.
        overwrite: whether to replace an image of this name, with its masks and instances of any format.
        scale: size of a voxel along each axis, in mm. It matters for volumes only.

    Raises:
        AlreadySavedError: the dataset has an image of this name, and ``overwrite`` is false.
        InputError: the values of the image fit no picture, or are NaN, or labels are codes of no class or negative.
    """
    former = _of_name(folder / "images", name)
    if former and not overwrite:
        raise AlreadySavedError(f"{former[0]}: exists; overwrite it, or choose another folder")
    require_finite(image, "the layer")
    single = len(classes.names) == 1
    if single and labels.min() < 0:
        raise InputError(f"the labels have negative numbers, down to {labels.min()}; correct them")
    if not single and not 0 <= labels.min() <= labels.max() < len(classes.table):
        raise InputError(
            f"the labels have numbers from {labels.min()} to {labels.max()}, but the classes those from 0 to "
            f"{len(classes.table) - 1}; correct the labels, or choose the weights that they are for"
        )
    pixels = _as_picture(image) if labels.ndim == 2 else _as_volume(image)
    of_masks, of_instances = (".nii.gz", ".nii.gz") if labels.ndim == 3 else (".png", ".tif")
    suffix = ".tif" if labels.ndim == 2 and pixels.dtype != np.uint8 else of_masks
    path = folder / "images" / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = torch.as_tensor(np.ascontiguousarray(labels.T.astype(np.int64)))[None]
    codes = (numbers > 0).long() if single else numbers
    with TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
        part = Path(temporary) / path.name
        _write_image(pixels, part, scale)
        meta = {ImageMetaKey.FILENAME_OR_OBJ: str(part)}  # the masks of a volume have its header
        data: dict[Hashable, Any] = {
            "image": MetaTensor(codes, meta=meta),
            "mask": MetaTensor(codes, meta=meta),
            "instances": numbers,
        }
        SaveMaskd("mask", str(folder / "masks"), classes)(data)
        if single:
            SaveInstancesd("instances", str(folder / "instances"), classes)(data)
        os.replace(part, path)
    _keep_only(path)
    for mask_folder in classes.names if classes.form == "files" else ("",):
        _keep_only(folder / "masks" / mask_folder / f"{name}{of_masks}")
    if single:
        _keep_only(folder / "instances" / f"{name}{of_instances}")


def _write_image(pixels: np.ndarray, path: Path, scale: Sequence[float] | None) -> None:
    """Write an image in the format of its suffix. The scale is that of the voxels of a NIfTI, in mm."""
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(pixels.T, np.diag([*reversed(scale or [1.0] * 3), 1.0])), path)
    elif path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        photometric = "rgb" if pixels.ndim == 3 else "minisblack"
        tifffile.imwrite(path, pixels, photometric=photometric, compression="zlib", metadata=None)


def _keep_only(path: Path) -> None:
    """Remove the other files of the same name in the folder of ``path``."""
    for other in _of_name(path.parent, stem_of(path)):
        if other != path:
            other.unlink()


def _of_name(folder: Path, name: str) -> list[Path]:
    """Return the files of an image in a folder, which may not exist."""
    return files_by_stem(folder).get(name, []) if folder.is_dir() else []


def _as_picture(image: np.ndarray) -> np.ndarray:
    """Return the pixels in a type that pictures have: uint8, uint16, or float32 if there are no colours."""
    if image.ndim == 3:
        image = image[..., :3]  # no alpha
    if image.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(image)
    if image.dtype.kind == "f":
        if image.ndim == 2:
            return image.astype(np.float32)
        if not 0 <= image.min() <= image.max() <= 1:
            raise InputError(f"the colours go from {image.min():g} to {image.max():g}; scale them to 0 to 1")
        return img_as_uint(image)
    if image.dtype.kind != "b" and (image.min() < 0 or image.max() > np.iinfo(np.uint16).max):
        raise InputError(f"the image holds integers from {image.min()} to {image.max()}; convert it to 16 bits")
    return image.astype(np.uint16)


def _as_volume(image: np.ndarray) -> np.ndarray:
    """Return the voxels in a type that all readers of NIfTI know."""
    return image if image.dtype in (np.uint8, np.int16, np.uint16, np.int32) else image.astype(np.float32)
