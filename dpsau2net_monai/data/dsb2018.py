"""The nuclei of the Data Science Bowl 2018 (BBBC038) as Kaggle ships them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import InputError
from .archive import list_files
from .prepare import Item, Labels, Report, image_size, is_image, prepare, read_mask, size_words

__all__ = ["DSB2018_URL", "prepare_dsb2018"]

# of the Broad Institute, to be had without an account; it publishes no hash of it
DSB2018_URL = "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip"


def prepare_dsb2018(source: str | os.PathLike, output_dir: str | os.PathLike) -> Report:
    """
    Turn ``ID/images/ID.png`` with ``ID/masks/*.png``, one mask a nucleus, into ``images/ID.png``, ``masks/ID.png``
    (0 and 255) and ``instances/ID.png`` (16 bits, the nuclei numbered from 1). Images that are there already with both
    are not made again.

    A mask of another size than its image, an empty one and one that cannot be read are left out, and a pixel of
    several nuclei goes to the first; an image that is left without nuclei is left out. Each is reported.

    Args:
        source: ``stage1_train.zip``, or the folder that it was unpacked to.
        output_dir: folder to write to.

    Returns:
        What was done, and what was not as it should be.

    Raises:
        InputError: ``source`` is not there, cannot be unpacked, or has no such images.
    """
    report = Report()
    items = _items(list_files(source), report)
    if not items:
        raise InputError(f"{source}: has no ID/images/ID.png with ID/masks/*.png, as stage1_train.zip has")
    prepare(source, output_dir, items, report, _nuclei, ("instances", "masks"))
    return report


def _items(names: Sequence[str], report: Report) -> dict[str, Item]:
    images: dict[PurePosixPath, list[str]] = {}
    masks: dict[PurePosixPath, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        kind = {"images": images, "masks": masks}.get(path.parent.name)
        if kind is None or len(path.parts) < 3 or not is_image(name):
            report.note(f"{name}: is a stray file; left out")
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
            report.note(f"{folder}: {problem}; left out")
            report.left_out += folder in images
        else:
            items[folder.name] = Item(images[folder][0], masks[folder])
    return items


def _nuclei(image: Path, masks: list[Path], note: Callable[[str], None]) -> Labels:
    """Number the nuclei of an image in the order of their masks' names."""
    size = image_size(image)
    instances = np.zeros(size, np.uint16)
    number = shared = 0
    for path in masks:
        try:
            nucleus, _ = read_mask(path)
        except InputError as error:
            note(f"{error}; left out")
            continue
        if nucleus.shape != size:
            note(f"{path}: {size_words(nucleus.shape, size)}; left out")
        elif not nucleus.any():
            note(f"{path}: is empty; left out")
        else:
            free = nucleus & (instances == 0)
            shared += np.count_nonzero(nucleus) - np.count_nonzero(free)
            if free.any():
                number += 1
                instances[free] = number
            else:
                note(f"{path}: lies wholly on other nuclei; left out")
    if not number:
        raise InputError(f"{image}: has no mask that can be used")
    if shared:
        note(f"{image}: has {shared} pixels in several masks; the first mask by name has them")
    return {"instances": instances, "masks": (instances > 0).astype(np.uint8) * 255}
