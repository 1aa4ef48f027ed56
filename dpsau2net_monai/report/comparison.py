"""Compare two evaluations of the same images."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from monai.config import PathLike

from ..errors import InputError
from .statistics import paired_difference

__all__ = ["compare_evaluations"]

Metrics = dict[str, dict[str, float]]  # by image and by the metric's name


def _read(folder: PathLike) -> Metrics:
    path = Path(folder) / "images.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a folder that `evaluating` wrote to (its output_dir)")
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
        metrics = {row["image"]: {name: float(value) for name, value in row.items() if name != "image"} for row in rows}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: is not a table that `evaluating` wrote; evaluate again") from error
    if not metrics:
        raise InputError(f"{path}: has no images; evaluate again")
    if "dice" not in next(iter(metrics.values())):
        raise InputError(f"{path}: has no column 'dice'; evaluate again")
    if len(metrics) < len(rows):
        name = Counter(row["image"] for row in rows).most_common(1)[0][0]
        raise InputError(f"{path}: has two images '{name}', so they cannot be paired; rename one and evaluate again")
    return metrics


def compare_evaluations(first_dir: PathLike, second_dir: PathLike) -> str:
    """
    Compare two evaluations of the same images, image by image.

    Args:
        first_dir: folder with the ``images.csv`` of an evaluation.
        second_dir: folder of another evaluation.

    Returns:
        Two tables. The first has a row for each metric that both evaluations have: both means, the mean of the paired
        difference second - first with its bootstrap 95 % confidence interval, and the p-value of Wilcoxon's signed-rank
        test. The second has the ten images whose Dice differs most.

    Raises:
        InputError: a folder has no evaluation, the images differ, or two have one name.
    """
    first, second = _read(first_dir), _read(second_dir)
    for here, there, folder in ((first, second, second_dir), (second, first, first_dir)):
        missing = sorted(set(here) - set(there))
        if missing:
            raise InputError(
                f"{folder}: has no metrics of '{missing[0]}' ({len(missing)} images differ); "
                "evaluate both with the same dataset_dir, split and part"
            )
    names = [name for name in next(iter(first.values())) if name in next(iter(second.values()))]

    width = max(len("metric"), *map(len, names))
    lines = [
        f"A: {first_dir}",
        f"B: {second_dir}",
        f"{len(first)} images; p is the p-value of Wilcoxon's signed-rank test",
        "",
        f"{'metric':{width}}  {'mean of A':>10}  {'mean of B':>10}  {'B - A':>9}  {'95 % interval':>21}  {'p':>10}",
    ]
    for name in names:
        values = [[metrics[image][name] for image in first] for metrics in (first, second)]
        means = [sum(column) / len(column) for column in values]
        difference = paired_difference(*values)
        interval = f"{difference.low:+.4f} to {difference.high:+.4f}"
        lines.append(
            f"{name:{width}}  {means[0]:10.4f}  {means[1]:10.4f}  {difference.mean:+9.4f}  {interval:>21}  "
            f"{difference.p:10.2g}"
        )
    dice = {image: (first[image]["dice"], second[image]["dice"]) for image in first}
    lines += ["", "Where Dice differs most:", f"{'A':>7}  {'B':>7}  {'B - A':>7}  image"]
    for image, (a, b) in sorted(dice.items(), key=lambda item: (-abs(item[1][1] - item[1][0]), item[0]))[:10]:
        lines.append(f"{a:7.4f}  {b:7.4f}  {b - a:+7.4f}  {image}")
    return "\n".join(lines)
