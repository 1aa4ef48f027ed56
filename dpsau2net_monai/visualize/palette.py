"""The palette of Okabe and Ito. People with any kind of colour blindness can tell its colours apart."""

from __future__ import annotations

__all__ = ["BLUE", "GREEN", "ORANGE", "PREDICTION", "SKY_BLUE", "TRUTH", "VERMILION", "hexadecimal"]

# red, green and blue
ORANGE = (230, 159, 0)
SKY_BLUE = (86, 180, 233)
GREEN = (0, 158, 115)
BLUE = (0, 114, 178)
VERMILION = (213, 94, 0)

# the contours of the true and of the predicted mask, in overlays and in the report
TRUTH, PREDICTION = ORANGE, SKY_BLUE


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """Return a colour in the notation of HTML and matplotlib, such as ``#e69f00``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
