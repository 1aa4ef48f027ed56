"""A MONAI image reader for pictures of any bit depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from monai.config import PathLike
from monai.data.image_reader import ImageReader, _copy_compatible_dict, _stack_images
from monai.utils import MetaKeys, ensure_tuple
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import InputError
from .reading import PICTURE_SUFFIXES, reading

__all__ = [
    "PictureHeader",
    "PictureReader",
    "decode_beside_pillow",
    "read_picture",
    "read_picture_header",
    "read_stored",
    "stored_max",
]

WITH_ROTATION = ("JPEG", "MPO", "TIFF")  # viewers apply the EXIF rotation of these formats


class PictureHeader(NamedTuple):
    """What a picture's file says before its pixels."""

    stored: tuple[int, int]  # width and height in the file
    turn: int  # the EXIF orientation that :func:`read_picture` applies; 1 means none
    depth: str  # bits per channel: "8", "16", "32 float" ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the array that :func:`read_picture` returns."""
        return self.stored[::-1] if self.turn >= 5 else self.stored


def read_picture_header(path: PathLike) -> PictureHeader:
    """
    Read a picture's header only.

    Raises:
        InputError: the file is not a picture, or it holds several pictures.
    """
    with reading(path, "a picture"), Image.open(path) as picture:
        _refuse_several(picture, path)
        # some versions of Pillow have already rotated the size that they give for a TIFF
        stored = (picture.tag_v2[256], picture.tag_v2[257]) if isinstance(picture, TiffImageFile) else picture.size
        return PictureHeader(stored, _turn(picture), _depth(picture, path))


def _turn(picture: Image.Image) -> int:
    turn = picture.getexif().get(274, 1) if picture.format in WITH_ROTATION else 1
    return turn if turn in range(1, 9) else 1


def _refuse_several(picture: Image.Image, path: PathLike) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise InputError(f"{path}: holds {frames} pictures; save the one you need to its own file")


def _depth(picture: Image.Image, path: PathLike) -> str:
    if picture.format == "PNG":
        return str(_png_depth(path))
    if isinstance(picture, TiffImageFile):
        depth = str(picture.tag_v2.get(258, (1,))[0])
        return f"{depth} float" if picture.tag_v2.get(339, (1,))[0] == 3 else depth
    return "1" if picture.mode == "1" else "8"


def _png_depth(path: PathLike) -> int:
    with open(path, "rb") as file:
        return file.read(25)[24]  # every PNG starts with a header that has the bit depth at this byte


def read_picture(path: PathLike) -> np.ndarray:
    """
    Read a picture as a viewer shows it: with its palette's colours and its EXIF rotation, without transparency.

    Returns:
        float32 array (height, width) or (height, width, 3). Integers are divided by the largest value of their type, so
        they lie in 0..1 at any bit depth. Floating-point pictures keep their values.

    Raises:
        InputError: the file is not a picture, is cut short, holds several pictures, or holds integers that do not fit
            in 16 bits.
    """
    array = read_stored(path)
    return array.astype(np.float32) / stored_max(array)


def stored_max(array: np.ndarray) -> int:
    """Return the largest value that an integer array's type can hold; 1 for bool and floating-point arrays."""
    return np.iinfo(array.dtype).max if np.issubdtype(array.dtype, np.integer) else 1


def read_stored(path: PathLike) -> np.ndarray:
    """Do :func:`read_picture` without the division. Return an array of bool, uint8, uint16 or float."""
    # Pillow maps the file of a path to memory, and then reads an uncompressed TIFF with an EXIF rotation wrongly
    with reading(path, "a picture"), open(path, "rb") as file, Image.open(file) as opened:
        picture: Image.Image = opened
        _refuse_several(picture, path)
        array = decode_beside_pillow(picture, path)
        if array is None:
            if picture.format in WITH_ROTATION:
                picture = ImageOps.exif_transpose(picture)
            if picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
                # Pillow warns when it drops a palette's transparency, so keep it here; alpha is dropped below
                picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
            array = np.asarray(picture)
            # Pillow does this to 8 bits only
            if array.dtype.kind == "u" and array.itemsize == 2 and getattr(opened, "tag_v2", {}).get(262) == 0:
                array = 65535 - array  # 0 is white

    if array.ndim == 3:
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3]  # drop alpha
    if array.dtype == np.int32:  # Pillow returns 16 bits as int32 for some formats
        if array.min() < 0 or array.max() > 65535:
            raise InputError(
                f"{path}: holds integers from {array.min()} to {array.max()}; save it with 8 or 16 bits, or as floats"
            )
        array = array.astype(np.uint16)
    return array


def decode_beside_pillow(picture: Image.Image, path: PathLike) -> np.ndarray | None:
    """
    Decode a picture of which Pillow would keep 8 of 16 bits, as it has several channels, or would mix up the bytes, as
    it is a compressed big-endian TIFF of signed integers or floats. Return None for any other picture.
    """
    if isinstance(picture, TiffImageFile):
        bits = set(picture.tag_v2.get(258, ()))
        colours = bits == {16} and picture.mode not in ("L", "I;16", "I;16B", "I")
        compressed = picture.tag_v2.get(259, 1) != 1
        swapped = picture.mode in ("I", "F") and picture.tag_v2.prefix == b"MM" and compressed
        if not (colours or swapped):
            return None
        array = tifffile.imread(path)
        if array.dtype == np.int16:
            array = array.astype(np.int32)  # as Pillow does
        if array.ndim == 3 and picture.tag_v2.get(284, 1) == 2:  # planar: the channels come first
            array = np.moveaxis(array, 0, -1)
        return _turned(array, _turn(picture))
    if picture.format == "PNG" and picture.mode in ("LA", "RGB", "RGBA"):
        if _png_depth(path) == 16:
            with open(path, "rb") as file:
                return imagecodecs.png_decode(file.read())
    return None


def _turned(array: np.ndarray, turn: int) -> np.ndarray:
    """``PIL.ImageOps.exif_transpose`` for arrays."""
    if turn >= 5:
        array = array.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        array = array[:, ::-1]
    if turn in (3, 4, 7, 8):
        array = array[::-1]
    return array


class PictureReader(ImageReader):
    """
    Reader of PNG, JPEG, TIFF and BMP pictures for ``monai.transforms.LoadImage``.

    ``monai.data.PILReader`` keeps 8 of the 16 bits of a colour picture, returns a palette's indices instead of its
    colours, ignores the EXIF rotation and does not read TIFF. Like that reader, this one swaps the first two axes:
    arrays are (width, height[, channel]).

    The values are scaled as :func:`read_picture` scales them. The metadata key ``stored_max`` holds the number that the
    file's values were divided by: 255 for 8 bits, 65535 for 16 bits, 1 for bool and floating-point pictures. Multiply
    by it to get the file's own values.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        return all(str(path).lower().endswith(PICTURE_SUFFIXES) for path in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[np.ndarray]:
        return [read_stored(path) for path in ensure_tuple(data)]

    def get_data(self, img: Sequence[np.ndarray]) -> tuple[np.ndarray, dict]:
        arrays: list[np.ndarray] = []
        meta: dict = {}
        for picture in img:
            largest = stored_max(picture)
            array = np.swapaxes(picture.astype(np.float32) / largest, 0, 1)
            header = {
                MetaKeys.SPATIAL_SHAPE: np.asarray(array.shape[:2]),
                MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if array.ndim == 2 else -1,
                "stored_max": largest,
            }
            arrays.append(array)
            _copy_compatible_dict(header, meta)
        return _stack_images(arrays, meta), meta
