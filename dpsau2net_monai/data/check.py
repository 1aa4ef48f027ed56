"""The check of a dataset before hours are spent on it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from .datalist import Candidate, divide, list_candidates, name_of
from .inspection import Finding, Problem, inspect_pairs

__all__ = ["CheckReport", "check_dataset"]

MOST = 5  # of the different sizes, so many are listed


@dataclass
class CheckReport:
    """
    What a dataset holds, and what is wrong with it.

    Args:
        dataset: its folder or datalist.
        parts: number of pairs that train, validate and test; under "unsplit" where there is no split.
        sizes: number of images by size, "width x height" or "x x y x z", the most frequent first.
        channels: number of images by their number of channels, without alpha.
        depths: number of images by bits a channel.
        foreground: "min", "median" and "max" of the masks' shares of foreground.
        problems: what is wrong, sorted by the images' names.
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
        """What cannot be trained on."""
        return [problem for problem in self.problems if problem.error]

    def count(self, kind: str) -> int:
        """Number of problems of a kind."""
        return sum(problem.kind == kind for problem in self.problems)

    def text(self) -> str:
        """The table of what there is, a line for each problem, and their number."""

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
        """The same as plain lists and dictionaries."""
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
    dataset_dir: str | os.PathLike, csvfile: str | os.PathLike | None = None, size: float = 0.9, seed: int = 42
) -> CheckReport:
    """
    Read every image and mask that training would take, on all cores, and tell what is there and what is wrong.

    What is wrong is no exception but stands in the report; so does a dataset that is not there at all. 10,000 pairs of
    256 x 256 take a minute (160 to 174 pairs a second) on two cores that a training shares, and hardly more memory than
    1,000: 431 MiB, and 336 MiB for each reading process (2026-11-22, ``benchmarks/check_rate.py``).

    Args:
        dataset_dir, csvfile, size, seed: as :func:`dpsau2net_monai.data.datalist` takes them.

    Returns:
        The report; nothing is written.
    """
    report = CheckReport(str(dataset_dir))
    try:
        listing = list_candidates(dataset_dir)
    except InputError as error:
        report.problems.append(Problem(str(dataset_dir), "dataset", str(error), True))
        return report
    try:
        parts = divide(listing, dataset_dir, csvfile, size, seed)
    except InputError as error:
        report.problems.append(Problem(str(csvfile or dataset_dir), "split", str(error), True))
        parts = {"unsplit": [candidate for section in listing.sections.values() for candidate in section]}

    candidates = [candidate for part in parts.values() for candidate in part]
    part_of = [name for name, part in parts.items() for _ in part]
    checked = iter(inspect_pairs([candidate.pair for candidate in candidates if candidate.problem is None]))
    findings = [Finding([candidate.problem]) if candidate.problem else next(checked) for candidate in candidates]

    report.parts = {name: len(part) for name, part in parts.items() if part}
    report.sizes = _tally([" x ".join(map(str, finding.size)) for finding in findings if finding.size])
    report.channels = _tally([str(finding.channels) for finding in findings if finding.channels])
    report.depths = _tally([finding.depth for finding in findings if finding.depth])
    shares = [finding.foreground for finding in findings if finding.foreground is not None]
    if shares:
        report.foreground = {name: float(getattr(np, name)(shares)) for name in ("min", "median", "max")}
    twins = _duplicates(candidates, part_of, findings)
    problems = [(name_of(stray.file), [stray]) for stray in listing.strays]
    for index, (candidate, finding) in enumerate(zip(candidates, findings)):
        problems.append((candidate.name, finding.problems + twins[index]))
    for _, of_one in sorted(problems, key=lambda item: item[0]):
        report.problems += of_one
    return report


def _tally(values: Sequence[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _duplicates(
    candidates: Sequence[Candidate], part_of: Sequence[str], findings: Sequence[Finding]
) -> dict[int, list[Problem]]:
    """What is wrong with the images of the same content, by index; the first of each has no blame."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for index, finding in enumerate(findings):
        if finding.image_digest:
            same[finding.image_digest].append(index)
    problems: dict[int, list[Problem]] = defaultdict(list)
    for indices in same.values():
        for position, index in enumerate(indices[1:], 1):
            earlier = indices[:position]
            other = next((i for i in earlier if part_of[i] != part_of[index]), earlier[0])
            path, twin = candidates[index].pair["image"], candidates[other].pair["image"]
            mask = "" if findings[index].mask_digest == findings[other].mask_digest else ", with another mask"
            text = f"{path}: has the same content as {twin}{mask}"
            if part_of[index] == part_of[other]:
                problem = Problem(path, "duplicate", f"{text}; take one of them out", False)
            else:
                text += f", but is in {part_of[index]} and that in {part_of[other]}; keep both in one, or take one out"
                problem = Problem(path, "leak", text, False)
            problems[index].append(problem)
    return problems
