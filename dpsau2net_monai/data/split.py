"""Draw which images train, validate and test, and write this split to a CSV or read it from one."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from monai.config import PathLike
from monai.data import partition_dataset

from ..errors import InputError
from ..files import whole_file
from .reading import SUFFIXES, name_of

__all__ = ["PARTS", "read_split", "require_seed", "split", "write_split"]

PARTS = ("train", "validation", "test")  # the categories of a split


def require_seed(seed: int) -> None:
    """
    Raises:
        InputError: NumPy does not take ``seed``.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed}; give a whole number from 0 to {2**32 - 1}")


def split(
    names: Iterable[str], train_share: float = 0.9, seed: int = 42, validation_share: float = 0
) -> dict[str, str]:
    """
    Draw at random which images train, validate and test.

    The same arguments give the same split on any machine. The test images depend only on the names, the seed and the
    sum of both shares.

    Args:
        names: names of the images, in any order.
        train_share: share of the images that train, between 0 and 1.
        seed: seed of the draw.
        validation_share: share of the images that validate. 0: no image gets this category, and training validates on
            a fold of the training images.

    Returns:
        ``"train"``, ``"validation"`` or ``"test"`` for each name, sorted by name.

    Raises:
        InputError: a share or the seed is out of range, or one of the parts would be empty.
    """
    require_seed(seed)
    if not isinstance(train_share, (int, float)):
        raise InputError(f"size is {train_share!r}; give a number between 0 and 1")
    names = sorted(names)
    in_range = 0 < train_share < 1 and 0 <= validation_share < 1
    n_train, n_fit = (
        round(share * len(names)) if in_range else 0 for share in (train_share, train_share + validation_share)
    )
    if not 0 < n_train < len(names) or not n_train + (validation_share > 0) <= n_fit < len(names):
        shares = f"size {train_share}" + (f" and validation {validation_share}" if validation_share else "")
        raise InputError(
            f"with {shares}, one part gets no image (images in total: {len(names)}); choose shares between 0 and 1 "
            "that give every part an image"
        )
    counts = {"train": n_train, "validation": n_fit - n_train, "test": len(names) - n_fit}
    counts = {part: count for part, count in counts.items() if count}
    parts = partition_dataset(names, ratios=list(counts.values()), shuffle=True, seed=seed)
    category = {name: part for part, members in zip(counts, parts) for name in members}
    return {name: category[name] for name in names}


def write_split(path: PathLike, categories: Mapping[str, str]) -> None:
    """Write a split to a CSV with the columns ``image_id`` and ``category``. An error leaves no half-written file."""
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "category"])
        writer.writerows(categories.items())


def read_split(path: PathLike, names: Collection[str] = ()) -> dict[str, str]:
    """
    Read a split from a CSV with the columns ``image_id`` and ``category``. The columns may also be separated by
    semicolons or tabs, as Excel writes them in many countries, also as "Unicode text". Empty rows are left out.

    An ``image_id`` is an image's name, with or without its suffix.

    Args:
        path: the CSV.
        names: names of the images. What looks like a suffix belongs to the name if the whole is one of them, such as
            ``slide.tif``, the name of ``slide.tif.png``.

    Returns:
        ``"train"``, ``"validation"`` or ``"test"`` for each name, in the order of the file.

    Raises:
        InputError: the file does not exist, is not such a table, or has an image in two categories.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such CSV file")
    try:
        with open(path, "rb") as content:
            utf16 = content.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if utf16 else "utf-8-sig"
        with open(path, newline="", encoding=encoding, errors="surrogateescape") as file:
            header = file.readline()
            file.seek(0)
            table = csv.DictReader(file, delimiter=next((mark for mark in ";\t" if mark in header), ","))
            rows = [(row["image_id"] or "", row["category"] or "") for row in table]
    except (KeyError, UnicodeError, csv.Error) as error:
        raise InputError(
            f"{path}: is not a table with the columns image_id and category; `split` writes one"
        ) from error
    categories: dict[str, str] = {}
    for image, category in rows:
        if not image and not category:
            continue
        name = name_of(image) if image not in names and image.lower().endswith(SUFFIXES) else image
        if category not in PARTS:
            raise InputError(f"{path}: '{name}' has the category '{category}'; use one of {', '.join(PARTS)}")
        other = categories.setdefault(name, category)
        if other != category:
            raise InputError(f"{path}: '{name}' is in both {other} and {category}; remove one of its rows")
    return categories
