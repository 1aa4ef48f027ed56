from .comparison import compare_evaluations
from .page import Example, render_page
from .pictures import Pictures, draw_pictures
from .statistics import Difference, Summary, paired_difference, summarise
