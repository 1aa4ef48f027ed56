"""The nuclei of the Data Science Bowl 2018 (BBBC038), as Kaggle distributes them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from monai.config import PathLike

from ..errors import InputError
from .archive import list_files
from .download import download_archive
from .importer import Importer, ImportSummary
from .writing import Item, Labels, image_size, is_image, read_mask, require_size, write_images

__all__ = ["DSB2018", "prepare_dsb2018"]

# The Broad Institute offers the file without an account. It publishes no hash of it.
URL = "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip"


def prepare_dsb2018(source: PathLike, output_dir: PathLike) -> ImportSummary:
    """
    Convert ``ID/images/ID.png`` and ``ID/masks/*.png``, which has one mask per nucleus.

    The results are ``images/ID.png``, ``masks/ID.png`` (0 and 255) and ``instances/ID.png`` (16 bits, the nuclei
    numbered from 1). Images that already have all three are not written again.

    A mask is left out if it is empty, cannot be read or has another size than its image. A pixel of several nuclei
    goes to the first of them. An image without usable masks is left out. The summary notes each case.

    Args:
        source: ``stage1_train.zip``, or the folder that it was unpacked to.
        output_dir: folder to write to.

    Returns:
        What was written, and the problems.

    Raises:
        InputError: ``source`` does not exist, cannot be unpacked, or has no such images.
    """
    summary = ImportSummary()
    items = _items(list_files(source), summary)
    if not items:
        raise InputError(f"{source}: has no ID/images/ID.png with ID/masks/*.png, as stage1_train.zip has")
    write_images(source, output_dir, items, summary, _nuclei, ("instances", "masks"))
    return summary


def _items(names: Sequence[str], summary: ImportSummary) -> dict[str, Item]:
    images: dict[PurePosixPath, list[str]] = {}
    masks: dict[PurePosixPath, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        kind = {"images": images, "masks": masks}.get(path.parent.name)
        if kind is None or len(path.parts) < 3 or not is_image(name):
            summary.note(f"{name}: is not part of the dataset; left out")
        else:
            kind.setdefault(path.parent.parent, []).append(name)

    items: dict[str, Item] = {}
    for folder in sorted({*images, *masks}):
        problem = None
        if folder not in images:
            problem = "has masks, but no image"
        elif folder not in masks:
            problem = "has no masks"
        elif len(images[folder]) > 1:
            problem = "has several images"
        elif folder.name in items:
            problem = f"has the same name as {PurePosixPath(items[folder.name].image).parent.parent}"
        if problem:
            summary.note(f"{folder}: {problem}; left out")
            summary.left_out += folder in images
        else:
            items[folder.name] = Item(images[folder][0], masks[folder])
    return items


def _nuclei(image: Path, masks: list[Path], note: Callable[[str], None]) -> Labels:
    """Number the nuclei of an image, in the order of the file names of their masks."""
    size = image_size(image)
    instances = np.zeros(size[::-1], np.uint16)
    number = shared = 0
    for path in masks:
        try:
            nucleus, _ = read_mask(path)
            require_size(path, nucleus.shape[::-1], size)
        except InputError as error:
            note(f"{error}; left out")
            continue
        if not nucleus.any():
            note(f"{path}: is empty; left out")
            continue
        free = nucleus & (instances == 0)
        shared += int(np.count_nonzero(nucleus) - np.count_nonzero(free))
        if free.any():
            number += 1
            instances[free] = number
        else:
            note(f"{path}: has only pixels of other nuclei; left out")
    if not number:
        raise InputError(f"{image}: has no usable mask")
    if shared:
        note(f"{image}: {shared} pixels belong to several masks; each goes to the first mask by name")
    return {"instances": instances, "masks": (instances > 0).astype(np.uint8) * 255}


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--download", action="store_true", help=f"first download SRC from {URL}, unless it exists")
    parser.add_argument("--sha256", help="SHA-256 that the downloaded archive must have")


def _run(args: argparse.Namespace) -> ImportSummary:
    if args.sha256 and not args.download:
        raise InputError("--sha256 needs --download")
    if args.download:
        sha256 = download_archive(URL, args.source, args.sha256)
        print(f"{args.source}: SHA-256 {sha256} ({'as given' if args.sha256 else 'not compared, as none was given'})")
    return prepare_dsb2018(args.source, args.output)


DSB2018 = Importer("dsb2018", "nuclei of the Data Science Bowl 2018: Kaggle's stage1_train.zip", _run, _add_options)
