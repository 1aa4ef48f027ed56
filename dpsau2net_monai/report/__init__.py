from .clicks import TARGETS, ClickedImage, ClickStep, clicks_to, gain
from .comparison import compare_evaluations
from .page import Example, render_page
from .pictures import Pictures, Slices, draw_pictures, draw_slices
from .statistics import Difference, Summary, paired_difference, summarise

__all__ = [
    "TARGETS",
    "ClickStep",
    "ClickedImage",
    "Difference",
    "Example",
    "Pictures",
    "Slices",
    "Summary",
    "clicks_to",
    "compare_evaluations",
    "draw_pictures",
    "draw_slices",
    "gain",
    "paired_difference",
    "render_page",
    "summarise",
]
