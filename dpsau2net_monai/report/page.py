"""The evaluation as one page that needs nothing beside it, neither files nor a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..errors import one_line
from .charts import dice_histogram, threshold_curve, training_curves
from .pictures import NEAR, Pictures
from .statistics import Summary

__all__ = ["Example", "render_page"]

# words that a capital at their head would not do for
WORDS = {"f1": "F1", "iou": "IoU", "hd95": "HD95", "ap": "AP", "ap50": "AP50", "ap75": "AP75"}


class Example(NamedTuple):
    """An image of the report: its name, its figures by metric, ``dice`` among them, and its pictures."""

    name: str
    figures: Mapping[str, float]
    pictures: Pictures


def _label(metric: str) -> str:
    label = " ".join(WORDS.get(word, word) for word in metric.split("_"))
    return label[:1].upper() + label[1:]


def _decimals(values: Sequence[float]) -> int:
    """Three for shares, two for pixels, none for counts."""
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
    Render an evaluation as a page of HTML that holds all it shows.

    Args:
        title: of the page.
        facts: what its head says, such as the weights and the date.
        summary: of each metric over all images.
        examples: the images, in any order; the page has the worst Dice first.
        threshold: of the probability, by which the predictions were made.
        dice_by_threshold: mean Dice at other thresholds too.
        history: rows of the ``history.csv`` of the run that the weights are of; empty: there is none.

    Returns:
        The page, to be written as UTF-8.
    """
    ordered = sorted(examples, key=lambda e: (math.isnan(e.figures["dice"]), e.figures["dice"], e.name))
    columns = []
    for metric in dict.fromkeys(metric for example in ordered for metric in example.figures):
        values = [float(example.figures.get(metric, math.nan)) for example in ordered]
        decimals = _decimals(values)
        # a cell has what is sorted by, empty where there is none, and what is read
        cells = [(repr(value) if math.isfinite(value) else "", _number(value, decimals)) for value in values]
        columns.append((metric, _label(metric), cells))
    charts = [
        ("How many images reach which Dice", dice_histogram([example.figures["dice"] for example in ordered])),
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
        names=[one_line(example.name) for example in ordered],  # what UTF-8 has no bytes for is escaped
        pictures=[example.pictures._asdict() for example in ordered],
        near=NEAR,
    )
