"""What reading a file comes to, in training, in segmentation and in the check alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import UnidentifiedImageError

from ..errors import InputError

__all__ = ["foreground", "is_volume", "reading", "require_finite"]

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def is_volume(path: str | os.PathLike) -> bool:
    """Whether a file is a NIfTI by its name; every other image is a picture."""
    return str(path).lower().endswith((".nii", ".nii.gz"))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose own text is the path once more
        return "its content is of no kind that is known here"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.splitlines() or [type(error).__name__])[0]


@contextmanager
def reading(path: str | os.PathLike, kind: str = "an image") -> Iterator[None]:
    """
    Around what reads ``path``, turn whatever its decoder raises into one line.

    Args:
        path: the file; what is none, as a named pipe that would be waited for, is not opened.
        kind: what the file is read as.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        if not Path(path).is_file():
            if Path(path).exists():
                state = f"is a {'folder' if Path(path).is_dir() else 'device or a pipe'}, no file"
            else:
                state = f"no such file{', but a symbolic link that leads nowhere' if Path(path).is_symlink() else ''}"
            raise InputError(f"{path}: {state}; put the image in its place or take it out")
        open(path, "rb").close()  # where it may not be read, nibabel gives another reason
        yield
    except InputError:
        raise
    except Exception as error:  # each decoder has its own kinds
        raise InputError(f"{path}: cannot be read as {kind} ({_reason(error)}); restore it or take it out") from error


def require_finite(array: np.ndarray, path: str | os.PathLike) -> None:
    """
    Raises:
        InputError: ``array``, which was read from ``path``, holds NaN or infinity. One such value makes the whole image
            NaN once it is normalised.
    """
    count = array.size - np.count_nonzero(np.isfinite(array))
    if count:
        raise InputError(f"{path}: {count} of its values are NaN or infinite; replace them, as numpy.nan_to_num does")


def foreground(mask: Array) -> Array:
    """
    What of a mask is foreground: every value over 0; but where the largest value is 1, half of it is the threshold.

    Pictures arrive divided by their type's largest value, volumes as they are, so that the threshold applies to masks
    that use the whole range, as 0 to 255, whose smoothed edges and JPEG's traces lie in between.

    Args:
        mask: one channel, as it was read.

    Returns:
        Booleans of the same shape.
    """
    return mask > (0.5 if mask.max() == 1 else 0)
