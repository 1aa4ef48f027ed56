"""Render an evaluation as one page. The page loads no other file and needs no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..errors import one_line
from ..visualize import MERGED, PREDICTION, SPLIT, TRUTH, contour_colours, hexadecimal
from .charts import click_curve, dice_histogram, threshold_curve, training_curves
from .clicks import POOR, ClickedImage, click_table, gain, poor_images
from .pictures import NEAR, Pictures, Slices
from .statistics import Summary

__all__ = ["Example", "render_page"]

# the words of a metric's label that have their own spelling
WORDS = {"f1": "F1", "iou": "IoU", "hd95": "HD95", "ap": "AP", "ap50": "AP50", "ap75": "AP75"}
VOLUMES = {"true_volume": "ml", "predicted_volume": "ml", "volume_error": "ml"}
UNITS = {"hd95": "mm", "surface_distance": "mm", **VOLUMES}  # of volumes; the distances of pictures are in pixels
OF_CLASSES = ("dice", "iou", "hd95", "surface_distance", *VOLUMES)  # the columns of the table of classes, where known
MOST_CLASSES = 4  # for which the table of images has the Dice of each


class Example(NamedTuple):
    """An image of the report."""

    name: str
    metrics: Mapping[str, float]  # by name; "dice" is one of them; "dice_NAME" is that of a class, if there are several
    pictures: Pictures
    slices: Slices | None = None  # of a volume


def _label(metric: str, units: Mapping[str, str]) -> str:
    """Return a metric's label: ``HD95`` for ``hd95``, ``IoU, smoothed`` for ``iou_smoothed``."""
    label = " ".join(WORDS.get(word, word) for word in metric.split("_")).replace(" smoothed", ", smoothed")
    unit = f" ({units[metric]})" if metric in units else ""
    return label[:1].upper() + label[1:] + unit


def _decimals(values: Sequence[float]) -> int:
    """Return the number of decimals for a column: 3 for shares, 2 for pixels, 0 for counts."""
    finite = [value for value in values if math.isfinite(value)]
    if all(value == int(value) for value in finite):
        return 0
    return 3 if all(abs(value) <= 1 for value in finite) else 2


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"


def _summary_row(label: str, summary: Summary) -> list[str]:
    decimals = 3 if all(abs(value) <= 1 for value in summary if math.isfinite(value)) else 2
    mean, low, high, std, median = (_number(value, decimals) for value in summary)
    interval = f"{low} to {high}" if math.isfinite(summary.low) else "–"
    return [label, mean, interval, std, median]


def _columns(
    examples: Sequence[Example], classes: Sequence[str], units: Mapping[str, str]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return the columns of the table of images: metric, label, and for each image a value to sort by and a text."""
    of_classes = {f"{metric}_{name}" for metric in examples[0].metrics for name in classes}
    labels = {metric: _label(metric, units) for metric in examples[0].metrics if metric not in of_classes}
    if classes:
        for metric in VOLUMES:  # their means over the classes say little; the table of classes has them
            labels.pop(metric, None)
        if len(classes) <= MOST_CLASSES:
            labels |= {f"dice_{name}": f"Dice, {one_line(name)}" for name in classes}
    columns = []
    for metric, label in labels.items():
        values = [float(example.metrics[metric]) for example in examples]
        decimals = _decimals(values)
        # the value to sort by is empty if it is not finite
        cells = [(repr(value) if math.isfinite(value) else "", _number(value, decimals)) for value in values]
        columns.append((one_line(metric), label, cells))
    return columns


def _class_tables(
    examples: Sequence[Example], classes: Sequence[str], units: Mapping[str, str]
) -> tuple[list[str], list[list[str]], list[list[list[str]]]]:
    """
    Return the table of classes: the labels of its columns; for each class, mean and standard deviation over all images;
    and for each image, the rows with its own values.
    """
    known = [metric for metric in OF_CLASSES if classes and f"{metric}_{classes[0]}" in examples[0].metrics]
    values = np.array([[[e.metrics[f"{m}_{name}"] for m in known] for name in classes] for e in examples])
    decimals = [_decimals(values[..., i].ravel().tolist()) for i in range(len(known))]

    def rows(table: np.ndarray) -> list[list[str]]:
        return [[_number(value, places) for value, places in zip(row, decimals)] for row in table.tolist()]

    if not known:
        return [], [], []
    means, deviations = rows(values.mean(0)), rows(values.std(0))
    overall = [[f"{a} ± {b}" for a, b in zip(*pair)] for pair in zip(means, deviations)]
    return [_label(metric, units) for metric in known], overall, [rows(table) for table in values]


def render_page(
    title: str,
    facts: Mapping[str, str],
    summary: Mapping[str, Summary],
    examples: Sequence[Example],
    threshold: float,
    dice_by_threshold: Mapping[float, float],
    history: Sequence[Mapping[str, str]],
    classes: Sequence[str] = (),
    clicked: Sequence[ClickedImage] = (),
) -> str:
    """
    Render an evaluation as a page of HTML that contains all of its pictures and charts.

    Args:
        title: title of the page.
        facts: lines of the page's head, such as the weights and the date.
        summary: summary of each metric over all images.
        examples: the images, in any order. The page shows the image with the lowest Dice first.
        threshold: threshold of the probability that the predictions were made with.
        dice_by_threshold: mean Dice at this and other thresholds. Empty: the page has no such chart.
        history: rows of the training run's ``history.csv``. Empty: there is no such file.
        classes: names of the classes, if there are several.
        clicked: the images with a simulated annotator's clicks, if there are such. Those with steps are shown.

    Returns:
        The page, to be written as UTF-8.
    """
    ordered = sorted(examples, key=lambda e: (math.isnan(e.metrics["dice"]), e.metrics["dice"], e.name))
    units = UNITS if ordered[0].slices else {}
    columns = _columns(ordered, classes, units)
    class_labels, class_rows, class_rows_of_images = _class_tables(ordered, classes, units)
    charts = [("Number of images by Dice", dice_histogram([example.metrics["dice"] for example in ordered]))]
    if dice_by_threshold:
        charts.append(("Mean Dice by threshold of the probability", threshold_curve(dice_by_threshold, threshold)))
    if clicked:
        poor = poor_images(clicked)
        curves = click_curve([image.dice for image in clicked], [image.dice for image in poor], f"under {POOR:.2f}")
        charts.append(("Mean Dice by clicks", curves))
    if history:
        charts.append(("Training", training_curves(history)))
    shown = [metric for metric, _, _ in columns]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.jinja").render(
        title=one_line(title),
        facts={one_line(name): one_line(value) for name, value in facts.items()},
        summary=[_summary_row(_label(metric, units), row) for metric, row in summary.items() if metric in shown],
        charts=[(caption, Markup(svg)) for caption, svg in charts],
        has_history=bool(history),
        click_rows=click_table(clicked) if clicked else [],
        clicked=[
            image._replace(name=one_line(image.name))
            for image in sorted(clicked, key=gain, reverse=True)
            if image.steps
        ],
        click_names=[one_line(name) for name in ("the background", *(classes or ["the class"]))],
        columns=columns,
        classes=[one_line(name) for name in classes],
        class_labels=class_labels,
        class_rows=class_rows,
        class_rows_of_images=class_rows_of_images,
        colours=[tuple(map(hexadecimal, pair)) for pair in contour_colours(len(classes) or 1)],
        names=[one_line(example.name) for example in ordered],  # escapes what UTF-8 cannot encode
        pictures=[example.pictures._asdict() for example in ordered],
        slices=[_slices(example.slices) for example in ordered],
        click_colours=["#000000", *(hexadecimal(true) for true, _ in contour_colours(len(classes) or 1))],
        near=NEAR,
        missed_colour=hexadecimal(TRUTH),
        false_colour=hexadecimal(PREDICTION),
        merged_colour=hexadecimal(MERGED),
        split_colour=hexadecimal(SPLIT),
    )


def _slices(slices: Slices | None) -> dict[str, object] | None:
    return slices and {**slices._asdict(), "pictures": [pictures._asdict() for pictures in slices.pictures]}
