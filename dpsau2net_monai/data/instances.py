"""Find and read pictures of numbered instances."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from monai.config import PathLike
from monai.utils import ensure_tuple
from PIL import Image

from ..errors import InputError
from .images import files_by_stem, same_name_problem
from .inspection import Pair
from .picture_reader import decode_beside_pillow
from .reading import PICTURE_SUFFIXES, name_of, reading, size_text

__all__ = ["instances_dir", "read_instances"]


def instances_dir(dataset_dir: PathLike, datalist: Mapping[str, Sequence[Pair]]) -> str:
    """
    Return the folder of the numbered instances, ``instances`` beside the folder of the images.

    Args:
        dataset_dir: the dataset: a folder, or a datalist, which may lie in another folder than its images.
        datalist: lists of pairs by part. It is read only for a datalist.
    """
    folder = Path(dataset_dir)
    if folder.suffix.lower() == ".json":
        image = ensure_tuple(datalist["training"][0]["image"])[0]
        folder = Path(os.path.abspath(image)).parent.parent
    return str(folder / "instances")


@lru_cache(maxsize=1)
def _list(folder: Path, changed: int) -> dict[str, list[Path]]:
    """List a folder once for all images, and again once the time of its last change differs, ``changed``."""
    return files_by_stem(folder, PICTURE_SUFFIXES)


def read_instances(folder: PathLike | None, image: str | Sequence[str], shape: Sequence[int]) -> np.ndarray | None:
    """
    Read the true instances of an image.

    Args:
        folder: folder of pictures of numbered instances: 0 is the background. None: there is none.
        image: path of the image, or of its channels. Its instances are in ``folder/NAME.EXT``.
        shape: size of the image, in MONAI's (x, y).

    Returns:
        Integers (x, y). None: there is no such file.

    Raises:
        InputError: the folder or the file cannot be read, there are two files of this name, or the file has another
            size or other values than integers.
    """
    if folder is None or not Path(folder).is_dir():
        return None
    found = _list(Path(folder), Path(folder).stat().st_mtime_ns).get(name_of(image))
    if not found:
        return None
    if len(found) > 1:
        raise InputError(same_name_problem(found).message)
    with reading(found[0], "a picture of numbered instances"), Image.open(found[0]) as picture:
        decoded = decode_beside_pillow(picture, found[0])
        instances = (np.asarray(picture) if decoded is None else decoded).T
    if instances.shape != tuple(shape):
        sizes = f"is {size_text(instances.shape)}, its image {size_text(shape)}"
        raise InputError(f"{found[0]}: {sizes}; restore it or remove it")
    if instances.dtype.kind not in "iu":  # ImageJ saves numbers of 32 bits as floats
        numbers = instances.astype(np.int32)
        if not np.array_equal(numbers, instances):
            raise InputError(f"{found[0]}: has values that are not integers; save the numbers of the instances")
        return numbers
    return instances
