"""From a folder of images and masks to the lists that training, validation and test take."""

from __future__ import annotations

import csv
import logging
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from monai.data import load_decathlon_datalist, partition_dataset

from ..errors import InputError
from ..files import whole_file
from .inspection import Pair, Problem, inspect_headers, inspect_pairs
from .picture_reader import PICTURE_SUFFIXES

__all__ = ["datalist", "find_images", "find_pairs", "name_of", "read_split", "split", "write_split"]

SUFFIXES = (*PICTURE_SUFFIXES, ".nii", ".nii.gz")
FOLDS = 5
PARTS = ("train", "validation", "test")  # a split's categories

PathLike = str | os.PathLike


class Candidate(NamedTuple):
    """An image with its mask, none of which was opened yet."""

    name: str  # by which the split is drawn
    pair: Pair  # without "label" where there is no mask
    problem: Problem | None = None  # what is wrong already


class Listing(NamedTuple):
    """What a dataset lists, before it is split."""

    sections: dict[str, list[Candidate]]  # "train", "validation", "test"; a folder has all under "train"
    strays: list[Problem]  # masks without an image


def name_of(path: PathLike) -> str:
    """The file's name without its suffix, of which ``.nii.gz`` is one."""
    name = Path(path).name
    return name[:-7] if name.lower().endswith(".nii.gz") else Path(name).stem


def _files_by_name(folder: Path) -> dict[str, list[Path]]:
    """
    The images in ``folder`` by :func:`name_of`, sorted, whatever order the file system lists. A folder or a broken link
    that is called like an image is listed too, so that it is named where it cannot be read instead of being left out.
    """
    files: dict[str, list[Path]] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.name.lower().endswith(SUFFIXES) and not path.name.startswith("."):
                files.setdefault(name_of(path), []).append(path)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from error
    return dict(sorted(files.items()))


def _same_name(paths: Sequence[Path]) -> Problem:
    text = f"{paths[1]}: has the same name as {paths[0].name}; remove or rename one of them"
    return Problem(str(paths[1]), "same name", text, True)


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
    for same in files.values():
        if len(same) > 1:
            raise InputError(_same_name(same).message)
    return [{"image": str(file)} for (file,) in files.values()]


def _list_folder(root: Path) -> Listing:
    if not root.is_dir():
        raise InputError(f"{root}: {'is no folder; unpack it first' if root.exists() else 'no such dataset folder'}")
    for folder in ("images", "masks"):
        if not (root / folder).is_dir():
            raise InputError(f"{root}: has no folder '{folder}'; a dataset is images/NAME.EXT and masks/NAME.EXT")
    images, masks = (_files_by_name(root / folder) for folder in ("images", "masks"))
    if not images:
        raise InputError(f"{root / 'images'}: has no images ({', '.join(SUFFIXES)})")

    candidates = []
    for name, files in images.items():
        labels, problem = masks.get(name, []), None
        if len(files) > 1 or len(labels) > 1:
            problem = _same_name(files if len(files) > 1 else labels)
        elif not labels:
            text = f"{files[0]}: has no mask {root / 'masks' / name}.*; add it or take the image out"
            problem = Problem(str(files[0]), "no mask", text, True)
        pair = {key: str(paths[0]) for key, paths in (("image", files), ("label", labels)) if paths}
        candidates.append(Candidate(name, pair, problem))
    strays = [
        Problem(str(path), "no image", f"{path}: has no image {root / 'images' / name}.*; it is left out", False)
        for name, files in masks.items()
        if name not in images
        for path in files
    ]
    return Listing({"train": candidates, "validation": [], "test": []}, strays)


def _list_json(path: Path) -> Listing:
    def section(key: str) -> list[Candidate]:
        try:
            items = load_decathlon_datalist(path, is_segmentation=True, data_list_key=key, base_dir=path.parent)
        except IndexError:  # an empty list
            return []
        except ValueError as error:
            if "not specified" in str(error):
                return []
            raise InputError(f"{path}: is no datalist in JSON ({error})") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: an entry of '{key}' has no image or no label") from error
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        pairs = [{key: str(item[key]) for key in ("image", "label") if key in item} for item in items]
        return [Candidate(pair["image"], pair) for pair in pairs]

    if not path.is_file():
        raise InputError(f"{path}: no such datalist")
    sections = {key: section(key) for key in ("training", "validation", "test")}
    for key, candidates in sections.items():
        if not all("label" in candidate.pair for candidate in candidates):
            if key != "test":
                raise InputError(f"{path}: an entry of '{key}' has no label")
            sections[key] = []  # Decathlon's own test images come without labels
    if not sections["training"]:
        raise InputError(f"{path}: lists nothing under 'training'")
    return Listing({"train": sections["training"], "validation": sections["validation"], "test": sections["test"]}, [])


def list_candidates(dataset_dir: PathLike) -> Listing:
    """
    List a dataset, a folder or a datalist in JSON (see :func:`datalist`), without opening an image.

    Raises:
        InputError: it is not there, is empty, or is no dataset at all.
    """
    path = Path(dataset_dir)
    return _list_json(path) if path.suffix.lower() == ".json" else _list_folder(path)


def usable(
    parts: Mapping[str, Sequence[Candidate]], dataset_dir: PathLike, skip_bad: bool = False
) -> dict[str, list[Pair]]:
    """
    The pairs of each part, after a look at the files' headers; with ``skip_bad`` all of each file is read, and the
    pairs that cannot be used are left out and logged as warnings.

    Raises:
        InputError: a pair cannot be used; with ``skip_bad``: none of a part can.
    """
    candidates = [candidate for part in parts.values() for candidate in part]
    pairs = [candidate.pair for candidate in candidates if candidate.problem is None]
    found = (finding.problems for finding in inspect_pairs(pairs)) if skip_bad else map(inspect_headers, pairs)
    errors = [
        [candidate.problem] if candidate.problem else [problem for problem in next(found) if problem.error]
        for candidate in candidates
    ]
    by_name = sorted(zip(candidates, errors), key=lambda item: item[0].name)
    bad = [problem.message for _, problems in by_name for problem in problems]
    if bad and not skip_bad:
        command = f"python -m dpsau2net_monai check {shlex.quote(str(dataset_dir))}"
        raise InputError(bad[0] + (f" (and {len(bad) - 1} more: {command} lists them)" if len(bad) > 1 else ""))
    for message in bad:
        logging.getLogger("dpsau2net_monai").warning(f"skipped: {message}")
    of_candidate = iter(errors)
    good = {name: [candidate.pair for candidate in part if not next(of_candidate)] for name, part in parts.items()}
    for name, part in good.items():
        if parts[name] and not part:
            raise InputError(f"{dataset_dir}: no pair of the part '{name}' can be used; the first: {bad[0]}")
    return good


def find_pairs(dataset_dir: PathLike) -> list[Pair]:
    """
    Pair ``dataset_dir/images/NAME.EXT`` with ``dataset_dir/masks/NAME.EXT``; the extensions may differ.

    Returns:
        A list of ``{"image": path, "label": path}``, sorted by name.

    Raises:
        InputError: a folder is not there or empty, an image has no mask, or a mask is of another size than its image.
    """
    return usable({"all": _list_folder(Path(dataset_dir)).sections["train"]}, dataset_dir)["all"]


def split(names: Iterable[str], size: float = 0.9, seed: int = 42, validation: float = 0) -> dict[str, str]:
    """
    Draw which images train, validate and test; the same arguments give the same split on any machine, and the test
    images are the same wherever ``size + validation`` is.

    Args:
        names: the images' names, in any order.
        size: share of the images that train, between 0 and 1.
        seed: of the draw.
        validation: share of the images that validate; 0: a fold of those that train is to.

    Returns:
        ``"train"``, ``"validation"`` or ``"test"`` by name, sorted by name.

    Raises:
        InputError: the shares leave one of the parts empty.
    """
    names = sorted(names)
    in_range = 0 < size < 1 and 0 <= validation < 1
    n_train, n_fit = (round(share * len(names)) if in_range else 0 for share in (size, size + validation))
    if not 0 < n_train < len(names) or not n_train + (validation > 0) <= n_fit < len(names):
        shares = f"{size}" if validation == 0 else f"{size} and {validation}"
        raise InputError(f"a share of {shares} leaves no image for one part of {len(names)}; size is between 0 and 1")
    counts = {"train": n_train, "validation": n_fit - n_train, "test": len(names) - n_fit}
    counts = {part: count for part, count in counts.items() if count}
    parts = partition_dataset(names, ratios=list(counts.values()), shuffle=True, seed=seed)
    category = {name: part for part, members in zip(counts, parts) for name in members}
    return {name: category[name] for name in names}


def write_split(path: PathLike, categories: Mapping[str, str]) -> None:
    """Write a split to a CSV of the columns ``image_id`` and ``category``, whole or not at all."""
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
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
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = [(row["image_id"], row["category"]) for row in csv.DictReader(file)]
    except (KeyError, csv.Error) as error:
        raise InputError(f"{path}: is no table of the columns image_id and category") from error
    categories = {name_of(name) if name.lower().endswith(SUFFIXES) else name: category for name, category in rows}
    for name, category in categories.items():
        if category not in PARTS:
            raise InputError(f"{path}: '{name}' has the category '{category}', which is none of {', '.join(PARTS)}")
    return categories


def divide(
    listing: Listing, dataset_dir: PathLike, csvfile: PathLike | None = None, size: float = 0.9, seed: int = 42
) -> dict[str, list[Candidate]]:
    """
    Part a listing into ``train``, ``validation`` and ``test``; the arguments are those of :func:`datalist`. What is
    wrong with a pair has no part in it, so that the others stay where they are whether it is mended or left out.

    Raises:
        InputError: the split cannot be read, does not fit the images, or leaves too few to train on.
    """
    parts = dict(listing.sections)
    # in the order of the names, not of the file's rows: the same split written in another order trains the same
    by_name = {candidate.name: candidate for candidate in sorted(parts["train"], key=lambda candidate: candidate.name)}
    if not parts["test"]:
        if csvfile is None or Path(dataset_dir).suffix.lower() == ".json":
            try:
                categories = split(by_name, size, seed)
            except InputError as error:
                raise InputError(f"{dataset_dir}: {error}") from error
        else:
            categories = read_split(csvfile)
            unknown = next((name for name in categories if name not in by_name), None)
            if unknown is not None:
                raise InputError(f"{csvfile}: '{unknown}' is no image of {dataset_dir}")
        drawn = {part: [by_name[n] for n in by_name if categories.get(n) == part] for part in PARTS}
        parts.update(drawn if drawn["validation"] else {part: drawn[part] for part in ("train", "test")})
    if not parts["validation"] and len(parts["train"]) < FOLDS:
        raise InputError(
            f"{dataset_dir}: {len(parts['train'])} images to train on; there must be at least {FOLDS}, one a fold"
        )
    return parts


def datalist(
    dataset_dir: PathLike,
    csvfile: PathLike | None = None,
    size: float = 0.9,
    seed: int = 42,
    fold: int = 0,
    skip_bad: bool = False,
) -> dict[str, list[Pair]]:
    """
    The images and masks of a dataset, in three parts, after a look at all files' headers.

    Args:
        dataset_dir: a folder with ``images/`` and ``masks/`` (see :func:`find_pairs`), or a MONAI or Decathlon
            datalist, a ``.json`` file with the sections ``training`` and, where it has them, ``validation`` and
            ``test``.
        csvfile: which image trains, validates and tests (see :func:`read_split`); images that it does not name are left
            out, and where it names none that validates, ``fold`` does. None: the split is drawn with ``size`` and
            ``seed``.
        size: share of the images that train.
        seed: of the split, and of the five folds of the training part.
        fold: which of the folds validates, 0 to 4.
        skip_bad: read all of each file, leave out the pairs that cannot be used and log a warning for each.

    Returns:
        Lists of ``{"image": path, "label": path}`` under ``training``, ``validation`` and ``test``.

    Raises:
        InputError: in one line, what is wrong with which file.
    """
    if not 0 <= fold < FOLDS:
        raise InputError(f"fold is 0 to {FOLDS - 1}, not {fold}")
    parts = divide(list_candidates(dataset_dir), dataset_dir, csvfile, size, seed)
    training, validation = parts["train"], parts["validation"]
    if not validation:
        folds = partition_dataset(training, num_partitions=FOLDS, shuffle=True, seed=seed)
        validation = folds.pop(fold)
        training = [candidate for part in folds for candidate in part]
    return usable({"training": training, "validation": validation, "test": parts["test"]}, dataset_dir, skip_bad)
