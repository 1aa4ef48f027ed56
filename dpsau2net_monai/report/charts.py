"""Charts as SVG for a page. They take their text colour and font from the page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..visualize import palette

__all__ = ["click_curve", "dice_histogram", "threshold_curve", "training_curves"]

BLUE, VERMILION, GREEN = map(palette.hexadecimal, (palette.BLUE, palette.VERMILION, palette.GREEN))
TEXT = "#010203"  # is replaced by currentColor, which matplotlib cannot write
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    **{f"{part}.color": TEXT for part in ("text", "xtick", "ytick")},
    **{f"axes.{part}color": TEXT for part in ("label", "edge")},
}


def _svg(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(TEXT, "currentColor")
    # matplotlib's style would apply to every element of the page
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    # make the ids unique in a page with several charts
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)


def _figure() -> Figure:
    return Figure((5.2, 3.4), layout="constrained")


def _grid(axes: Axes) -> None:
    axes.grid(color=TEXT, alpha=0.15, linewidth=0.8)
    axes.set_axisbelow(True)


def dice_histogram(dice: Sequence[float]) -> str:
    """
    Draw a histogram of the Dice of all images.

    Args:
        dice: Dice of each image.

    Returns:
        SVG with the number of images in 20 bins from 0 to 1, and with the mean and median.
    """
    with matplotlib.rc_context(STYLE):
        figure = _figure()
        axes = figure.subplots()
        _grid(axes)
        axes.hist(np.clip(dice, 0, 1), np.linspace(0, 1, 21).tolist(), color=BLUE, alpha=0.75, rwidth=0.92)
        for name, value, colour, style in (
            ("mean", float(np.mean(dice)), VERMILION, "--"),
            ("median", float(np.median(dice)), TEXT, ":"),
        ):
            axes.axvline(value, color=colour, linestyle=style, label=f"{name} {value:.3f}")
        axes.set(xlim=(0, 1), xlabel="Dice", ylabel="images")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        figure.legend(loc="outside upper left", ncols=2)
    return _svg(figure, "histogram")


def threshold_curve(dice_by_threshold: Mapping[float, float], threshold: float) -> str:
    """
    Draw the mean Dice against the threshold of the probability.

    Args:
        dice_by_threshold: mean Dice at each threshold.
        threshold: threshold of the evaluation.

    Returns:
        SVG of the curve, with a line at ``threshold``.
    """
    thresholds = sorted(dice_by_threshold)
    dice = [dice_by_threshold[value] for value in thresholds]
    with matplotlib.rc_context(STYLE):
        figure = _figure()
        axes = figure.subplots()
        _grid(axes)
        axes.plot(thresholds, dice, color=BLUE, marker="o", markersize=4, label="mean Dice")
        axes.axvline(threshold, color=VERMILION, linestyle="--", label=f"threshold {threshold:g}")
        axes.set(xlim=(0, 1), xlabel="threshold", ylabel="mean Dice")
        axes.margins(y=0.15)
        figure.legend(loc="outside upper left", ncols=2)
    return _svg(figure, "threshold")


def click_curve(every: Sequence[Sequence[float]], poor: Sequence[Sequence[float]], poor_label: str) -> str:
    """
    Draw the mean Dice against the number of clicks.

    Args:
        every: Dice of each image after 0, 1, 2 ... clicks.
        poor: the same of the images that need clicks most. Empty: there are none.
        poor_label: their name in the legend.

    Returns:
        SVG of the curves.
    """
    with matplotlib.rc_context(STYLE):
        figure = _figure()
        axes = figure.subplots()
        _grid(axes)
        for dice, label, colour, style in (
            (every, f"all images ({len(every)})", BLUE, "-"),
            (poor, f"{poor_label} ({len(poor)})", VERMILION, "--"),
        ):
            if dice:
                axes.plot(np.mean(dice, 0), color=colour, linestyle=style, marker="o", markersize=4, label=label)
        axes.set(xlabel="clicks", ylabel="mean Dice")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.margins(y=0.15)
        figure.legend(loc="outside upper left", ncols=2)
    return _svg(figure, "clicks")


def _column(history: Sequence[Mapping[str, str]], name: str) -> tuple[list[float], list[float]]:
    """Return the epochs and values of a column, without the rows that have no value."""
    values = [(float(row["epoch"]), float(row.get(name) or "nan")) for row in history]
    values = [(epoch, value) for epoch, value in values if math.isfinite(value)]
    return [epoch for epoch, _ in values], [value for _, value in values]


def training_curves(history: Sequence[Mapping[str, str]]) -> str:
    """
    Draw training loss, validation Dice and learning rate by epoch.

    Args:
        history: rows of a run's ``history.csv`` with the columns ``epoch`` and, if they exist, ``train_loss``,
            ``val_mean_dice`` and ``learning_rate``.

    Returns:
        SVG of the curves.
    """
    curves = (
        ("train_loss", "training loss", BLUE, "-", ""),
        ("val_mean_dice", "validation Dice", VERMILION, "--", "o"),
        ("learning_rate", "learning rate", GREEN, ":", ""),
    )
    with matplotlib.rc_context(STYLE):
        figure = _figure()
        loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        dice = loss.twinx()
        dice.spines["right"].set_visible(True)
        lines = []
        for axes, (column, label, colour, style, marker) in zip((loss, dice, rate), curves):
            epochs, values = _column(history, column)
            if len(epochs) == 1:
                marker = "o"  # a line of a single point is invisible
            lines += axes.plot(epochs, values, color=colour, linestyle=style, marker=marker, markersize=4, label=label)
        _grid(loss)
        _grid(rate)
        loss.set_ylabel("loss")
        dice.set_ylabel("Dice")
        rate.set(ylabel="rate", xlabel="epoch")
        rate.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        rate.yaxis.set_major_locator(MaxNLocator(2))
        rate.yaxis.set_major_formatter("{x:g}")
        figure.legend(handles=lines, loc="outside upper left", ncols=3, handlelength=2, columnspacing=1.2)
    return _svg(figure, "training")
