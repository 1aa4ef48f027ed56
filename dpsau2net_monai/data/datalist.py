"""From a folder of images and masks to the lists that training, validation and test take."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import nibabel
from monai.data import load_decathlon_datalist, partition_dataset

from ..errors import InputError
from ..files import whole_file
from .picture_reader import PICTURE_SUFFIXES, picture_size

__all__ = ["datalist", "find_images", "find_pairs", "name_of", "read_split", "split", "write_split"]

SUFFIXES = (*PICTURE_SUFFIXES, ".nii", ".nii.gz")
FOLDS = 5

PathLike = str | os.PathLike
Pair = dict[str, str]


def name_of(path: PathLike) -> str:
    """The file's name without its suffix, of which ``.nii.gz`` is one."""
    name = Path(path).name
    return name[:-7] if name.lower().endswith(".nii.gz") else Path(name).stem


def _files_by_name(folder: Path) -> dict[str, Path]:
    """The images in ``folder`` by :func:`name_of`, sorted, whatever order the file system lists."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.lower().endswith(SUFFIXES) or path.name.startswith(".") or not path.is_file():
            continue
        name = name_of(path)
        if name in files:
            raise InputError(f"{path}: has the same name as {files[name].name}; remove or rename one of them")
        files[name] = path
    return dict(sorted(files.items()))


def find_images(source: PathLike | Sequence[PathLike]) -> list[Pair]:
    """
    List images to segment.

    Args:
        source: a folder, one file, or a list of files; png, jpg, tif, bmp, nii and nii.gz are images.

    Returns:
        A list of ``{"image": path}``, sorted by name for a folder.

    Raises:
        InputError: something is not there, a folder has no image, or two would share one result.
    """
    if not isinstance(source, (str, os.PathLike)):
        images = [image for path in source for image in find_images(path)]
        if not images:
            raise InputError("an empty list of images to segment")
        names: dict[str, str] = {}
        for image in images:
            other = names.setdefault(name_of(image["image"]), image["image"])
            if other != image["image"]:
                raise InputError(f"{image['image']}: has the same name as {other}; segment them one after the other")
        return images
    path = Path(source)
    if path.is_file():
        if not path.name.lower().endswith(SUFFIXES):
            raise InputError(f"{path}: is no image of a known kind ({', '.join(SUFFIXES)})")
        return [{"image": str(path)}]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    files = _files_by_name(path)
    if not files:
        raise InputError(f"{path}: has no images ({', '.join(SUFFIXES)})")
    return [{"image": str(file)} for file in files.values()]


def _size(path: PathLike) -> tuple[int, ...]:
    """The image's spatial size, read from its header alone: (width, height), or (x, y, z) of a volume."""
    try:
        if str(path).lower().endswith((".nii", ".nii.gz")):
            shape = nibabel.load(path).shape
            return shape[:2] if len(shape) > 2 and shape[2] == 1 else shape[:3]
        return picture_size(path)
    except Exception as error:
        raise InputError(f"{path}: cannot be read as an image ({str(error).splitlines()[0]})") from error


def _check_pairs(pairs: Sequence[Pair]) -> None:
    """Refuse pairs of which a file is not there or cannot be opened, or whose sizes differ."""
    for pair in pairs:
        for path in pair.values():
            if not Path(path).is_file():
                raise InputError(f"{path}: no such file")
        image, mask = _size(pair["image"]), _size(pair["label"])
        if image != mask:
            sizes = [" x ".join(map(str, size)) for size in (mask, image)]
            raise InputError(f"{pair['label']}: the mask is {sizes[0]}, its image {sizes[1]}; make them one size")


def find_pairs(dataset_dir: PathLike) -> list[Pair]:
    """
    Pair ``dataset_dir/images/NAME.EXT`` with ``dataset_dir/masks/NAME.EXT``; the extensions may differ.

    Returns:
        A list of ``{"image": path, "label": path}``, sorted by name.

    Raises:
        InputError: a folder is not there or empty, an image has no mask, or a mask is of another size than its image.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise InputError(f"{root}: no such dataset folder")
    for folder in ("images", "masks"):
        if not (root / folder).is_dir():
            raise InputError(f"{root}: has no folder '{folder}'; a dataset is images/NAME.EXT and masks/NAME.EXT")
    images, masks = (_files_by_name(root / folder) for folder in ("images", "masks"))
    if not images:
        raise InputError(f"{root / 'images'}: has no images ({', '.join(SUFFIXES)})")
    lone = [name for name in images if name not in masks]
    if lone:
        more = f" (and {len(lone) - 1} more)" if len(lone) > 1 else ""
        raise InputError(
            f"{images[lone[0]]}: has no mask {root / 'masks' / lone[0]}.*{more}; add it or take the image out"
        )
    pairs = [{"image": str(image), "label": str(masks[name])} for name, image in images.items()]
    _check_pairs(pairs)
    return pairs


def split(names: Iterable[str], size: float = 0.9, seed: int = 42) -> dict[str, str]:
    """
    Draw which images train and which test; the same names, size and seed give the same split on any machine.

    Args:
        names: the images' names, in any order.
        size: share of the images that train, between 0 and 1.
        seed: of the draw.

    Returns:
        ``"train"`` or ``"test"`` by name, sorted by name.

    Raises:
        InputError: ``size`` leaves one of the parts empty.
    """
    names = sorted(names)
    n_train = round(size * len(names)) if 0 < size < 1 else 0
    if not 0 < n_train < len(names):
        raise InputError(f"a share of {size} leaves no image for one part of {len(names)}; size is between 0 and 1")
    train, _ = partition_dataset(names, ratios=[n_train, len(names) - n_train], shuffle=True, seed=seed)
    train = set(train)
    return {name: "train" if name in train else "test" for name in names}


def write_split(path: PathLike, categories: Mapping[str, str]) -> None:
    """Write a split to a CSV of the columns ``image_id`` and ``category``, whole or not at all."""
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "category"])
        writer.writerows(categories.items())


def read_split(path: PathLike) -> dict[str, str]:
    """
    Read a split from a CSV of the columns ``image_id`` and ``category``; an id may bear its file's suffix.

    Raises:
        InputError: the file is not there, or is no such table.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such CSV file")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [(row["image_id"], row["category"]) for row in csv.DictReader(file)]
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is no table of the columns image_id and category") from error
    categories = {name_of(name) if name.lower().endswith(SUFFIXES) else name: category for name, category in rows}
    for name, category in categories.items():
        if category not in ("train", "test"):
            raise InputError(f"{path}: '{name}' has the category '{category}', which is neither train nor test")
    return categories


def _by_folder(dataset_dir: PathLike, csvfile: PathLike | None, size: float, seed: int) -> dict[str, list[Pair]]:
    pairs = {name_of(pair["image"]): pair for pair in find_pairs(dataset_dir)}
    categories = split(pairs, size, seed) if csvfile is None else read_split(csvfile)
    unknown = next((name for name in categories if name not in pairs), None)
    if unknown is not None:
        raise InputError(f"{csvfile}: '{unknown}' is no image of {dataset_dir}")
    # the order of the pairs, not of the file's rows: the same split written in another order trains the same
    return {part: [pair for name, pair in pairs.items() if categories.get(name) == part] for part in ("train", "test")}


def _by_json(path: Path, size: float, seed: int) -> dict[str, list[Pair]]:
    def section(key: str) -> list[Pair]:
        try:
            items = load_decathlon_datalist(path, is_segmentation=True, data_list_key=key, base_dir=path.parent)
        except ValueError as error:
            if "not specified" in str(error):
                return []
            raise InputError(f"{path}: is no datalist in JSON ({error})") from error
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: an entry of '{key}' has no image or no label") from error
        return [{key: str(item[key]) for key in ("image", "label") if key in item} for item in items]

    parts = {"train": section("training"), "validation": section("validation"), "test": section("test")}
    for name, part in parts.items():
        if not all("label" in pair for pair in part):
            if name != "test":
                raise InputError(f"{path}: an entry of '{name}' has no label")
            parts[name] = []  # Decathlon's own test images come without labels
    if not parts["train"]:
        raise InputError(f"{path}: lists nothing under 'training'")
    if not parts["test"]:
        by_image = {pair["image"]: pair for pair in parts["train"]}
        categories = split(by_image, size, seed)
        parts.update({p: [by_image[i] for i, c in categories.items() if c == p] for p in ("train", "test")})
    for part in parts.values():
        _check_pairs(part)
    return parts


def datalist(
    dataset_dir: PathLike, csvfile: PathLike | None = None, size: float = 0.9, seed: int = 42, fold: int = 0
) -> dict[str, list[Pair]]:
    """
    The images and masks of a dataset, in three parts.

    Args:
        dataset_dir: a folder with ``images/`` and ``masks/`` (see :func:`find_pairs`), or a MONAI or Decathlon
            datalist, a ``.json`` file with the sections ``training`` and, where it has them, ``validation`` and
            ``test``.
        csvfile: which image trains and which tests (see :func:`read_split`); images that it does not name are left out.
            None: the split is drawn with ``size`` and ``seed``.
        size: share of the images that train.
        seed: of the split, and of the five folds of the training part.
        fold: which of the folds validates, 0 to 4.

    Returns:
        Lists of ``{"image": path, "label": path}`` under ``training``, ``validation`` and ``test``.

    Raises:
        InputError: in one line, what is wrong with which file.
    """
    if not 0 <= fold < FOLDS:
        raise InputError(f"fold is 0 to {FOLDS - 1}, not {fold}")
    path = Path(dataset_dir)
    if path.suffix.lower() == ".json":
        if not path.is_file():
            raise InputError(f"{path}: no such datalist")
        parts = _by_json(path, size, seed)
    else:
        parts = _by_folder(path, csvfile, size, seed)
    training, validation = parts["train"], parts.get("validation", [])
    if not validation:
        if len(training) < FOLDS:
            raise InputError(f"{path}: {len(training)} images to train on; there must be at least {FOLDS}, one a fold")
        folds = partition_dataset(training, num_partitions=FOLDS, shuffle=True, seed=seed)
        validation = folds.pop(fold)
        training = [pair for part in folds for pair in part]
    return {"training": training, "validation": validation, "test": parts["test"]}
