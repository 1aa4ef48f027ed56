"""Render an evaluation as one page. The page loads no other file and needs no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..errors import one_line
from ..visualize import PREDICTION, TRUTH, hexadecimal
from .charts import dice_histogram, threshold_curve, training_curves
from .pictures import NEAR, Pictures
from .statistics import Summary

__all__ = ["Example", "render_page"]

# the words of a metric's label that have their own spelling
WORDS = {"f1": "F1", "iou": "IoU", "hd95": "HD95", "ap": "AP", "ap50": "AP50", "ap75": "AP75"}


class Example(NamedTuple):
    """An image of the report."""

    name: str
    metrics: Mapping[str, float]  # by name; "dice" is one of them
    pictures: Pictures


def _label(metric: str) -> str:
    """Return a metric's label: ``HD95`` for ``hd95``, ``IoU, smoothed`` for ``iou_smoothed``."""
    label = " ".join(WORDS.get(word, word) for word in metric.split("_")).replace(" smoothed", ", smoothed")
    return label[:1].upper() + label[1:]


def _decimals(values: Sequence[float]) -> int:
    """Return the number of decimals for a column: 3 for shares, 2 for pixels, 0 for counts."""
    finite = [value for value in values if math.isfinite(value)]
    if all(value == int(value) for value in finite):
        return 0
    return 3 if all(abs(value) <= 1 for value in finite) else 2


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"


def _summary_row(metric: str, summary: Summary) -> list[str]:
    decimals = 3 if all(abs(value) <= 1 for value in summary if math.isfinite(value)) else 2
    mean, low, high, std, median = (_number(value, decimals) for value in summary)
    interval = f"{low} to {high}" if math.isfinite(summary.low) else "–"
    return [_label(metric), mean, interval, std, median]


def render_page(
    title: str,
    facts: Mapping[str, str],
    summary: Mapping[str, Summary],
    examples: Sequence[Example],
    threshold: float,
    dice_by_threshold: Mapping[float, float],
    history: Sequence[Mapping[str, str]],
) -> str:
    """
    Render an evaluation as a page of HTML that contains all of its pictures and charts.

    Args:
        title: title of the page.
        facts: lines of the page's head, such as the weights and the date.
        summary: summary of each metric over all images.
        examples: the images, in any order. The page shows the image with the lowest Dice first.
        threshold: threshold of the probability that the predictions were made with.
        dice_by_threshold: mean Dice at this and other thresholds.
        history: rows of the training run's ``history.csv``. Empty: there is no such file.

    Returns:
        The page, to be written as UTF-8.
    """
    ordered = sorted(examples, key=lambda e: (math.isnan(e.metrics["dice"]), e.metrics["dice"], e.name))
    columns = []
    for metric in dict.fromkeys(metric for example in ordered for metric in example.metrics):
        values = [float(example.metrics.get(metric, math.nan)) for example in ordered]
        decimals = _decimals(values)
        # each cell has a value to sort by, which is empty if it is not finite, and a text
        cells = [(repr(value) if math.isfinite(value) else "", _number(value, decimals)) for value in values]
        columns.append((metric, _label(metric), cells))
    charts = [
        ("Number of images by Dice", dice_histogram([example.metrics["dice"] for example in ordered])),
        ("Mean Dice by threshold of the probability", threshold_curve(dice_by_threshold, threshold)),
    ]
    if history:
        charts.append(("Training", training_curves(history)))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.jinja").render(
        title=one_line(title),
        facts={one_line(name): one_line(value) for name, value in facts.items()},
        summary=[_summary_row(metric, row) for metric, row in summary.items()],
        charts=[(caption, Markup(svg)) for caption, svg in charts],
        columns=columns,
        names=[one_line(example.name) for example in ordered],  # escapes what UTF-8 cannot encode
        pictures=[example.pictures._asdict() for example in ordered],
        near=NEAR,
        missed_colour=hexadecimal(TRUTH),
        false_colour=hexadecimal(PREDICTION),
    )
