"""Make the lists of images and masks for training, validation and test."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from monai.config import PathLike
from monai.data import partition_dataset

from ..errors import InputError
from .dataset_json import dataset_settings
from .inspection import Finding, Pair, inspect_headers, inspect_pairs, mixed_dimensions
from .labels import Labels
from .listing import Candidate, Listing, list_candidates, list_folder
from .reading import name_of
from .split import PARTS, read_split, require_seed, split

__all__ = ["find_pairs", "make_datalist"]

FOLDS = 5


def inspected(candidates: Sequence[Candidate], findings: Iterable[Finding]) -> list[Finding]:
    """
    Return a finding for each candidate.

    Args:
        candidates: images and their masks.
        findings: those of the candidates without a problem, in their order.
    """
    of_pairs = iter(findings)
    found = [Finding([one.problem]) if one.problem else next(of_pairs) for one in candidates]
    for index, problem in mixed_dimensions([one.pair for one in candidates], found).items():
        found[index].problems.append(problem)
    return found


def usable(
    parts: Mapping[str, Sequence[Candidate]],
    dataset_dir: PathLike,
    skip_bad: bool = False,
    labels: Labels | None = None,
) -> dict[str, list[Pair]]:
    """
    Read the files' headers and return the pairs of each part.

    With ``skip_bad``, read the whole files instead, leave out pairs that cannot be used, and log a warning for each.

    Raises:
        InputError: a pair cannot be used, or with ``skip_bad``, no pair of a part can be used.
    """
    candidates = [candidate for part in parts.values() for candidate in part]
    pairs = [candidate.pair for candidate in candidates if candidate.problem is None]
    findings = inspected(candidates, inspect_pairs(pairs, labels) if skip_bad else map(inspect_headers, pairs))
    errors = [[problem for problem in finding.problems if problem.error] for finding in findings]
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
    Pair the images of a folder with their masks.

    The folder has one of these layouts:

    - ``images/NAME.EXT`` and ``masks/NAME.EXT``. The extensions may differ.
    - ``images/NAME.EXT`` and ``masks/CLASS/NAME.EXT``, with a mask for each class.
    - a ``dataset.json`` of the Decathlon, which lists images and labels, or of nnU-Net, with
      ``imagesTr/NAME_0000.EXT`` and ``labelsTr/NAME.EXT``.

    Volumes ``NAME_0000.nii.gz``, ``NAME_0001.nii.gz`` are the channels of one image ``NAME``.

    Returns:
        A list of ``{"image": path, "label": path}``, sorted by name. A path is a list of paths if the image has a file
        for each channel, or if each class has a mask.

    Raises:
        InputError: a folder is missing or empty, an image has no mask, or a mask differs in size from its image.
    """
    candidates = list_folder(Path(dataset_dir)).sections["train"]
    return usable({"all": sorted(candidates, key=lambda candidate: candidate.name)}, dataset_dir)["all"]


def _by_name(listing: Listing, dataset_dir: PathLike) -> dict[str, Candidate]:
    """Return all images of a listing by the names that a CSV has for them."""
    is_datalist = Path(dataset_dir).suffix.lower() == ".json"  # its images have paths instead of names
    images: dict[str, Candidate] = {}
    for candidate in (one for section in listing.sections.values() for one in section):
        name = name_of(candidate.pair["image"]) if is_datalist else candidate.name
        image, other = (one.pair["image"] for one in (candidate, images.setdefault(name, candidate)))
        if image != other:
            text = f"{image} and {other} have one name, so a CSV cannot tell them apart"
            raise InputError(f"{dataset_dir}: {text}; rename one, or leave out csvfile")
    return images


def divide(
    listing: Listing, dataset_dir: PathLike, csvfile: PathLike | None = None, train_share: float = 0.9, seed: int = 42
) -> dict[str, list[Candidate]]:
    """
    Divide a listing into ``train``, ``validation`` and ``test``. The arguments are those of :func:`make_datalist`.

    Pairs with problems are divided too. So every other pair stays in its part when a bad pair is repaired or skipped.

    Raises:
        InputError: the seed is out of range, or the split cannot be read, does not match the images, or leaves too few
            images for training.
    """
    require_seed(seed)
    parts = dict(listing.sections)
    # sorted by name, so that the order of the CSV's rows does not change the training
    if csvfile is not None:
        by_name = _by_name(listing, dataset_dir)
        categories = read_split(csvfile, by_name)
        unknown = next((name for name in categories if name not in by_name), None)
        if unknown is not None:
            raise InputError(f"{csvfile}: '{unknown}' is not an image of {dataset_dir}; correct or remove this row")
        parts = {part: [by_name[name] for name in sorted(by_name) if categories.get(name) == part] for part in PARTS}
    elif not parts["test"]:
        by_name = {candidate.name: candidate for candidate in parts["train"]}
        try:
            categories = split(by_name, train_share, seed)
        except InputError as error:
            raise InputError(f"{dataset_dir}: {error}") from error
        for part in ("train", "test"):
            parts[part] = [by_name[name] for name in sorted(by_name) if categories[name] == part]
    count = len(parts["train"])
    if not parts["validation"] and count < FOLDS:
        raise InputError(
            f"{csvfile or dataset_dir}: has {count} training images, but {FOLDS} folds need at least {FOLDS}; add some"
        )
    return parts


def make_datalist(
    dataset_dir: PathLike,
    csvfile: PathLike | None = None,
    train_share: float = 0.9,
    seed: int = 42,
    fold: int = 0,
    skip_bad: bool = False,
    labels: Labels | None = None,
) -> dict[str, list[Pair]]:
    """
    Divide a dataset into training, validation and test images, after reading all files' headers.

    Args:
        dataset_dir: a folder (see :func:`find_pairs`), or a MONAI or Decathlon datalist. A datalist is a ``.json`` file
            with the section ``training``, and optionally ``validation`` and ``test``.
        csvfile: CSV that says which images train, validate and test (see :func:`read_split`). Images that it does not
            name are left out. If it names no validation image, ``fold`` validates. It overrides the sections of a
            datalist. None: take these sections, and draw what they lack from ``train_share`` and ``seed``.
        train_share: share of the images in the training part, between 0 and 1; one of its folds validates. The config's
            key is ``size``.
        seed: seed of the split, and of the five folds of the training images.
        fold: number of the fold that validates, 0 to 4.
        skip_bad: read the whole files, leave out the pairs that cannot be used, and log a warning for each.
        labels: the classes. They give the order of the masks in ``masks/CLASS``. None: those of the dataset.

    Returns:
        Lists of ``{"image": path, "label": path}`` under ``training``, ``validation`` and ``test``. A path is a list of
        paths if the image has a file for each channel, or if each class has a mask.

    Raises:
        InputError: a file cannot be used, or an argument is out of range. The message names it in one line.
    """
    if not isinstance(fold, int) or fold not in range(FOLDS):
        raise InputError(f"fold is {fold!r}; give a whole number from 0 to {FOLDS - 1}")
    labels = labels or Labels(dataset_settings(dataset_dir).get("labels"))
    parts = divide(list_candidates(dataset_dir, labels), dataset_dir, csvfile, train_share, seed)
    training, validation = parts["train"], parts["validation"]
    if not validation:
        folds = partition_dataset(training, num_partitions=FOLDS, shuffle=True, seed=seed)
        validation = folds.pop(fold)
        training = [candidate for part in folds for candidate in part]
    named = {"training": training, "validation": validation, "test": parts["test"]}
    return usable(named, dataset_dir, skip_bad, labels)
