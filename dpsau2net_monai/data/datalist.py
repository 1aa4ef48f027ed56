"""Make the lists of images and masks for training, validation and test."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from monai.config import PathLike
from monai.data import load_decathlon_datalist, partition_dataset

from ..errors import InputError
from .images import files_by_name, same_name_problem
from .inspection import Pair, Problem, inspect_headers, inspect_pairs
from .reading import SUFFIXES
from .split import PARTS, read_split, split

__all__ = ["find_pairs", "make_datalist"]

FOLDS = 5


class Candidate(NamedTuple):
    """An image and its mask, before either file is opened."""

    name: str  # the split is drawn from the names
    pair: Pair  # without "label" if there is no mask
    problem: Problem | None = None  # a problem that shows without opening a file


class Listing(NamedTuple):
    """The contents of a dataset, before it is split."""

    sections: dict[str, list[Candidate]]  # "train", "validation" and "test"; those of a folder are all in "train"
    strays: list[Problem]  # a problem for each mask without an image


def _list_folder(root: Path) -> Listing:
    if not root.is_dir():
        raise InputError(f"{root}: {'is not a folder; unpack it first' if root.exists() else 'no such dataset folder'}")
    for folder in ("images", "masks"):
        if not (root / folder).is_dir():
            raise InputError(f"{root}: has no folder '{folder}'; a dataset has images/NAME.EXT and masks/NAME.EXT")
    images, masks = (files_by_name(root / folder) for folder in ("images", "masks"))
    if not images:
        raise InputError(f"{root / 'images'}: has no images; add some ({', '.join(SUFFIXES)})")

    candidates = []
    for name, files in images.items():
        labels, problem = masks.get(name, []), None
        if len(files) > 1 or len(labels) > 1:
            problem = same_name_problem(files if len(files) > 1 else labels)
        elif not labels:
            text = f"{files[0]}: has no mask {root / 'masks' / name}.*; add it or remove the image"
            problem = Problem(str(files[0]), "no mask", text, True)
        pair = {key: str(paths[0]) for key, paths in (("image", files), ("label", labels)) if paths}
        candidates.append(Candidate(name, pair, problem))
    strays = [
        Problem(str(path), "no image", f"{path}: has no image {root / 'images' / name}.*; the mask is ignored", False)
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
            raise InputError(f"{path}: is not a datalist in JSON ({error}); correct it") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: an entry of '{key}' has no image or no label; add it") from error
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
        pairs = [{key: str(item[key]) for key in ("image", "label") if key in item} for item in items]
        return [Candidate(pair["image"], pair) for pair in pairs]

    if not path.is_file():
        raise InputError(f"{path}: no such datalist")
    sections = {key: section(key) for key in ("training", "validation", "test")}
    for key, candidates in sections.items():
        if not all("label" in candidate.pair for candidate in candidates):
            if key != "test":
                raise InputError(f"{path}: an entry of '{key}' has no label; add it")
            sections[key] = []  # the Decathlon's test images have no labels
    if not sections["training"]:
        raise InputError(f"{path}: lists nothing under 'training'; add images and their labels")
    return Listing({"train": sections["training"], "validation": sections["validation"], "test": sections["test"]}, [])


def list_candidates(dataset_dir: PathLike) -> Listing:
    """
    List the contents of a folder or of a datalist in JSON (see :func:`make_datalist`) without opening an image.

    Raises:
        InputError: the dataset does not exist, is empty, or is not a dataset.
    """
    path = Path(dataset_dir)
    return _list_json(path) if path.suffix.lower() == ".json" else _list_folder(path)


def usable(
    parts: Mapping[str, Sequence[Candidate]], dataset_dir: PathLike, skip_bad: bool = False
) -> dict[str, list[Pair]]:
    """
    Read the files' headers and return the pairs of each part.

    With ``skip_bad``, read the whole files instead, leave out pairs that cannot be used, and log a warning for each.

    Raises:
        InputError: a pair cannot be used, or with ``skip_bad``, no pair of a part can be used.
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
            raise InputError(f"{dataset_dir}: the part '{name}' has no usable pair; the first problem: {bad[0]}")
    return good


def find_pairs(dataset_dir: PathLike) -> list[Pair]:
    """
    Pair each ``dataset_dir/images/NAME.EXT`` with ``dataset_dir/masks/NAME.EXT``. The extensions may differ.

    Returns:
        A list of ``{"image": path, "label": path}``, sorted by name.

    Raises:
        InputError: a folder is missing or empty, an image has no mask, or a mask differs in size from its image.
    """
    return usable({"all": _list_folder(Path(dataset_dir)).sections["train"]}, dataset_dir)["all"]


def divide(
    listing: Listing, dataset_dir: PathLike, csvfile: PathLike | None = None, train_share: float = 0.9, seed: int = 42
) -> dict[str, list[Candidate]]:
    """
    Divide a listing into ``train``, ``validation`` and ``test``. The arguments are those of :func:`make_datalist`.

    Pairs with problems are divided too. So every other pair stays in its part when a bad pair is repaired or skipped.

    Raises:
        InputError: the split cannot be read, does not match the images, or leaves too few images for training.
    """
    parts = dict(listing.sections)
    # sorted by name, so that the order of the CSV's rows does not change the training
    by_name = {candidate.name: candidate for candidate in sorted(parts["train"], key=lambda candidate: candidate.name)}
    if not parts["test"]:
        if csvfile is None or Path(dataset_dir).suffix.lower() == ".json":
            try:
                categories = split(by_name, train_share, seed)
            except InputError as error:
                raise InputError(f"{dataset_dir}: {error}") from error
        else:
            categories = read_split(csvfile)
            unknown = next((name for name in categories if name not in by_name), None)
            if unknown is not None:
                raise InputError(f"{csvfile}: '{unknown}' is not an image of {dataset_dir}; correct or remove this row")
        drawn = {part: [by_name[n] for n in by_name if categories.get(n) == part] for part in PARTS}
        parts.update(drawn if drawn["validation"] else {part: drawn[part] for part in ("train", "test")})
    count = len(parts["train"])
    if not parts["validation"] and count < FOLDS:
        raise InputError(
            f"{dataset_dir}: has {count} training images, but {FOLDS} folds need at least {FOLDS}; add some"
        )
    return parts


def make_datalist(
    dataset_dir: PathLike,
    csvfile: PathLike | None = None,
    train_share: float = 0.9,
    seed: int = 42,
    fold: int = 0,
    skip_bad: bool = False,
) -> dict[str, list[Pair]]:
    """
    Divide a dataset into training, validation and test images, after reading all files' headers.

    Args:
        dataset_dir: a folder with ``images/`` and ``masks/`` (see :func:`find_pairs`), or a MONAI or Decathlon
            datalist. A datalist is a ``.json`` file with the section ``training``, and optionally ``validation`` and
            ``test``.
        csvfile: CSV that says which images train, validate and test (see :func:`read_split`). Images that it does not
            name are left out. If it names no validation image, ``fold`` validates. None: draw the split from
            ``train_share`` and ``seed``.
        train_share: share of the images in the training part, between 0 and 1; one of its folds validates. The config's
            key is ``size``.
        seed: seed of the split, and of the five folds of the training images.
        fold: number of the fold that validates, 0 to 4.
        skip_bad: read the whole files, leave out the pairs that cannot be used, and log a warning for each.

    Returns:
        Lists of ``{"image": path, "label": path}`` under ``training``, ``validation`` and ``test``.

    Raises:
        InputError: a file cannot be used, or an argument is out of range. The message names it in one line.
    """
    if not 0 <= fold < FOLDS:
        raise InputError(f"fold is {fold}; give a number from 0 to {FOLDS - 1}")
    parts = divide(list_candidates(dataset_dir), dataset_dir, csvfile, train_share, seed)
    training, validation = parts["train"], parts["validation"]
    if not validation:
        folds = partition_dataset(training, num_partitions=FOLDS, shuffle=True, seed=seed)
        validation = folds.pop(fold)
        training = [candidate for part in folds for candidate in part]
    return usable({"training": training, "validation": validation, "test": parts["test"]}, dataset_dir, skip_bad)
