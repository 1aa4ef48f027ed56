"""The part of a report about the clicks of a simulated annotator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .pictures import Pictures

__all__ = ["POOR", "TARGETS", "ClickStep", "ClickedImage", "click_table", "clicks_to", "gain", "poor_images"]

TARGETS = (0.90, 0.95)  # Dice that an annotator clicks for
POOR = TARGETS[0]  # without clicks, an image below needs an annotator
COUNTS = (0, 1, 2, 3, 5, 10)  # of clicks, after which the table has the Dice


class ClickStep(NamedTuple):
    """
    An image after some clicks.

    Args:
        clicks: number of clicks.
        pictures: with the contours ``predicted`` and ``true``.
        points: the clicks in the picture: x and y in pixels of the pictures, and the code of the class. Those in other
            slices of a volume are left out.
    """

    clicks: int
    pictures: Pictures
    points: list[tuple[float, float, int]]


class ClickedImage(NamedTuple):
    """An image, its Dice after 0, 1, 2 ... clicks, and some of these steps as pictures."""

    name: str
    dice: list[float]
    steps: Sequence[ClickStep] = ()


def gain(image: ClickedImage) -> float:
    """Return what the clicks add to the Dice."""
    return image.dice[-1] - image.dice[0]


def clicks_to(dice: Sequence[float], target: float) -> int | None:
    """Return the number of clicks after which the Dice first reaches ``target``. None: it does not."""
    return next((clicks for clicks, value in enumerate(dice) if value >= target), None)


def poor_images(images: Sequence[ClickedImage]) -> list[ClickedImage]:
    """Return the images whose Dice without clicks is less than 0.90."""
    return [image for image in images if image.dice[0] < POOR]


def click_table(images: Sequence[ClickedImage]) -> list[tuple[str, list[str]]]:
    """
    Return the rows of the table of clicks: a label, and a text for all images and for the poor ones. The mean number of
    clicks to a Dice counts the largest number for the images that do not reach it, as in Sofiiuk et al., "f-BRS", 2020.
    """
    groups = [images, poor_images(images)]
    most = len(images[0].dice) - 1
    rows = []
    for count in sorted({*(count for count in COUNTS if count <= most), most}):
        of_groups = [[image.dice[count] for image in group] for group in groups]
        rows.append((f"Dice after {count} click{'s' * (count != 1)}", [_mean(values, 3) for values in of_groups]))
    for target in TARGETS:
        found = [[clicks_to(image.dice, target) for image in group] for group in groups]
        means = [_mean([most if count is None else count for count in counts], 2) for counts in found]
        rows.append((f"Clicks to a Dice of {target:.2f}, NoC@{target * 100:.0f}", means))
        rows.append((f"Images that do not reach {target:.2f}", [str(counts.count(None)) for counts in found]))
    return rows


def _mean(values: Sequence[float], decimals: int) -> str:
    return f"{np.mean(values):.{decimals}f}" if values else "–"
