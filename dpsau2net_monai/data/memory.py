"""Refuse images that do not fit in memory, before they are decoded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel
from monai.config import PathLike
from PIL import Image

from ..errors import InputError
from .picture_reader import read_picture_header
from .reading import is_volume, reading, size_text

__all__ = ["available_memory", "require_memory"]

# The peak of segmentation in memory, in float32 values for each pixel and channel of image and output, by dimensions.
# Measured on pictures of 3072 pixels with 3 channels, 2.64 with 1 output and 2.61 with 4, and on volumes of 200 and 256
# voxels with 1 channel, 1.64 with 1 output, 2.38 and 2.15 with 3.
VALUES = {2: 2.7, 3: 2.4}
INSTEAD = "run segmenting_large in place of segmenting"


def available_memory() -> int | None:
    """
    Return the bytes that a process can still take: those of the machine, or of the container where it has less. None
    where the system is not Linux; other systems do not kill a process that takes too much.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
    except (OSError, ValueError, KeyError):  # there is no container, or it has no limit
        return free
    return min(free, limit - used + int(cached))


def _size(path: PathLike) -> tuple[int, ...]:
    """Return the size of a picture or a NIfTI volume, by its header."""
    if is_volume(path):
        with reading(path):
            volume: Any = nibabel.load(path)
            return tuple(volume.shape[:3])
    try:
        return read_picture_header(path).size
    except InputError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise InputError(f"{path}: has too many pixels to be decoded at once; {INSTEAD}") from error
        raise


def require_memory(path: PathLike, channels: int, outputs: int) -> None:
    """
    Raises:
        InputError: the image is too large to be segmented in memory, by its header, or it cannot be read.

    Args:
        path: a picture or a NIfTI volume.
        channels: number of channels that the network takes.
        outputs: number of channels of the network's output.
    """
    size = _size(path)
    needed = math.prod(size) * (channels + outputs) * 4 * VALUES.get(len(size), 1)  # reading refuses other axes
    available = available_memory()
    if available is not None and needed > available:
        memory = f"needs about {needed / 1e9:.1f} GB of memory, but {available / 1e9:.1f} GB are free"
        raise InputError(f"{path}: is {size_text(size)} and {memory}; {INSTEAD}")
