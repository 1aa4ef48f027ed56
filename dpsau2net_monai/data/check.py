"""Check a dataset before you spend hours training on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from monai.config import PathLike

from ..errors import InputError
from .datalist import Candidate, divide, list_candidates
from .inspection import Finding, Problem, inspect_pairs
from .reading import name_of, size_text

__all__ = ["DatasetCheck", "check_dataset"]

MOST = 5  # values that a row of the table lists at most


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
        problems: the problems, sorted by image name.
    """

    dataset: str
    parts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)
    foreground: dict[str, float] = field(default_factory=dict)
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
        if self.foreground:
            rows["foreground"] = "median {median:.1%}, from {min:.1%} to {max:.1%}".format(**self.foreground)
        rows.update({"duplicates": str(self.count("duplicate")), "in two parts": str(self.count("leak"))})
        lines = [f"{name:<14}{value}" for name, value in rows.items() if value] if self.parts else []
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
            "duplicates": self.count("duplicate"),
            "leaks": self.count("leak"),
            "errors": len(self.errors),
            "warnings": len(self.problems) - len(self.errors),
            "problems": [vars(problem) for problem in self.problems],
        }


def check_dataset(
    dataset_dir: PathLike, csvfile: PathLike | None = None, train_share: float = 0.9, seed: int = 42
) -> DatasetCheck:
    """
    Read every image and mask that training would use, on all cores, and list what is there and what is wrong.

    Problems do not raise an exception. They are in the result, even if the dataset does not exist. Nothing is written.

    10,000 pairs of 256 x 256 pixels take a minute (160 to 174 pairs per second) on two cores that also run a training.
    They need hardly more memory than 1,000 pairs: 431 MiB, and 336 MiB for each reading process (2026-11-22,
    ``benchmarks/check_rate.py``).

    Args:
        dataset_dir: as in :func:`dpsau2net_monai.data.make_datalist`.
        csvfile: as there.
        train_share: as there.
        seed: as there.

    Returns:
        The contents of the dataset and its problems.
    """
    check = DatasetCheck(str(dataset_dir))
    try:
        listing = list_candidates(dataset_dir)
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
    inspected = iter(inspect_pairs([candidate.pair for candidate in candidates if candidate.problem is None]))
    findings = [Finding([candidate.problem]) if candidate.problem else next(inspected) for candidate in candidates]

    check.parts = {name: len(part) for name, part in parts.items() if part}
    check.sizes = _tally([size_text(finding.size) for finding in findings if finding.size])
    check.channels = _tally([str(finding.channels) for finding in findings if finding.channels])
    check.depths = _tally([finding.depth for finding in findings if finding.depth])
    shares = [finding.foreground for finding in findings if finding.foreground is not None]
    if shares:
        check.foreground = {name: float(getattr(np, name)(shares)) for name in ("min", "median", "max")}
    duplicates = _duplicates(candidates, part_of, findings)
    problems = [(name_of(stray.file), [stray]) for stray in listing.strays]
    for index, (candidate, finding) in enumerate(zip(candidates, findings)):
        problems.append((candidate.name, finding.problems + duplicates[index]))
    for _, of_one_image in sorted(problems, key=lambda item: item[0]):
        check.problems += of_one_image
    return check


def _tally(values: Sequence[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


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
            path, other_path = candidates[index].pair["image"], candidates[other].pair["image"]
            mask = "" if findings[index].mask_digest == findings[other].mask_digest else " but another mask"
            text = f"{path}: has the same content as {other_path}{mask}"
            if part_of[index] == part_of[other]:
                problem = Problem(path, "duplicate", f"{text}; remove one of them", False)
            else:
                text += f"; it is in {part_of[index]} and the other in {part_of[other]}: put both in one, or remove one"
                problem = Problem(path, "leak", text, False)
            problems[index].append(problem)
    return problems
