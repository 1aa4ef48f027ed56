from .contours import as_pictures, draw_contours, stretch
from .palette import PREDICTION, TRUTH, hexadecimal

__all__ = ["PREDICTION", "TRUTH", "as_pictures", "draw_contours", "hexadecimal", "stretch"]
