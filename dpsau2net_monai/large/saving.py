"""Writing masks that are larger than memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from monai.utils import optional_import

from ..errors import InputError
from ..files import whole_file

__all__ = ["Part", "write_pyramid"]

zarr, _ = optional_import("zarr")

TILE = 512  # pixels, of the TIFF and of the chunks
SMALLEST = 1024  # pixels: the pyramid ends with a level below it


class Part:
    """
    The finished rows of a mask, in a folder beside it, so that a killed run continues from there.

    Args:
        path: the folder, ``NAME.part.zarr``. One of another image or other settings is begun again.
        settings: of this run. They must be the same for the next run.
        shape: (height, width).
        arrays: name and dtype of each array.
    """

    def __init__(
        self, path: Path, settings: dict[str, Any], shape: tuple[int, int], arrays: dict[str, np.dtype]
    ) -> None:
        self.path = path
        text = json.dumps([settings, shape, [f"{name} {dtype}" for name, dtype in arrays.items()]], sort_keys=True)
        try:
            self.group = zarr.open_group(path, mode="r+")
            whole = self.group.attrs.get("settings") == text and all(name in self.group for name in arrays)
        except Exception:  # it does not exist, or was killed at its first step; zarr has several errors for it
            whole = False
        if not whole:
            self.remove()
            path.parent.mkdir(parents=True, exist_ok=True)
            self.group = zarr.open_group(path, mode="w")
            for name, dtype in arrays.items():
                self.create(name, shape, dtype)
            self.group.attrs.update({"settings": text, "next_row": 0})

    def create(self, name: str, shape: tuple[int, int], dtype: np.dtype) -> Any:
        """Return a new array of zeros."""
        chunks = tuple(min(side, TILE) for side in shape)
        return self.group.create_array(name, shape=shape, dtype=dtype, chunks=chunks, overwrite=True)

    @property
    def next_row(self) -> int:
        """The first row that is not written yet."""
        return self.group.attrs["next_row"]

    def write(self, stop: int, **rows: np.ndarray) -> None:
        """
        Write the next rows.

        Args:
            stop: the row after the last of them.
            rows: for each array, (rows, width).
        """
        for name, values in rows.items():
            self.group[name][self.next_row : stop] = values
        self.group.attrs["next_row"] = stop  # last: rows of which this is not sure are written again

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def write_pyramid(path: Path, array: Any, encode: Callable[[np.ndarray], np.ndarray]) -> None:
    """
    Write an array of integers as a tiled OME-TIFF, compressed with deflate. Its pyramid halves the sides by leaving out
    every second pixel, down to less than ``SMALLEST``.

    Args:
        path: file to write, which ends with ``.ome.tif``.
        array: zarr array (height, width).
        encode: the values that are written, (height, width) or (height, width, 3).

    Raises:
        InputError: the file cannot be written.
    """
    example = encode(array[:1, :1])
    steps = [1]
    while max(array.shape) / steps[-1] >= SMALLEST:
        steps.append(2 * steps[-1])

    def tiles(step: int) -> Iterator[np.ndarray]:
        for row in range(0, array.shape[0], TILE * step):
            for column in range(0, array.shape[1], TILE * step):
                # zarr decodes the chunks one by one, so that a coarse level takes no more memory
                values = encode(array[row : row + TILE * step : step, column : column + TILE * step : step])
                missing = [(0, TILE - side) for side in values.shape[:2]] + [(0, 0)] * (values.ndim - 2)
                yield np.pad(values, missing)

    options: dict[str, Any] = {
        "dtype": example.dtype,
        "tile": (TILE, TILE),
        "compression": "zlib",
        "photometric": "minisblack" if example.ndim == 2 else "rgb",
    }
    big = array.size * example[0, 0].nbytes > 2**31
    try:
        with whole_file(path) as part, tifffile.TiffWriter(part, ome=True, bigtiff=big) as writer:
            for step in steps:
                shape = tuple(-(-side // step) for side in array.shape) + example.shape[2:]
                kind: dict[str, Any] = {"subfiletype": 1} if step > 1 else {"subifds": len(steps) - 1}
                axes = {"axes": "YX" if example.ndim == 2 else "YXS"}
                writer.write(tiles(step), shape=shape, metadata=axes if step == 1 else None, **kind, **options)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
