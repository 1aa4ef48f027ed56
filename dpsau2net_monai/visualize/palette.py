"""
Colours. Those of Okabe and Ito come first: people with any kind of colour blindness can tell them apart. Those of
ColorBrewer's Set3 follow.
"""

from __future__ import annotations

from matplotlib import colormaps

__all__ = [
    "BLUE", "GREEN", "MERGED", "ORANGE", "PREDICTION", "SKY_BLUE", "SPLIT", "TRUTH", "VERMILION", "class_colours",
    "contour_colours", "hexadecimal",
]  # fmt: skip

Colour = tuple[int, int, int]  # red, green and blue

ORANGE = (230, 159, 0)
SKY_BLUE = (86, 180, 233)
GREEN = (0, 158, 115)
YELLOW = (240, 228, 66)
BLUE = (0, 114, 178)
VERMILION = (213, 94, 0)
PURPLE = (204, 121, 167)

# the contours of the true and of the predicted mask of a single class, in overlays and in the report
TRUTH, PREDICTION = ORANGE, SKY_BLUE
MERGED, SPLIT = PURPLE, GREEN  # instances, in the report


def class_colours(count: int) -> list[Colour]:
    """Return a colour for each of ``count`` classes. The colours repeat after 19 classes."""
    colours: list[Colour] = [ORANGE, SKY_BLUE, GREEN, YELLOW, VERMILION, PURPLE, BLUE]
    for red, green, blue, _ in colormaps["Set3"](range(12), bytes=True).tolist():
        colours.append((red, green, blue))
    return [colours[i % len(colours)] for i in range(count)]


def contour_colours(count: int) -> list[tuple[Colour, Colour]]:
    """
    Return the colours of the true and of the predicted contour for each of ``count`` classes. They are equal where
    there are several classes, as then the colour says which class it is.
    """
    return [(TRUTH, PREDICTION)] if count == 1 else [(colour, colour) for colour in class_colours(count)]


def hexadecimal(colour: Colour) -> str:
    """Return a colour in the notation of HTML and matplotlib, such as ``#e69f00``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
