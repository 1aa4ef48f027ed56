from .comparison import compare_evaluations
from .page import Example, render_page
from .pictures import Pictures, Slices, draw_pictures, draw_slices
from .statistics import Difference, Summary, paired_difference, summarise

__all__ = [
    "Difference",
    "Example",
    "Pictures",
    "Slices",
    "Summary",
    "compare_evaluations",
    "draw_pictures",
    "draw_slices",
    "paired_difference",
    "render_page",
    "summarise",
]
