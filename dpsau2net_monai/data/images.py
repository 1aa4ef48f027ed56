"""Find the images to segment, and the paths of their masks."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from monai.config import PathLike

from ..errors import InputError
from .inspection import Pair, Problem
from .reading import SUFFIXES, is_volume, name_of

__all__ = ["files_by_name", "find_images", "mask_path", "same_name_problem", "without_masks"]


def files_by_name(folder: Path) -> dict[str, list[Path]]:
    """
    List the images in ``folder``, sorted by :func:`name_of`.

    A folder or a broken link with the name of an image is listed too. It gives an error later, instead of being ignored
    silently.

    Raises:
        InputError: the folder cannot be listed.
    """
    files: dict[str, list[Path]] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.name.lower().endswith(SUFFIXES) and not path.name.startswith("."):
                files.setdefault(name_of(path), []).append(path)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    return dict(sorted(files.items()))


def same_name_problem(paths: Sequence[Path]) -> Problem:
    """Return the problem that several images, or several masks, have the same name."""
    text = f"{paths[1]}: has the same name as {paths[0].name}; remove or rename one of them"
    return Problem(str(paths[1]), "same name", text, True)


def find_images(source: PathLike | Sequence[PathLike]) -> list[Pair]:
    """
    List images to segment.

    Args:
        source: a folder, one file, or a list of files. Images are png, jpg, tif, bmp, nii and nii.gz files.

    Returns:
        A list of ``{"image": path}``. The images of a folder are sorted by name.

    Raises:
        InputError: a path does not exist or is not an image, there is no image, or two images have the same name and so
            would have the same mask.
    """
    if not isinstance(source, (str, os.PathLike)):
        images = [image for path in source for image in find_images(path)]
        if not images:
            raise InputError("dataset_dir: is an empty list; name at least one image")
        names: dict[str, str] = {}
        for image in images:
            other = names.setdefault(name_of(image["image"]), image["image"])
            if other != image["image"]:
                raise InputError(f"{image['image']}: has the same name as {other}; segment them in two runs")
        return images
    path = Path(source)
    if path.is_file():
        if not path.name.lower().endswith(SUFFIXES):
            raise InputError(f"{path}: is not an image of a known type ({', '.join(SUFFIXES)})")
        return [{"image": str(path)}]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    files = files_by_name(path)
    if not files:
        raise InputError(f"{path}: has no images; add some ({', '.join(SUFFIXES)})")
    for same in files.values():
        if len(same) > 1:
            raise InputError(same_name_problem(same).message)
    return [{"image": str(file)} for (file,) in files.values()]


def mask_path(output_dir: PathLike, image: PathLike) -> Path:
    """Return the path of the mask of ``image``: ``NAME.nii.gz`` for a NIfTI, ``NAME.png`` for a picture."""
    return Path(output_dir) / f"{name_of(image)}{'.nii.gz' if is_volume(image) else '.png'}"


def without_masks(images: Sequence[dict[str, str]], output_dir: PathLike) -> list[dict[str, str]]:
    """
    Select the images that are not segmented yet.

    Args:
        images: list of ``{"image": path}``.
        output_dir: folder that :class:`~dpsau2net_monai.transforms.SaveMaskd` writes the masks to.

    Returns:
        The part of ``images`` that has no mask in ``output_dir``.
    """
    left = [image for image in images if not mask_path(output_dir, image["image"]).exists()]
    if len(left) < len(images):
        logging.getLogger(__name__).info(
            f"{len(images) - len(left)} of {len(images)} images already have a mask in {output_dir}; "
            "set overwrite to true to segment them again"
        )
    return left
