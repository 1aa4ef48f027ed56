"""Find images that may be larger than memory, and the paths of their masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from monai.config import PathLike
from monai.utils import optional_import

from ..data.images import files_by_stem, log_segmented, mask_folders, require_kept
from ..data.inspection import Pair
from ..data.reading import PICTURE_SUFFIXES, name_of, stem_of
from ..data.task import Task
from ..errors import InputError

__all__ = ["NIFTI_SUFFIXES", "SLIDE_SUFFIXES", "find_large_images", "instances_path", "large_name", "mask_paths"]

SLIDE_SUFFIXES = (".svs", ".svslide", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif")  # that OpenSlide reads
NIFTI_SUFFIXES = (".nii", ".nii.gz")
SUFFIXES = (*PICTURE_SUFFIXES, *SLIDE_SUFFIXES, *NIFTI_SUFFIXES, ".zarr")

has_zarr = optional_import("zarr", "3.1.5")[1]


def large_name(path: PathLike) -> str:
    """
    Return an image's name: its file's without the suffix. ``.ome.tif`` and ``.ome.zarr`` count as one suffix. That of a
    NIfTI is the name that it has in memory.
    """
    if str(path).lower().endswith(NIFTI_SUFFIXES):
        return name_of(path)
    stem = stem_of(path) if not str(path).endswith(".zarr") else Path(path).stem
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def mask_paths(output_dir: PathLike, image: PathLike, task: Task) -> list[Path]:
    """
    Return the paths of an image's mask: ``NAME.ome.tif``, for volumes ``NAME.nii`` or ``NAME.ome.zarr`` as the image is
    one, or one in the folder of each class that has its own.
    """
    suffix = ".ome.tif"
    if task.image_dims == 3:
        suffix = ".ome.zarr" if str(image).lower().endswith(".zarr") else ".nii"
    return [folder / f"{large_name(image)}{suffix}" for folder in mask_folders(output_dir, task.labels)]


def instances_path(output_dir: PathLike, image: PathLike) -> Path:
    """Return the path of an image's numbered instances."""
    return Path(output_dir, "instances", f"{large_name(image)}.ome.tif")


def find_large_images(
    source: PathLike | Sequence[PathLike],
    output_dir: PathLike,
    task: Task,
    instances: bool = False,
    overwrite: bool = False,
) -> list[Pair]:
    """
    List images to segment in bands.

    Args:
        source: a folder, one image, or a list of both. Images are PNG, JPEG, BMP, TIFF and NIfTI files, whole slides
            that OpenSlide reads, and folders ``NAME.zarr`` in OME-Zarr.
        output_dir: folder of the masks.
        task: what is segmented, in what images.
        instances: whether numbered instances are written too.
        overwrite: whether images that have all their outputs are listed too.

    Returns:
        A list of ``{"image": path}``. The images of a folder are sorted by name.

    Raises:
        InputError: zarr is not installed, a path does not exist, is not an image or is one of the outputs, there is no
            image, or two images have the same name and so would have the same mask.
    """
    if not has_zarr:
        raise InputError("large images need zarr 3.1.5 or later; pip install 'dpsau2net-monai[large]'")
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    images: dict[str, Path] = {}
    for path in [file for one in sources for file in _list(Path(one))]:
        other = images.setdefault(large_name(path), path)
        if other != path:
            raise InputError(f"{path}: has the same name as {other}; segment them in two runs")

    left: list[Pair] = []
    for path in images.values():
        outputs = mask_paths(output_dir, path, task) + [instances_path(output_dir, path)] * instances
        require_kept(path, outputs)
        if overwrite or not all(output.exists() for output in outputs):
            left.append({"image": str(path)})
    log_segmented(len(images) - len(left), len(images), output_dir)
    return left


def _list(path: Path) -> list[Path]:
    if path.name.lower().endswith(SUFFIXES) and path.exists():
        return [path]
    if path.is_file():
        raise InputError(f"{path}: is not an image of a known type ({', '.join(SUFFIXES)})")
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    files = [file for same in files_by_stem(path, SUFFIXES).values() for file in same]
    if not files:
        raise InputError(f"{path}: has no images; add some ({', '.join(SUFFIXES)})")
    return files
