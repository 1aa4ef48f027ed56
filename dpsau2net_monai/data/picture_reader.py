"""A MONAI image reader for pictures of every bit depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from monai.config import PathLike
from monai.data.image_reader import ImageReader, _copy_compatible_dict, _stack_images
from monai.data.utils import is_supported_format
from monai.utils import MetaKeys, ensure_tuple
from PIL import Image, ImageOps

from ..errors import InputError

__all__ = ["PICTURE_SUFFIXES", "PictureReader", "picture_size", "read_picture"]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
WITH_ROTATION = ("JPEG", "MPO", "TIFF")  # formats whose EXIF rotation viewers apply


def picture_size(path: PathLike) -> tuple[int, int]:
    """The width and height that :func:`read_picture` would give, from the file's header alone."""
    with Image.open(path) as picture:
        width, height = picture.size
        quarter_turn = picture.format in WITH_ROTATION and picture.getexif().get(274, 1) >= 5
        return (height, width) if quarter_turn else (width, height)


def read_picture(path: PathLike) -> np.ndarray:
    """
    Read a picture as it is meant to be seen: palettes looked up, transparency dropped, EXIF rotation applied.

    Returns:
        float32 array (height, width) or (height, width, 3). Integers are divided by their type's largest value, so that
        they lie in 0..1 whatever the bit depth; floating-point pictures are left as they are.

    Raises:
        InputError: the file is no picture, is cut short, or holds several.
    """
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise InputError(f"{path}: holds {picture.n_frames} pictures; save the one that is meant to a file")
            array = _colours_of_16_bits(picture, path)
            if array is None:
                if picture.format in WITH_ROTATION:
                    picture = ImageOps.exif_transpose(picture)
                if picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
                    picture = picture.convert("RGB")
                array = np.asarray(picture)
    except InputError:
        raise
    except Exception as error:  # of Pillow, tifffile or imagecodecs, each with its own kinds
        raise InputError(f"{path}: cannot be read as a picture ({str(error).splitlines()[0]})") from error

    if array.ndim == 3:
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3]  # without alpha
    if array.dtype == np.int32:  # how Pillow gives 16 bits in some formats
        array = array.astype(np.uint16)
    if array.dtype == bool or np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float32)
    return array.astype(np.float32) / np.iinfo(array.dtype).max


def _colours_of_16_bits(picture: Image.Image, path: PathLike) -> np.ndarray | None:
    """Decode a picture of several 16-bit channels, of which Pillow would keep 8 bits; None for any other."""
    if picture.format == "TIFF" and len(set(picture.tag_v2.get(258, ()))) == 1 and picture.tag_v2[258][0] == 16:
        if picture.mode in ("L", "I;16", "I;16B", "I"):
            return None
        array = tifffile.imread(path)
        planar = picture.tag_v2.get(284, 1) == 2
        return np.moveaxis(array, 0, -1) if planar else array
    if picture.format == "PNG" and picture.mode in ("LA", "RGB", "RGBA"):
        with open(path, "rb") as file:
            data = file.read()
        if data[24] == 16:  # the bit depth, in the header that every PNG begins with
            return imagecodecs.png_decode(data)
    return None


class PictureReader(ImageReader):
    """
    Reader of PNG, JPEG, TIFF and BMP pictures for ``monai.transforms.LoadImage``.

    ``monai.data.PILReader`` keeps 8 of the 16 bits of a colour picture, gives a palette's indices instead of its
    colours, ignores the EXIF rotation and does not take TIFF. Like it, this reader swaps the first two axes, so that
    arrays are (width, height[, channel]).
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        return is_supported_format(filename, [suffix[1:] for suffix in PICTURE_SUFFIXES])

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[np.ndarray]:
        return [read_picture(path) for path in ensure_tuple(data)]

    def get_data(self, img: Sequence[np.ndarray]) -> tuple[np.ndarray, dict]:
        arrays: list[np.ndarray] = []
        meta: dict = {}
        for picture in img:
            array = np.swapaxes(picture, 0, 1)
            header = {
                MetaKeys.SPATIAL_SHAPE: np.asarray(array.shape[:2]),
                MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if array.ndim == 2 else -1,
            }
            arrays.append(array)
            _copy_compatible_dict(header, meta)
        return _stack_images(arrays, meta), meta
