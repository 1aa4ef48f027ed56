from .comparison import compare_evaluations
from .page import Example, render_page
from .pictures import Pictures, draw_pictures
from .statistics import Difference, Summary, paired_difference, summarise

__all__ = [
    "Difference",
    "Example",
    "Pictures",
    "Summary",
    "compare_evaluations",
    "draw_pictures",
    "paired_difference",
    "render_page",
    "summarise",
]
