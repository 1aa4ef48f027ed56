"""Check a dataset before you spend hours training on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.utils import ensure_tuple
from tqdm import tqdm

from ..errors import InputError
from .datalist import divide, inspected
from .dataset_json import dataset_settings
from .images import files_by_stem
from .inspection import Finding, Pair, Problem, inspect_pairs, read_codes
from .instances import instances_dir, read_instances
from .labels import Labels
from .listing import Candidate, Listing, list_candidates
from .reading import PICTURE_SUFFIXES, is_volume, name_of, size_text

__all__ = ["DatasetCheck", "check_dataset", "require_classes"]

MOST = 5  # values that a row of the table lists at most
NAME_WIDTH = 14  # of the table's names, unless a class has a longer one
SHARE = 0.05  # by which the foreground of instances may differ from that of the mask


@dataclass
class DatasetCheck:
    """
    What a dataset holds, and its problems.

    Args:
        dataset: path of the folder or the datalist.
        parts: number of pairs in "train", "validation" and "test", or in "unsplit" if there is no valid split.
        sizes: number of images by size, "width x height" or "x x y x z". The most frequent size comes first.
        channels: number of images by number of channels, without alpha.
        depths: number of images by bits per channel.
        foreground: "min", "median" and "max" of the masks' shares of foreground, each between 0 and 1.
        classes: for each of several classes, "images", the number of images that have it, and, if there are any, "min",
            "median" and "max" of its share of these images.
        problems: the problems, sorted by image name.
    """

    dataset: str
    parts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)
    foreground: dict[str, float] = field(default_factory=dict)
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The problems that prevent training."""
        return [problem for problem in self.problems if problem.error]

    def count(self, kind: str) -> int:
        """Return the number of problems of one kind."""
        return sum(problem.kind == kind for problem in self.problems)

    def text(self) -> str:
        """Return a table of the contents, a line for each problem, and the number of problems."""

        def tally(numbers: dict[str, int]) -> str:
            listed = [f"{key} ({number})" for key, number in list(numbers.items())[:MOST]]
            return ", ".join(listed) + (f" and {len(numbers) - MOST} others" if len(numbers) > MOST else "")

        rows = {"pairs": str(sum(self.parts.values())), "split": tally(self.parts), "size": tally(self.sizes)}
        rows.update({"channels": tally(self.channels), "bits": tally(self.depths)})
        shares = "median {median:.1%}, from {min:.1%} to {max:.1%}"
        if self.foreground:
            rows["foreground"] = shares.format(**self.foreground)
        for name, of_class in self.classes.items():
            where = f"in {of_class['images']} of {sum(self.parts.values())} images"
            rows[f"  {name}"] = f"{shares.format(**of_class)}, {where}" if of_class["images"] else where
        rows.update({"duplicates": str(self.count("duplicate")), "in two parts": str(self.count("leak"))})
        width = max(NAME_WIDTH, *(len(name) + 2 for name in rows))
        lines = [f"{name:<{width}}{value}" for name, value in rows.items() if value] if self.parts else []
        lines += [f"{'error' if problem.error else 'warning'}: {problem.message}" for problem in self.problems]
        numbers = {"error": len(self.errors), "warning": len(self.problems) - len(self.errors)}
        return "\n".join([*lines, ", ".join(f"{n} {name}{'s' * (n != 1)}" for name, n in numbers.items())])

    def to_dict(self) -> dict:
        """Return the same contents as plain dictionaries and lists."""
        return {
            "dataset": self.dataset,
            "pairs": sum(self.parts.values()),
            "parts": self.parts,
            "sizes": self.sizes,
            "channels": self.channels,
            "depths": self.depths,
            "foreground": self.foreground,
            **({"classes": self.classes} if self.classes else {}),
            "duplicates": self.count("duplicate"),
            "leaks": self.count("leak"),
            "errors": len(self.errors),
            "warnings": len(self.problems) - len(self.errors),
            "problems": [vars(problem) for problem in self.problems],
        }


def check_dataset(
    dataset_dir: PathLike,
    csvfile: PathLike | None = None,
    train_share: float = 0.9,
    seed: int = 42,
    labels: Labels | None = None,
) -> DatasetCheck:
    """
    Read every image and mask that training would use, on all cores, and list what is there and what is wrong. Numbered
    instances of pictures with a single class are read, too.

    Problems do not raise an exception. They are in the result, even if the dataset does not exist. Nothing is written.

    10,000 pairs of 256 x 256 pixels take a minute (160 to 174 pairs per second) on two cores that also run a training.
    They need hardly more memory than 1,000 pairs: 431 MiB, and 336 MiB for each reading process (2026-11-22,
    ``benchmarks/check_rate.py``).

    Args:
        dataset_dir: as in :func:`dpsau2net_monai.data.make_datalist`.
        csvfile: as there.
        train_share: as there.
        seed: as there.
        labels: the classes, with which every mask is decoded. None: those of the dataset.

    Returns:
        The contents of the dataset and its problems.
    """
    check = DatasetCheck(str(dataset_dir))
    try:
        settings = dataset_settings(dataset_dir)
        given, labels = labels, labels or Labels(settings.get("labels"))
        listing = list_candidates(dataset_dir, labels)
    except InputError as error:
        check.problems.append(Problem(str(dataset_dir), "dataset", str(error), True))
        return check
    try:
        parts = divide(listing, dataset_dir, csvfile, train_share, seed)
    except InputError as error:
        check.problems.append(Problem(str(csvfile or dataset_dir), "split", str(error), True))
        parts = {"unsplit": [candidate for section in listing.sections.values() for candidate in section]}

    candidates = [candidate for part in parts.values() for candidate in part]
    part_of = [name for name, part in parts.items() for _ in part]
    pairs = [candidate.pair for candidate in candidates if candidate.problem is None]
    findings = inspected(candidates, inspect_pairs(pairs, labels))

    check.parts = {name: len(part) for name, part in parts.items() if part}
    check.sizes = _tally([size_text(finding.size) for finding in findings if finding.size])
    check.channels = _tally([str(finding.channels) for finding in findings if finding.channels])
    check.depths = _tally([finding.depth for finding in findings if finding.depth])
    shares = [finding.foreground for finding in findings if finding.foreground is not None]
    if shares:
        check.foreground = _summary(shares)
    if len(labels.names) > 1:
        check.classes = _classes(labels, findings)
    duplicates = _duplicates(candidates, part_of, findings)
    # who gives the labels need not add them to dataset.json
    of_files = [one for one in listing.problems if one.kind != "no labels" or given is None]
    problems = [(name_of(problem.file), [problem]) for problem in of_files]
    for index, (candidate, finding) in enumerate(zip(candidates, findings)):
        of_image = finding.problems + _wrong_channels(candidate.pair, finding, settings) + duplicates[index]
        problems.append((candidate.name, of_image))
    for _, of_one_image in sorted(problems, key=lambda item: item[0]):
        check.problems += of_one_image
    training = [finding for part, finding in zip(part_of, findings) if part in ("train", "unsplit")]
    if len(labels.names) == 1 and candidates:
        folder = Path(instances_dir(dataset_dir, {"training": [one.pair for one in candidates]}))
        check.problems += _instance_problems(folder, listing, candidates, findings)
    check.problems += _absent_classes(labels, training, dataset_dir)
    check.problems += _not_in_csv(listing, candidates, csvfile)
    return check


def require_classes(pairs: Sequence[Pair], labels: Labels) -> None:
    """
    Check that the training images have every class. Masks are read until each class has been seen, so that it takes a
    moment unless a class is rare.

    Args:
        pairs: the training images, as in :func:`dpsau2net_monai.data.make_datalist`.
        labels: the classes. Nothing is checked if any value over 0 is foreground.

    Raises:
        InputError: no image has a class, or a mask cannot be read or has a value of no class.
    """
    if labels.form == "foreground":
        return
    seen = np.zeros(len(labels.names), bool)
    for pair in pairs:
        seen |= labels.table[np.unique(read_codes(pair["label"], labels))].any(0)
        if seen.all():
            return
    absent = [name for name, found in zip(labels.names, seen) if not found]
    if pairs and absent:
        raise InputError(_absent_text(absent[0], len(pairs)))


def _absent_text(name: str, count: int) -> str:
    return f"none of the {count} training images has the class '{name}'; add one, or remove the class from the labels"


def _tally(values: Sequence[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _summary(shares: Sequence[float]) -> dict[str, float]:
    return {name: float(getattr(np, name)(shares)) for name in ("min", "median", "max")}


def _classes(labels: Labels, findings: Sequence[Finding]) -> dict[str, dict[str, float]]:
    """Return the number of images that have a class, and the summary of its share of these images, for each class."""
    classes = {}
    for index, name in enumerate(labels.names):
        shares = [finding.classes[index] for finding in findings if finding.classes and finding.classes[index] > 0]
        classes[name] = {"images": len(shares), **(_summary(shares) if shares else {})}
    return classes


def _absent_classes(labels: Labels, training: Sequence[Finding], dataset_dir: PathLike) -> list[Problem]:
    """Return a problem for each class that no training image has, if the masks have been decoded."""
    classes = [finding.classes for finding in training if finding.classes]
    absent = [name for name, share in zip(labels.names, np.sum(classes, axis=0)) if not share] if classes else []
    return [
        Problem(str(dataset_dir), "class", f"{dataset_dir}: {_absent_text(name, len(training))}", False)
        for name in absent
    ]


def _not_in_csv(listing: Listing, candidates: Sequence[Candidate], csvfile: PathLike | None) -> list[Problem]:
    """Return the problem that a CSV does not name all images."""
    images = [one for section in listing.sections.values() for one in section]
    used = {candidate.name for candidate in candidates}
    unused = sorted(one.name for one in images if one.name not in used)
    if csvfile is None or not unused:
        return []
    text = f"does not name {len(unused)} of {len(images)} images, such as '{unused[0]}', so they are left out"
    return [Problem(str(csvfile), "not in csv", f"{csvfile}: {text}; add them if they are to be used", False)]


def _instance_problems(
    folder: Path, listing: Listing, candidates: Sequence[Candidate], findings: Sequence[Finding]
) -> list[Problem]:
    """Return the problems of the numbered instances in ``folder``."""
    if not folder.is_dir():
        return []
    problems: list[Problem] = []
    without = []
    try:
        files = files_by_stem(folder, PICTURE_SUFFIXES)
    except InputError as error:
        return [Problem(str(folder), "instances", str(error), True)]
    images = [(candidate.pair["image"], finding) for candidate, finding in zip(candidates, findings)]
    pictures = [one for one in images if one[1].size and not is_volume(ensure_tuple(one[0])[0])]
    pictures.sort(key=lambda one: name_of(one[0]))
    for image, finding in tqdm(pictures, desc="check instances", unit="image", disable=None):
        stem = name_of(image)
        try:
            instances = read_instances(folder, image, finding.size or ())
        except InputError as error:
            problems.append(Problem(str(files[stem][-1]), "instances", str(error), True))
            continue
        if instances is None:
            without.append(stem)
            continue
        share = float((instances != 0).mean())
        if finding.foreground is not None and abs(share - finding.foreground) > SHARE:
            text = f"{share:.1%} of it is in instances, but {finding.foreground:.1%} of the mask is foreground"
            text = f"{files[stem][0]}: {text}; if they are of another image, correct one of them"
            problems.append(Problem(str(files[stem][0]), "instances", text, False))
    names = {name_of(one.pair["image"]) for section in listing.sections.values() for one in section}
    for stem in sorted(set(files) - names):
        text = f"{files[stem][0]}: has no image '{stem}'; the instances are ignored"
        problems.append(Problem(str(files[stem][0]), "no image", text, False))
    if without:
        text = f"has no instances of {len(without)} of {len(pictures)} images, such as '{without[0]}'"
        text = f"{folder}: {text}, so their masks are split; add them if you have them"
        problems.append(Problem(str(folder), "no instances", text, False))
    return problems


def _wrong_channels(pair: Pair, finding: Finding, settings: Mapping[str, Any]) -> list[Problem]:
    """Return the problem that a volume has other channels than ``dataset.json`` names."""
    path = ensure_tuple(pair["image"])[0]
    named = settings.get("in_channels", finding.channels)
    if finding.channels in (None, named) or not is_volume(path):
        return []
    text = f"{path}: has {finding.channels} channels, but dataset.json names {named}; correct one of them"
    return [Problem(path, "channels", text, True)]


def _duplicates(
    candidates: Sequence[Candidate], part_of: Sequence[str], findings: Sequence[Finding]
) -> dict[int, list[Problem]]:
    """Return a problem for each image that has the same content as an earlier one, by index."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for index, finding in enumerate(findings):
        if finding.image_digest:
            same[finding.image_digest].append(index)
    problems: dict[int, list[Problem]] = defaultdict(list)
    for indices in same.values():
        for position, index in enumerate(indices[1:], 1):
            earlier = indices[:position]
            other = next((i for i in earlier if part_of[i] != part_of[index]), earlier[0])
            path, other_path = (ensure_tuple(candidates[one].pair["image"])[0] for one in (index, other))
            mask = "" if findings[index].mask_digest == findings[other].mask_digest else " but another mask"
            text = f"{path}: has the same content as {other_path}{mask}"
            if part_of[index] == part_of[other]:
                problem = Problem(path, "duplicate", f"{text}; remove one of them", False)
            else:
                text += f"; it is in {part_of[index]} and the other in {part_of[other]}: put both in one, or remove one"
                problem = Problem(path, "leak", text, False)
            problems[index].append(problem)
    return problems
