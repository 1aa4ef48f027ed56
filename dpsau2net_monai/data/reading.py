"""Rules for reading files. Training, segmentation and the check share them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from monai.config import PathLike
from monai.utils import ensure_tuple
from PIL import UnidentifiedImageError

from ..errors import InputError

__all__ = [
    "NNUNET_FOLDERS", "PICTURE_SUFFIXES", "SUFFIXES", "foreground", "is_series", "is_volume", "name_of", "reading",
    "require_finite", "size_text", "stem_of",
]  # fmt: skip

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SUFFIXES = (*PICTURE_SUFFIXES, ".nii", ".nii.gz")
NNUNET_FOLDERS = ("imagesTr", "imagesTs")  # of images, in a dataset of nnU-Net

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def is_series(path: PathLike) -> bool:
    """Return whether a path is that of a DICOM series: a folder, unless it has the name of an image."""
    return not str(path).lower().endswith(SUFFIXES) and Path(path).is_dir()


def is_volume(path: PathLike) -> bool:
    """Return whether an image is a NIfTI volume, by its name, or a DICOM series. Every other image is a picture."""
    return str(path).lower().endswith((".nii", ".nii.gz")) or is_series(path)


def stem_of(path: PathLike) -> str:
    """Return a file's name without its suffix. ``.nii.gz`` counts as one suffix. A series has no suffix."""
    if is_series(path):
        return Path(os.path.abspath(path)).name  # also of "." and ".."
    name = Path(path).name
    return name[:-7] if name.lower().endswith(".nii.gz") else Path(name).stem


def name_of(image: PathLike | Sequence[PathLike]) -> str:
    """
    Return an image's name. Its mask and all other outputs get this name.

    It is the file's name without the suffix. nnU-Net adds the number of the channel, as in ``NAME_0000.nii.gz``. The
    name is then ``NAME``. This holds for volumes, and for pictures in a folder ``imagesTr`` or ``imagesTs``. In other
    pictures, such a number belongs to the name, because microscopes number their pictures.

    Args:
        image: the image's file, or the files of its channels, of which the first counts.
    """
    path = Path(ensure_tuple(image)[0])
    numbered = is_volume(path) or path.parent.name in NNUNET_FOLDERS
    return re.sub(r"(?<=.)_0000$", "", stem_of(path)) if numbered else stem_of(path)


def size_text(size: Sequence[object]) -> str:
    """Return a size as text, such as ``256 x 128``."""
    return " x ".join(map(str, size))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its own text only repeats the path
        return "its content is of no known type: damaged, or a TIFF of other channels than grey or RGB"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.splitlines() or [type(error).__name__])[0]


@contextmanager
def reading(path: PathLike, kind: str = "an image") -> Iterator[None]:
    """
    Context manager for code that reads ``path``: turn any error of the decoder into a message of one line.

    Args:
        path: the file. It must be a regular file: opening a named pipe, for example, would block.
        kind: what the file should be, for the message.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        if not Path(path).is_file():
            if Path(path).exists():
                state = f"is a {'folder' if Path(path).is_dir() else 'device or a pipe'}, not a file"
            else:
                state = "is a broken symbolic link" if Path(path).is_symlink() else "no such file"
            raise InputError(f"{path}: {state}; put the image in its place or remove it")
        open(path, "rb").close()  # nibabel would give a wrong reason for a file without read permission
        yield
    except InputError:
        raise
    except Exception as error:  # each decoder has its own types of errors
        raise InputError(f"{path}: cannot be read as {kind} ({_reason(error)}); restore it or remove it") from error


def require_finite(array: np.ndarray, path: PathLike) -> None:
    """
    Raises:
        InputError: ``array``, which was read from ``path``, holds NaN or infinity. Normalisation would spread one such
            value over the whole image.
    """
    count = array.size - np.count_nonzero(np.isfinite(array))
    if count:
        raise InputError(f"{path}: {count} values are NaN or infinite; replace them, for example with numpy.nan_to_num")


def foreground(mask: Array) -> Array:
    """
    Return which pixels of a mask are foreground: those over 0.5 if the mask's largest value is 1, else those over 0.

    A picture's values arrive divided by the largest value of their type; a volume's values arrive unchanged. In a
    picture of 0 and 255, the largest value is 1, and values in between come from smoothed edges or JPEG. In a picture
    of labels such as 0, 1 and 2, the largest value is less than 1, and every label is foreground.

    Args:
        mask: one channel, as it was read.

    Returns:
        Booleans of the same shape.
    """
    return mask > (0.5 if mask.max() == 1 else 0)
