"""What the public data sets' modules share: the report, and the writing of images with their masks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import nibabel
import numpy as np
from PIL import Image
from tqdm import tqdm

from ..errors import InputError, one_line
from ..files import whole_file
from .archive import unpacked
from .datalist import SUFFIXES, name_of
from .picture_reader import read_picture
from .reading import foreground, is_volume, reading, require_finite

__all__ = [
    "Item",
    "Labels",
    "MakeLabels",
    "Report",
    "image_size",
    "is_image",
    "prepare",
    "prepare_pairs",
    "prepared_names",
    "read_mask",
    "size_words",
]

CONVERTED = (".gif", ".webp", ".pgm", ".ppm", ".pnm", ".jp2")  # read by Pillow, but not by training

PathLike = str | os.PathLike
Labels = dict[str, np.ndarray | Path]  # by folder: an array of uint8 or uint16, or a file to copy
MakeLabels = Callable[[Path, list[Path], Callable[[str], None]], Labels]


@dataclass
class Report:
    """What was done with a data set, and one line for each thing that was not as it should be."""

    written: int = 0
    kept: int = 0
    left_out: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a line."""
        self.notes.append(one_line(text))

    def __str__(self) -> str:
        counts = f"{self.written} images written, {self.kept} there already, {self.left_out} left out"
        return "\n".join([*self.notes, counts])


class Item(NamedTuple):
    """An image and what its mask is made from, relative to their source."""

    image: str
    masks: list[str]


def is_image(name: str) -> bool:
    """Whether a file is an image by its name, of a kind that training takes or that can be converted."""
    return name.lower().endswith((*SUFFIXES, *CONVERTED)) and not PurePosixPath(name).name.startswith(".")


def image_size(path: Path) -> tuple[int, ...]:
    """The spatial size of an image as its array has it; a picture is decoded to its end for it."""
    if not is_volume(path):
        return read_picture(path).shape[:2]
    with reading(path):
        return nibabel.load(path).shape[:3]


def size_words(mask: tuple[int, ...], image: tuple[int, ...]) -> str:
    """The words for a mask of another size than its image, width first."""
    sides = [" x ".join(map(str, size[::-1] if len(size) == 2 else size)) for size in (mask, image)]
    return f"is {sides[0]}, its image {sides[1]}"


def read_mask(path: Path) -> tuple[np.ndarray, bool]:
    """
    Read what of a mask is foreground, as training does (see :func:`.reading.foreground`); of a JPEG what is over half
    of white, whatever its largest value, as its black is never all black.

    Returns:
        The foreground, bool (height, width), and whether some of what is over 0 is none.

    Raises:
        InputError: the file cannot be read, or holds NaN.
    """
    mask = read_picture(path)
    require_finite(mask, path)
    if mask.ndim == 3:
        mask = mask.max(axis=2)
    bright = mask > 0.5 if path.suffix.lower() in (".jpg", ".jpeg") else foreground(mask)
    return bright, bool(((mask > 0) != bright).any())


def prepared_names(output_dir: PathLike, folders: tuple[str, ...] = ("masks",)) -> set[str]:
    """The names of the images that have been written with all that belongs to them."""
    names = []
    for folder in ("images", *folders):
        path = Path(output_dir, folder)
        files = path.iterdir() if path.is_dir() else ()
        names.append({name_of(file) for file in files if not file.name.startswith(".")})
    return set.intersection(*names)


def prepare(
    source: PathLike,
    output_dir: PathLike,
    items: Mapping[str, Item],
    report: Report,
    make_labels: MakeLabels,
    folders: tuple[str, ...] = ("masks",),
) -> None:
    """
    Write images with their masks, as far as they are not there yet; what cannot be used is left out and reported.

    Args:
        source: folder or archive.
        output_dir: folder to write ``images/``, ``masks/`` and the like to.
        items: the images by the name that they get.
        report: is added to.
        make_labels: makes what to write to ``folders``, from the paths of an image and of its masks and a function that
            takes lines for the report; it raises an InputError where the image cannot be used.
        folders: the folders besides ``images``.

    Raises:
        InputError: ``source`` cannot be unpacked, or ``output_dir`` lies within it.
    """
    source, output_dir = Path(source), Path(output_dir)
    if source.is_dir() and source.resolve() in (output_dir.resolve(), *output_dir.resolve().parents):
        raise InputError(f"{output_dir}: lies in {source}, whose images it would mix with; name a folder beside it")
    done = prepared_names(output_dir, folders)
    missing = {name: item for name, item in items.items() if name not in done}
    report.kept += len(items) - len(missing)
    with unpacked(source, [file for item in missing.values() for file in (item.image, *item.masks)]) as folder:

        def note(text: str) -> None:
            report.note(text.removeprefix(f"{folder}/"))

        for name, item in tqdm(missing.items(), desc="prepare", unit="image", disable=None):
            image = folder / item.image
            try:
                labels = make_labels(image, [folder / mask for mask in item.masks], note)
            except InputError as error:
                note(f"{error}; the image is left out")
                report.left_out += 1
                continue
            # The image goes last: should the run be cut short, no image is left without its mask.
            for where in folders:
                _write(output_dir / where, name, labels[where])
            _write(output_dir / "images", name, image)
            report.written += 1


def prepare_pairs(source: PathLike, output_dir: PathLike, items: Mapping[str, Item], report: Report) -> None:
    """:func:`prepare` images of one mask each, which becomes a PNG of 0 and 255; a volume's is copied."""
    grey: list[str] = []

    def one_mask(image: Path, masks: list[Path], note: Callable[[str], None]) -> Labels:
        size, mask = image_size(image), masks[0]
        if is_volume(mask):
            if image_size(mask) != size:
                raise InputError(f"{mask}: {size_words(image_size(mask), size)}")
            return {"masks": mask}
        bright, is_grey = read_mask(mask)
        if bright.shape != size:
            raise InputError(f"{mask}: {size_words(bright.shape, size)}")
        if is_grey:
            grey.append(mask.name)
        if not bright.any():
            note(f"{mask}: is empty; kept, as an image of nothing")
        return {"masks": bright.astype(np.uint8) * 255}

    prepare(source, output_dir, items, report, one_mask)
    if grey:
        report.note(f"{len(grey)} masks have grey levels ({grey[0]} the first); over half of white is foreground")


def _write(folder: Path, name: str, content: np.ndarray | Path) -> None:
    """Write an array as PNG, or copy a file, unless training does not take its kind."""
    if isinstance(content, Path) and content.name.lower().endswith(SUFFIXES):
        suffix = content.name[len(name_of(content)) :]
        with whole_file(folder / f"{name}{suffix}") as part:
            shutil.copyfile(content, part)
        return
    with whole_file(folder / f"{name}.png") as part:
        if isinstance(content, Path):
            with Image.open(content) as picture:
                picture.save(part)
        else:
            Image.fromarray(content).save(part)
