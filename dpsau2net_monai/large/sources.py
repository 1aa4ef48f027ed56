"""Reading images piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from monai.config import PathLike
from monai.data import WSIReader
from monai.utils import optional_import
from PIL import Image

from ..data.picture_reader import read_stored, stored_max
from ..data.reading import reading, require_finite, size_text
from ..errors import InputError
from .listing import SLIDE_SUFFIXES

__all__ = ["LargeImage", "open_large"]

zarr, _ = optional_import("zarr")
has_openslide = optional_import("openslide")[1]

DEPTHS = (np.bool_, np.uint8, np.uint16, np.floating)  # as read_stored returns them


class LargeImage(NamedTuple):
    """An open image."""

    path: str
    size: tuple[int, int]  # width and height in pixels
    read_stored: Callable[[int, int], np.ndarray]  # first row, row after the last -> (rows, width[, channels])

    def read(self, start: int, stop: int) -> np.ndarray:
        """
        Read rows as :class:`dpsau2net_monai.data.PictureReader` reads a whole picture: integers are divided by the
        largest value of their type.

        Args:
            start: the first row, from 0.
            stop: the row after the last.

        Returns:
            float32 array (channels, width, rows).

        Raises:
            InputError: the rows cannot be read, or hold NaN.
        """
        stored = self.read_stored(start, stop)
        array = np.atleast_3d(stored.astype(np.float32) / stored_max(stored)).T
        require_finite(array, self.path)
        return array


@contextmanager
def open_large(path: PathLike, level: int = 0) -> Iterator[LargeImage]:
    """
    Open an image. TIFF, OME-TIFF, OME-Zarr and whole slides are read piece by piece. PNG, JPEG and BMP, and TIFF with a
    palette, an EXIF rotation or another rare feature, are decoded whole.

    Args:
        path: the image.
        level: of the image's pyramid; 0 has the full resolution.

    Raises:
        InputError: the image cannot be read, is not a single picture, or lacks the level.
    """
    path, kind = str(path), str(path).lower()
    if kind.endswith(SLIDE_SUFFIXES):
        with _open_slide(path, level) as image:
            yield image
    elif kind.endswith(".zarr"):
        yield _open_zarr(path, level)
    elif kind.endswith((".tif", ".tiff")):
        with reading(path, "a TIFF"):
            file = tifffile.TiffFile(path)
        with file:
            yield _open_tiff(path, level, file) or _decode(path, level)
    else:
        yield _decode(path, level)


def _require_level(path: str, level: int, count: int) -> None:
    if not 0 <= level < count:
        raise InputError(f"{path}: has {count} levels, but level is {level}; set it to 0 to {count - 1}")


def _require_depth(path: str, dtype: np.dtype) -> None:
    if not any(np.issubdtype(dtype, depth) for depth in DEPTHS):
        raise InputError(f"{path}: holds {dtype}; save it with 8 or 16 bits, or as floats")


def _decode(path: str, level: int) -> LargeImage:
    _require_level(path, level, 1)
    try:
        array = read_stored(path)
    except InputError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise InputError(f"{path}: is too large to be decoded whole; save it as a tiled TIFF") from error
        raise
    return LargeImage(path, (array.shape[1], array.shape[0]), lambda start, stop: array[start:stop])


def _pixels(array: Any, axes: str, path: str, check: Callable[[], Any]) -> LargeImage:
    """
    Return an image of an array that is read when it is indexed.

    Args:
        array: with ``shape`` and slices.
        axes: a letter for each: ``y``, ``x``, and for channels ``c`` or ``s``. Any other must be of length 1.
        path: of the image.
        check: the context manager for reading.
    """
    channels = [axis for axis, size in zip(axes, array.shape) if axis in "cs" and (size > 1 or axis == "s")]
    strange = [size for axis, size in zip(axes, array.shape) if axis not in "yxcs" and size > 1]
    if strange or len(channels) > 1 or not {"y", "x"} <= set(axes):
        size = size_text(array.shape)
        raise InputError(f"{path}: has the axes {axes.upper()} of {size}; save one plane of it to its own file")
    kept = [axis for axis in axes if axis in ("y", "x", *channels)]
    order = [kept.index(axis) for axis in ("y", "x", *channels)]

    def read(start: int, stop: int) -> np.ndarray:
        slices = {"y": slice(start, stop), "x": slice(None), **{channel: slice(None) for channel in channels}}
        with check():
            rows = np.asarray(array[tuple(slices.get(axis, 0) for axis in axes)]).transpose(order)
        if channels == ["s"] and rows.shape[2] in (2, 4):  # drop alpha
            rows = rows[..., :-1]
        return rows

    sizes = dict(zip(axes, array.shape))
    return LargeImage(path, (sizes["x"], sizes["y"]), read)


def _open_tiff(path: str, level: int, file: tifffile.TiffFile) -> LargeImage | None:
    """Return None where Pillow must decode the picture as a whole."""
    with reading(path, "a TIFF"):
        if len(file.series) > 1:
            raise InputError(f"{path}: holds {len(file.series)} pictures; save the one you need to its own file")
        levels = file.series[0].levels
        _require_level(path, level, len(levels))
        page = levels[level].keyframe
        jpeg = page.compression in (6, 7)
        plain = page.photometric in (1, 2) or (page.photometric == 6 and jpeg)  # grey, RGB, YCbCr
        turned = getattr(page.tags.get("Orientation"), "value", 1) != 1
        if not plain or turned or not any(np.issubdtype(page.dtype, depth) for depth in DEPTHS):
            return None
        series = levels[level]
        # tifffile takes the strips or tiles of a TIFF for zarr's chunks; that of an uncompressed TIFF may be the whole
        if series.dataoffset is not None:
            array = series.asarray(out="memmap")
        else:
            array = zarr.open_array(file.series[0].aszarr(level=level), mode="r")
    return _pixels(array, series.axes.lower(), path, lambda: reading(path, "a TIFF"))


@contextmanager
def _open_slide(path: str, level: int) -> Iterator[LargeImage]:
    if not has_openslide:
        raise InputError("whole slides are read by OpenSlide; pip install 'dpsau2net-monai[wsi]'")
    reader = WSIReader("openslide", level=level)
    with reading(path, "a whole slide"):
        slide = reader.read(path)
    with slide:
        _require_level(path, level, slide.level_count)
        width, height = slide.level_dimensions[level]
        scale = slide.level_downsamples[level]

        def read(start: int, stop: int) -> np.ndarray:
            with reading(path, "a whole slide"):
                # the place is in pixels of the full resolution
                pixels, _ = reader.get_data(slide, (round(start * scale), 0), (stop - start, width), level)
            return np.moveaxis(pixels, 0, -1)

        yield LargeImage(path, (width, height), read)


def _open_zarr(path: str, level: int) -> LargeImage:
    metadata = next((file for file in (Path(path, "zarr.json"), Path(path, ".zattrs")) if file.exists()), None)
    if metadata is None:
        raise InputError(f"{path}: is no OME-Zarr; give the folder that has zarr.json or .zattrs")

    def check() -> Any:
        return reading(metadata, "OME-Zarr")

    with check():
        group = zarr.open_group(path, mode="r")
        attributes = group.attrs.get("ome", group.attrs)  # versions 0.5 and 0.4
        if "multiscales" not in attributes:
            raise InputError(f"{path}: is no OME-Zarr image; give a folder whose attributes have multiscales")
        image = attributes["multiscales"][0]
        _require_level(path, level, len(image["datasets"]))
        array = group[image["datasets"][level]["path"]]
        axes = "".join(axis["name"] for axis in image["axes"])
    _require_depth(path, array.dtype)
    return _pixels(array, axes, path, check)
