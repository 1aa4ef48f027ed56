"""Writing masks that are larger than memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import tifffile
from monai.utils import optional_import

from ..files import whole_file, whole_folder
from ..transforms.saving import write_volume
from .sources import as_ras

__all__ = ["Part", "write_nifti", "write_ome_zarr", "write_pyramid"]

zarr, _ = optional_import("zarr")

TILE = 512  # pixels, of the TIFF and of the chunks
SIDE = 128  # voxels, of the chunks of a volume
SMALLEST = 1024  # pixels: the pyramid ends with a level below it

Encode = Callable[[np.ndarray], np.ndarray]


class Part:
    """
    The finished rows of a mask, in a folder beside it, so that a killed run continues from there.

    Args:
        path: the folder, ``NAME.part.zarr``. One of another image or other settings is begun again.
        settings: of this run. They must be the same for the next run.
        shape: (height, width), or (z, y, x).
        arrays: name and dtype of each array.
    """

    def __init__(self, path: Path, settings: dict[str, Any], shape: Sequence[int], arrays: dict[str, np.dtype]) -> None:
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

    def create(self, name: str, shape: Sequence[int], dtype: np.dtype) -> Any:
        """Return a new array of zeros."""
        chunks = tuple(min(side, TILE if len(shape) == 2 else SIDE) for side in shape)
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
            rows: for each array, (rows, width) or (rows, y, x).
        """
        for name, values in rows.items():
            self.group[name][self.next_row : stop] = values
        self.group.attrs["next_row"] = stop  # last: rows of which this is not sure are written again

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def _steps(shape: Sequence[int]) -> list[int]:
    """Return the distance of the pixels of each level of a pyramid."""
    steps = [1]
    while max(shape) / steps[-1] >= SMALLEST:
        steps.append(2 * steps[-1])
    return steps


def write_pyramid(path: Path, array: Any, encode: Encode) -> None:
    """
    Write an array of integers as a tiled OME-TIFF, compressed with deflate. Its pyramid halves the sides by leaving out
    every second pixel, down to less than ``SMALLEST``.

    Args:
        path: file to write, which ends with ``.ome.tif``.
        array: zarr array (height, width).
        encode: the values that are written, (height, width) or (height, width, 3).
    """
    example = encode(array[:1, :1])
    steps = _steps(array.shape)

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
    with whole_file(path) as part, tifffile.TiffWriter(part, ome=True, bigtiff=big) as writer:
        for step in steps:
            shape = tuple(-(-side // step) for side in array.shape) + example.shape[2:]
            kind: dict[str, Any] = {"subfiletype": 1} if step > 1 else {"subifds": len(steps) - 1}
            axes = {"axes": "YX" if example.ndim == 2 else "YXS"}
            writer.write(tiles(step), shape=shape, metadata=axes if step == 1 else None, **kind, **options)


def _blocks(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Iterate over the chunks of a volume."""
    for corner in product(*(range(0, side, SIDE) for side in shape)):
        yield tuple(slice(start, start + SIDE) for start in corner)


def write_nifti(path: Path, image: str, array: Any, encode: Encode) -> None:
    """
    Write an array of integers as an uncompressed NIfTI with the header and the orientation of an image.

    Args:
        path: file to write, which ends with ``.nii``.
        image: path of the image.
        array: zarr array (z, y, x), in RAS.
        encode: the values that are written, (x, y, z) or (x, y, z, 3).
    """
    example = encode(array[:1, :1, :1])
    with whole_file(path) as part:
        nothing = np.broadcast_to(np.zeros((), example.dtype), array.shape[::-1] + example.shape[3:])  # takes no memory
        write_volume(nothing, image, part, example.shape[3:])
        volume = cast(nibabel.Nifti1Image, nibabel.load(part))
        for block in _blocks(array.shape):
            as_ras(volume, "r+")[block[::-1]] = encode(array[block].T)


def write_ome_zarr(path: Path, grid: Mapping[str, Any], array: Any, encode: Encode) -> None:
    """
    Write an array of integers as an OME-Zarr in place of an image. Its pyramid halves the sides by leaving out every
    second voxel, down to less than ``SMALLEST``.

    Args:
        path: folder to write, which is replaced.
        grid: that of the open image (see :class:`dpsau2net_monai.large.LargeImage`).
        array: zarr array (z, y, x).
        encode: the values that are written, (z, y, x) or (z, y, x, 3).
    """
    example = encode(array[:1, :1, :1])
    axes, version = grid["axes"], grid["version"]
    channels = [{"name": "c", "type": "channel"}] * (example.ndim - 3)
    with whole_folder(path) as part:
        group = zarr.open_group(part, mode="w", zarr_format=2 if version == "0.4" else 3)
        datasets = []
        for level, step in enumerate(_steps(array.shape)):
            shape = tuple(-(-side // step) for side in array.shape)
            written = group.create_array(
                str(level), shape=example.shape[3:] + shape, dtype=example.dtype,
                chunks=example.shape[3:] + tuple(min(side, SIDE) for side in shape),
                chunk_key_encoding={"name": "v2" if version == "0.4" else "default", "separator": "/"},
            )  # fmt: skip
            for block in _blocks(shape):
                source = tuple(slice(one.start * step, one.stop * step, step) for one in block)
                written[(..., *block)] = np.moveaxis(encode(array[source]), range(3), range(-3, 0))
            ones, zeros = [1.0] * len(channels), [0.0] * len(channels)
            scale = [*ones, *(size * step for size in grid["scale"])]
            transforms = [
                {"type": "scale", "scale": scale},
                {"type": "translation", "translation": [*zeros, *grid["translation"]]},
            ]
            datasets.append({"path": str(level), "coordinateTransformations": transforms})
        image = {"multiscales": [{"axes": [*channels, *axes], "datasets": datasets}]}
        if version == "0.4":
            image["multiscales"][0]["version"] = version
            group.attrs.update(image)
        else:
            group.attrs.update({"ome": {"version": version, **image}})
        shutil.rmtree(path, ignore_errors=True)
