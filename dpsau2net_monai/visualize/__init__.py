from .contours import as_pictures, draw_contours, stretch
from .palette import PREDICTION, TRUTH, hexadecimal
