from .contours import draw_class_contours, draw_contours, stretch
from .palette import MERGED, PREDICTION, SPLIT, TRUTH, class_colours, contour_colours, hexadecimal
from .pictures import as_pictures
from .volume import Volume

__all__ = [
    "MERGED",
    "PREDICTION",
    "SPLIT",
    "TRUTH",
    "Volume",
    "as_pictures",
    "class_colours",
    "contour_colours",
    "draw_class_contours",
    "draw_contours",
    "hexadecimal",
    "stretch",
]
