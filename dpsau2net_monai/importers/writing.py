"""Write the images of a dataset with their masks, and read its masks."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from monai.config import PathLike
from PIL import Image
from tqdm import tqdm

from ..data.images import files_by_stem
from ..data.inspection import read_header
from ..data.picture_reader import read_picture, read_stored
from ..data.reading import SUFFIXES, foreground, is_volume, reading, require_finite, size_text, stem_of
from ..errors import InputError
from ..files import whole_file
from .archive import unpacked
from .importer import ImportSummary

__all__ = [
    "Item",
    "Labels",
    "MakeLabels",
    "image_size",
    "is_image",
    "read_mask",
    "require_outside",
    "require_size",
    "write_images",
    "write_pairs",
    "written_names",
]

CONVERTED = (".gif", ".webp", ".pgm", ".ppm", ".pnm", ".jp2")  # Pillow reads these formats, training does not

NOTES = {  # of what masks have beside black and one other value
    "grey levels": "values over half of white are foreground",
    "several values": "all of them become one class; for several classes, train with these files and labels",
}

Labels = dict[str, np.ndarray | Path]  # for each folder: an array of uint8 or uint16, or a file to copy
MakeLabels = Callable[[Path, list[Path], Callable[[str], None]], Labels]


class Item(NamedTuple):
    """The paths of an image and of its masks, relative to the dataset."""

    image: str
    masks: list[str]


def is_image(name: str) -> bool:
    """
    Return whether ``name``, relative to the dataset, belongs to an image that training reads, or that can be converted
    for it. Hidden files, and those in hidden folders, do not.
    """
    hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
    return name.lower().endswith((*SUFFIXES, *CONVERTED)) and not hidden


def image_size(path: Path) -> tuple[int, ...]:
    """
    Return the size of an image: (width, height) of a picture, (x, y, z) of a volume.

    Raises:
        InputError: the file cannot be read. A picture is decoded completely.
    """
    if not is_volume(path):
        return read_picture(path).shape[1::-1]
    return read_header(str(path)).size


def require_size(mask: Path, size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """
    Raises:
        InputError: the size of ``mask`` is not ``expected``, the size of its image.
    """
    if size != expected:
        raise InputError(f"{mask}: is {size_text(size)}, its image {size_text(expected)}")


def read_mask(path: Path) -> tuple[np.ndarray, str | None]:
    """
    Read the foreground of a mask. The rule is that of training (see :func:`dpsau2net_monai.data.reading.foreground`),
    except for a JPEG: its black is not exactly 0, so always only the values over half of white are foreground.

    Returns:
        A bool array (height, width), and what the mask has beside black and one other value: a key of ``NOTES``, or
        None.

    Raises:
        InputError: the file cannot be read, or holds NaN.
    """
    picture = read_picture(path)
    require_finite(picture, path)
    mask = picture.max(axis=2) if picture.ndim == 3 else picture
    inside = mask > 0.5 if path.suffix.lower() in (".jpg", ".jpeg") else foreground(mask)
    if ((mask > 0) != inside).any():
        return inside, "grey levels"
    values = picture[inside] @ (1, 2**8, 2**16) if picture.ndim == 3 else picture[inside]
    return inside, "several values" if len(np.unique(values)) > 1 else None


def require_outside(source: PathLike, output_dir: PathLike) -> None:
    """
    Raises:
        InputError: ``output_dir`` is ``source`` or inside of it, or would be written to ``source``.
    """
    folder, output = Path(source).resolve(), Path(output_dir).resolve()
    if folder.is_dir() and folder in (output, *output.parents):
        raise InputError(f"{output_dir}: is inside of {source}, so its images would mix; name a folder beside it")
    if folder.is_dir() and folder in [(output / name).resolve() for name in ("images", "masks", "instances")]:
        raise InputError(f"{output_dir}: is written to {source}, so its images would mix; name another folder")


def written_names(output_dir: PathLike, folders: tuple[str, ...] = ("masks",)) -> set[str]:
    """Return the names of the images that have a file in ``images`` and in each of ``folders``."""
    names = []
    for folder in ("images", *folders):
        path = Path(output_dir, folder)
        files = path.iterdir() if path.is_dir() else ()
        names.append({stem_of(file) for file in files if not file.name.startswith(".")})
    return set.intersection(*names)


def write_images(
    source: PathLike,
    output_dir: PathLike,
    items: Mapping[str, Item],
    summary: ImportSummary,
    make_labels: MakeLabels,
    folders: tuple[str, ...] = ("masks",),
) -> None:
    """
    Write images with their masks, except those that are already there. Leave out and note those that cannot be used.

    Args:
        source: folder or archive.
        output_dir: folder to write ``images/`` and ``folders`` to.
        items: the images by their new names.
        summary: the counts and notes are added to it.
        make_labels: returns what to write to ``folders`` for an image. Its arguments are the path of the image, the
            paths of its masks, and a function that adds a note. If it raises InputError, the image is left out.
        folders: names of the folders besides ``images``.

    Raises:
        InputError: ``source`` cannot be unpacked, or ``output_dir`` is inside of it.
    """
    source, output_dir = Path(source), Path(output_dir)
    require_outside(source, output_dir)
    done = written_names(output_dir, folders)
    missing = {name: item for name, item in items.items() if name not in done}
    there = files_by_stem(output_dir / "images") if (output_dir / "images").is_dir() else {}
    summary.kept += len(items) - len(missing)
    with unpacked(source, [file for item in missing.values() for file in (item.image, *item.masks)]) as folder:

        def note(text: str) -> None:
            summary.note(text.removeprefix(f"{folder}/"))

        for name, item in tqdm(missing.items(), desc="prepare", unit="image", disable=None):
            image = folder / item.image
            try:
                for other in there.get(name, []):
                    if not _is_copy(other, image):
                        raise InputError(f"{image}: is another image than {other}")
                labels = make_labels(image, [folder / mask for mask in item.masks], note)
            except InputError as error:
                note(f"{error}; the image is left out")
                summary.left_out += 1
                continue
            # The image is written last: a run that is cut short leaves no image without a mask.
            for where in folders:
                _write(output_dir / where, name, labels[where])
            _write(output_dir / "images", name, image)
            summary.written += 1


def write_pairs(source: PathLike, output_dir: PathLike, items: Mapping[str, Item], summary: ImportSummary) -> None:
    """
    Write images that have one mask each. The mask becomes a PNG of 0 and 255; the mask of a volume is copied.

    The arguments and errors are those of :func:`write_images`.
    """
    noted: dict[str, list[str]] = {}

    def one_mask(image: Path, masks: list[Path], note: Callable[[str], None]) -> Labels:
        size, mask = image_size(image), masks[0]
        if is_volume(mask):
            require_size(mask, image_size(mask), size)
            return {"masks": mask}
        inside, beside = read_mask(mask)
        require_size(mask, inside.shape[::-1], size)
        if beside:
            noted.setdefault(beside, []).append(mask.name)
        if not inside.any():
            note(f"{mask}: is empty; kept, as an image without foreground")
        return {"masks": inside.astype(np.uint8) * 255}

    write_images(source, output_dir, items, summary, one_mask)
    for beside, names in noted.items():
        summary.note(f"masks with {beside}: {len(names)} (the first is {names[0]}); {NOTES[beside]}")


def _is_copy(path: Path, source: Path) -> bool:
    """Return whether :func:`_write` made ``path`` of ``source``."""
    if source.name.lower().endswith(SUFFIXES):
        with reading(path):
            return filecmp.cmp(path, source, shallow=False)
    return np.array_equal(read_stored(path), read_stored(source))


def _write(folder: Path, name: str, content: np.ndarray | Path) -> None:
    """Write an array as PNG, or copy a file. A file of a format that training does not read becomes a PNG."""
    if isinstance(content, Path) and content.name.lower().endswith(SUFFIXES):
        suffix = content.name[len(stem_of(content)) :]
        with whole_file(folder / f"{name}{suffix}") as part:
            shutil.copyfile(content, part)
        return
    with whole_file(folder / f"{name}.png") as part:
        if isinstance(content, Path):
            content = read_stored(content)
        Image.fromarray(content).save(part)
