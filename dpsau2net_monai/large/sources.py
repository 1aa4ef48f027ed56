"""Reading images piece by piece."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import nibabel
import numpy as np
import tifffile
from monai.config import PathLike
from monai.data import WSIReader
from monai.utils import optional_import
from nibabel.affines import voxel_sizes
from nibabel.arrayproxy import ArrayProxy
from nibabel.orientations import apply_orientation, io_orientation
from nibabel.volumeutils import apply_read_scaling
from PIL import Image

from ..data.inspection import read_header
from ..data.picture_reader import read_stored, stored_max
from ..data.reading import reading, require_finite, size_text
from ..errors import InputError
from .listing import NIFTI_SUFFIXES, SLIDE_SUFFIXES, large_name

__all__ = ["LargeImage", "as_ras", "open_large"]

zarr, _ = optional_import("zarr")
has_openslide = optional_import("openslide")[1]

DEPTHS = (np.bool_, np.uint8, np.uint16, np.floating)  # as read_stored returns them
MILLIMETRES = {"meter": 1e3, "centimeter": 10.0, "millimeter": 1.0, "micrometer": 1e-3, "nanometer": 1e-6}


class LargeImage(NamedTuple):
    """An open image. The rows of a volume are its slices from the feet to the head, or along z."""

    path: str
    size: tuple[int, ...]  # width and height in pixels, or x, y and z in voxels, turned to RAS
    read_stored: Callable[[int, int], np.ndarray]  # first row, row after the last -> (rows, [y,] x[, channels])
    spacing: np.ndarray | None = None  # of the voxels of a volume in mm, for x, y and z
    grid: Mapping[str, Any] | None = None  # of an OME-Zarr volume: version, axes, scale and translation, as of its mask

    def read(self, start: int, stop: int) -> np.ndarray:
        """
        Read rows as :class:`dpsau2net_monai.data.PictureReader` reads a whole picture: integers are divided by the
        largest value of their type. Those of a volume stay as they are.

        Args:
            start: the first row, from 0.
            stop: the row after the last.

        Returns:
            float32 array (channels, width, rows), of a volume (channels, x, y, rows).

        Raises:
            InputError: the rows cannot be read, or hold NaN.
        """
        stored = self.read_stored(start, stop)
        array: np.ndarray = stored.astype(np.float32, copy=False)
        if len(self.size) == 2:
            array = array / stored_max(stored)
        if array.ndim == len(self.size):
            array = array[..., None]
        require_finite(array, self.path)
        return array.T


@contextmanager
def open_large(path: PathLike, level: int = 0, dims: int = 2, folder: PathLike = ".") -> Iterator[LargeImage]:
    """
    Open an image. TIFF, OME-TIFF, OME-Zarr, NIfTI and whole slides are read piece by piece. PNG, JPEG and BMP, and TIFF
    with a palette, an EXIF rotation or another rare feature, are decoded whole.

    Args:
        path: the image.
        level: of the image's pyramid; 0 has the full resolution.
        dims: 2 for pictures, 3 for volumes.
        folder: for the file ``NAME.part.nii``, the content of a ``.nii.gz``, while the image is open.

    Raises:
        InputError: the image cannot be read, is not a single picture or volume, or lacks the level.
    """
    path, kind = str(path), str(path).lower()
    if kind.endswith(".zarr"):
        yield _open_zarr(path, level, dims)
    elif (dims == 3) != kind.endswith(NIFTI_SUFFIXES):
        kinds = ("a picture", "volumes: NIfTI or OME-Zarr") if dims == 3 else ("a volume", "pictures")
        raise InputError(f"{path}: is {kinds[0]}, but the network takes {kinds[1]}")
    elif dims == 3:
        _require_level(path, level, 1)
        with _open_nifti(path, Path(folder, f"{large_name(path)}.part.nii")) as image:
            yield image
    elif kind.endswith(SLIDE_SUFFIXES):
        with _open_slide(path, level) as image:
            yield image
    elif kind.endswith((".tif", ".tiff")):
        with reading(path, "a TIFF"):
            file = tifffile.TiffFile(path)
        with file:
            yield _open_tiff(path, level, file) or _decode(path, level)
    else:
        yield _decode(path, level)


def _require_level(path: str, level: int, count: int) -> None:
    if level not in range(count):
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


def _pixels(array: Any, axes: str, path: str, check: Callable[[], Any], dims: int = 2) -> LargeImage:
    """
    Return an image of an array that is read when it is indexed.

    Args:
        array: with ``shape`` and slices.
        axes: a letter for each: ``z`` of a volume, ``y``, ``x``, and for channels ``c`` or ``s``. Any other must be of
            length 1.
        path: of the image.
        check: the context manager for reading.
        dims: 2 for a picture, 3 for a volume.
    """
    spatial = "zyx"[-dims:]
    channels = [axis for axis, size in zip(axes, array.shape) if axis in "cs" and (size > 1 or axis == "s")]
    strange = [size for axis, size in zip(axes, array.shape) if axis not in spatial + "cs" and size > 1]
    if strange or len(channels) > 1 or not set(spatial) <= set(axes):
        size, one = size_text(array.shape), "plane" if dims == 2 else "volume"
        raise InputError(f"{path}: has the axes {axes.upper()} of {size}; save one {one} of it to its own file")
    kept = [axis for axis in axes if axis in (*spatial, *channels)]
    order = [kept.index(axis) for axis in (*spatial, *channels)]

    def read(start: int, stop: int) -> np.ndarray:
        slices = {axis: slice(None) for axis in (*spatial, *channels)} | {spatial[0]: slice(start, stop)}
        with check():
            rows = np.asarray(array[tuple(slices.get(axis, 0) for axis in axes)]).transpose(order)
        if channels == ["s"] and rows.shape[-1] in (2, 4):  # drop alpha
            rows = rows[..., :-1]
        return rows

    sizes = dict(zip(axes, array.shape))
    return LargeImage(path, tuple(sizes[axis] for axis in spatial[::-1]), read)


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


@contextmanager
def _unpack(path: str, unpacked: Path) -> Iterator[str]:
    """Give the path of an uncompressed NIfTI: compressed data can be read from the beginning only."""
    if not path.lower().endswith(".gz"):
        yield path
        return
    try:
        with reading(path, f"a NIfTI, or be unpacked to {unpacked}"):
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            with gzip.open(path) as source, open(unpacked, "wb") as target:
                shutil.copyfileobj(source, target, 2**20)
        yield str(unpacked)
    finally:
        unpacked.unlink(missing_ok=True)


def as_ras(volume: nibabel.Nifti1Image, mode: Literal["r", "r+"] = "r") -> np.ndarray:
    """
    Return the stored values of an uncompressed volume, (x, y, z, ...) in RAS, as a view of its file. Each call maps the
    file anew, as pages that were read or written count as memory of the process until their map is closed. nibabel maps
    files for reading only.
    """
    stored = cast(ArrayProxy, volume.dataobj)
    array = np.memmap(str(volume.get_filename()), stored.dtype, mode, stored.offset, stored.shape, order="F")
    return apply_orientation(array, io_orientation(volume.affine))


@contextmanager
def _open_nifti(path: str, unpacked: Path) -> Iterator[LargeImage]:
    header = read_header(path)
    if 3 not in header.dims:
        raise InputError(f"{path}: is an image of {size_text(header.size)}, but the network takes volumes")
    with _unpack(path, unpacked) as stored:
        with reading(path, "a NIfTI"):
            volume = cast(nibabel.Nifti1Image, nibabel.load(stored))
            size = as_ras(volume).shape[:3]
            order = io_orientation(volume.affine)[:, 0].argsort()
            slope, inter = cast(ArrayProxy, volume.dataobj).slope, cast(ArrayProxy, volume.dataobj).inter

        def read(start: int, stop: int) -> np.ndarray:
            with reading(path, "a NIfTI"):
                # as nibabel scales a whole volume; channels are the last axis
                band = apply_read_scaling(as_ras(volume)[:, :, start:stop], slope, inter)
                return np.array(band.reshape(*band.shape[:3], -1).transpose(2, 1, 0, 3), np.float32)

        yield LargeImage(path, size, read, voxel_sizes(volume.affine)[order])


def _open_zarr(path: str, level: int, dims: int) -> LargeImage:
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
    opened = _pixels(array, axes, path, check, dims)
    if dims == 2:
        _require_depth(path, array.dtype)
        return opened
    with check():
        scale, translation = np.ones(len(axes)), np.zeros(len(axes))
        for one in (image["datasets"][level], image):  # the second applies to all levels
            for transform in one.get("coordinateTransformations", []):
                if transform["type"] == "scale":
                    scale, translation = scale * transform["scale"], translation * transform["scale"]
                elif transform["type"] == "translation":
                    translation = translation + transform["translation"]
        spatial = [axes.index(axis) for axis in "zyx"]
        grid = {
            "version": "0.4" if group.metadata.zarr_format == 2 else "0.5",
            "axes": [dict(image["axes"][axis]) for axis in spatial],
            "scale": scale[spatial].tolist(),
            "translation": translation[spatial].tolist(),
        }
        # without a unit, they are taken for mm, as in a NIfTI
        units = [MILLIMETRES.get(axis.get("unit", "millimeter"), np.nan) for axis in grid["axes"]]
    return opened._replace(spacing=(scale[spatial] * units)[::-1], grid=grid)
